"""Writes a set of files into a folder: all or none, one writer at a time. Does not know what they contain."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
STAGING = ".partial-"


class ExportError(Exception):
    """Files cannot be written; the message is one line: the folder, the problem, the fix."""


@contextmanager
def locked_folder(target: Path) -> Iterator[None]:
    """Create a folder and hold its lock; ExportError if it cannot be written or another process writes there.

    The lock is on the folder itself, so that it leaves no file. What a killed writer left is removed.
    """
    with as_export_error(target):
        target.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ExportError(
                    f"{target}: another export writes there; wait for it, or name another folder"
                ) from None
            for left in target.glob(f"{STAGING}*"):
                if left.is_symlink():
                    left.unlink()
                else:
                    shutil.rmtree(left)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def staged_files(target: Path) -> Iterator[Path]:
    """Yield an empty folder for new files; at the end move them to `target`, the manifest last.

    Each file appears whole. Files of the earlier manifest that the new one does not name are removed. ExportError if
    `target` has files but no manifest of an earlier export.
    """
    with locked_folder(target):
        earlier = _earlier_files(target)
        with staging(target) as files:
            yield files
            new = sorted(path.name for path in files.iterdir())
            for name in sorted(new, key=lambda name: name == MANIFEST):
                (files / name).replace(target / name)
        for name in earlier - set(new):
            (target / name).unlink(missing_ok=True)
        _sync(target)


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Yield a temporary folder inside `target`, which is removed at the end."""
    files = target / f"{STAGING}{os.getpid()}"
    with as_export_error(target):
        files.mkdir()
        try:
            yield files
        finally:
            shutil.rmtree(files, ignore_errors=True)


@contextmanager
def as_export_error(target: Path) -> Iterator[None]:
    """Raise an operating system's error as an ExportError that names the folder."""
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"{target}: {error.strerror or error}; free space, change its permissions, or name another folder"
        ) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, durably."""
    with path.open("w") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, and make the file durable."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


def _earlier_files(target: Path) -> set[str]:
    """Return the files of an earlier export; ExportError if the folder has files and none of them is its manifest."""
    if not any(target.iterdir()):
        return set()
    try:
        manifest = json.loads((target / MANIFEST).read_text())
        return {str(entry["file"]) for entry in manifest["files"]} | {MANIFEST}
    except (OSError, ValueError, KeyError, TypeError):
        raise ExportError(
            f"{target} is not empty and has no {MANIFEST} of an earlier export: name another folder"
        ) from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
