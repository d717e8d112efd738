"""How pages run: a limit on concurrent runs, fragments, and the exception that ends a page early."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import BoundedSemaphore, local
from typing import Any

import streamlit as st

from dashboard.components.messages import database_error
from dashboard.database import MartsError

MAX_CONCURRENT_RUNS = 3
SLOT_TIMEOUT_S = 3.0

_slots = BoundedSemaphore(MAX_CONCURRENT_RUNS)
_thread = local()


class PageFinished(Exception):
    """Ends a page that has nothing more to show. Unlike st.stop(), the footer still renders."""


@contextmanager
def render_slot() -> Iterator[None]:
    """Limit concurrent page runs to MAX_CONCURRENT_RUNS.

    Because of the GIL, rendering 50 sessions in parallel makes all of them as slow as the slowest. A run that waited
    SLOT_TIMEOUT_S proceeds without a slot, so that a slow database does not block pages with cached data. A fragment
    uses the slot of its page.
    """
    outermost = not getattr(_thread, "rendering", False)
    acquired = outermost and _slots.acquire(timeout=SLOT_TIMEOUT_S)
    _thread.rendering = True
    try:
        yield
    finally:
        _thread.rendering = not outermost
        if acquired:
            _slots.release()


def fragment(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a function as a Streamlit fragment: only it reruns when one of its own widgets changes.

    The function's name is its key for `st.rerun`.
    """
    return _fragment(function, None)


def repeated(every_s: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a function as a fragment that also reruns by itself; the rest of the page stays as it is."""
    return lambda function: _fragment(function, every_s)


def _fragment(function: Callable[..., None], every_s: float | None) -> Callable[..., None]:
    @st.fragment(key=function.__name__, run_every=every_s)
    @wraps(function)
    def run(*inputs: Any) -> None:
        with render_slot():
            try:
                function(*inputs)
            except MartsError as error:
                database_error(error)

    return run
