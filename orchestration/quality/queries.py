"""SQL over raw and across the layers: the rows of the suites after the load.

Belongs here: which rows, and the columns that a rule needs beside them. Does not: rows of marts (``mart_queries``),
rules (``suites``), bronze rows (``frames``), running a suite (``runner``). Cost follows the new data: every query takes
spans of days or object keys, finds its rows of a large table by the key, asset by asset, and reads nothing outside of
the spans. Dates, keys and numbers are tickmart's own and are written into the text.
"""
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from ingestion.ops import checks
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko.dataset import MARKETS
from orchestration.observability.health import NEWEST

# The same weekday of this many weeks gives the usual number of rows per day; at least so many must be known.
WEEKS, WEEKS_AT_LEAST = 8, 4
SNAPSHOTS, SNAPSHOTS_AT_LEAST = 20, 5
# Most days have the same symbols in full, so the median deviation is often 0: the band is at least a tenth.
BAND_MADS, BAND_SHARE = 3, 0.1
Span = tuple[date, date]


# -- parts of queries --------------------------------------------------------------------------------------------------

_BAR_KEY = f"'{KLINES.prefix}/interval=1h/date=' || {{day}}::date || '/bars.parquet'"
_SNAPSHOT_KEY = f"{MARKETS.prefix}/date=%Y-%m-%d/%H%M%SZ.parquet"
_UTC = "::timestamp at time zone 'UTC'"


def _distinct(name: str, column: str, rows: str) -> str:
    """Return the recursive CTE of the distinct values of a column in ``rows``, found by one index lookup each."""
    return f"""
    {name} as (
        (select {column} from {rows} order by {column} limit 1)
        union all
        select (select r.{column} from {rows} and r.{column} > {name}.{column} order by r.{column} limit 1)
        from {name} where {name}.{column} is not null
    )"""


_SYMBOLS = _distinct("symbols", "symbol", f"raw.{KLINES.name} as r where r.interval = '1h'")
_COINS = _distinct("coins", "crypto_id", f"raw.{MARKETS.name} as r where true")


def spans_cte(spans: Sequence[Span]) -> str:
    """Return the CTE ``span``: the spans as days and as instants."""
    values = ", ".join(f"(date '{start}', date '{end}')" for start, end in spans)
    return f"""
    span as (
        select first_day, end_day, first_day{_UTC} as starts_at, end_day{_UTC} as ends_at
        from (values {values}) as s (first_day, end_day)
    )"""


def _band(rows: str, at_least: int) -> str:
    """Return the query of the band around the median of ``rows``, a query of one column; null for few rows."""
    return f"""
        select
            case when counted >= {at_least} then middle - width end as low,
            case when counted >= {at_least} then middle + width end as high
        from (
            select count(*) as counted, percentile_cont(0.5) within group (order by rows) as middle from ({rows}) as r
        ) as median
        cross join lateral (
            select greatest(
                {BAND_MADS} * percentile_cont(0.5) within group (order by abs(rows - median.middle)),
                {BAND_SHARE} * median.middle
            ) as width
            from ({rows}) as r
        ) as deviation"""


_OUTSIDE = """
        greatest(ceil(band.low - {rows}), 0)::float8 as below_band,
        greatest(ceil({rows} - band.high), 0)::float8 as above_band"""


# -- after the load ----------------------------------------------------------------------------------------------------


def _tracked_days(spans: Sequence[Span]) -> str:
    """Return the CTEs ``tracked``, the symbol-days of the universe, and ``requested``, what was asked of the source."""
    return f"""
    {spans_cte(spans)},
    tracked as (
        select distinct u.binance_symbol as symbol, day::date as date, coalesce(s.status, '') as status
        from raw.universe as u
        cross join span
        cross join lateral generate_series(span.first_day, span.end_day - 1, interval '1 day') as day
        left join ops.symbol_status as s on s.symbol = u.binance_symbol
        where
            u.binance_symbol <> ''
            and (u.valid_from is null or u.valid_from <= day::date)
            and (u.valid_to is null or day::date < u.valid_to)
    ),
    first_requested as (
        select tracked.symbol, (
            select min(c.date) from ops.coverage as c
            where c.dataset = '{KLINES.name}' and c.symbol = tracked.symbol and c.interval = '1h'
        ) as date
        from (select distinct symbol from tracked) as tracked
    ),
    requested as (
        select
            tracked.symbol,
            tracked.date,
            tracked.status,
            tracked.date{_UTC} as starts_at,
            c.symbol is not null as is_requested,
            coalesce(
                c.closed_until, (tracked.date + c.is_final::integer){_UTC}, tracked.date{_UTC}
            ) as closed_until
        from tracked
        inner join first_requested on first_requested.symbol = tracked.symbol
        left join ops.coverage as c
            on c.dataset = '{KLINES.name}' and c.symbol = tracked.symbol and c.interval = '1h' and c.date = tracked.date
        where first_requested.date is null or first_requested.date <= tracked.date
    )"""


def klines_completeness(spans: Sequence[Span]) -> str:
    """Return the query of symbol-days: how many bars are due, in raw, and explained by ``ops.gaps``."""
    return f"""
    with {_tracked_days(spans)}
    select
        requested.symbol,
        requested.date,
        -- null for a symbol that the exchange does not know or has delisted: ops.symbol_status reports it
        case when requested.status in ('', 'TRADING', 'FAILED') then requested.is_requested end as is_requested,
        due.bars as due_bars,
        loaded.bars,
        explained.bars as explained_bars,
        greatest(due.bars - loaded.bars - explained.bars, 0) as missing_bars
    from requested
    cross join lateral (
        select floor(extract(epoch from requested.closed_until - requested.starts_at) / 3600)::integer as bars
    ) as due
    cross join lateral (
        select count(*)::integer as bars from raw.binance_klines as k
        where
            k.symbol = requested.symbol and k.interval = '1h'
            and k.open_time >= requested.starts_at and k.open_time < requested.starts_at + interval '1 day'
    ) as loaded
    cross join lateral (
        select coalesce(sum(extract(
            epoch from least(g.gap_end, requested.closed_until) - greatest(g.gap_start, requested.starts_at)
        ) / 3600), 0)::integer as bars
        from ops.gaps as g
        where
            g.symbol = requested.symbol and g.interval = '1h' and g.kind <> 'missing_locally'
            and g.gap_start < requested.closed_until and g.gap_end > requested.starts_at
    ) as explained
    """


def freshness(dataset: str, sla_hours: float) -> str:
    """Return the query of one row: the time of the newest data, and its age against the SLA."""
    return f"""
    select
        '{dataset}' as dataset,
        newest_at,
        newest_at is not null as has_data,
        round(age_hours, 2)::float8 as age_hours,
        {sla_hours}::float8 as sla_hours,
        greatest(age_hours - {sla_hours}, 0)::float8 as late_hours,
        -- clocks differ by seconds, not by a quarter of an hour
        greatest(-0.25 - age_hours, 0)::float8 as early_hours
    from (select ({NEWEST[dataset]}) as newest_at) as newest
    cross join lateral (select extract(epoch from current_timestamp - newest_at) / 3600 as age_hours) as age
    """


# -- across the layers -------------------------------------------------------------------------------------------------


def _rows_per_day(spans: Sequence[Span]) -> str:
    """Return the CTEs ``days``, ``raw_days``, ``staging_days`` and ``mart_days``: hourly bars per day and layer."""
    return f"""
    {spans_cte(spans)},
    {_SYMBOLS},
    days as (
        select day::date as date
        from span cross join lateral generate_series(span.first_day, span.end_day - 1, interval '1 day') as day
    ),
    -- each asset's bars by its key: `offset 0` keeps the planner from joining the whole table
    raw_days as (
        select (bars.open_time at time zone 'UTC')::date as date, count(*)::integer as rows
        from span cross join symbols cross join lateral (
            select k.open_time from raw.binance_klines as k
            where
                k.symbol = symbols.symbol and k.interval = '1h'
                and k.open_time >= span.starts_at and k.open_time < span.ends_at
            offset 0
        ) as bars
        group by 1
    ),
    staging_days as (
        select
            (bars.opened_at at time zone 'UTC')::date as date,
            count(*)::integer as rows,
            (count(u.crypto_id) filter (where bars.invalid_reason is null))::integer as tracked_rows
        from span cross join symbols cross join lateral (
            select b.opened_at, b.invalid_reason from staging.stg_binance__ohlcv as b
            where
                b.binance_symbol = symbols.symbol and b.bar_interval = '1h'
                and b.opened_at >= span.starts_at and b.opened_at < span.ends_at
            offset 0
        ) as bars
        left join staging.stg_tickmart__universe as u
            on
                u.binance_symbol = symbols.symbol
                and bars.opened_at >= u.valid_from_at and bars.opened_at < u.valid_to_at
        group by 1
    ),
    mart_days as (
        select (hours.opened_at at time zone 'UTC')::date as date, count(*)::integer as rows
        from span cross join (select distinct crypto_id from raw.universe) as u cross join lateral (
            select p.opened_at from marts.fct_prices as p
            where p.crypto_id = u.crypto_id and p.opened_at >= span.starts_at and p.opened_at < span.ends_at
            offset 0
        ) as hours
        group by 1
    )"""


def klines_reconciliation(spans: Sequence[Span]) -> str:
    """Return the query of days: rows in bronze, raw, staging and the mart, and how far outside the weekday's band."""
    weeks = f"""
        select l.rows
        from generate_series(1, {WEEKS}) as week
        inner join ops.load_ledger as l on l.object_key = {_BAR_KEY.format(day="(days.date - 7 * week)")}"""
    return f"""
    with recursive {_rows_per_day(spans)},
    counted as (
        select
            days.date,
            -- an unfinished day is not compared with complete ones
            days.date < (select max(date) from raw_days) as is_over,
            coalesce(bronze.rows, 0)::integer as bronze_rows,
            coalesce(raw_days.rows, 0) as raw_rows,
            coalesce(staging_days.rows, 0) as staging_rows,
            coalesce(staging_days.tracked_rows, 0) as tracked_rows,
            coalesce(mart_days.rows, 0) as mart_rows
        from days
        left join ops.load_ledger as bronze on bronze.object_key = {_BAR_KEY.format(day="days.date")}
        left join raw_days using (date)
        left join staging_days using (date)
        left join mart_days using (date)
    )
    select
        days.*,
        raw_rows - bronze_rows as raw_surplus,
        staging_rows - raw_rows as staging_surplus,
        mart_rows - tracked_rows as mart_surplus,
        {_OUTSIDE.format(rows="days.bronze_rows")}
    from counted as days
    left join lateral ({_band(weeks, WEEKS_AT_LEAST)}) as band on days.is_over
    """


def markets_reconciliation(objects: Sequence[str]) -> str:
    """Return the query of snapshots by their objects: coins in bronze, raw, staging and the mart, and the band."""
    snapshots = [(key, datetime.strptime(key, _SNAPSHOT_KEY).replace(tzinfo=UTC)) for key in objects]
    values = ", ".join(f"('{key}', timestamptz '{at.isoformat()}')" for key, at in snapshots)
    before = f"""
        select l.rows from ops.load_ledger as l
        where l.dataset = '{MARKETS.name}' and l.object_key < s.object_key and l.object_key > '{MARKETS.prefix}/'
            and l.object_key !~ '{checks.MERGED}'
        order by l.object_key desc limit {SNAPSHOTS}"""
    return f"""
    with recursive {_COINS},
    snapshots as (
        select * from (values {values}) as k (object_key, snapshot_at)
    ),
    counted as (
        select
            s.object_key,
            s.snapshot_at,
            coalesce(bronze.rows, 0)::integer as bronze_rows,
            (
                select count(*)::integer from coins inner join raw.{MARKETS.name} as m
                    on m.crypto_id = coins.crypto_id and m.snapshot_at = s.snapshot_at
            ) as raw_rows,
            staging.staging_rows,
            staging.valid_rows,
            (
                select count(*)::integer from marts.fct_market_snapshots as m where m.snapshot_at = s.snapshot_at
            ) as mart_rows
        from snapshots as s
        cross join lateral (
            select
                count(*)::integer as staging_rows,
                (count(*) filter (where m.invalid_reason is null))::integer as valid_rows
            from coins inner join staging.stg_coingecko__markets as m
                on m.crypto_id = coins.crypto_id and m.snapshot_at = s.snapshot_at
        ) as staging
        left join ops.load_ledger as bronze on bronze.object_key = s.object_key
    )
    select
        s.*,
        raw_rows - bronze_rows as raw_surplus,
        staging_rows - raw_rows as staging_surplus,
        mart_rows - valid_rows as mart_surplus,
        {_OUTSIDE.format(rows="s.bronze_rows")}
    from counted as s
    cross join lateral ({_band(before, SNAPSHOTS_AT_LEAST)}) as band
    """


def fear_greed_reconciliation(objects: Sequence[str]) -> str:
    """Return the query of one row: the days in the newest object, raw, staging and the mart, over the full history.

    Each object has the full history too, and a decade is 4,000 rows.
    """
    newest = max(objects)
    return f"""
    with counted as (
        select
            (select max(date) from raw.fear_greed) as newest_date,
            (select coalesce(max(rows), 0)::integer from ops.load_ledger where object_key = '{newest}') as bronze_rows,
            (select count(*)::integer from raw.fear_greed) as raw_rows,
            (select count(*)::integer from staging.stg_alternative_me__fear_greed) as staging_rows,
            (
                select count(*)::integer from staging.stg_alternative_me__fear_greed where invalid_reason is null
            ) as valid_rows,
            (select count(*)::integer from marts.fct_sentiment_daily) as mart_rows
    ),
    month as (
        select date, abs(value - lag(value) over (order by date)) as step
        from raw.fear_greed where date > (select newest_date - 31 from counted)
    )
    select
        counted.*,
        greatest(bronze_rows - raw_rows, 0) as lost_rows,
        staging_rows - raw_rows as staging_surplus,
        mart_rows - valid_rows as mart_surplus,
        (select least(31, counted.raw_rows) - count(*)::integer from month) as missing_days_31,
        (select max(step) from month) as largest_step_31
    from counted
    """
