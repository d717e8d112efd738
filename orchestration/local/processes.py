"""Process groups, parent-death signals, free ports, and the error of the local services.

psutil is imported where processes are listed: no command does that in its usual course, and every command starts here.
"""

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

LOOPBACK = "127.0.0.1"
# The folder of the running code: the supervisor and its clients must run the same.
CODE = str(Path(__file__).resolve().parents[2])
# In a home: the working directory of child processes, without user files that a tool would read.
WORKING_FOLDER = "work"
STOP_DEADLINE_S = 60.0
CHILD_GRACE_S = 10.0
# The first start includes initdb, a start after a crash the recovery of up to max_wal_size of WAL: seconds on a laptop.
START_DEADLINE_S = 180.0
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: loading a library between fork and exec can deadlock.
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class LocalServicesError(Exception):
    """The local services cannot do what was requested; the message is one line: what, value, fix."""


def die_with_parent(signal_number: int) -> Callable[[], None]:
    """Return a preexec_fn after which Linux sends `signal_number` to the child when its parent dies."""
    parent = os.getpid()

    def prepare() -> None:
        if LIBC is not None:
            LIBC.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
            if os.getppid() != parent:  # the parent died before the call above
                os._exit(1)

    return prepare


def signal_group(group: int, signal_number: int) -> None:
    """Send a signal to every process of a group that may have ended already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter from macOS, for zombies
        os.killpg(group, signal_number)


def group_alive(group: int) -> bool:
    """Return whether a process group has a running process.

    Zombies do not count: the first process of a container may never reap them.
    """
    import psutil  # type: ignore[import-untyped,unused-ignore]

    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def free_port(preferred: int) -> int:
    """Return `preferred` if nothing listens on it on loopback, else a port that the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ignore TIME_WAIT
            try:
                probe.bind((LOOPBACK, port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise LocalServicesError(f"no free TCP port on {LOOPBACK}: close programs that use them")


def port_owner_message(port: int, variable: str = "") -> str:
    """Return an error line that names the owner of `port` and, if given, the setting to change."""
    import psutil  # type: ignore[import-untyped,unused-ignore]

    owner = "another program"
    with contextlib.suppress(psutil.Error, OSError):  # macOS allows this only to root
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                owner = f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
                break
    fix = f"stop it or set {variable} to a free port" if variable else "stop it or choose another port"
    return f"port {port} on {LOOPBACK} is in use by {owner}: {fix}"


def last_line(log: Path, offset: int = 0) -> str:
    """Return the last line of a log after byte `offset`, for an error message."""
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[offset:].decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1].strip()
    return "no message"
