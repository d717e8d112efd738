"""The work log: one line per unit of work, as JSON in HOME/logs/tickmart.jsonl and readable on the console.

Belongs here: the format of a line, removing secrets, and the file that many processes share. Does not: the output of
programs (HOME/logs/*.log), Dagster's event log, schema ops.

The standard library's RotatingFileHandler is for one process: after another process has rotated, it continues to write
to the renamed file. Here runs, sensors and the command line write concurrently. So the file is reopened when it was
renamed (WatchedFileHandler), renamed under a lock, and each line is one append.
"""

from __future__ import annotations

import fcntl
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from ingestion.settings import without_secrets
from ingestion.text import plain, visible

FILE = "tickmart.jsonl"
LIMIT_BYTES, OLD_FILES = 10_000_000, 5
# An append is atomic as long as it is a single write.
LONGEST_VALUE = 1_000
_LOGGER = logging.getLogger("tickmart.work")


def unit(event: str, **fields: Any) -> None:
    """Log one unit of work (run, asset, partition, source, batch, rows, seconds, ...); omit fields that are None."""
    level = {"failed": "error", "partial": "warning"}.get(str(fields.get("status")), "info")
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
    getattr(_bound(), level)(event, **{name: value for name, value in rounded.items() if value is not None})


def _bound() -> Any:
    """Return the logger, with the file of the current home open."""
    path = Path(os.environ.get("TICKMART_HOME", ".tickmart")).absolute() / "logs" / FILE
    if not any(isinstance(h, SharedFile) and h.baseFilename == str(path) for h in _LOGGER.handlers):
        for handler in _LOGGER.handlers:
            handler.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        file = SharedFile(path)
        file.setFormatter(_formatter(structlog.processors.JSONRenderer(default=plain)))
        console = Console()
        console.setFormatter(_formatter(_readable))
        _LOGGER.handlers[:] = [file, console]
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False
    return structlog.wrap_logger(
        _LOGGER,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.add_log_level,
            lambda _logger, _method, event: _clean(event),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )


def _formatter(renderer: Any) -> logging.Formatter:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(processors=[remove, renderer])


def _clean(value: Any) -> Any:
    """Replace every secret of the environment in a value, and cut long texts."""
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if isinstance(value, str):
        text = without_secrets(value)
        return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
    return value


def _readable(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """Format a line for people: time, event, fields."""
    at = str(event.pop("timestamp"))[11:19]
    level = event.pop("level")
    head = f"{at} {event.pop('event')}" if level == "info" else f"{at} {level.upper()} {event.pop('event')}"
    # The run's id is in an earlier line or in the name of the file.
    shown = {name: value for name, value in event.items() if name not in ("run", "batch") and value != []}
    # Visible: a text may come from an exchange or a user, with control characters.
    texts = {name: f"{v:.2f}" if isinstance(v, float) else visible(plain(v)) for name, v in shown.items()}
    return " ".join([head, *(f"{name}={text}" for name, text in texts.items())])


class Console(logging.StreamHandler[Any]):
    """Writes to the current stderr: a command redirects it during a run."""

    @property
    def stream(self) -> Any:
        """The current stderr."""
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        """Ignore: the stream is always the current stderr."""


class SharedFile(logging.handlers.WatchedFileHandler):
    """Appends lines to a file that other processes append to and rotate as well."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES, old_files: int = OLD_FILES) -> None:
        self._limit_bytes, self._old_files = limit_bytes, old_files
        super().__init__(path, mode="a", encoding="utf-8")
        path.chmod(0o600)

    def emit(self, record: logging.LogRecord) -> None:
        """Rotate the file if it has reached its limit, then write the line."""
        try:
            if self._full():
                self._rotate()
            super().emit(record)
        except OSError:
            self.handleError(record)

    def _full(self) -> bool:
        path = Path(self.baseFilename)
        return path.exists() and path.stat().st_size >= self._limit_bytes

    def _rotate(self) -> None:
        path = Path(self.baseFilename)
        with path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._full():
                return  # another process has rotated it
            for number in range(self._old_files, 0, -1):
                older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
                if older.exists():
                    older.replace(path.with_name(f"{path.name}.{number}"))


@contextmanager
def shown(write: Callable[[str], Any]) -> Iterator[None]:
    """Pass each line of this process to ``write`` as well, formatted for people."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            write(self.format(record))

    _bound()
    handler = Shown()
    handler.setFormatter(_formatter(_readable))
    _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
