"""Objects of the bronze lake: how a listing shows one, the outcome of a write, and the errors of the store.

Belongs here: what code without access to the store needs. Does not: the access (``lake``), which imports the S3 client.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


class LakeError(Exception):
    """The object store cannot be used; the message is one line: endpoint, what was tried, fix."""


class DamagedObject(LakeError):
    """An object that is not a complete Parquet file; the message names it, and none of its rows are used."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing shows it."""

    key: str
    etag: str
    size: int
    modified: datetime | None = None


@dataclass(frozen=True)
class Written:
    """The outcome of a write (``created``, ``replaced``, ``repaired``, ``unchanged``) and the object's row count."""

    key: str
    outcome: str
    rows: int
    bytes: int
