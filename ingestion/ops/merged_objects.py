"""Merged objects in the load ledger: which objects they contain, and what raw has of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values

from ingestion.database.connections import Connection, fetch
from ingestion.datasets import Dataset


@dataclass(frozen=True)
class MergedObject:
    """A merged object: its key, its ETag in a listing, the SHA-256 of its bytes, and its rows."""

    key: str
    etag: str
    sha256: str
    rows: int


def merged_versions(connection: Connection, key: str, etag: str) -> dict[str, str]:
    """Return the ETag of each object that this version of a merged object is known to contain, by its key."""
    query = """
        select part.object_key, part.etag
        from ops.load_ledger as merged
        inner join ops.load_ledger as part on part.merged_into = merged.object_key
        where merged.object_key = %s and merged.etag = %s
    """
    return dict(fetch(connection, query, (key, etag)))


def record_merged(
    connection: Connection, dataset: Dataset, merged: MergedObject, contained: Mapping[str, str], batch_id: str
) -> None:
    """Record a merged object and the objects (key: ETag) that it contains; its own earlier version may be among them.

    If raw has all of them in these versions, it has the merged one. Otherwise that is pending, and the next load reads
    it. The objects of a merged object that is contained move to the new one.
    """
    parts = sorted(contained.keys() - {merged.key})
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select object_key, etag, loaded_at from ops.load_ledger where object_key = any(%s)", (list(contained),)
        )
        loaded = {key: loaded_at for key, etag, loaded_at in cursor.fetchall() if etag == contained[key]}
        cursor.execute("update ops.load_ledger set merged_into = %s where merged_into = any(%s)", (merged.key, parts))
        cursor.execute(
            "update ops.load_ledger set merged_into = %s where object_key = any(%s)",
            (merged.key, [key for key in parts if key in loaded]),
        )
        if len(loaded) == len(contained):
            _record_loaded(cursor, dataset, merged, max(loaded.values()), batch_id)


def _record_loaded(cursor: Any, dataset: Dataset, merged: MergedObject, loaded_at: datetime, batch_id: str) -> None:
    """Record that raw has a merged object; no row changed, so that no model is built again."""
    cursor.execute(
        """
        insert into ops.load_ledger as known
            (object_key, sha256, etag, rows, inserted, updated, unchanged, dataset, batch_id, loaded_at)
        values (%s, %s, %s, %s, 0, 0, %s, %s, %s, %s)
        on conflict (object_key) do update set
            sha256 = excluded.sha256, etag = excluded.etag, rows = excluded.rows
        """,
        (merged.key, merged.sha256, merged.etag, merged.rows, merged.rows, dataset.name, batch_id, loaded_at),
    )


def write_parts(
    cursor: Any, dataset: Dataset, merged: str, rows: Mapping[str, int], batch_id: str, loaded_at: datetime
) -> None:
    """Record how many rows a merged object has of each object that it contains, in the transaction that loads it."""
    execute_values(
        cursor,
        """
        insert into ops.load_ledger as known
            (object_key, sha256, etag, rows, inserted, updated, unchanged, dataset, batch_id, loaded_at, merged_into)
        values %s
        on conflict (object_key) do update set
            sha256 = '', etag = '', rows = excluded.rows, inserted = 0, updated = 0, unchanged = excluded.rows,
            batch_id = excluded.batch_id, loaded_at = excluded.loaded_at, merged_into = excluded.merged_into
        """,
        [(key, "", "", count, 0, 0, count, dataset.name, batch_id, loaded_at, merged) for key, count in rows.items()],
        page_size=1000,
    )
