"""Fetches the complete Fear & Greed history into bronze, and checks which past values the source has changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pyarrow as pa

from ingestion.arrow import last_wins
from ingestion.bronze.merge import union
from ingestion.bronze.merged import current
from ingestion.bronze.objects import DamagedObject, Written
from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context, accept, reject, with_batch_id
from ingestion.database.connections import Connection, fetch
from ingestion.datasets import Page, midnight
from ingestion.sources.conventions import Answer
from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key, parse_history
from ingestion.sources.http import HttpClient


def history(client: HttpClient) -> Page:
    """Request every day of the index: its complete history is one response."""

    def parse(answer: Answer) -> Page:
        return parse_history(answer.body, answer.url, datetime.now(UTC))

    page = client.get("/fng/", {"limit": 0, "format": "json"}, parse=parse)
    assert page is not None
    return page


def ingest_fear_greed(context: Context, client: HttpClient, fetched_on: date) -> FetchResult:
    """Fetch the index's complete history into bronze, unless the newest object has the same values."""
    page = history(client)
    accepted, violations = accept(with_batch_id(context, page.rows), FEAR_GREED.rules(midnight(fetched_on)))
    result = reject(context, FEAR_GREED, [*page.rejected, *violations])
    # The index is sent newest first: of a day that comes twice, the first value is the newer one.
    oldest_first = accepted.take(pa.array(range(len(accepted) - 1, -1, -1), pa.int64()))
    table = last_wins(oldest_first, FEAR_GREED.key).combine_chunks()
    repeated = len(accepted) - len(table)
    objects = current(context.lake.list(f"{FEAR_GREED.prefix}/"))
    notes: list[str] = []
    newest = None
    try:
        newest = context.lake.read(objects[-1].key) if objects else None
    except DamagedObject as error:
        notes.append(f"{error}; the complete history is written again")
    if newest is not None:
        # A merged object has several histories.
        newest = (last_wins(newest[0], FEAR_GREED.key, by=("fetched_at",)), newest[1])
        table = _with_lost_days(notes, newest[0], table)
    value = [*FEAR_GREED.key, *FEAR_GREED.values]
    written: tuple[Written, ...] = ()
    if newest is not None and newest[0].select(value).equals(table.select(value)):
        written = (Written(objects[-1].key, "unchanged", len(table), 0),)
    elif len(table):
        written = (context.lake.merge(FEAR_GREED, fear_greed_key(fetched_on), table),)
    return replace(result, rows=len(accepted), repeated=repeated, written=written, notes=tuple(notes))


def changed_past_values(connection: Connection, batch_id: str) -> list[str]:
    """Return a line for each day before the newest whose value a load has found changed, the newest first."""
    query = """
        select record_key ->> 'date', old_record, new_record from ops.restatements
        where
            dataset = %s
            and batch_id = %s
            and (record_key ->> 'date')::date < (select max(date) from raw.fear_greed)
        order by 1 desc
    """
    return [
        f"{day}: {old['value']} ({old['classification']}) is now {new['value']} ({new['classification']})"
        for day, old, new in fetch(connection, query, (FEAR_GREED.name, batch_id))
    ]


def _with_lost_days(notes: list[str], known: pa.Table, table: pa.Table) -> pa.Table:
    """Return the history with the known days that this response lacks; note a truncated response."""
    known_days, days = set(known["date"].to_pylist()), set(table["date"].to_pylist())
    lost = sorted(known_days - days)
    if not lost:
        return table
    if not days or min(days) > min(known_days) or max(days) < max(known_days):
        notes.append(
            f"the answer was cut: it lacks {len(lost):,} of the {len(known_days):,} days that are known, the first "
            f"{lost[0]}; they are kept"
        )
    return union(FEAR_GREED, known, table)
