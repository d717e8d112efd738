"""What every embedded server shares: its interface, its end, its environment and reading its log."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from orchestration.local.privileges import run_as
from orchestration.local.processes import LocalServicesError


class Server(Protocol):
    """An embedded server, as the supervisor uses it."""

    port: int

    def start(self) -> None:
        """Start it and wait until it answers on `port`; LocalServicesError if it does not."""

    def dead(self) -> bool:
        """Return whether it was started and has ended by itself."""

    def stop(self) -> None:
        """Stop it cleanly, by force if that takes too long."""


class LoggedServer:
    """A server that picks its own port and writes it to its log; after a crash it asks for the same port."""

    def __init__(self, name: str, log: Path, announced: str) -> None:
        """``announced`` is the pattern of the text in the log that has the port."""
        self._name, self._log, self._announced = name, log, announced
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def launch(self, command: Sequence[str | Path], env: dict[str, str], folder: Path) -> None:
        """Start the command in ``folder`` and wait until its log has its port; LocalServicesError if it does not."""
        offset = log_size(self._log)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, preexec_fn=run_as(None, folder, signal.SIGTERM), env=env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            if found := re.search(self._announced, log_text(self._log, offset)):
                self.port = int(found[1])
                return
            time.sleep(0.01)
        self.stop()
        self.port = 0  # in case the port was the problem
        raise LocalServicesError(f"{self._name} does not start: {failure_reason(self._log, offset)}; log: {self._log}")

    def dead(self) -> bool:
        """Return whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Terminate it: an object that is being written does not appear, and the simulator stores nothing."""
        if self._process is not None:
            end_process(self._process, (signal.SIGTERM, 10), (signal.SIGKILL, 5))
            self._process = None


def end_process(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> None:
    """Send the signals in order, each with a timeout in seconds, until the process has ended."""
    for signal_number, seconds in steps:
        process.send_signal(signal_number)  # does nothing once it has ended
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return
            time.sleep(0.005)  # Popen.wait with a timeout sleeps up to ten times as long


def server_environment() -> dict[str, str]:
    """Return the variables that a server needs: no secrets, and none that configure a server."""
    return {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}


def log_size(log: Path) -> int:
    """Return the size of a log in bytes, 0 if there is none."""
    return log.stat().st_size if log.exists() else 0


def log_text(log: Path, offset: int) -> str:
    """Return the text of a log from byte `offset` on."""
    return log.read_bytes()[offset:].decode(errors="replace") if log.exists() else ""


def failure_reason(log: Path, offset: int) -> str:
    """Return the error in a server's log from byte `offset` on, as one line."""
    text = log_text(log, offset).strip()
    if found := re.search(r"(?:FATAL|PANIC|CRITICAL|error): +(.*)", text):
        return found[1]
    if found := re.search(r"^postgres: ((?:.+\n?){1,3})", text, re.MULTILINE):  # written before its log is open
        return " ".join(found[1].split())
    return (text.splitlines() or ["no message"])[-1]
