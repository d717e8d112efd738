"""Imports that take seconds: without the parts that nothing uses, and in the background.

Belongs here: how a slow library is imported. Does not: its use.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
def without_dbt() -> Iterator[None]:
    """Hide dbt from dagster-dbt while that is imported: it imports all of dbt for types that Dagster's own queries use.

    dbt runs as a program. dagster-dbt then takes its way for an installation without dbt-core, which selects the nodes
    from the manifest.
    """
    hidden = "dbt" not in sys.modules
    if hidden:
        sys.modules["dbt"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["dbt"]


class _Postponed(ModuleType):
    """A module that is imported when an attribute of it is read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` asks every module for some
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)


@contextmanager
def postponed(*modules: str) -> Iterator[None]:
    """Import nothing of these modules until one of their attributes is read, for those who import them meanwhile."""
    stand_ins = {name: _Postponed(name) for name in modules if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
