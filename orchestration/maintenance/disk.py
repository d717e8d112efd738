"""A full disk, reported as one line with the space that is needed and the space there is, wherever it was met.

Belongs here: recognizing it in an error of Python, Postgres, the S3 server, dbt or another program. Does not: what had
to be written (each writer removes its own draft).
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import psycopg2

from ingestion.bronze.lake import LakeError
from ingestion.connection_errors import DISK_FULL
from ingestion.database.connections import WarehouseError

# Postgres needs room for one segment of its log to go on at all: with less it stops, and clients see a lost server.
LEAST_BYTES = 16 << 20
# dbt writes a new table beside the old one, and a load its log beside the rows.
ROOM_FOR_A_RUN_BYTES = 100_000_000


def is_full(error: BaseException, home: Path) -> bool:
    """Tell whether an error came of a full disk: by itself, by what caused it, or as a server that stopped for it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(seen, psycopg2.errors.DiskFull) or DISK_FULL.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    of_postgres = isinstance(error, (WarehouseError, psycopg2.OperationalError, psycopg2.InterfaceError))
    embedded = home / ("postgres" if of_postgres else "lake")
    served = of_postgres or isinstance(error, LakeError)
    return served and embedded.exists() and shutil.disk_usage(home).free < LEAST_BYTES


def full_line(folder: Path, needed_bytes: int) -> str:
    """Return the line for a full disk that holds ``folder``."""
    free = shutil.disk_usage(folder).free
    return (
        f"the disk of {folder} is full: {free / 1e6:,.0f} MB are free, about {needed_bytes / 1e6:,.0f} MB are needed: "
        "free space, then run again, which goes on where this one stopped"
    )


def needed_at_home(home: Path) -> int:
    """Return the room that a run needs: as much again as the embedded database holds, in bytes."""
    return max(ROOM_FOR_A_RUN_BYTES, folder_bytes(home / "postgres"))


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files below a folder; files that go meanwhile count nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:
                continue
    return total


def explained(error: Exception, home: Path) -> str | None:
    """Return the line for an error that came of a full disk, None for any other.

    A server elsewhere is named by its own error, which no disk of this machine explains.
    """
    if not is_full(error, home):
        return None
    if isinstance(error, (WarehouseError, psycopg2.Error)) and not (home / "postgres").exists():
        return f"the disk of the Postgres server is full ({' '.join(str(error).split())[:200]}): free space there"
    return full_line(home, needed_at_home(home))
