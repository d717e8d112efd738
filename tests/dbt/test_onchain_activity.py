"""fct_onchain_activity: equal to a computation of its own, incremental by changed days, equal to a full refresh."""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from dbt_warehouse import Warehouse
from hypothesis import example, given
from hypothesis import strategies as st
from refresh_equality import RawLoads
from small_markets import hours_between, random_walk

from support.examples import named_examples

FIRST = date(2024, 6, 1)
MODELS = ("fct_candles_intraday", "int_onchain_activity", "fct_onchain_activity", "fct_onchain_distribution")
SELECTION = ("--select", *MODELS)
TABLES = tuple(f"{'intermediate' if model.startswith('int_') else 'marts'}.{model}" for model in MODELS)
LOWER_BOUNDS = {
    "output_btc": ("0", "0.0001", "0.001", "0.01", "0.1", "1", "10", "100", "1000"),
    "virtual_bytes": ("0", "150", "250", "500", "1000", "2000", "5000", "10000", "50000"),
    "fee_rate": ("0", "1", "2", "5", "10", "20", "50", "100", "200"),
}
MINUTES = {"15m": 15, "1h": 60, "4h": 240, "1d": 1440}


@dataclass
class Chain:
    """Blocks and transactions of raw, loaded by day as the loader does."""

    warehouse: Warehouse
    now: datetime = datetime(2024, 7, 1, tzinfo=UTC)
    rows: dict[date, list[tuple[Any, ...]]] = field(default_factory=dict)

    def load(self, day: date, seed: int, blocks: int = 12) -> None:
        """Replace a day by blocks at random times; the last one may lie on the day after."""
        self.now += timedelta(minutes=1)
        self.warehouse.execute(
            "delete from raw.bitcoin_transactions where block_hash in"
            " (select block_hash from raw.bitcoin_blocks where source_day = %s)", (day,),
        )  # fmt: skip
        self.warehouse.execute("delete from raw.bitcoin_blocks where source_day = %s", (day,))
        generator = random.Random(f"{day} {seed}")
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        headers, rows = [], []
        for at in range(blocks):
            number = 850_000 + (day - FIRST).days * 100 + at
            seconds = generator.randrange(86_400) if at else 86_400 + generator.randrange(3600)
            moment, name = start + timedelta(seconds=seconds), f"\\x{number:064x}"
            count = generator.randrange(1, 6)
            headers.append((day, name, number, moment, count, count, True, self.now, "test"))
            for place in range(count):
                fee = (
                    None
                    if not place or generator.random() < 0.1
                    else generator.choice([0, generator.randrange(90_000)])
                )
                txid = f"\\x{generator.getrandbits(255):064x}"
                output, size = generator.randrange(10**9), generator.randrange(110, 900)
                rows.append((moment, output, fee, number, 2 if place else 0, 2, size + 9, size, not place, name, txid))
        columns = ("source_day", "block_hash", "block_number", "block_timestamp", "transaction_count", "row_count",
                   "is_final", "loaded_at", "batch_id")  # fmt: skip
        self.warehouse.copy("raw.bitcoin_blocks", columns, escaped(headers))
        columns = ("block_timestamp", "output_sats", "fee_sats", "block_number", "input_count", "output_count",
                   "size_bytes", "virtual_size", "is_coinbase", "block_hash", "txid")  # fmt: skip
        self.warehouse.copy("raw.bitcoin_transactions", columns, escaped(rows))
        self.rows[day] = rows

    def expected(self) -> dict[tuple[str, datetime], tuple[Any, ...]]:
        """Counts, amounts and percentiles by timeframe and start, in plain Python."""
        spans = defaultdict(list)
        for row in (row for rows in self.rows.values() for row in rows):
            for timeframe, minutes in MINUTES.items():
                midnight = row[0].replace(hour=0, minute=0, second=0)
                spans[
                    timeframe, midnight + (row[0] - midnight) // timedelta(minutes=minutes) * timedelta(minutes=minutes)
                ].append(row)
        found = {}
        for key, rows in spans.items():
            paying = [row for row in rows if not row[8]]
            fees = [row[2] for row in paying if row[2] is not None]
            rates = [row[2] / row[7] for row in paying if row[2] is not None]
            found[key] = (
                len(paying), len(rows) - len(paying), len({row[3] for row in rows}),
                Decimal(sum(row[1] for row in paying)) / 10**8,
                Decimal(sum(fees)) / 10**8 if fees else None,
                len(paying) - len(fees), sum(row[7] for row in paying),
                *(round(float(np.percentile(rates, q)), 9) if rates else None for q in (50, 90)),
            )  # fmt: skip
        return found

    def distribution(self) -> dict[tuple[date, str, str], int]:
        """Transactions by day, measure and range, in plain Python."""
        counts: dict[tuple[date, str, str], int] = defaultdict(int)
        for row in (row for rows in self.rows.values() for row in rows if not row[8]):
            for measure, value in (
                ("output_btc", Decimal(row[1]) / 10**8), ("virtual_bytes", Decimal(row[7])),
                ("fee_rate", None if row[2] is None else Decimal(row[2]) / row[7]),
            ):  # fmt: skip
                counts[row[0].date(), measure, range_of(measure, value)] += 1
            kind = "3 or more outputs" if row[5] > 2 else "2 or more inputs, 2 outputs"
            counts[row[0].date(), "type", kind] += 1
        return dict(counts)


def range_of(measure: str, value: Decimal | None) -> str:
    """The label of the range of a value."""
    if value is None:
        return "unknown"
    bounds = LOWER_BOUNDS[measure]
    at = sum(value >= Decimal(bound) for bound in bounds)
    return f"{bounds[at - 1]} to <{bounds[at]}" if at < len(bounds) else f"from {bounds[-1]}"


def escaped(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows for COPY, where a backslash is written twice."""
    return [tuple(c.replace("\\", "\\\\") if isinstance(c, str) else c for c in row) for row in rows]


def start(warehouse: Warehouse) -> tuple[Chain, RawLoads]:
    """Empty raw tables with partitions, and hourly bars of bitcoin of two days."""
    warehouse.execute(
        "truncate raw.binance_klines, raw.universe, raw.bitcoin_transactions, raw.bitcoin_blocks;"
        "create table if not exists raw.bitcoin_transactions_2024_06 partition of raw.bitcoin_transactions"
        " for values from ('2024-06-01+00') to ('2024-07-01+00');"
        "drop schema intermediate, marts cascade;"
        "create schema intermediate authorization transform; create schema marts authorization transform;"
        "grant usage on schema marts to dashboard_ro; grant select on all tables in schema raw to transform"
    )
    loads = RawLoads(warehouse)
    loads.now = datetime(2024, 7, 1, tzinfo=UTC)
    loads.set_universe([("bitcoin", "BTCUSDT", None, None)])
    loads.load(bars(0, 30))
    return Chain(warehouse), loads


def bars(first: int, last: int) -> list[Any]:
    hours = hours_between(datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 4, tzinfo=UTC))
    return random_walk("BTCUSDT", hours, price=67_000, decimals=2, seed=4)[first:last]


def load_intraday(loads: RawLoads, interval: str, first: datetime, count: int, seed: int = 0) -> None:
    """Load bars of 1m or 15m; those of an odd seed have impossible prices every seventh time."""
    loads.now += timedelta(minutes=1)
    minutes = MINUTES.get(interval, 1)
    loads.warehouse.execute(
        """
        insert into raw.binance_klines
            (symbol, interval, open_time, open, high, low, close, volume, close_time, quote_volume, trade_count,
            taker_buy_base_volume, taker_buy_quote_volume, loaded_at, batch_id)
        select
            'BTCUSDT', %(interval)s, at, price, price + 2,
            case when %(seed)s %% 2 = 1 and n %% 7 = 0 then -1 else 90 end, price + 1, 3,
            at + %(minutes)s * interval '1 minute' - interval '1 ms', 3 * price, 5, 1, price, %(now)s, 'test'
        from (
            select n, 100 + (n * 13 + %(seed)s) %% 50 as price, %(first)s + n * %(minutes)s * interval '1 minute' as at
            from generate_series(0, %(count)s - 1) as n
        ) as bars
        on conflict (symbol, interval, open_time) do update set
            open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
            quote_volume = excluded.quote_volume, loaded_at = excluded.loaded_at
        """,
        {"interval": interval, "minutes": minutes, "first": first, "count": count, "seed": seed, "now": loads.now},
    )  # fmt: skip


def build(warehouse: Warehouse) -> None:
    warehouse.run("--select", "int_crypto_hourly", *SELECTION[1:])


def assert_full_refresh_changes_nothing(warehouse: Warehouse) -> None:
    warehouse.execute("drop schema if exists incremental cascade; create schema incremental")
    for table in TABLES:
        warehouse.execute(f"create table incremental.{table.partition('.')[2]} as table {table}")
    warehouse.run("--full-refresh", *SELECTION)
    for table in TABLES:
        copy = f"incremental.{table.partition('.')[2]}"
        [(count,)] = warehouse.query(
            f"select count(*) from ((table {table} except all table {copy}) union all"
            f" (table {copy} except all table {table})) as differing"
        )
        assert count == 0, table


def test_a_span_has_what_its_blocks_have(warehouse: Warehouse) -> None:
    chain, _ = start(warehouse)
    for n in range(3):
        chain.load(FIRST + timedelta(days=n), seed=n)
    build(warehouse)
    found = warehouse.query(
        "select timeframe, started_at, transaction_count, coinbase_count, block_count, output_btc, fee_btc,"
        " unknown_fee_count, virtual_bytes, round(median_fee_rate::numeric, 9)::float8,"
        " round(p90_fee_rate::numeric, 9)::float8 from marts.fct_onchain_activity"
    )
    assert {row[:2]: row[2:] for row in found} == chain.expected()
    found = warehouse.query("select date, measure, label, transaction_count from marts.fct_onchain_distribution")
    assert {row[:3]: row[3] for row in found} == chain.distribution()
    # A test of another model that names one of these is not of them.
    result = warehouse.dbt("test", *SELECTION, "--exclude", "fct_market_prices", "--exclude-resource-type", "unit_test")
    assert result.success, result.log
    assert {name for name, status in result.statuses.items() if status == "pass"} >= {
        "activity_matches_blocks_int_onchain_activity_", "unique_grain_int_onchain_activity_timeframe__started_at",
    }  # fmt: skip


def test_the_candle_of_a_span_is_there_when_all_its_hours_are(warehouse: Warehouse) -> None:
    chain, _ = start(warehouse)
    for n in range(2):
        chain.load(FIRST + timedelta(days=n), seed=n, blocks=40)
    build(warehouse)
    market = bars(0, 30)
    rows = warehouse.query(
        "select timeframe, started_at, open, high, low, close, volume, trade_count from marts.fct_onchain_activity"
    )
    assert rows
    for timeframe, started_at, *candle in rows:
        hours = MINUTES[timeframe] // 60
        inside = [b for b in market if started_at <= b.opened_at < started_at + timedelta(hours=hours)]
        expected: list[Any] = [None] * 6
        if hours and len(inside) == hours:
            expected = [
                inside[0].open, max(b.high for b in inside), min(b.low for b in inside), inside[-1].close,
                sum(b.volume for b in inside), sum(b.trade_count for b in inside),
            ]  # fmt: skip
        assert candle == expected


def test_a_day_without_transactions_is_no_row_and_a_build_without_changes_writes_nothing(warehouse: Warehouse) -> None:
    chain, _ = start(warehouse)
    build(warehouse)
    assert warehouse.query("select count(*) from marts.fct_onchain_activity") == [(0,)]
    chain.load(FIRST, seed=1)
    build(warehouse)
    written = warehouse.query("select xmin::text, ctid from marts.fct_onchain_activity order by 2")
    assert written
    build(warehouse)
    assert warehouse.query("select xmin::text, ctid from marts.fct_onchain_activity order by 2") == written


def test_a_changed_day_alone_is_written_again(warehouse: Warehouse) -> None:
    chain, loads = start(warehouse)
    for n in range(3):
        chain.load(FIRST + timedelta(days=n), seed=n, blocks=6)
    build(warehouse)
    versions = "select date, min(xmin::text::bigint) from marts.fct_onchain_activity group by 1 order by 1"
    before = dict(warehouse.query(versions))
    loads.load(bars(30, 34))  # of the second day
    build(warehouse)
    after = dict(warehouse.query(versions))
    assert [day for day in before if before[day] != after[day]] == [FIRST + timedelta(days=1)]
    assert_full_refresh_changes_nothing(warehouse)


histories = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 8), st.booleans()), min_size=2, max_size=7
)


@named_examples
@given(histories)
@example([(0, 0, 1, True), (1, 3, 4, True), (0, 2, 3, True), (2, 1, 2, False), (1, 0, 0, False)])
@example([(0, 2, 6, False), (1, 2, 5, True), (0, 1, 0, True), (2, 1, 4, False), (0, 3, 4, True), (1, 0, 8, False)])
def test_any_history_of_days_equals_a_full_refresh(warehouse: Warehouse, history) -> None:
    chain, loads = start(warehouse)
    for place, seed, blocks, builds in history:
        chain.load(FIRST + timedelta(days=place), seed, blocks)
        if seed == 3:
            loads.load(bars(blocks * 8, blocks * 8 + 5) or bars(0, 1))
        if seed:
            first = datetime(2024, 6, 1 + place, blocks, 7, tzinfo=UTC)
            load_intraday(
                loads, "15m" if seed == 2 else "1m", first.replace(minute=0) if seed == 2 else first, 100, seed
            )
        if (seed, blocks) in ((0, 1), (1, 2)):
            loads.set_universe([("bitcoin", "BTCUSDT", None, f"2024-06-0{2 + seed}")])
        if builds:
            build(warehouse)
    build(warehouse)
    assert_full_refresh_changes_nothing(warehouse)


def test_rows_that_are_not_those_of_their_blocks_fail_a_test(warehouse: Warehouse) -> None:
    chain, _ = start(warehouse)
    chain.load(FIRST, seed=1)
    build(warehouse)
    warehouse.execute("update raw.bitcoin_blocks set row_count = row_count + 1 where block_number = 850003")
    result = warehouse.dbt("test", "--select", "int_onchain_activity")
    assert result.statuses["activity_matches_blocks_int_onchain_activity_"] == "fail"


@pytest.fixture(autouse=True, scope="module")
def staging(warehouse: Warehouse) -> None:
    warehouse.run("--select", "staging")


def test_a_complete_day_has_the_count_of_coin_metrics(warehouse: Warehouse) -> None:
    chain, _ = start(warehouse)
    for n in range(3):
        chain.load(FIRST + timedelta(days=n), seed=n)
    warehouse.execute(
        "update raw.bitcoin_blocks as blocks"
        " set block_number = numbered.n, median_time = blocks.source_day::timestamp at time zone 'UTC'"
        " from (select block_hash, row_number() over (order by source_day, block_number) as n"
        " from raw.bitcoin_blocks) as numbered where blocks.block_hash = numbered.block_hash;"
        "truncate raw.onchain_daily;"
        "insert into raw.onchain_daily (source, asset, metric, date, value, source_url, fetched_at, batch_id)"
        " select 'coinmetrics', 'btc', 'TxCnt', source_day, sum(transaction_count - 1), 'test', now(), 'test'"
        " from raw.bitcoin_blocks group by source_day"
    )
    outer = "update raw.onchain_daily set value = value * 2 where date <> '2024-06-02'"  # incomplete at one end
    middle = "update raw.onchain_daily set value = value * 1.1 where date = '2024-06-02'"
    found = []
    for change in (outer, middle):
        warehouse.execute(change)
        warehouse.run("--select", "+int_onchain_daily", "stg_bitcoin__blocks")
        statuses = warehouse.dbt("test", "--select", "test_name:agrees_with_daily_series").statuses
        found.append(set(statuses.values()) - {"success"})
    assert found == [{"pass"}, {"warn"}]


def test_a_quarter_of_an_hour_has_the_candle_of_its_minutes(warehouse: Warehouse) -> None:
    chain, loads = start(warehouse)
    chain.load(FIRST, seed=1, blocks=200)
    midnight = datetime(2024, 6, 1, tzinfo=UTC)
    load_intraday(loads, "1m", midnight, 60)
    build(warehouse)
    load_intraday(loads, "15m", midnight + timedelta(minutes=30), 6)
    build(warehouse)
    found = warehouse.query(
        "select started_at, open, high, low, close, volume, quote_volume, trade_count from marts.fct_onchain_activity"
        " where timeframe = '15m' and close is not null order by 1"
    )
    price = [100 + n * 13 % 50 for n in range(60)]
    expected = {
        midnight + timedelta(minutes=at): (
            price[at], max(price[at : at + 15]) + 2, 90, price[at + 14] + 1, 45, 3 * sum(price[at : at + 15]), 75,
        )
        for at in (0, 15)
    } | {
        midnight + timedelta(minutes=30 + 15 * n): (price[n], price[n] + 2, 90, price[n] + 1, 3, 3 * price[n], 5)
        for n in range(6)
    }  # fmt: skip
    assert len(found) >= 4
    assert {row[0]: row[1:] for row in found}.items() <= expected.items()
