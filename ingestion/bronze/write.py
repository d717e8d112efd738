"""Steps that all ingestions share: contract check, rejected records, new fields, and writing a page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US, last_wins
from ingestion.bronze.results import FetchResult
from ingestion.database import connections
from ingestion.datasets import Dataset, Page, rejected_key
from ingestion.ops import rejected as ops_rejected
from ingestion.validation import Rejected, Rule, validate

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

# What differs between two fetches of one record; a rejected record is stored once.
_FETCH_COLUMNS = ["source_url", "fetched_at", "batch_id"]


@dataclass(frozen=True)
class Progress:
    """How far a fetch has come, for a progress bar."""

    rows: int
    days_done: int
    days_total: int


@dataclass(frozen=True)
class Context:
    """What every ingestion needs: where to write, and the batch id (the run id) of what it writes."""

    lake: Lake
    connection: connections.Connection
    batch_id: str
    on_progress: Callable[[Progress], None] = lambda progress: None


def write_page(context: Context, dataset: Dataset, page: Page, now: datetime) -> FetchResult:
    """Check a page's records by the dataset's contract and merge them into their bronze objects.

    ``now`` is the time of the fetch by the clock that the contract is checked by.
    """
    table, violations = accept(with_batch_id(context, page.rows), dataset.rules(now))
    result = reject(context, dataset, [*page.rejected, *violations])
    distinct = last_wins(table, dataset.key)
    with connections.locked(context.connection, f"bronze {dataset.name}"):
        written = tuple(context.lake.merge(dataset, key, rows) for key, rows in rows_by_object(dataset, distinct))
    return FetchResult(
        dataset.name,
        rows=len(table),
        written=written,
        rejected=result.rejected,
        first_rejection=result.first_rejection,
        repeated=len(table) - len(distinct),
    )


def with_batch_id(context: Context, rows: pa.Table) -> pa.Table:
    """Return a page's rows with the column ``batch_id``: the schema of a bronze object."""
    return rows.append_column("batch_id", pa.repeat(context.batch_id, len(rows)))


def accept(table: pa.Table, rules: Sequence[Rule]) -> tuple[pa.Table, list[Rejected]]:
    """Split a table into the rows that satisfy the rules and the records that violate them."""
    reasons = validate(table, rules)
    violations = [at for at, reason in enumerate(reasons) if reason]
    if not violations:
        return table, []
    rows = table.drop_columns(_FETCH_COLUMNS).take(violations).to_pylist()
    # Numbers without the trailing zeros of their column's scale: a record must read the same each time.
    texts = (
        json.dumps(row, default=lambda v: format(v.normalize(), "f") if isinstance(v, Decimal) else str(v))
        for row in rows
    )
    rejected = [Rejected(text, reasons[at] or "") for text, at in zip(texts, violations, strict=True)]
    accepted = np.ones(len(table), dtype=bool)
    accepted[violations] = False
    return table.filter(pa.array(accepted)), rejected


def reject(context: Context, dataset: Dataset, rejected: Sequence[Rejected]) -> FetchResult:
    """Store rejected records under ``_rejected/`` and in ``ops.rejected_records``, and count them."""
    if not rejected:
        return FetchResult(dataset.name)
    rows = sorted({(r.record, r.reason) for r in rejected})
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
    now = datetime.now(UTC)
    key = rejected_key(dataset, now.date(), digest)
    table = pa.table(
        {
            "record": [record for record, _ in rows],
            "reason": [reason for _, reason in rows],
            "batch_id": [context.batch_id] * len(rows),
            "rejected_at": pa.array([now] * len(rows), UTC_US),
        }
    )
    context.lake.write(key, table)
    ops_rejected.record_rejected(context.connection, dataset, key, [Rejected(*row) for row in rows], context.batch_id)
    return FetchResult(dataset.name, rejected=len(rejected), first_rejection=rejected[0].reason)


def note_new_fields(context: Context, dataset: Dataset, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note for each field (name: example) that the source has not sent in any run before.

    Bronze keeps unknown fields either way.
    """
    new = ops_rejected.record_new_fields(context.connection, dataset, fields, context.batch_id)
    return tuple(f"{dataset.name}: the source sends a new field, {name} (such as {fields[name][:60]})" for name in new)


def rows_by_object(dataset: Dataset, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the key of each bronze object that rows belong to, with these rows."""
    keys = pa.array([dataset.object_key(row) for row in rows.to_pylist()], pa.string())
    for key in keys.unique().to_pylist():
        yield key, rows.filter(pc.equal(keys, key)).combine_chunks()
