"""What every embedded server shares: its process, its account, its end."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestration.local.processes import LIBC, die_with_parent

_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 4
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Account:
    """The user that Postgres runs as when the keeper is root, and the capability it needs to reach its files."""

    uid: int
    gid: int
    capability: int | None


def become(account: Account | None, folder: Path, death_signal: int) -> Callable[[], None]:
    """Return a preexec_fn: take the account's identity, go to `folder`, and on Linux die with the keeper."""
    die_with_keeper = die_with_parent(death_signal)

    def prepare() -> None:
        if account is not None:
            os.setgroups([])
            os.setgid(account.gid)
            if account.capability is not None:
                # Lets capabilities survive setuid, and count in access(2), by which initdb looks for its programs.
                _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
            os.setuid(account.uid)
            if account.capability is not None:
                _keep_capability(account.capability)
        die_with_keeper()  # last: a change of identity clears it
        os.chdir(folder)

    return prepare


def _prctl(*arguments: int) -> None:
    padded = [*arguments, 0, 0, 0, 0][:5]
    if LIBC is None or LIBC.prctl(*(ctypes.c_ulong(argument) for argument in padded)) != 0:
        raise OSError(ctypes.get_errno(), f"prctl{arguments}")


def _keep_capability(capability: int) -> None:
    """Reduce this process's capabilities to one, kept across exec by an unprivileged user (capabilities(7))."""
    bit = 1 << capability
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; low words, high words
    if LIBC is None or LIBC.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


class Server(Protocol):
    """What the keeper needs of an embedded server."""

    port: int

    def start(self) -> None:
        """Return when it answers on `port`; LocalServicesError if it does not start."""

    def dead(self) -> bool:
        """Tell whether it was started and has ended by itself."""

    def stop(self) -> None:
        """End it cleanly, by force if that takes too long."""


def _end(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> None:
    """Send one signal after the other, each with its seconds to take effect, until the process has ended."""
    for signal_number, seconds in steps:
        process.send_signal(signal_number)  # does nothing once it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def _server_environment() -> dict[str, str]:
    """Return what a server needs of the environment: not the user's secrets, nor variables that configure servers."""
    return {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _text(log: Path, offset: int) -> str:
    """Return what a log got after byte `offset`."""
    return log.read_bytes()[offset:].decode(errors="replace") if log.exists() else ""


def _reason(log: Path, offset: int) -> str:
    """Return what a server said after byte `offset` of its log about why it gave up, on one line."""
    text = _text(log, offset).strip()
    if found := re.search(r"(?:FATAL|PANIC|CRITICAL|error): +(.*)", text):
        return found[1]
    if found := re.search(r"^postgres: ((?:.+\n?){1,3})", text, re.MULTILINE):  # before it has a log
        return " ".join(found[1].split())
    return (text.splitlines() or ["no message"])[-1]
