"""The folder of a backup: its manifest, its checksums and its files.

Belongs here: reading, writing and checking those files. Does not: the database and the bucket.

A backup has `database.dump` (schemas raw and ops), `bronze/` (every object of the bucket under its key),
`manifest.json` (size and SHA-256 of each file, row count of each table) and `manifest.json.sha256`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from orchestration.maintenance.errors import BackupError

T = TypeVar("T")
R = TypeVar("R")
Manifest = dict[str, Any]
# 1 had a checksum of the rows of each table, too.
FORMAT, READABLE = 2, (1, 2)
MANIFEST, MANIFEST_SUM, DUMP, BRONZE = "manifest.json", "manifest.json.sha256", "database.dump", "bronze"
NAME = re.compile(r"tickmart-\d{8}T\d{6}Z")
# Each thread has one object in memory (a day of 1m bars of fifty symbols is 5 MB).
THREADS = 8


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and its checksum, in the format of sha256sum."""
    body = (json.dumps(manifest, indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(body)
    (folder / MANIFEST_SUM).write_text(f"{hashlib.sha256(body).hexdigest()}  {MANIFEST}\n")


def verify_files(folder: Path) -> Manifest:
    """Return the manifest of a backup after checking every file against it; BackupError names the damaged ones."""
    if not (folder / MANIFEST).exists():
        newest = max((p.name for p in folder.glob("tickmart-*") if (p / MANIFEST).exists()), default=None)
        fix = f"name one of the backups in it, the newest is {folder / newest}" if newest else "name a backup's folder"
        raise BackupError(f"{folder} is not a backup (no {MANIFEST}): {fix}")
    with file_errors(folder, "cannot be read"):
        body = (folder / MANIFEST).read_bytes()
        expected = (folder / MANIFEST_SUM).read_text().split()[:1] if (folder / MANIFEST_SUM).exists() else []
        if expected != [hashlib.sha256(body).hexdigest()]:
            raise BackupError(f"{folder / MANIFEST} is damaged (it does not match {MANIFEST_SUM}): use another backup")
        manifest: Manifest = json.loads(body)
        if manifest["format"] not in READABLE:
            raise BackupError(
                f"{folder} has format {manifest['format']}, tickmart {version('tickmart')} reads {READABLE}: "
                f"use tickmart {manifest['tickmart']} or newer"
            )
        files = [(folder / DUMP, manifest["dump"])]
        files += [(object_path(folder, entry["key"]), entry) for entry in manifest["objects"]]
        damaged = [problem for problem in in_parallel(_damage, files) if problem]
    if damaged:
        raise BackupError(f"{len(damaged)} files of {folder} are damaged: {'; '.join(damaged[:3])}: use another backup")
    return manifest


def _damage(file: tuple[Path, Mapping[str, Any]]) -> str | None:
    path, entry = file
    if not path.is_file():
        return f"{path} is missing"
    if path.stat().st_size != entry["size"]:
        return f"{path} has {path.stat().st_size:,} bytes instead of {entry['size']:,}"
    return None if sha256(path) == entry["sha256"] else f"{path} has other bytes than were written"


def summary(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest with the number of objects instead of their list."""
    return {**manifest, "objects": len(manifest["objects"]), "bytes": _bytes(manifest)}


def describe(manifest: Manifest) -> str:
    """Return the contents of a backup in one line."""
    rows = sum(table["rows"] for table in manifest["tables"].values())
    size = f"{_bytes(manifest) / 1e6:,.1f} MB"
    return f"{rows:,} rows in {len(manifest['tables'])} tables, {len(manifest['objects']):,} objects, {size}"


def _bytes(manifest: Manifest) -> int:
    return int(manifest["dump"]["size"] + sum(entry["size"] for entry in manifest["objects"]))


def object_path(folder: Path, key: str) -> Path:
    """Return the path of an object in a backup; BackupError for a key that would lead out of the folder."""
    parts = key.split("/")
    if not key or "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise BackupError(f"object {key!r} cannot be a file: remove it, or rename it in the bucket")
    return folder.joinpath(BRONZE, *parts)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return the results of ``work`` for each item, computed by several threads."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="backup") as pool:
        return list(pool.map(work, items))


@contextlib.contextmanager
def file_errors(folder: Path, problem: str) -> Iterator[None]:
    """Turn an OSError into a BackupError that names the file and the fix."""
    try:
        yield
    except OSError as error:
        raise BackupError(
            f"{error.filename or folder} {problem} ({error.strerror or error}): check its owner (this is user "
            f"{os.geteuid()}) and the free space, or name another folder"
        ) from error


@contextlib.contextmanager
def exclusive(lock: Path, otherwise: str) -> Iterator[None]:
    """Lock a file for the block; BackupError at once if another process has it locked."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"{otherwise}: wait until it has finished") from None
        yield
