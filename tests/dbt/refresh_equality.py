"""Loads into raw, and the comparison of incremental models with a full refresh.

Belongs here: what several test modules need to prove that incremental equals full. Does not: markets, test cases.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from dbt_warehouse import Warehouse
from small_markets import KLINE_COLUMNS, UNIVERSE_COLUMNS, Bar, universe_rows

TABLES = (
    "intermediate.int_crypto_hourly",
    "intermediate.int_crypto_daily",
    "intermediate.int_volatility_calc",
    "marts.fct_prices",
    "marts.fct_daily_summary",
    "marts.fct_correlations_daily",
    "marts.fct_candles",
)
# The tables and what they read, without staging, whose views never change.
MODELS = ("int_asset_watermarks", "int_day_watermarks", *(table.partition(".")[2] for table in TABLES))


class RawLoads:
    """Loads bars into raw. Each load has its own load time, as those of the loader have."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.now = datetime(2024, 1, 1, tzinfo=UTC)

    def load(self, bars: list[Bar]) -> None:
        """Insert the bars, or replace those with the same key."""
        self.now += timedelta(minutes=1)
        self.warehouse.execute("create table if not exists raw.arriving (like raw.binance_klines)")
        self.warehouse.copy("raw.arriving", KLINE_COLUMNS, [bar.row(self.now) for bar in bars])
        assignments = ", ".join(f"{column} = excluded.{column}" for column in KLINE_COLUMNS[3:])
        self.warehouse.execute(
            "insert into raw.binance_klines select * from raw.arriving on conflict (symbol, interval, open_time) "
            f"do update set {assignments}; drop table raw.arriving"
        )

    def set_universe(self, rows: Sequence[tuple[str, str, str | None, str | None]]) -> None:
        """Replace the universe."""
        self.warehouse.execute("truncate raw.universe")
        self.warehouse.copy("raw.universe", UNIVERSE_COLUMNS, universe_rows(rows))


def corrected(bar: Bar) -> Bar:
    """The bar with another close, as an exchange restates it."""
    close = (bar.low + (bar.high - bar.low) / 3).quantize(Decimal("0.00000001"))
    return Bar(bar.symbol, bar.opened_at, bar.open, bar.high, bar.low, close, bar.volume, bar.quote_volume, 1)


def empty(warehouse: Warehouse) -> None:
    """Remove all bars and everything that dbt built but staging."""
    warehouse.execute(
        "truncate raw.binance_klines, raw.universe;"
        "drop schema intermediate, marts cascade;"
        "create schema intermediate authorization transform; create schema marts authorization transform;"
        "grant usage on schema marts to dashboard_ro"
    )


def differences(warehouse: Warehouse, tables: Sequence[str] = TABLES) -> dict[str, int]:
    """By table, the number of rows that only the table or only its copy in the schema `incremental` has."""
    found = {}
    for table in tables:
        copy = f"incremental.{table.partition('.')[2]}"
        [(count,)] = warehouse.query(
            f"select count(*) from ((table {table} except all table {copy}) union all"
            f" (table {copy} except all table {table})) as differing"
        )
        found[table] = count
    return found


def assert_full_refresh_changes_nothing(warehouse: Warehouse) -> None:
    """Copy the tables, rebuild them and what they read, compare row for row."""
    warehouse.execute("drop schema if exists incremental cascade; create schema incremental")
    for table in TABLES:
        warehouse.execute(f"create table incremental.{table.partition('.')[2]} as table {table}")
    warehouse.run("--full-refresh", "--select", *MODELS)
    assert differences(warehouse) == dict.fromkeys(TABLES, 0)
