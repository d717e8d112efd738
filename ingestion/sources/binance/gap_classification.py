"""Finds gaps in series of bars and classifies them in ``ops.gaps``: not listed, delisted, halted or unexplained.

Belongs here: comparing raw with what was requested (``ops.coverage``). Does not: requesting gaps again (``gaps``).
Cost: days with the expected number of bars are only counted, by one index range per symbol over the days that a load
has touched; slots are compared one by one on the other days alone. An hourly refresh reads two days, a backfill its
range once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from ingestion.database.connections import Connection
from ingestion.datasets import ONE_DAY
from ingestion.sources.binance.contract import INTERVAL_MS
from ingestion.sources.binance.dataset import KLINES
from ingestion.universe import Asset

# Kinds of gaps inside a series: confirmed by two independent ways, for all symbols or for this one, or unexplained.
INTERIOR_KINDS = ("exchange_halt", "symbol_halt", "missing_locally")
# Binance's longest halt took some 34 hours (8 to 9 February 2018): a longer gap of all symbols is a loss.
LONGEST_HALT = timedelta(hours=48)
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
            bars.first_bar,
            bars.last_bar,
            requested.first_requested,
            requested.requested_until,
            known.last_bar_at
        from tracked
        left join ops.symbol_status as known using (symbol)
        cross join lateral (
            select min(k.open_time) as first_bar, max(k.open_time) as last_bar
            from raw.binance_klines as k
            where k.symbol = tracked.symbol and k.interval = %(interval)s
        ) as bars
        cross join lateral (
            select min(c.date) as first_requested, max(c.closed_until) as requested_until
            from ops.coverage as c
            where c.dataset = %(dataset)s and c.symbol = tracked.symbol and c.interval = %(interval)s
        ) as requested
    )
    select
        symbol,
        first_requested::timestamp at time zone 'UTC' as requested_from,
        requested_until,
        -- The probe gives the day of the listing; the first bar of that day gives its hour.
        date_bin(%(step)s, case
            when first_bar < listed_at or first_bar >= listed_at + interval '1 day' then listed_at
            else coalesce(first_bar, listed_at)
        end, 'epoch'::timestamptz) as started_at,
        -- The last bar may be older than every loaded day: then the probe gives its day.
        case
            when is_dead then date_bin(%(step)s, greatest(last_bar, last_bar_at), 'epoch'::timestamptz) + %(step)s
        end as ended_at
    from probed
    where first_requested is not null
"""
_FIND = """
    create temp table found_gaps on commit drop as
    with spans as (
        select * from unnest(%(firsts)s::date[], %(ends)s::date[]) as s (first_day, end_day)
    ),
    requested as (
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
        select * from requested where low < high
    ),
    present as (
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
            -- Fewer bars than were answered: the missing ones were lost here.
            alive.is_answered_twice and coalesce(present.bars, 0) >= alive.answered_bars as is_confirmed
        from alive
        left join present using (symbol, date)
        where coalesce(present.bars, 0) < extract(epoch from alive.high - alive.low) / extract(epoch from %(step)s)
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
            -- A single symbol cannot be compared with others: the same limit of length applies.
            halts.opened_at is not null or (select count(*) from series) = 1 as is_limited
        from missing
        left join halts using (opened_at)
    ),
    islands as (
        select
            *,
            opened_at - %(step)s * row_number() over (partition by symbol, is_everywhere order by opened_at) as island
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
                    and count(*) over (partition by symbol, is_everywhere, island) * %(step)s > %(longest_halt)s
                    then 'missing_locally'
                when is_everywhere then 'exchange_halt'
                else 'symbol_halt'
            end as kind
        from islands
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
        (requested_from, started_at, 'not_listed'),
        (ended_at + greatest(requested_from - ended_at, interval '0'), requested_until, 'delisted')
    ) as edge (gap_start, gap_end, kind)
    where gap_start < gap_end
"""
_DELETE_FILLED = """
    delete from ops.gaps as g
    where
        g.interval = %(interval)s
        and not exists (select 1 from found_gaps as f where (f.symbol, f.gap_start) = (g.symbol, g.gap_start))
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
_UPSERT = """
    insert into ops.gaps as g (symbol, interval, gap_start, gap_end, bars, kind)
    select symbol, %(interval)s, gap_start, gap_end, bars, kind from found_gaps order by symbol, gap_start
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
    """Update ``ops.gaps`` for half-open ranges of UTC days; return how many gaps of each kind there are.

    A gap is a slot of a requested day (``ops.coverage``) without a bar in raw: before the listing (``not_listed``),
    after the end of a symbol that does not trade now (``delisted``), or inside the series. A gap inside the series is
    explained once two independent ways lack it: as ``exchange_halt`` if all symbols that were listed then (at least
    two) lack it too and it is not longer than LONGEST_HALT, else as ``symbol_halt``. Until then it is
    ``missing_locally``. Filled gaps are deleted.
    """
    assets = [a for a in universe if a.binance_symbol]
    spans = _widened(connection, interval, ranges)
    values = {
        "interval": interval,
        "dataset": KLINES.name,
        "step": timedelta(milliseconds=INTERVAL_MS[interval]),
        "firsts": [first for first, _ in spans],
        "ends": [end for _, end in spans],
        "interior": list(INTERIOR_KINDS),
        "longest_halt": LONGEST_HALT,
        "symbols": [a.binance_symbol for a in assets],
        "valid_from": [a.valid_from for a in assets],
        "valid_to": [a.valid_to for a in assets],
    }
    with connection, connection.cursor() as cursor:
        for statement in (_SERIES, "analyze series", _FIND, _DELETE_FILLED, _UPSERT):
            cursor.execute(statement, values)
        cursor.execute("select kind, count(*) from ops.gaps where interval = %s group by kind", (interval,))
        return dict(cursor.fetchall())


def _widened(connection: Connection, interval: str, ranges: Sequence[tuple[date, date]]) -> list[tuple[date, date]]:
    """Join ranges that touch, and widen each by the gaps that reach out of it: a gap is classified as a whole."""
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
                    -- A symbol that trades again had paused: its end is now a gap inside its series.
                    or kind = 'delisted' and exists (
                        select 1 from ops.symbol_status as s where s.symbol = g.symbol and s.status = 'TRADING'
                    )
                )
            """,
            (interval, list(INTERIOR_KINDS), [first for first, _ in ranges], [end for _, end in ranges]),
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
