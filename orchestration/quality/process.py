"""The process of the suites: it imports Great Expectations while a run does other work, then runs functions for it.

Belongs here: the process, which also runs this module, and a call of a function in it. Does not: those functions
(``validation``).

Great Expectations imports for two seconds and more, a tenth of a refresh without new bars, and a thread of the run
would take that time from the run itself.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import IO, Any, TypeVar

from orchestration import environment
from orchestration.local.processes import CODE

T = TypeVar("T")


class SuiteProcessError(Exception):
    """The process of the suites ended while it ran one; the message is one line."""


class _Running:
    """A process that was started; it ends when this process closes its stdin, or ends."""

    def __init__(self) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in kill
        search_path = os.pathsep.join([CODE, *filter(None, sys.path)])
        self._process = subprocess.Popen(
            environment.python("-W", "ignore", "-m", __name__),
            env={**os.environ, "PYTHONPATH": search_path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip

    def call(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((dict(os.environ), function, arguments), self._process.stdin)
            self._process.stdin.flush()
            result: T = pickle.load(self._process.stdout)  # noqa: S301 - what this module's own process sends
        except (OSError, EOFError, pickle.UnpicklingError):
            code = self._process.wait()
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:] or ["it printed nothing"]
            raise SuiteProcessError(f"the process of the suites ended with code {code}: {last[0]}") from None
        return result

    def kill(self) -> None:
        with self._process, self._errors:
            self._process.kill()


_running: _Running | None = None


def start() -> None:
    """Start the process, unless it runs."""
    global _running
    if _running is None:
        _running = _Running()


def stop() -> None:
    """End the process, if it runs."""
    global _running
    if _running is not None:
        running, _running = _running, None
        running.kill()


def call(function: Callable[..., T], *arguments: Any) -> T:
    """Return what a function of a module returns in the process, with the environment of this one.

    SuiteProcessError if the process ends meanwhile; the next call starts another one.
    """
    start()
    assert _running is not None
    try:
        return _running.call(function, arguments)
    except BaseException:  # also an interrupt: a result that comes later must not be taken for the next one's
        stop()
        raise


def main() -> None:
    """Import what suites need, then run the functions that arrive on stdin until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends this process
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    import_module("orchestration.quality.gx")
    import_module("orchestration.quality.validation").prepare()
    with suppress(EOFError, BrokenPipeError):
        while True:
            variables, function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - what the run sends
            os.environ.clear()
            os.environ.update(variables)
            pickle.dump(function(*arguments), replies)
            replies.flush()


if __name__ == "__main__":
    main()
