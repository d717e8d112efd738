"""`tickmart compact` in a home: runs, rebuild, checks, the SQL of the lake and explain find what was there before."""

import json

import pytest

from support.cli import Home, stages_of

PRICES = "select symbol, interval, open_time, close, batch_id from raw.binance_klines order by 1, 2, 3"
MARTS = "select count(*) as hours, sum(close) as closes, max(ma_7d) as ma from marts.fct_prices"
LAKE = "select date, count(*) as bars, sum(trade_count) as trades from binance_klines group by 1 order by 1"


@pytest.mark.slow
def test_everything_works_on_compacted_bronze_as_before(served_home: Home) -> None:
    home = served_home
    prices, marts = home.sql(PRICES), home.sql(MARTS)
    lake = home.tickmart("sql", "--lake", LAKE, "--csv").stdout
    done = home.tickmart("compact", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert first["merged"] >= 2
    assert (first["waiting"], first["problems"]) == (first["objects"], [])
    assert home.tickmart("sql", "--lake", LAKE, "--csv").stdout == lake
    removed = json.loads(home.tickmart("compact", "--remove-now", "--json").stdout)
    assert (removed["objects"], removed["removed"]) == (0, first["waiting"])
    assert home.tickmart("sql", "--lake", LAKE, "--csv").stdout == lake
    code, summary = home.run("run")
    assert code == 0, summary
    # The market's clock goes on: late bars go into the merged month.
    assert stages_of(summary)["raw", "binance_klines"]["rows"] >= 0
    code, summary = home.run("rebuild")
    assert code == 0, summary
    assert home.sql(PRICES)[: len(prices)] == prices
    assert home.sql(MARTS) == marts
    code, summary = home.run("check")
    assert code == 0, summary
    shown = json.loads(home.tickmart("explain", "bitcoin", "close", "2026-03-10T05:00Z", "--json").stdout)
    assert shown["bronze"]["read"][0]["object_key"].endswith("/date=2026-03-01/month.parquet")
    assert shown["bronze"]["rows_different"] == 0
