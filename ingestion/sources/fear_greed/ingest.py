"""The Fear & Greed history to bronze."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from ingestion.arrow import last_wins
from ingestion.bronze.lake import DamagedObject, Written
from ingestion.bronze.merge import union
from ingestion.bronze.write import Context, Report, _accept, _constant, _midnight, _quarantine, rules
from ingestion.sources.fear_greed import client as fear_greed_client
from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key
from ingestion.sources.http import HttpClient


def ingest_fear_greed(context: Context, client: HttpClient, fetched_on: date) -> Report:
    """Bring the index's whole history into bronze, unless the newest object holds the same values already."""
    report = Report(FEAR_GREED.name)
    page = fear_greed_client.history(client)
    table = page.rows.append_column("batch_id", _constant(context, [page.rows]))
    table, refused = _accept(table, rules(FEAR_GREED, _midnight(fetched_on)))
    _quarantine(context, report, FEAR_GREED, [*page.rejected, *refused])
    report.rows = len(table)
    # Newest first is how the index is sent; of a day that comes twice the first is the newer statement.
    table = last_wins(table.take(pa.array(range(len(table) - 1, -1, -1), pa.int64())), FEAR_GREED.key).combine_chunks()
    report.repeated = report.rows - len(table)
    held = context.lake.list(f"{FEAR_GREED.prefix}/")
    try:
        last = context.lake.read(held[-1].key) if held else None
    except DamagedObject as error:
        last = None
        report.notes.append(f"{error}; the whole history is written anew")
    if last is not None:
        table = _with_lost_days(report, last[0], table)
    value = [*FEAR_GREED.key, *FEAR_GREED.values]
    if last is not None and last[0].select(value).equals(table.select(value)):
        report.written.append(Written(held[-1].key, "unchanged", len(table), 0))
    elif len(table):
        report.written.append(context.lake.merge(FEAR_GREED, fear_greed_key(fetched_on), table))
    return report


def _with_lost_days(report: Report, known: pa.Table, table: pa.Table) -> pa.Table:
    """Return the index's history with the days that were known and that this answer lacks; report a cut answer."""
    days, came = set(known["date"].to_pylist()), set(table["date"].to_pylist())
    lost = sorted(days - came)
    if not lost:
        return table
    if not came or min(came) > min(days) or max(came) < max(days):
        report.notes.append(
            f"the answer was cut: it lacks {len(lost):,} of the {len(days):,} days that are known, the first "
            f"{lost[0]}; they are kept"
        )
    return union(FEAR_GREED, known, table)
