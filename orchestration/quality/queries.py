"""The rows that the suites judge: bronze objects as frames, and queries over what a run has touched.

Belongs here: which rows, and the columns that a rule needs beside them. Does not: rules (``suites``), running them
(``validate``). Cost follows the new data: objects that are pending, and spans of days; every query finds its rows of a
large table by the key, asset by asset, and reads nothing outside of the spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import align_decimals
from ingestion.bronze.lake import DamagedObject, Lake, ObjectInfo, read_ahead
from ingestion.datasets import PROVENANCE, object_day
from ingestion.sources.binance.contract import INTERVAL_MS
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from orchestration.observability.health import NEWEST

if TYPE_CHECKING:
    import pandas as pd


# Rows judged in one frame: bounds memory whatever the range, and GX costs as much per frame as per row.
ROWS_PER_FRAME = 100_000
ONE_DAY = timedelta(days=1)
# Weeks of the same weekday that say how many rows a day brings, and how many of them must be known.
WEEKS, WEEKS_AT_LEAST = 8, 4
SNAPSHOTS, SNAPSHOTS_AT_LEAST = 20, 5
# Rows are whole days of the same symbols most of the time, so that the median deviation is often 0.
BAND_MADS, BAND_SHARE = 3, 0.1
Span = tuple[date, date]


def spans_of(days: Sequence[date]) -> list[Span]:
    """Join days into half-open spans, in order."""
    spans: list[Span] = []
    for day in sorted(set(days)):
        if spans and spans[-1][1] == day:
            spans[-1] = (spans[-1][0], day + ONE_DAY)
        else:
            spans.append((day, day + ONE_DAY))
    return spans


# -- bronze ------------------------------------------------------------------------------------------------------------


def frames(lake: Lake, objects: Sequence[ObjectInfo], tracked: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
    """Yield the objects' rows as frames of numbers that GX can compare, with the columns that its suites need."""

    def read(info: ObjectInfo) -> pa.Table | None:
        try:
            held = lake.read(info.key)
        except DamagedObject:
            return None  # the load names it; there are no rows to judge
        if held is None:
            return None
        return held[0].append_column("object_key", pa.repeat(info.key, len(held[0])))

    tables: list[pa.Table] = []
    for table in read_ahead(read, objects):
        tables.append(table)
        if sum(map(len, tables)) >= ROWS_PER_FRAME:
            yield validated_frame(tables, tracked)
            tables = []
    if tables:
        yield validated_frame(tables, tracked)


def validated_frame(tables: Sequence[pa.Table], tracked: Sequence[str]) -> pd.DataFrame:
    """Return the tables as one frame; what a rule cannot say of a row (a price is missing or 0) is null.

    ``tracked`` are the symbols, or the coins, that there must be.
    """
    table = pa.concat_tables(align_decimals(tables), promote_options="default")
    for at, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(at, field.name, pc.cast(table[field.name], pa.float64()))
    if "open_time" in table.schema.names:
        for name, column in _of_bars(table, tracked).items():
            table = table.append_column(name, column)
    provenance = [name for name, _ in PROVENANCE]
    kept = [n for n in table.schema.names if n not in ("extra", "image", *provenance)]
    frame: pd.DataFrame = table.select(kept).to_pandas()
    if "snapshot_at" in frame:
        # Named on the first row of each snapshot.
        held = frame.groupby("snapshot_at")["crypto_id"].agg(set)
        missing = held.map(lambda coins: ", ".join(sorted(set(tracked) - coins)) or None)
        first = ~frame["snapshot_at"].duplicated()
        frame["missing_coins"] = frame["snapshot_at"].map(missing).where(first, None)
    return frame


def _of_bars(table: pa.Table, tracked: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    keys = table["object_key"].combine_chunks().dictionary_encode()
    named = pa.array(map(object_day, keys.dictionary.to_pylist()), pa.date32()).take(keys.indices)
    symbol, known = table["symbol"], pa.array(list(tracked), pa.string())
    prices = [table[name] for name in ("open", "high", "low", "close")]
    priced = pc.greater(pc.min_element_wise(*prices, skip_nulls=False), 0.0)
    upright = pc.if_else(priced, pc.greater_equal(table["high"], table["low"]), None)

    def inside(column: pa.ChunkedArray) -> pa.ChunkedArray:
        held = pc.and_(pc.greater_equal(column, table["low"]), pc.less_equal(column, table["high"]))
        return pc.if_else(upright, held, None)

    volume, trades = table["volume"], table["trade_count"]
    at_ms = pc.divide(table["open_time"].cast(pa.int64()), 1000)
    lengths = pa.array(list(INTERVAL_MS.values()))
    step_ms = lengths.take(pc.index_in(table["interval"], value_set=pa.array(list(INTERVAL_MS))).combine_chunks())
    return {
        "on_its_day": pc.equal(pc.cast(table["open_time"], pa.date32()), named),
        "on_its_grid": pc.equal(pc.multiply(pc.divide(at_ms, step_ms), step_ms), at_ms),
        "is_tracked": pc.if_else(pc.is_valid(symbol), pc.is_in(symbol, value_set=known), None),
        "is_upright": upright,
        "open_in_bar": inside(table["open"]),
        "close_in_bar": inside(table["close"]),
        "volume_has_trades": pc.or_(pc.less_equal(volume, 0.0), pc.not_equal(trades, 0)),
        "trades_have_volume": pc.or_(pc.less_equal(trades, 0), pc.not_equal(volume, 0.0)),
    }  # fmt: skip


# -- queries -----------------------------------------------------------------------------------------------------------
# Dates and numbers of our own making stand in them, so there is nothing to inject.
# ruff: noqa: S608

_BAR_KEY = f"'{KLINES.prefix}/interval=1h/date=' || {{day}}::date || '/bars.parquet'"
_UTC = "::timestamp at time zone 'UTC'"
# Each symbol of raw once, by one look into the index per symbol.
_SYMBOLS = """
    symbols as (
        (
            select symbol from raw.binance_klines where interval = '1h' order by symbol limit 1
        )
        union all
        select (
            select k.symbol from raw.binance_klines as k
            where k.interval = '1h' and k.symbol > symbols.symbol order by k.symbol limit 1
        )
        from symbols where symbols.symbol is not null
    )"""


def _spans(spans: Sequence[Span]) -> str:
    values = ", ".join(f"(date '{start}', date '{end}')" for start, end in spans)
    return f"""
    span as (
        select first_day, end_day, first_day{_UTC} as starts_at, end_day{_UTC} as ends_at
        from (values {values}) as s (first_day, end_day)
    )"""


def klines_completeness(spans: Sequence[Span]) -> str:
    """Return the query of symbols and days: how many bars there must be, are, and are explained (``ops.gaps``)."""
    return f"""
    with {_spans(spans)},
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
    first_asked as (
        select tracked.symbol, (
            select min(c.date) from ops.coverage as c
            where c.dataset = '{KLINES.name}' and c.symbol = tracked.symbol and c.interval = '1h'
        ) as date
        from (select distinct symbol from tracked) as tracked
    ),
    asked as (
        select
            tracked.symbol,
            tracked.date,
            tracked.status,
            tracked.date{_UTC} as starts_at,
            c.symbol is not null as is_asked,
            coalesce(
                c.closed_until, (tracked.date + c.is_final::integer){_UTC}, tracked.date{_UTC}
            ) as closed_until
        from tracked
        inner join first_asked on first_asked.symbol = tracked.symbol
        left join ops.coverage as c
            on c.dataset = '{KLINES.name}' and c.symbol = tracked.symbol and c.interval = '1h' and c.date = tracked.date
        where first_asked.date is null or first_asked.date <= tracked.date
    )
    select
        asked.symbol,
        asked.date,
        -- the exchange does not know the symbol, or has ended it: that is told elsewhere, once
        case when asked.status in ('', 'TRADING', 'FAILED') then asked.is_asked end as is_asked,
        due.bars as due_bars,
        held.bars,
        explained.bars as explained_bars,
        greatest(due.bars - held.bars - explained.bars, 0) as missing_bars
    from asked
    cross join lateral (
        select floor(extract(epoch from asked.closed_until - asked.starts_at) / 3600)::integer as bars
    ) as due
    cross join lateral (
        select count(*)::integer as bars from raw.binance_klines as k
        where
            k.symbol = asked.symbol and k.interval = '1h'
            and k.open_time >= asked.starts_at and k.open_time < asked.starts_at + interval '1 day'
    ) as held
    cross join lateral (
        select coalesce(sum(
            extract(epoch from least(g.gap_end, asked.closed_until) - greatest(g.gap_start, asked.starts_at)) / 3600
        ), 0)::integer as bars
        from ops.gaps as g
        where
            g.symbol = asked.symbol and g.interval = '1h' and g.kind <> 'missing_locally'
            and g.gap_start < asked.closed_until and g.gap_end > asked.starts_at
    ) as explained
    """


def freshness(dataset: str, sla_hours: float) -> str:
    """Return the query of one row: the moment that the newest data speaks of, and its age against the promise."""
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


def _band(rows: str, at_least: int) -> str:
    """Return the query of the band around the median of what `rows`, a query of one column, gives; null for a few."""
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


def klines_reconciliation(spans: Sequence[Span]) -> str:
    """Return the query of days: rows in bronze, raw, staging and the mart, and how far outside that weekday's band."""
    weeks = f"""
        select l.rows
        from generate_series(1, {WEEKS}) as week
        inner join ops.load_ledger as l on l.object_key = {_BAR_KEY.format(day="(days.date - 7 * week)")}"""
    return f"""
    with recursive {_spans(spans)},
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
    ),
    counted as (
        select
            days.date,
            -- a day that lasts is not judged by whole ones
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
    values = ", ".join(f"('{key}', timestamptz '{snapshot_of(key).isoformat()}')" for key in objects)
    before = f"""
        select l.rows from ops.load_ledger as l
        where l.dataset = '{MARKETS.name}' and l.object_key < s.object_key and l.object_key > '{MARKETS.prefix}/'
        order by l.object_key desc limit {SNAPSHOTS}"""
    return f"""
    with recursive coins as (
        (
            select crypto_id from raw.{MARKETS.name} order by crypto_id limit 1
        )
        union all
        select (
            select m.crypto_id from raw.{MARKETS.name} as m
            where m.crypto_id > coins.crypto_id order by m.crypto_id limit 1
        )
        from coins where coins.crypto_id is not null
    ),
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
            (
                select count(*)::integer from coins inner join staging.stg_coingecko__markets as m
                    on m.crypto_id = coins.crypto_id and m.snapshot_at = s.snapshot_at
            ) as staging_rows,
            (
                select count(*)::integer from coins inner join staging.stg_coingecko__markets as m
                    on m.crypto_id = coins.crypto_id and m.snapshot_at = s.snapshot_at
                where m.invalid_reason is null
            ) as valid_rows,
            (
                select count(*)::integer from marts.fct_market_snapshots as m where m.snapshot_at = s.snapshot_at
            ) as mart_rows
        from snapshots as s
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


def snapshot_of(key: str) -> datetime:
    """Return the moment of the snapshot that an object holds, from its key."""
    return datetime.strptime(key, f"{MARKETS.prefix}/date=%Y-%m-%d/%H%M%SZ.parquet").replace(tzinfo=UTC)


def fear_greed_reconciliation(key: str) -> str:
    """Return the query of one row: the history in the newest object, raw, staging and the mart. It is read whole: so is
    each object, and a decade is 4,000 rows.
    """
    return f"""
    with counted as (
        select
            (select max(date) from raw.{FEAR_GREED.name}) as newest_date,
            (select coalesce(max(rows), 0)::integer from ops.load_ledger where object_key = '{key}') as bronze_rows,
            (select count(*)::integer from raw.{FEAR_GREED.name}) as raw_rows,
            (select count(*)::integer from staging.stg_alternative_me__fear_greed) as staging_rows,
            (
                select count(*)::integer from staging.stg_alternative_me__fear_greed where invalid_reason is null
            ) as valid_rows,
            (select count(*)::integer from marts.fct_sentiment_daily) as mart_rows
    ),
    month as (
        select date, abs(value - lag(value) over (order by date)) as step
        from raw.{FEAR_GREED.name} where date > (select newest_date - 31 from counted)
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


def fct_prices(spans: Sequence[Span]) -> str:
    """Return the query of the hours in the spans, with what a rule needs beside the mart's own columns."""
    metrics = [
        *("vwap_1h", "vwap_24h", "return_1h_pct", "log_return_1h", "ma_7d", "ma_30d"),
        *("volatility_24h", "volatility_7d", "volatility_30d"),
    ]
    finite = " and ".join(f"coalesce(abs(p.{name}) < 'Infinity', true)" for name in metrics)
    near = " and ".join(
        f"coalesce({name} > p.close::float8 / 100 and {name} < p.close::float8 * 100, true)"
        for name in ("ma_7d", "ma_30d")
    )
    return f"""
    with {_spans(spans)}
    select
        p.crypto_id,
        p.opened_at,
        p.close::float8 as close,
        p.return_1h_pct,
        p.volatility_30d,
        coalesce(
            p.vwap_1h between p.low::float8 * (1 - 1e-6) and p.high::float8 * (1 + 1e-6), true
        ) as vwap_in_bar,
        coalesce(p.taker_buy_volume <= p.volume, true) as takers_within,
        {finite} as is_finite,
        {near} as averages_near,
        -- by the sigma of an hour as the bar before knew it: the jump itself would widen it
        abs(p.log_return_1h) / nullif(p.volatility_before / sqrt(24 * 365), 0) as jump_sigmas
    from (select distinct crypto_id from raw.universe) as u
    cross join span
    cross join lateral (
        select prices.*, lag(prices.volatility_30d) over (order by prices.opened_at) as volatility_before
        from marts.fct_prices as prices
        where
            prices.crypto_id = u.crypto_id
            and prices.opened_at >= span.starts_at - interval '1 hour'
            and prices.opened_at < span.ends_at
    ) as p
    where p.opened_at >= span.starts_at
    """


DIVERGENCE = """
    select
        crypto_id,
        close::float8 as close,
        price_usd::float8 as price_usd,
        divergence_pct,
        (
            select percentile_cont(0.5) within group (order by divergence_pct) from marts.v_price_divergence
        ) as median_divergence_pct
    from marts.v_price_divergence
"""
