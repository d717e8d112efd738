"""Lists rejected records, and replays them by today's parsers and rules.

Belongs here: reading ``ops.rejected_records`` and turning a record back into a row. Does not: the rules (each source's
contract) nor storing a record (``write``, ``ops.rejected``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ingestion.arrow import DECIMAL, UTC_US, align_decimals, decimals, last_wins
from ingestion.bronze.merge_into import merge_rows
from ingestion.bronze.write import Context, rows_by_object
from ingestion.database.connections import Connection, execute, fetch, fetch_dicts, locked
from ingestion.datasets import Dataset, StoredRejection
from ingestion.validation import validate


def list_rejected(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the newest rejected records as JSON text with all digits, with reason and time of replay."""
    return fetch_dicts(
        connection,
        """
        select rejected_id, rejected_at, dataset, reason, record::text as record, object_key, replayed_at
        from ops.rejected_records order by rejected_at desc, rejected_id desc limit %s
        """,
        (limit,),
    )


def replay(context: Context, datasets: Sequence[Dataset]) -> dict[str, tuple[int, int]]:
    """Validate the records that were not replayed yet; merge those that pass into bronze.

    Returns for each dataset with such records how many passed and how many were validated.
    """
    counts: dict[str, tuple[int, int]] = {}
    for dataset in datasets:
        stored = _not_replayed(context.connection, dataset)
        passed: list[int] = []
        tables: list[pa.Table] = []
        for rejection in stored:
            try:
                row = _row(context.connection, dataset, rejection)
            except (ValueError, TypeError, KeyError, OverflowError, pa.ArrowException):
                continue
            if len(row) == 1 and validate(row, dataset.rules(datetime.now(UTC))) == [None]:
                passed.append(rejection.rejected_id)
                tables.append(row.append_column("batch_id", pa.array([context.batch_id])))
        if tables:
            rows = last_wins(pa.concat_tables(align_decimals(tables)).combine_chunks(), dataset.key)
            with locked(context.connection, f"bronze {dataset.name}"):
                merge_rows(context.lake, dataset, list(rows_by_object(dataset, rows)))
            execute(
                context.connection,
                "update ops.rejected_records set replayed_at = clock_timestamp() where rejected_id = any(%s)",
                (passed,),
            )
        if stored:
            counts[dataset.name] = (len(passed), len(stored))
    return counts


def _not_replayed(connection: Connection, dataset: Dataset) -> list[StoredRejection]:
    rows = fetch(
        connection,
        """
        select
            rejected_id, record, record::text, rejected_at, batch_id, min(rejected_at) over (partition by batch_id)
        from ops.rejected_records
        where dataset = %s and replayed_at is null
        order by rejected_id
        """,
        (dataset.name,),
    )
    return [StoredRejection(*row) for row in rows]


def _row(connection: Connection, dataset: Dataset, rejection: StoredRejection) -> pa.Table:
    """Turn a rejection into a table of one row: it is either a row of the dataset, or what the source sent."""
    record = rejection.record
    if not isinstance(record, dict):
        raise ValueError("not an object")
    if {c.name for c in dataset.columns} <= record.keys():
        columns = {f.name: _cell(record.get(f.name), f.type) for f in dataset.schema if f.name != "batch_id"}
        columns |= {"source_url": pa.array(["replayed"]), "fetched_at": pa.array([rejection.rejected_at], UTC_US)}
        return pa.table(columns)
    if dataset.parse_rejected is None:
        raise ValueError("not a row of the dataset")
    return dataset.parse_rejected(connection, rejection)


def _cell(value: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if value is None:
        return pa.array([None], kind)
    if kind == DECIMAL:
        return decimals(pa.array([str(value)], pa.string()))
    if kind == UTC_US:
        return pa.array([datetime.fromisoformat(value)], kind)
    if kind == pa.date32():
        return pa.array([datetime.fromisoformat(value).date()], kind)
    if kind == pa.string() and not isinstance(value, str):
        return pa.array([json.dumps(value)])
    return pa.array([value], kind)
