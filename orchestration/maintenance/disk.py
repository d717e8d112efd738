"""Recognizes a full disk in an error of any program, and reports it in one line with needed and free space.

Does not belong here: cleaning up (each writer removes its own partial files).
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import psycopg2

from ingestion.bronze.objects import LakeError
from ingestion.connection_errors import DISK_FULL
from ingestion.database.connections import WarehouseError

# Postgres stops when it has no space for a WAL segment, and clients see a lost connection.
LEAST_BYTES = 16 << 20
# dbt writes a new table beside the old one, and a load writes WAL in addition to the rows.
SPACE_FOR_A_RUN_BYTES = 100_000_000


def is_full(error: BaseException, home: Path) -> bool:
    """Return whether a full disk caused an error, directly or because it stopped a server."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(seen, psycopg2.errors.DiskFull) or DISK_FULL.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    from_postgres = isinstance(error, (WarehouseError, psycopg2.OperationalError, psycopg2.InterfaceError))
    embedded = home / ("postgres" if from_postgres else "lake")
    served = from_postgres or isinstance(error, LakeError)
    return served and embedded.exists() and shutil.disk_usage(home).free < LEAST_BYTES


def full_line(folder: Path, needed_bytes: int) -> str:
    """Return the error line for the full disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    return (
        f"the disk of {folder} is full: {free / 1e6:,.0f} MB are free, about {needed_bytes / 1e6:,.0f} MB are needed: "
        "free space, then run the command again, which resumes"
    )


def folder_bytes(folder: Path) -> int:
    """Return the size of the files in a folder; files removed meanwhile do not count."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:
                continue
    return total


def explained(error: Exception, home: Path) -> str | None:
    """Return the error line if a full disk caused an error, None otherwise.

    For a server on another machine the line has the server's own error.
    """
    if not is_full(error, home):
        return None
    if isinstance(error, (WarehouseError, psycopg2.Error)) and not (home / "postgres").exists():
        return f"the disk of the Postgres server is full ({' '.join(str(error).split())[:200]}): free space there"
    return full_line(home, max(SPACE_FOR_A_RUN_BYTES, folder_bytes(home / "postgres")))
