"""The marts do not depend on the time zone of the server, of the session and of the machine."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dbt_warehouse import Warehouse, create_warehouse
from small_markets import KLINE_COLUMNS, UNIVERSE_COLUMNS, hours_between, random_walk, universe_rows

# across the changes to and from summer time of New York in 2023
HOURS = [
    *hours_between(datetime(2023, 2, 8, tzinfo=UTC), datetime(2023, 3, 16, tzinfo=UTC)),
    *hours_between(datetime(2023, 11, 3, tzinfo=UTC), datetime(2023, 11, 8, tzinfo=UTC)),
]
BARS = random_walk("BTCUSDT", HOURS, price=40000, decimals=2, seed=7)
TABLES = (
    "fct_prices",
    "fct_daily_summary",
    "fct_candles",
    "fct_market_snapshots",
    "fct_market_global",
    "fct_sentiment_daily",
    "dim_crypto",
    "dim_crypto_history",
    "dim_date",
    "v_latest_partition",
    "v_trendline_core",
)

SELECTION = ("--select", *(f"+{table}" for table in TABLES))


def load(warehouse: Warehouse, bars: slice, loaded_at: datetime) -> None:
    """One load of bars, a snapshot, and the index."""
    warehouse.copy("raw.binance_klines", KLINE_COLUMNS, [bar.row(loaded_at) for bar in BARS[bars]])
    snapshot = [("bitcoin", loaded_at.isoformat(), "btc", "Bitcoin", 1, 5, "{}", loaded_at.isoformat(), "test")]
    columns = (
        "crypto_id",
        "snapshot_at",
        "symbol",
        "name",
        "market_cap_rank",
        "market_cap",
        "payload",
        "loaded_at",
        "batch_id",
    )
    warehouse.copy("raw.coingecko_markets", columns, snapshot)
    columns = ("date", "value", "classification", "loaded_at", "batch_id")
    warehouse.copy("raw.fear_greed", columns, [(loaded_at.date(), 40, "Fear", loaded_at.isoformat(), "test")])


def marts_of(postgres: dict[str, str], target: Path, timezone: str | None) -> dict[str, str]:
    """A digest of each mart, built in two steps on a server with that time zone."""
    warehouse = create_warehouse(postgres, target, timezone=timezone)
    universe = universe_rows([("bitcoin", "BTCUSDT", "2023-02-09", "2023-11-07")])
    loaded = datetime(2023, 2, 1, tzinfo=UTC).isoformat()
    warehouse.copy("raw.universe", (*UNIVERSE_COLUMNS, "loaded_at"), [(*row, loaded) for row in universe])
    load(warehouse, slice(0, 860), datetime(2023, 3, 16, 2, 30, tzinfo=UTC))
    warehouse.run(*SELECTION)
    load(warehouse, slice(860, None), datetime(2023, 11, 8, 1, 15, tzinfo=UTC))
    warehouse.run(*SELECTION)
    rows = {table: warehouse.query(f"select * from marts.{table} order by 1, 2, 3") for table in TABLES}
    assert all(rows.values())
    return {table: hashlib.sha256(repr(found).encode()).hexdigest() for table, found in rows.items()}


@pytest.mark.slow
def test_marts_are_equal_in_new_york_kolkata_and_utc(postgres: dict[str, str], dbt_target: Path) -> None:
    expected = marts_of(postgres, dbt_target, None)
    for timezone in ("America/New_York", "Asia/Kolkata"):
        assert marts_of(postgres, dbt_target, timezone) == expected, timezone
