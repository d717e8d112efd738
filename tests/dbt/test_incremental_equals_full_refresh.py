"""Whatever the order in which data arrives, the marts end up as a full refresh would write them, bit for bit."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from dbt_warehouse import ROOT, Warehouse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from small_markets import (
    KLINE_COLUMNS,
    RECORDED,
    UNIVERSE_COLUMNS,
    Bar,
    random_walk,
    recorded_bars,
    universe_rows,
)

TABLES = (
    "intermediate.int_crypto_hourly",
    "intermediate.int_crypto_daily",
    "intermediate.int_volatility_calc",
    "marts.fct_prices",
    "marts.fct_daily_summary",
    "marts.fct_correlations_daily",
    "marts.fct_candles",
)
SELECTION = ("--select", "+fct_prices", "+fct_daily_summary", "+fct_correlations_daily", "+fct_candles")
START = datetime(2023, 1, 1, tzinfo=UTC)
DAYS = 330
# a renamed coin: one asset, two symbols, each with its time
UNIVERSE = [
    ("bitcoin", "BTCUSDT", None, None),
    ("renamed", "OLDUSDT", None, "2023-07-01"),
    ("renamed", "NEWUSDT", "2023-07-01", None),
    ("tiny", "TINYUSDT", None, None),
]


def make_market() -> dict[str, list[Bar]]:
    """Three bars a day for 330 days (two of them successive), every hour in the last five days, with holes."""
    hours = [START + timedelta(days=day, hours=hour) for day in range(DAYS) for hour in (0, 1, 12)]
    hours += [START + timedelta(days=DAYS, hours=hour) for hour in range(5 * 24 - 7)]
    walks = {}
    for seed, (symbol, price, decimals) in enumerate(
        [("BTCUSDT", 40000, 2), ("OLDUSDT", 1.5, 4), ("NEWUSDT", 1.5, 4), ("TINYUSDT", 0.00000712, 8)]
    ):
        bars = random_walk(symbol, hours, price=price, decimals=decimals, seed=seed)
        walks[symbol] = [bar for index, bar in enumerate(bars) if (index * 7919 + seed) % 97]
    return walks


MARKET = make_market()
RECORD = ROOT.parent / "shared/replay/data"


class Ledger:
    """Loads into raw with a load time of its own for each load, as the loader does, one load after the other."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.now = datetime(2024, 1, 1, tzinfo=UTC)

    def load(self, bars: list[Bar]) -> None:
        """Insert the bars, or replace those of the same key."""
        self.now += timedelta(minutes=1)
        self.warehouse.execute("create table if not exists raw.arriving (like raw.binance_klines)")
        self.warehouse.copy("raw.arriving", KLINE_COLUMNS, [bar.row(self.now) for bar in bars])
        assignments = ", ".join(f"{column} = excluded.{column}" for column in KLINE_COLUMNS[3:])
        self.warehouse.execute(
            "insert into raw.binance_klines select * from raw.arriving on conflict (symbol, interval, open_time) "
            f"do update set {assignments}; drop table raw.arriving"
        )

    def set_universe(self, rows: list[tuple[str, str, str | None, str | None]]) -> None:
        """Replace the universe; rows that stay keep their load time."""
        self.warehouse.execute("truncate raw.universe")
        self.warehouse.copy("raw.universe", UNIVERSE_COLUMNS, universe_rows(rows))


def corrected(bar: Bar) -> Bar:
    """The bar with another close, as an exchange restates it."""
    close = (bar.low + (bar.high - bar.low) / 3).quantize(Decimal("0.00000001"))
    return Bar(bar.symbol, bar.opened_at, bar.open, bar.high, bar.low, close, bar.volume, bar.quote_volume, 1)


def empty(warehouse: Warehouse) -> None:
    """Forget everything: raw, and what dbt built."""
    warehouse.execute(
        "truncate raw.binance_klines, raw.universe;"
        "drop schema staging, intermediate, marts cascade;"
        "create schema staging authorization transform; create schema intermediate authorization transform;"
        "create schema marts authorization transform; grant usage on schema marts to dashboard_ro"
    )


def differences(warehouse: Warehouse) -> dict[str, int]:
    """Rows that are in a table but not in its kept copy, or the other way round, counted, by table."""
    found = {}
    for table in TABLES:
        kept = f"kept.{table.partition('.')[2]}"
        [(count,)] = warehouse.query(
            f"select count(*) from ((table {table} except all table {kept}) union all"
            f" (table {kept} except all table {table})) as differing"
        )
        found[table] = count
    return found


def assert_full_refresh_changes_nothing(warehouse: Warehouse) -> None:
    """Copy the tables, build everything anew, compare."""
    warehouse.execute("drop schema if exists kept cascade; create schema kept")
    for table in TABLES:
        warehouse.execute(f"create table kept.{table.partition('.')[2]} as table {table}")
    build(warehouse, "--full-refresh")
    assert differences(warehouse) == dict.fromkeys(TABLES, 0)


def build(warehouse: Warehouse, *arguments: str) -> None:
    """`dbt run` of the models under test."""
    result = warehouse.dbt("run", *SELECTION, *arguments)
    assert result.success, result.log[-4000:]


def slice_of(symbol: str, first: float, last: float) -> list[Bar]:
    """The bars of a symbol between two fractions of its history."""
    bars = MARKET[symbol]
    return bars[int(first * len(bars)) : int(last * len(bars))]


def test_each_way_of_arriving_leaves_what_a_full_refresh_writes(warehouse: Warehouse) -> None:
    ledger = Ledger(warehouse)
    ledger.set_universe(UNIVERSE[:3])
    build(warehouse)
    ledger.load(slice_of("BTCUSDT", 0.3, 0.9) + slice_of("OLDUSDT", 0, 0.8))
    build(warehouse)
    ledger.load(slice_of("BTCUSDT", 0.9, 0.95))
    ledger.load(slice_of("NEWUSDT", 0.4, 0.97))
    build(warehouse)
    ledger.load([corrected(bar) for bar in slice_of("BTCUSDT", 0.6, 0.603)])
    build(warehouse)
    ledger.load(slice_of("BTCUSDT", 0, 0.3))
    build(warehouse)
    ledger.load(slice_of("TINYUSDT", 0, 1))
    ledger.set_universe(UNIVERSE)
    build(warehouse)
    ledger.load(slice_of("BTCUSDT", 0.95, 1) + slice_of("NEWUSDT", 0.97, 1))
    build(warehouse)
    assert_full_refresh_changes_nothing(warehouse)


def test_a_changed_universe_moves_bars_to_their_asset_and_removes_what_left_it(warehouse: Warehouse) -> None:
    empty(warehouse)
    ledger = Ledger(warehouse)
    ledger.set_universe(UNIVERSE)
    for symbol in MARKET:
        ledger.load(slice_of(symbol, 0, 1))
    build(warehouse)
    renamed_earlier = [("renamed", "OLDUSDT", None, "2023-06-01"), ("renamed", "NEWUSDT", "2023-06-01", None)]
    ledger.set_universe([UNIVERSE[0], *renamed_earlier])
    build(warehouse)
    assert warehouse.query("select distinct crypto_id from marts.fct_prices order by 1") == [("bitcoin",), ("renamed",)]
    boundary = "select max(opened_at) < '2023-06-01' from marts.fct_prices where binance_symbol = 'OLDUSDT'"
    assert warehouse.query(boundary) == [(True,)]
    assert_full_refresh_changes_nothing(warehouse)
    ledger.set_universe([UNIVERSE[0], renamed_earlier[1]])
    build(warehouse)
    assert warehouse.query("select count(*) from marts.fct_prices where binance_symbol = 'OLDUSDT'") == [(0,)]
    assert_full_refresh_changes_nothing(warehouse)


def test_a_run_without_news_writes_nothing(warehouse: Warehouse) -> None:
    build(warehouse)
    written = {table: warehouse.query(f"select max(xmin::text::bigint), count(*) from {table}") for table in TABLES}
    build(warehouse)
    again = {table: warehouse.query(f"select max(xmin::text::bigint), count(*) from {table}") for table in TABLES}
    assert again == written


arrivals = st.lists(
    st.tuples(
        st.sampled_from(sorted(MARKET)),
        st.sampled_from(["history", "correction", "scattered"]),
        st.floats(0, 1),
        st.floats(0.001, 0.6),
        st.booleans(),
    ),
    min_size=3,
    max_size=7,
)


@pytest.mark.slow
@given(arrivals)
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_any_order_of_arrivals_leaves_what_a_full_refresh_writes(
    warehouse: Warehouse, steps: list[tuple[str, str, float, float, bool]]
) -> None:
    empty(warehouse)
    ledger = Ledger(warehouse)
    ledger.set_universe(UNIVERSE)
    loaded: set[tuple[str, datetime]] = set()
    for symbol, kind, start, length, then_build in steps:
        bars = slice_of(symbol, start, min(1, start + length))
        if kind == "scattered":
            bars = bars[:: max(1, len(bars) // 20)]
        if kind == "correction":
            bars = [corrected(bar) for bar in bars[:30] if (symbol, bar.opened_at) in loaded]
        ledger.load(bars)
        loaded |= {(bar.symbol, bar.opened_at) for bar in bars}
        if then_build:
            build(warehouse)
    build(warehouse)
    assert_full_refresh_changes_nothing(warehouse)


@pytest.mark.slow
@pytest.mark.skipif(not RECORD.exists(), reason="no recorded market data")
def test_recorded_months_in_any_order_with_corrections_leave_what_a_full_refresh_writes(warehouse: Warehouse) -> None:
    empty(warehouse)
    ledger = Ledger(warehouse)
    ledger.set_universe([(asset, symbol, None, None) for symbol, asset in RECORDED.items()])
    window = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    months: dict[tuple[str, int, int], list[Bar]] = {}
    for symbol in RECORDED:
        for bar in recorded_bars(RECORD, symbol, *window):
            months.setdefault((symbol, bar.opened_at.year, bar.opened_at.month), []).append(bar)
    pieces = list(months.values())
    random.Random(5).shuffle(pieces)
    for number, piece in enumerate(pieces):
        ledger.load(piece)
        if number % 20 == 19:
            ledger.load([corrected(bar) for bar in pieces[number // 2][100:110]])
            build(warehouse)
    build(warehouse)
    # the exchange stood still on 2023-03-24 at 13:00
    assert warehouse.query(
        "select count(*), count(return_1h_pct) from marts.fct_prices where opened_at = '2023-03-24 14:00+00'"
    ) == [(len(RECORDED), 0)]
    assert_full_refresh_changes_nothing(warehouse)
