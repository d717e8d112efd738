"""Runs a server as another user when tickmart is root, with the one capability that reaches its files.

Postgres refuses to run as root, and in many containers root is the only user: without this `tickmart run` would fail
there. HOME and the virtual environment may be folders that only root can enter (/root), hence the capability.
"""

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestration.local.processes import LIBC, die_with_parent

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 4
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Account:
    """The user that Postgres runs as when the supervisor is root, and the capability that it keeps."""

    uid: int
    gid: int
    capability: int | None


def run_as(account: Account | None, folder: Path, death_signal: int) -> Callable[[], None]:
    """Return a preexec_fn: change to the account and to ``folder``; on Linux, end with the supervisor."""
    die_with_supervisor = die_with_parent(death_signal)

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
        die_with_supervisor()  # last: a change of user clears it
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
