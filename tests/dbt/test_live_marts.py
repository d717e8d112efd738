"""Live prices: fct_live_1m is incremental by changed minutes and equal to a full build, whatever arrives when."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dbt_warehouse import Warehouse
from hypothesis import example, given
from hypothesis import strategies as st
from refresh_equality import RawLoads
from small_markets import Bar

from support.examples import named_examples

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SELECTION = ("--select", "int_live_instruments", "fct_live_1m")
TRADE_COLUMNS = ("inst_id", "trade_id", "ts", "price", "size", "side", "fills", "received_at", "source_url",
                 "fetched_at", "loaded_at", "batch_id")  # fmt: skip
TICKER_COLUMNS = ("inst_id", "ts", "last", "bid", "ask", "open_24h", "received_at", "source_url", "fetched_at",
                  "loaded_at", "batch_id")  # fmt: skip


@dataclass
class Stream:
    """Trades and tickers of raw, loaded as the sink does: each load has its own time."""

    warehouse: Warehouse
    now: datetime = START + timedelta(hours=1)

    def load(self, trades: list[tuple[Any, ...]] = (), tickers: list[tuple[Any, ...]] = ()) -> None:
        """Load trades (inst, id, seconds, price, size, side) and tickers (inst, seconds, last, bid, ask)."""
        self.now += timedelta(minutes=11)
        provenance = (self.now, "wss://test", self.now, self.now, "b")
        rows = [
            (inst, number, START + timedelta(seconds=s), price, size, side, 2, *provenance)
            for inst, number, s, price, size, side in trades
        ]
        self._upsert("raw.okx_trades", TRADE_COLUMNS, ("inst_id", "trade_id", "ts"), rows)
        quotes = [
            (inst, START + timedelta(seconds=s), last, bid, ask, 100, *provenance)
            for inst, s, last, bid, ask in tickers
        ]
        self._upsert("raw.okx_tickers", TICKER_COLUMNS, ("inst_id", "ts"), quotes)

    def _upsert(self, table: str, columns: tuple[str, ...], key: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        self.warehouse.execute(f"create table raw.arriving (like {table})")
        self.warehouse.copy("raw.arriving", columns, list({row[: len(key)]: row for row in rows}.values()))
        assignments = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
        self.warehouse.execute(
            f"insert into {table} select * from raw.arriving on conflict ({', '.join(key)})"
            f" do update set {assignments}; drop table raw.arriving"
        )


@pytest.fixture(autouse=True, scope="module")
def staging(warehouse: Warehouse) -> None:
    warehouse.execute(
        "create table raw.okx_trades_test partition of raw.okx_trades"
        " for values from ('2026-03-01+00') to ('2026-03-04+00');"
        "create table raw.okx_tickers_test partition of raw.okx_tickers"
        " for values from ('2026-03-01+00') to ('2026-03-04+00');"
        "grant select on all tables in schema raw to transform"
    )
    warehouse.run("--select", "staging")


def start(warehouse: Warehouse) -> Stream:
    """Empty raw and marts, and a universe of two assets."""
    warehouse.execute(
        "truncate raw.binance_klines, raw.universe, raw.okx_trades, raw.okx_tickers;"
        "drop schema intermediate, marts cascade;"
        "create schema intermediate authorization transform; create schema marts authorization transform;"
        "grant usage on schema marts to dashboard_ro"
    )
    RawLoads(warehouse).set_universe([("bitcoin", "BTCUSDT", None, None), ("ethereum", "ETHUSDT", None, None)])
    return Stream(warehouse)


def build(warehouse: Warehouse) -> None:
    warehouse.run(*SELECTION)


def assert_a_new_table_is_equal(warehouse: Warehouse) -> None:
    warehouse.execute("drop schema if exists incremental cascade; create schema incremental")
    warehouse.execute("create table incremental.fct_live_1m as table marts.fct_live_1m; drop table marts.fct_live_1m")
    build(warehouse)
    [(count,)] = warehouse.query(
        "select count(*) from ((table marts.fct_live_1m except all table incremental.fct_live_1m) union all"
        " (table incremental.fct_live_1m except all table marts.fct_live_1m)) as differing"
    )
    assert count == 0


INSTRUMENTS = st.sampled_from(["BTC-USDT", "ETH-USDT", "OTHER-USDT"])
PRICES = st.integers(90, 110)
SIDES = st.sampled_from(["buy", "sell"])
TRADES = st.lists(
    st.tuples(INSTRUMENTS, st.integers(1, 40), st.integers(0, 300), PRICES, st.integers(1, 9), SIDES),
    max_size=8,
)  # fmt: skip
TICKERS = st.lists(st.tuples(INSTRUMENTS, st.integers(0, 300), PRICES, PRICES, PRICES), max_size=8)
UNIVERSES = st.sampled_from([None, [("bitcoin", "BTCUSDT", None, None)], [("other", "ETHUSDT", None, None)]])


@named_examples
@given(st.lists(st.tuples(TRADES, TICKERS, st.booleans(), UNIVERSES), min_size=2, max_size=6))
@example([
    ([("BTC-USDT", 5, 60, 100, 2, "buy"), ("OTHER-USDT", 1, 30, 95, 1, "sell")], [("ETH-USDT", 120, 100, 99, 101)],
     True, None),
    ([("BTC-USDT", 4, 10, 101, 1, "sell"), ("BTC-USDT", 5, 61, 99, 3, "buy")], [], True, None),
    ([], [("ETH-USDT", 125, 98, 97, 99)], True, [("other", "ETHUSDT", None, None)]),
    ([("ETH-USDT", 2, 299, 90, 9, "buy")], [("BTC-USDT", 70, 100, 99, 101)], False,
     [("bitcoin", "BTCUSDT", None, None)]),
])  # fmt: skip
@example([
    ([], [("BTC-USDT", 200, 100, 99, 101), ("OTHER-USDT", 10, 90, 89, 91)], True, [("other", "ETHUSDT", None, None)]),
    ([("BTC-USDT", 9, 240, 104, 1, "sell"), ("ETH-USDT", 1, 0, 92, 4, "buy")], [], False, None),
    ([("BTC-USDT", 8, 239, 105, 2, "buy"), ("ETH-USDT", 1, 0, 93, 4, "buy")], [("BTC-USDT", 201, 99, 98, 100)], True,
     None),
])  # fmt: skip
def test_any_order_of_loads_equals_a_full_build(warehouse: Warehouse, history) -> None:
    stream = start(warehouse)
    for trades, tickers, builds, universe in history:
        stream.load(trades, tickers)
        if universe:
            RawLoads(warehouse).set_universe(universe)
        if builds:
            build(warehouse)
    build(warehouse)
    assert_a_new_table_is_equal(warehouse)


def test_only_changed_minutes_are_written_again(warehouse: Warehouse) -> None:
    stream = start(warehouse)
    stream.load([("BTC-USDT", 1, 0, 100, 1, "buy"), ("BTC-USDT", 2, 60, 101, 1, "buy")])
    stream.load([], [("ETH-USDT", 200, 7, 6, 8)])
    stream.load([], [("ETH-USDT", 260, 7, 6, 8)])
    build(warehouse)
    versions = "select inst_id, minute, xmin::text from marts.fct_live_1m"
    before = {row[:2]: row[2] for row in warehouse.query(versions)}
    stream.load([("BTC-USDT", 3, 61, 99, 2, "sell")])
    build(warehouse)
    after = {row[:2]: row[2] for row in warehouse.query(versions)}
    # The newest load is read again, because two writers can commit in another order than they load.
    assert {key for key in before if before[key] != after[key]} == {
        ("BTC-USDT", START + MINUTE), ("ETH-USDT", START + 4 * MINUTE),
    }  # fmt: skip
    assert warehouse.query("select last, trade_count from marts.fct_live_1m where minute = %s", (START + MINUTE,)) == [
        (99, 4)
    ]


def test_minutes_that_raw_no_longer_has_stay_also_on_a_full_refresh(warehouse: Warehouse) -> None:
    stream = start(warehouse)
    stream.load([("BTC-USDT", 1, 0, 100, 1, "buy")])
    build(warehouse)
    warehouse.execute("truncate raw.okx_trades")
    stream.load([("BTC-USDT", 2, 60, 101, 1, "buy")])
    warehouse.run("--full-refresh", *SELECTION)
    assert warehouse.query("select minute, last from marts.fct_live_1m order by 1") == [
        (START, 100), (START + MINUTE, 101),
    ]  # fmt: skip


def test_without_live_prices_every_model_is_built_and_passes_its_tests(warehouse: Warehouse) -> None:
    start(warehouse)
    warehouse.build()
    assert warehouse.query("select count(*) from marts.fct_live_1m") == [(0,)]
    assert warehouse.query("select count(*) from marts.v_live_latest") == [(0,)]


def test_an_hour_far_from_its_prices_on_binance_fails_the_check(warehouse: Warehouse) -> None:
    stream = start(warehouse)
    bars = [Bar("BTCUSDT", START + timedelta(hours=h), 100, 102, 98, 101, 10, 1000, 5) for h in range(2)]
    RawLoads(warehouse).load(bars)
    stream.load([("BTC-USDT", n, n * 60, 102.9 if n else 97.1, 1, "buy") for n in range(40)])
    warehouse.run()
    check = ("test", "--select", "test_name:live_prices_match_binance")
    name = "live_prices_match_binance_fct_live_1m_1__30__48"
    assert warehouse.dbt(*check).statuses[name] == "pass"
    stream.load([("BTC-USDT", 50, 3000, 103.1, 1, "buy")])
    warehouse.run("--select", "fct_live_1m")
    assert warehouse.dbt(*check).statuses[name] == "warn"
