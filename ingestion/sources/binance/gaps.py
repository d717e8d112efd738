"""Decides which gaps in series of bars are requested again, and lists those that stay unexplained (``ops.gaps``).

Belongs here: gaps that are recorded. Does not: finding and explaining them (``gap_classification``), fetching
(``ingest``), alerts (``orchestration``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ingestion.database.connections import Connection, fetch
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.gap_classification import INTERIOR_KINDS

# A gap is requested again by the next run, then after as long as it has been known, within these bounds.
RETRY_LEAST, RETRY_MOST = timedelta(hours=1), timedelta(days=7)
# A confirmed halt is requested again once a day for a week; archives are corrected within days.
RECHECK_EVERY, RECHECK_FOR = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True)
class Gap:
    """A recorded gap inside a series: its UTC days, and the facts that decide when it is requested again."""

    symbol: str
    days: Sequence[date]
    is_confirmed: bool
    found_at: datetime
    requested_at: datetime | None


def is_due(gap: Gap, now: datetime) -> bool:
    """Return whether a gap is due: with growing intervals, a confirmed halt for some days only."""
    if gap.is_confirmed:
        return now - gap.found_at < RECHECK_FOR and now - (gap.requested_at or gap.found_at) >= RECHECK_EVERY
    if gap.requested_at is None:
        return True
    return now - gap.requested_at >= min(max(gap.requested_at - gap.found_at, RETRY_LEAST), RETRY_MOST)


def due(connection: Connection, interval: str, now: datetime) -> dict[str, set[date]]:
    """Return for each symbol the days with gaps that are due to be requested again."""
    rows = fetch(
        connection,
        """
        select
            g.symbol, array_agg(day order by day),
            g.kind <> 'missing_locally' and bool_and(
                coalesce(
                    -- a scalar: one index probe per day instead of a scan
                    (
                        select cardinality(c.answered_by) from ops.coverage as c
                        where c.dataset = %s and c.symbol = g.symbol and c.interval = g.interval and c.date = days.day
                    ), 0
                ) >= 2
            ),
            g.found_at, g.asked_again_at
        from ops.gaps as g
        cross join lateral (
            select generate_series(
                date_trunc('day', g.gap_start at time zone 'UTC'),
                g.gap_end at time zone 'UTC' - interval '1 microsecond',
                interval '1 day'
            )::date as day
        ) as days
        where g.interval = %s and g.kind = any(%s)
        group by g.symbol, g.gap_start, g.kind, g.found_at, g.asked_again_at
        """,
        (KLINES.name, interval, list(INTERIOR_KINDS)),
    )
    days: dict[str, set[date]] = {}
    for gap in (Gap(*row) for row in rows):
        if is_due(gap, now):
            days.setdefault(gap.symbol, set()).update(gap.days)
    return days


def mark_requested(connection: Connection, interval: str, since: datetime) -> None:
    """Record as requested again the gaps whose days have all been answered since a moment."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            update ops.gaps as g set asked_again_at = clock_timestamp()
            where
                g.interval = %s and g.kind = any(%s)
                and not exists (
                    select 1
                    from generate_series(
                        date_trunc('day', g.gap_start at time zone 'UTC'),
                        g.gap_end at time zone 'UTC' - interval '1 microsecond',
                        interval '1 day'
                    ) as day
                    where (
                        select c.checked_at from ops.coverage as c
                        where
                            c.dataset = %s and c.symbol = g.symbol and c.interval = g.interval and c.date = day::date
                    ) >= %s is not true
                )
            """,
            (interval, list(INTERIOR_KINDS), KLINES.name, since),
        )


def answered_twice(connection: Connection) -> list[tuple[str, date, date]]:
    """Return (interval, first day, end day) of unexplained gaps that a second way has answered: to be classified."""
    query = """
        select interval, first_day, last_day + 1
        from (
            select
                g.interval, g.symbol,
                (g.gap_start at time zone 'UTC')::date as first_day,
                (g.gap_end at time zone 'UTC' - interval '1 microsecond')::date as last_day
            from ops.gaps as g where g.kind = 'missing_locally'
        ) as g
        where exists (
            select 1 from ops.coverage as c
            where
                c.dataset = %s and c.symbol = g.symbol and c.interval = g.interval
                and c.date between g.first_day and g.last_day and cardinality(c.answered_by) >= 2
        )
    """
    return fetch(connection, query, (KLINES.name,))


def unexplained(connection: Connection) -> list[tuple[str, str, str, int]]:
    """Return (symbol, interval, first missing slot, bars) of the gaps that a repeated request has not filled."""
    query = """
        select symbol, interval, to_char(gap_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), bars
        from ops.gaps
        where kind = 'missing_locally' and asked_again_at is not null
        order by gap_start, symbol, interval
    """
    return fetch(connection, query)
