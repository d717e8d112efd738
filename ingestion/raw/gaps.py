"""Holes in series of bars, and why each is there: ``ops.gaps``.

Belongs here: comparing raw with what was asked for (``ops.coverage``), and which holes are worth asking about again.
Does not: fetching (``bronze``), alarms (``orchestration``). Cost: days that hold as many bars as they should are only
counted, by one index range per symbol over the days that a load has touched; slots are looked at one by one on the
other days alone. An hourly refresh reads two days, a backfill its range once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ingestion.database.connections import Connection
from ingestion.sources.binance.dataset import INTERVAL_MS, KLINES
from ingestion.universe import Asset

ONE_DAY = timedelta(days=1)
# Kinds of a gap inside a series: two independent ways lack it, for all symbols or for this one, or it is unexplained.
_INTERIOR = ("exchange_halt", "symbol_halt", "missing_locally")
# Binance's longest halt took some 34 hours (8 to 9 February 2018): what all symbols lack for longer is a loss.
LONGEST_HALT = timedelta(hours=48)
# A gap is requested again by the next run, then after as long a time as it has been known, within these bounds.
RETRY_LEAST, RETRY_MOST = timedelta(hours=1), timedelta(days=7)
# A confirmed halt is requested again once a day for so long; archives are corrected within days.
RECHECK_EVERY, RECHECK_FOR = timedelta(days=1), timedelta(days=7)
_SERIES = """
    create temp table series on commit drop as
    with tracked as (
        select distinct symbol from unnest(%(symbols)s::text[]) as u (symbol)
    ),
    probed as (
        select
            tracked.symbol,
            known.listed_at,
            coalesce(known.status, '') not in ('', 'TRADING', 'FAILED', 'UNKNOWN') as is_dead,
            (
                select min(k.open_time)
                from raw.binance_klines as k
                where k.symbol = tracked.symbol and k.interval = %(interval)s
            ) as first_bar,
            (
                select max(k.open_time)
                from raw.binance_klines as k
                where k.symbol = tracked.symbol and k.interval = %(interval)s
            ) as last_bar,
            (
                select min(c.date)
                from ops.coverage as c
                where c.dataset = %(dataset)s and c.symbol = tracked.symbol and c.interval = %(interval)s
            ) as first_asked,
            (
                select max(c.closed_until)
                from ops.coverage as c
                where c.dataset = %(dataset)s and c.symbol = tracked.symbol and c.interval = %(interval)s
            ) as asked_until,
            known.last_bar_at
        from tracked
        left join ops.symbol_status as known using (symbol)
    )
    select
        symbol,
        first_asked::timestamp at time zone 'UTC' as asked_from,
        asked_until,
        -- The probe knows the day of the listing; the first bar of that day, its hour.
        date_bin(%(step)s, case
            when first_bar < listed_at or first_bar >= listed_at + interval '1 day' then listed_at
            else coalesce(first_bar, listed_at)
        end, 'epoch'::timestamptz) as started_at,
        -- The last bar may be older than every day that was loaded: then the probe knows its day.
        case
            when is_dead then date_bin(%(step)s, greatest(last_bar, last_bar_at), 'epoch'::timestamptz) + %(step)s
        end as ended_at
    from probed
    where first_asked is not null
"""
_FOUND = """
    create temp table found on commit drop as
    with spans as (
        select * from unnest(%(firsts)s::date[], %(ends)s::date[]) as s (first_day, end_day)
    ),
    asked as (
        select
            c.symbol,
            c.date,
            c.bars as answered_bars,
            cardinality(c.answered_by) >= 2 as is_answered_twice,
            greatest(c.date::timestamp at time zone 'UTC', s.started_at) as low,
            least(date_bin(%(step)s, c.closed_until, 'epoch'::timestamptz), s.ended_at) as high
        from ops.coverage as c
        inner join spans on c.date >= spans.first_day and c.date < spans.end_day
        inner join series as s on s.symbol = c.symbol
        where
            c.dataset = %(dataset)s
            and c.interval = %(interval)s
            and s.started_at is not null
            and exists (
                select 1
                from unnest(%(symbols)s::text[], %(valid_from)s::date[], %(valid_to)s::date[])
                    as u (symbol, valid_from, valid_to)
                where
                    u.symbol = c.symbol
                    and (u.valid_from is null or u.valid_from <= c.date)
                    and (u.valid_to is null or c.date < u.valid_to)
            )
    ),
    alive as (
        select * from asked where low < high
    ),
    held as (
        select
            s.symbol,
            (k.open_time at time zone 'UTC')::date as date,
            count(*) as bars
        from series as s
        cross join spans
        inner join raw.binance_klines as k
            on
                k.symbol = s.symbol
                and k.interval = %(interval)s
                and k.open_time >= spans.first_day::timestamp at time zone 'UTC'
                and k.open_time < spans.end_day::timestamp at time zone 'UTC'
        group by s.symbol, (k.open_time at time zone 'UTC')::date
    ),
    short as (
        select
            alive.*,
            -- Fewer bars than were answered: what is missing was lost here.
            alive.is_answered_twice and coalesce(held.bars, 0) >= alive.answered_bars as is_confirmed
        from alive
        left join held using (symbol, date)
        where coalesce(held.bars, 0) < extract(epoch from alive.high - alive.low) / extract(epoch from %(step)s)
    ),
    missing as (
        select short.symbol, short.date, short.is_confirmed, slot.opened_at
        from short
        cross join lateral generate_series(short.low, short.high - %(step)s, %(step)s) as slot (opened_at)
        -- A bar may open off the grid (it did in February 2018): it fills the slot that it opens in.
        where not exists (
            select 1
            from raw.binance_klines as k
            where
                k.symbol = short.symbol
                and k.interval = %(interval)s
                and k.open_time >= slot.opened_at
                and k.open_time < slot.opened_at + %(step)s
        )
    ),
    by_slot as (
        select date, opened_at, count(*) as symbols from missing group by date, opened_at
    ),
    halts as (
        select by_slot.opened_at
        from by_slot
        inner join alive
            on
                alive.date = by_slot.date
                and alive.low <= by_slot.opened_at
                and alive.high >= by_slot.opened_at + %(step)s
        group by by_slot.opened_at, by_slot.symbols
        having by_slot.symbols >= 2 and count(*) = by_slot.symbols
    ),
    compared as (
        select
            missing.symbol,
            missing.opened_at,
            missing.is_confirmed,
            halts.opened_at is not null as is_everywhere,
            -- With one symbol there is nothing to compare with, so that the same limit of length holds.
            halts.opened_at is not null or (select count(*) from series) = 1 as is_limited
        from missing
        left join halts using (opened_at)
    ),
    stretches as (
        select
            *,
            opened_at - %(step)s * row_number() over (partition by symbol, is_everywhere order by opened_at) as stretch
        from compared
    ),
    explained as (
        select
            symbol,
            opened_at,
            case
                when not is_confirmed then 'missing_locally'
                when
                    is_limited
                    and count(*) over (partition by symbol, is_everywhere, stretch) * %(step)s > %(longest_halt)s
                    then 'missing_locally'
                when is_everywhere then 'exchange_halt'
                else 'symbol_halt'
            end as kind
        from stretches
    ),
    numbered as (
        select
            symbol,
            kind,
            opened_at,
            opened_at - %(step)s * row_number() over (partition by symbol, kind order by opened_at) as island
        from explained
    )
    select
        symbol,
        min(opened_at) as gap_start,
        max(opened_at) + %(step)s as gap_end,
        count(*)::integer as bars,
        kind
    from numbered
    group by symbol, kind, island
    union all
    select
        symbol,
        gap_start,
        gap_end,
        (extract(epoch from gap_end - gap_start) / extract(epoch from %(step)s))::integer as bars,
        kind
    from series
    cross join lateral (
        values
        (asked_from, started_at, 'not_listed'),
        (ended_at + greatest(asked_from - ended_at, interval '0'), asked_until, 'delisted')
    ) as edge (gap_start, gap_end, kind)
    where gap_start < gap_end
"""
_FORGET = """
    delete from ops.gaps as g
    where
        g.interval = %(interval)s
        and not exists (select 1 from found as f where (f.symbol, f.gap_start) = (g.symbol, g.gap_start))
        and (
            not g.kind = any(%(interior)s)
            or not exists (select 1 from series as s where s.symbol = g.symbol)
            or exists (
                select 1
                from unnest(%(firsts)s::date[], %(ends)s::date[]) as s (first_day, end_day)
                where
                    g.gap_start < s.end_day::timestamp at time zone 'UTC'
                    and g.gap_end > s.first_day::timestamp at time zone 'UTC'
            )
        )
"""
_KEEP = """
    insert into ops.gaps as g (symbol, interval, gap_start, gap_end, bars, kind)
    select symbol, %(interval)s, gap_start, gap_end, bars, kind from found order by symbol, gap_start
    on conflict (symbol, interval, gap_start) do update set
        gap_end = excluded.gap_end,
        bars = excluded.bars,
        kind = excluded.kind,
        -- A gap that has changed is another gap: it may be requested again.
        asked_again_at = case when g.gap_end = excluded.gap_end then g.asked_again_at end
    where (g.gap_end, g.bars, g.kind) is distinct from (excluded.gap_end, excluded.bars, excluded.kind)
"""


def classify(
    connection: Connection, interval: str, ranges: Sequence[tuple[date, date]], universe: Sequence[Asset]
) -> dict[str, int]:
    """Bring ``ops.gaps`` up to date for the half-open ranges of UTC days; return how many gaps of each kind there are.

    A gap is a slot of a day that was requested (``ops.coverage``) without a bar in raw: before the listing
    (``not_listed``), after the end of a symbol that does not trade now (``delisted``), or inside the series. Those are
    explained once two independent ways lack them: by an ``exchange_halt`` if all (two at least) of the symbols that
    were listed then lack them too and they are not longer than LONGEST_HALT, else by a ``symbol_halt``. Until then
    they are ``missing_locally``. Gaps that have been filled disappear.
    """
    assets = [a for a in universe if a.binance_symbol]
    spans = _widened(connection, interval, ranges)
    values = {
        "interval": interval,
        "dataset": KLINES.name,
        "step": timedelta(milliseconds=INTERVAL_MS[interval]),
        "firsts": [first for first, _ in spans],
        "ends": [end for _, end in spans],
        "interior": list(_INTERIOR),
        "longest_halt": LONGEST_HALT,
        "symbols": [a.binance_symbol for a in assets],
        "valid_from": [a.valid_from for a in assets],
        "valid_to": [a.valid_to for a in assets],
    }
    with connection, connection.cursor() as cursor:
        for statement in (_SERIES, "analyze series", _FOUND, _FORGET, _KEEP):
            cursor.execute(statement, values)
        cursor.execute("select kind, count(*) from ops.gaps where interval = %s group by kind", (interval,))
        return dict(cursor.fetchall())


def _widened(connection: Connection, interval: str, ranges: Sequence[tuple[date, date]]) -> list[tuple[date, date]]:
    """Join ranges that touch, and widen each by the holes that reach out of it: a hole is judged whole."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select (gap_start at time zone 'UTC')::date, (gap_end at time zone 'UTC' - interval '1 microsecond')::date
            from ops.gaps as g
            where
                interval = %s
                and (
                    kind = any(%s) and exists (
                        select 1
                        from unnest(%s::date[], %s::date[]) as s (first_day, end_day)
                        where
                            gap_start <= s.end_day::timestamp at time zone 'UTC'
                            and gap_end >= s.first_day::timestamp at time zone 'UTC'
                    )
                    -- A symbol that trades again had paused: what was its end is a gap inside its series now.
                    or kind = 'delisted' and exists (
                        select 1 from ops.symbol_status as s where s.symbol = g.symbol and s.status = 'TRADING'
                    )
                )
            """,
            (interval, list(_INTERIOR), [first for first, _ in ranges], [end for _, end in ranges]),
        )
        touching = [(first, last + ONE_DAY) for first, last in cursor.fetchall()]
    connection.commit()
    joined: list[tuple[date, date]] = []
    for first, end in sorted([*ranges, *touching]):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined


@dataclass(frozen=True)
class Gap:
    """A recorded gap inside a series: its UTC days, and what decides when it is requested again."""

    symbol: str
    days: tuple[date, ...]
    is_confirmed: bool
    found_at: datetime
    requested_at: datetime | None


def is_due(gap: Gap, now: datetime) -> bool:
    """Tell whether a gap is to be requested again: with growing distance, a confirmed halt for some days only."""
    if gap.is_confirmed:
        return now - gap.found_at < RECHECK_FOR and now - (gap.requested_at or gap.found_at) >= RECHECK_EVERY
    if gap.requested_at is None:
        return True
    return now - gap.requested_at >= min(max(gap.requested_at - gap.found_at, RETRY_LEAST), RETRY_MOST)


def due(connection: Connection, interval: str, now: datetime) -> dict[str, set[date]]:
    """Return for each symbol the days with gaps that are due to be requested again."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select
                g.symbol, array_agg(day order by day),
                g.kind <> 'missing_locally' and bool_and(coalesce(cardinality(c.answered_by), 0) >= 2),
                g.found_at, g.asked_again_at
            from ops.gaps as g
            cross join lateral (
                select generate_series(
                    date_trunc('day', g.gap_start at time zone 'UTC'),
                    g.gap_end at time zone 'UTC' - interval '1 microsecond',
                    interval '1 day'
                )::date as day
            ) as days
            left join ops.coverage as c
                on c.dataset = %s and c.symbol = g.symbol and c.interval = g.interval and c.date = days.day
            where g.interval = %s and g.kind = any(%s)
            group by g.symbol, g.gap_start, g.kind, g.found_at, g.asked_again_at
            """,
            (KLINES.name, interval, list(_INTERIOR)),
        )
        known = [Gap(symbol, tuple(days), *rest) for symbol, days, *rest in cursor.fetchall()]
    connection.commit()
    days: dict[str, set[date]] = {}
    for gap in known:
        if is_due(gap, now):
            days.setdefault(gap.symbol, set()).update(gap.days)
    return days


def mark_requested(connection: Connection, interval: str, since: datetime) -> None:
    """Record that gaps were requested again: those each day of which has been answered for since a moment."""
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
                    where not exists (
                        select 1 from ops.coverage as c
                        where
                            c.dataset = %s and c.symbol = g.symbol and c.interval = g.interval
                            and c.date = day::date and c.checked_at >= %s
                    )
                )
            """,
            (interval, list(_INTERIOR), KLINES.name, since),
        )


def answered_twice(connection: Connection) -> list[tuple[str, date, date]]:
    """Return (interval, first day, end day) of unexplained gaps that a second way has answered for: classify them."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
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
            """,
            (KLINES.name,),
        )
        return cursor.fetchall()


def unexplained(connection: Connection) -> list[tuple[str, str, str, int]]:
    """Return (symbol, interval, first missing slot, bars) of the gaps that another request has not filled."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select symbol, interval, to_char(gap_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), bars
            from ops.gaps
            where kind = 'missing_locally' and asked_again_at is not null
            order by gap_start, symbol, interval
            """
        )
        found = cursor.fetchall()
    connection.commit()
    return found
