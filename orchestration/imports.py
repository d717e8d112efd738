"""Imports that take seconds: without the parts that nothing uses, and in the background.

Belongs here: how a slow library is imported. Does not: its use.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import Any


def import_in_background(*modules: str) -> threading.Thread:
    """Import modules, in order, in a thread while this process waits for something else; return the thread.

    A later import statement of one of them waits until it is complete, or repeats it and raises its error. Import none
    of their own dependencies before the thread has ended: of modules that import each other, two threads may see
    incomplete ones. When the command ends meanwhile, the process ends after the module that is being imported.
    """

    def import_all() -> None:
        with suppress(Exception):  # raised by the import statement that needs it
            for module in modules:
                if threading.main_thread().is_alive():
                    import_module(module)

    thread = threading.Thread(target=import_all, name="imports")
    thread.start()
    return thread


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage during imports, and leave what they made out of later collections: it lives until the end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let the imports of a module fail, for those who can do without it."""
    hides = module not in sys.modules
    if hides:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hides:
            del sys.modules[module]


class _Unused(ModuleType):
    """A module whose names can be imported and not used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"{self.__name__}.{name} is used, although orchestration.imports declares it unused")

        return refuse


class _Postponed(ModuleType):
    """A module that is imported when an attribute of it is read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` asks every module for some
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)


def postponed(*modules: str) -> AbstractContextManager[None]:
    """Import nothing of these modules until one of their attributes is read, for those who import them meanwhile."""
    return _standing_in(_Postponed, modules)


def unused(*modules: str) -> AbstractContextManager[None]:
    """Import nothing of these modules, for those who import names of them meanwhile and never use these here."""
    return _standing_in(_Unused, modules)


@contextmanager
def _standing_in(kind: type[ModuleType], modules: Sequence[str]) -> Iterator[None]:
    stand_ins = {name: kind(name) for name in modules if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
