"""What every ingestion shares: its report and context, the contract check, rejected records, new fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US
from ingestion.bronze.lake import Lake, Written
from ingestion.database import connections
from ingestion.datasets import Dataset, rejected_key
from ingestion.ops import rejected as ops_rejected
from ingestion.sources.binance.dataset import BINANCE_OPENED, KLINE_RULES, KLINES
from ingestion.sources.coingecko.dataset import MARKET_RULES, MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED_OPENED, FEAR_GREED_RULES
from ingestion.validation import Rejected, Rule, judge, outside

ONE_DAY = timedelta(days=1)
# What differs between two fetches of one record; a refused record is kept once.
_NOT_THE_RECORD = ["source_url", "fetched_at", "batch_id"]


@dataclass
class Report:
    """What one ingestion did. ``failed`` names what failed alone (a symbol, a coin) and why; ``error`` the whole.

    ``refusal`` is why the first of the ``rejected`` records was refused; ``repeated`` counts records that an answer
    held more than once; ``shortfall`` says what a list lacks that should be whole.
    """

    dataset: str
    rows: int = 0
    written: list[Written] = field(default_factory=list)
    rejected: int = 0
    refusal: str | None = None
    repeated: int = 0
    shortfall: str | None = None
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    requests: int = 0
    retries: int = 0
    skipped_days: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Return how many objects were created or replaced."""
        return sum(1 for w in self.written if w.outcome != "unchanged")


@dataclass(frozen=True)
class Progress:
    """How far a history has come, for a progress bar."""

    rows: int
    days_done: int
    days_total: int
    weight: int


@dataclass
class Context:
    """What every ingestion needs: where to write, and under which names to book it."""

    lake: Lake
    connection: connections.Connection
    batch_id: str
    on_progress: Callable[[Progress], None] = lambda progress: None


def rules(dataset: Dataset, now: datetime) -> list[Rule]:
    """Return what every record of a dataset must satisfy when it is fetched at ``now``."""
    if dataset is KLINES:
        return [*KLINE_RULES, outside("open_time", _midnight(BINANCE_OPENED), now)]
    if dataset is MARKETS:
        return list(MARKET_RULES)
    tomorrow = now.date() + ONE_DAY
    too_far: Rule = (
        f"date is before {FEAR_GREED_OPENED} or in the future",
        lambda t: pc.or_(pc.less(t["date"], pa.scalar(FEAR_GREED_OPENED)), pc.greater(t["date"], pa.scalar(tomorrow))),
    )
    return [*FEAR_GREED_RULES, too_far]


def _accept(table: pa.Table, rules: Sequence[Rule]) -> tuple[pa.Table, list[Rejected]]:
    """Part the rows that keep the contract from those that break it."""
    reasons = judge(table, rules)
    broken = [at for at, reason in enumerate(reasons) if reason]
    if not broken:
        return table, []
    records = [json.dumps(row, default=_plain) for row in table.drop_columns(_NOT_THE_RECORD).take(broken).to_pylist()]
    refused = [Rejected(text, reasons[at] or "") for text, at in zip(records, broken, strict=True)]
    kept = np.ones(len(table), dtype=bool)
    kept[broken] = False
    return table.filter(pa.array(kept)), refused


def _plain(value: object) -> str:
    """Write a number without the zeros that its column's scale adds: the same record must read the same each time."""
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


# -- shared ------------------------------------------------------------------------------------------------------------


def _quarantine(context: Context, report: Report, dataset: Dataset, rejected: Sequence[Rejected]) -> None:
    """Keep refused records under ``_rejected/`` and in ``ops.rejected_records``, and count them."""
    if not rejected:
        return
    report.rejected += len(rejected)
    report.refusal = report.refusal or rejected[0].reason
    rows = sorted({(r.record, r.reason) for r in rejected})
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
    today = datetime.now(UTC)
    key = rejected_key(dataset, today.date(), digest)
    table = pa.table(
        {
            "record": [record for record, _ in rows],
            "reason": [reason for _, reason in rows],
            "batch_id": [context.batch_id] * len(rows),
            "rejected_at": pa.array([today] * len(rows), UTC_US),
        }
    )
    context.lake.write(key, table)
    ops_rejected.record_rejected(context.connection, dataset, key, [Rejected(*row) for row in rows], context.batch_id)


def _note_new_fields(context: Context, report: Report, dataset: Dataset, fields: dict[str, str]) -> None:
    """Report, once for all runs, a field that the source did not use to send; bronze keeps it either way."""
    for name in ops_rejected.record_new_fields(context.connection, dataset, fields, context.batch_id):
        report.notes.append(f"{dataset.name}: the source sends a new field, {name} (such as {fields[name][:60]})")


def _constant(context: Context, pages: Sequence[pa.Table]) -> pa.Array:
    return pa.repeat(context.batch_id, sum(len(p) for p in pages))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
