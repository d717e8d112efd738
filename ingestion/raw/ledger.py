"""The load ledger: what each bronze object changed in raw, recorded in the transaction that loads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values

from ingestion.bronze.objects import ObjectInfo
from ingestion.datasets import Dataset


@dataclass(frozen=True)
class LoadedObject:
    """An object as the ledger records it: its listing, the hash of its bytes, and how many rows it changed."""

    info: ObjectInfo
    sha256: str
    rows: int
    inserted: int
    updated: int


def write_ledger(
    cursor: Any, dataset: Dataset, objects: Sequence[LoadedObject], batch_id: str, loaded_at: datetime
) -> None:
    """Record loaded objects in ``ops.load_ledger``, in the transaction that loads them."""
    execute_values(
        cursor,
        """
        insert into ops.load_ledger as known
            (object_key, sha256, etag, rows, inserted, updated, unchanged, dataset, batch_id, loaded_at, changed_at)
        values %s
        on conflict (object_key) do update set
            sha256 = excluded.sha256, etag = excluded.etag, rows = excluded.rows, inserted = excluded.inserted,
            updated = excluded.updated, unchanged = excluded.unchanged, batch_id = excluded.batch_id,
            loaded_at = excluded.loaded_at, changed_at = coalesce(excluded.changed_at, known.changed_at)
        """,
        [
            (
                o.info.key,
                o.sha256,
                o.info.etag,
                o.rows,
                o.inserted,
                o.updated,
                o.rows - o.inserted - o.updated,
                dataset.name,
                batch_id,
                loaded_at,
                loaded_at if o.inserted + o.updated else None,
            )
            for o in objects
        ],
        page_size=1000,
    )
