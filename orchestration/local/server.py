"""What every embedded server shares: its interface, its end, its environment and reading its log."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol


class Server(Protocol):
    """An embedded server, as the supervisor uses it."""

    port: int

    def start(self) -> None:
        """Start it and wait until it answers on `port`; LocalServicesError if it does not."""

    def dead(self) -> bool:
        """Return whether it was started and has ended by itself."""

    def stop(self) -> None:
        """Stop it cleanly, by force if that takes too long."""


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
