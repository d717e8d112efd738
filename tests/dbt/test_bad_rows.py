"""Rows that reach raw in spite of all stop the build before the marts change, and the log says what to mend."""

from datetime import UTC, datetime

import pytest
from dbt_warehouse import Warehouse
from small_markets import KLINE_COLUMNS, UNIVERSE_COLUMNS, hours_between, random_walk, universe_rows

BARS = random_walk(
    "BTCUSDT",
    hours_between(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC)),
    price=40000,
    decimals=2,
    seed=5,
)
AFFECTED = ("source:raw.binance_klines+", "source:raw.universe+")
MARTS = ("marts.fct_prices", "marts.fct_daily_summary", "marts.fct_candles", "marts.dim_crypto")


@pytest.fixture(scope="module")
def built(warehouse: Warehouse) -> Warehouse:
    """Three days of bitcoin, built; a newer load waits in raw."""
    warehouse.copy("raw.universe", UNIVERSE_COLUMNS, universe_rows([("bitcoin", "BTCUSDT", None, None)]))
    warehouse.copy("raw.binance_klines", KLINE_COLUMNS, [b.row(datetime(2024, 1, 4, tzinfo=UTC)) for b in BARS[:60]])
    warehouse.build()
    warehouse.copy("raw.binance_klines", KLINE_COLUMNS, [b.row(datetime(2024, 1, 5, tzinfo=UTC)) for b in BARS[60:]])
    return warehouse


def contents(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the marts that bars reach."""
    return {table: warehouse.query(f"select * from {table} order by 1, 2") for table in MARTS}


BAD = {
    "a price that is no number": (
        "update raw.binance_klines set close = 'NaN' where open_time = '2024-01-03 20:00+00'",
        "ohlc_is_consistent",
        "close=NaN",
    ),
    "a high below the low": (
        "update raw.binance_klines set high = 1 where open_time = '2024-01-03 20:00+00'",
        "ohlc_is_consistent",
        "high=1 ",
    ),
    "an infinite volume": (
        "update raw.binance_klines set volume = 'Infinity' where open_time = '2024-01-03 20:00+00'",
        "ohlc_is_consistent",
        "volume=Infinity",
    ),
    "a newest bar that is missing its close": (
        "update raw.binance_klines set close = null, loaded_at = '2024-01-04 00:00+00'"
        " where open_time = '2024-01-03 23:00+00'",
        "ohlc_is_consistent",
        "close=None",
    ),
    "takers who bought more than was traded": (
        "update raw.binance_klines set taker_buy_base_volume = 'NaN' where open_time = '2024-01-03 20:00+00'",
        "ohlc_is_consistent",
        "taker_buy_volume=NaN",
    ),
    "a row that no loader wrote": (
        "update raw.binance_klines set batch_id = null where open_time = '2024-01-03 20:00+00'",
        "came_through_the_loader",
        "binance_symbol=BTCUSDT",
    ),
    "a load in the future": (
        "update raw.binance_klines set loaded_at = '2999-01-01' where open_time = '2024-01-03 20:00+00'",
        "came_through_the_loader",
        "loaded_at=2999-01-01",
    ),
    "a duplicate key": (
        "alter table raw.binance_klines drop constraint binance_klines_pkey;"
        " insert into raw.binance_klines select * from raw.binance_klines where open_time = '2024-01-01 05:00+00'",
        "source_unique_grain_raw_binance_klines",
        "rows_with_this_key=2",
    ),
    "overlapping symbols of one asset": (
        "insert into raw.universe (crypto_id, binance_symbol, batch_id) values ('bitcoin', 'XBTUSDT', 'test')",
        "ranges_do_not_overlap",
        "other=XBTUSDT",
    ),
}
MEND = (
    "update raw.binance_klines set close = low, high = greatest(high, open, low), volume = 1,"
    " taker_buy_base_volume = 1, batch_id = 'test',"
    " loaded_at = '2024-01-05' where open_time >= '2024-01-03 20:00+00';"
    " delete from raw.universe where binance_symbol = 'XBTUSDT';"
    " create table good as select distinct on (symbol, interval, open_time) * from raw.binance_klines;"
    " truncate raw.binance_klines; insert into raw.binance_klines select * from good; drop table good;"
    " alter table raw.binance_klines drop constraint if exists binance_klines_pkey;"
    " alter table raw.binance_klines add primary key (symbol, interval, open_time)"
)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_stops_the_build_before_the_marts_change(built: Warehouse, case: str) -> None:
    spoil, test, evidence = BAD[case]
    before = contents(built)
    built.execute(spoil)
    try:
        result = built.dbt("build", "--select", *AFFECTED, "--exclude-resource-type", "unit_test")
        assert not result.success
        failed = [name for name, status in result.statuses.items() if status == "fail"]
        assert any(name.startswith(test) for name in failed), failed
        assert "error" not in result.statuses.values()
        assert result.statuses["fct_prices"] == "skipped"
        assert contents(built) == before
        told = result.log[result.log.index(test) :]
        assert evidence in told
        assert "Mend: " in told
    finally:
        built.execute(MEND)


@pytest.mark.parametrize("arguments", [(), ("--full-refresh",)], ids=["refresh", "full refresh"])
def test_an_unsound_market_sweep_stops_only_what_is_made_of_sweeps_and_takes_nothing_away(
    built: Warehouse, arguments: tuple[str, ...]
) -> None:
    relations = "select relname from pg_class where relnamespace = 'marts'::regnamespace and relkind in ('r', 'v')"
    before = set(built.query(relations))
    columns = ("crypto_id", "snapshot_at", "symbol", "market_cap", "current_price", "payload", "batch_id")
    built.copy("raw.coingecko_markets", columns, [("bitcoin", "2024-01-04 00:05+00", "btc", "NaN", 1, "{}", "test")])
    result = built.dbt("build", "--exclude-resource-type", "unit_test", *arguments)
    assert result.statuses["fct_market_snapshots"] == "skipped"
    assert result.statuses["v_price_divergence"] == "skipped"
    assert result.statuses["fct_prices"] == "success"
    assert "market_cap_usd=NaN" in result.log
    assert set(built.query(relations)) == before
    built.query("select * from marts.v_price_divergence")
    built.execute("truncate raw.coingecko_markets")


def test_once_mended_the_next_build_is_green_and_complete(built: Warehouse) -> None:
    built.build()
    assert built.query("select count(*) from marts.fct_prices") == [(72,)]
