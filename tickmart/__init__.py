"""Reads tickmart's marts: `import tickmart as tm`.

The functions read the database of the last `connect()`, else that of the variable TICKMART_URL. `open()` reads a
published release. Nothing here writes, and nothing here needs the pipeline.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from tickmart.errors import ArgumentError, TickmartError
from tickmart.postgres import PostgresSource
from tickmart.release import ReleaseSource
from tickmart.result import Result
from tickmart.source import Source

__all__ = [
    "ArgumentError", "Result", "Source", "TickmartError", "bars", "coins", "connect", "correlations", "daily", "health",
    "metrics", "open", "sentiment", "snapshots", "sql",
]  # fmt: skip

_P = ParamSpec("_P")
_default: Source | None = None


def connect(url: str | None = None) -> Source:
    """Return the database at an address, else at TICKMART_URL, and make it the one that the functions read."""
    global _default
    address = url or os.environ.get("TICKMART_URL")
    if not address:
        raise TickmartError("No address: pass one or set TICKMART_URL; `tickmart connect --format url` prints it")
    _default = PostgresSource(address)
    return _default


def open(folder: str | os.PathLike[str]) -> Source:
    """Return the release in a folder, or the newest one of a folder of releases."""
    return ReleaseSource(folder)


def _of_default(method: Callable[Concatenate[Source, _P], Result]) -> Callable[_P, Result]:
    """Return a function that calls a method of the default source."""

    @functools.wraps(method)
    def function(*args: _P.args, **kwargs: _P.kwargs) -> Result:
        found: Result = getattr(_default or connect(), method.__name__)(*args, **kwargs)
        return found

    own = inspect.signature(method, eval_str=False)
    function.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])  # type: ignore[attr-defined]
    return function


bars = _of_default(Source.bars)
daily = _of_default(Source.daily)
snapshots = _of_default(Source.snapshots)
sentiment = _of_default(Source.sentiment)
correlations = _of_default(Source.correlations)
coins = _of_default(Source.coins)
metrics = _of_default(Source.metrics)
health = _of_default(Source.health)
sql = _of_default(Source.sql)
