"""Process groups, parent-death signals and free ports."""

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

LOOPBACK = "127.0.0.1"
# The checkout or installation whose code runs: the supervisor's and its clients' must be the same.
CODE = str(Path(__file__).resolve().parents[2])
# In a home: where child processes work. Nothing of the user's lies there that a tool would read.
WORKING_FOLDER = "work"
STOP_DEADLINE_S = 60.0
CHILD_GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: loading a library between fork and exec can deadlock.
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class LocalServicesError(Exception):
    """The local stack cannot do what was asked; the message is one line: what, value, mend."""


def die_with_parent(signal_number: int) -> Callable[[], None]:
    """Return a preexec_fn after which Linux sends `signal_number` to the child when its parent dies."""
    parent = os.getpid()

    def prepare() -> None:
        if LIBC is not None:
            LIBC.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
            if os.getppid() != parent:  # it died before the call above
                os._exit(1)

    return prepare


def signal_group(group: int, signal_number: int) -> None:
    """Send a signal to every process of a group that may have ended already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter from macOS, for zombies
        os.killpg(group, signal_number)


def group_alive(group: int) -> bool:
    """Tell whether a process group still has a process that runs.

    Zombies do not count: who inherits them may never reap them, as the first process of many a container.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def free_port(preferred: int) -> int:
    """Return `preferred` if nothing listens on it on loopback, else a port that the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no owner
            try:
                probe.bind((LOOPBACK, port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise LocalServicesError(f"no free TCP port on {LOOPBACK}: close programs that listen there")


def port_owner_message(port: int, variable: str = "") -> str:
    """Return one line that says who listens on `port` and, given the setting that chose the port, what to change."""
    owner = "another program"
    with contextlib.suppress(psutil.Error, OSError):  # macOS tells only root
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                owner = f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
                break
    mend = f"stop it or set {variable} to a free port" if variable else "stop it or choose another port"
    return f"port {port} on {LOOPBACK} is in use by {owner}: {mend}"


def last_line(log: Path, offset: int = 0) -> str:
    """Return the last line that a log got after byte `offset`, for an error message."""
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[offset:].decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1].strip()
    return "no message"
