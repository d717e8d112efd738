"""Rows of the on-chain models' tests: series in raw.onchain_daily, and bitcoin's days beside them.

Belongs here: rows and their loads. Does not: dbt, comparisons.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from dbt_warehouse import Warehouse

RAW_COLUMNS = ("source", "asset", "metric", "date", "value", "source_url", "fetched_at", "loaded_at", "batch_id")
DAILY_COLUMNS = (
    "crypto_id", "date", "close", "quote_volume", "trade_count", "bar_count", "loaded_at", "series_version",
)  # fmt: skip
METRICS = {
    "TxCnt": "coinmetrics",
    "FeeTotNtv": "coinmetrics",
    "n-transactions": "blockchain",
    "estimated-transaction-volume-usd": "blockchain",
}
FIRST = date(2019, 1, 1)
WEEKLY_CYCLE = np.array([1.3, 1.2, 1.1, 1.1, 1.0, 0.7, 0.6])


def series(days: int, seed: int) -> np.ndarray:
    """Positive values of a slow random walk with a weekly cycle; every value is a whole number, and some are equal."""
    noise = np.random.default_rng(seed)
    level = np.exp(np.cumsum(noise.normal(0, 0.05, days)) + noise.normal(0, 0.1, days))
    return np.ceil(50 * level * np.resize(WEEKLY_CYCLE, days))


class OnchainLoads:
    """Loads series into raw and bitcoin's days into the daily model's table. Each load has its own load time."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.now = datetime(2025, 1, 1, tzinfo=UTC)

    def chain(self, metric: str, values: Iterable[tuple[int, object]]) -> None:
        """Insert values of a metric by day number, or replace those with the same key."""
        self.now += timedelta(minutes=1)
        rows = [
            (METRICS[metric], "btc", metric, FIRST + timedelta(days=day), value, "test", self.now, self.now, "test")
            for day, value in values
        ]
        key = "source, asset, metric, date"
        changes = "value = excluded.value, loaded_at = excluded.loaded_at"
        self._upsert("raw.onchain_daily", RAW_COLUMNS, rows, key, changes)

    def market(self, days: Iterable[tuple[int, int, float, int]], version: int = 1) -> None:
        """Insert or replace days of bitcoin: day number, trades, volume, number of hourly bars."""
        self.now += timedelta(minutes=1)
        rows = [
            ("bitcoin", FIRST + timedelta(days=day), 100, volume, trades, bars, self.now, version)
            for day, trades, volume, bars in days
        ]
        changes = ", ".join(f"{column} = excluded.{column}" for column in DAILY_COLUMNS[2:])
        self._upsert("intermediate.int_crypto_daily", DAILY_COLUMNS, rows, "crypto_id, date", changes)

    def _upsert(self, table: str, columns: tuple[str, ...], rows: list[Any], key: str, changes: str) -> None:
        names = ", ".join(columns)
        self.warehouse.execute(f"drop table if exists public.arriving; create table public.arriving (like {table})")
        self.warehouse.copy("public.arriving", columns, rows)
        self.warehouse.execute(
            f"insert into {table} ({names}) select {names} from public.arriving"
            f" on conflict ({key}) do update set {changes}"
        )

    def empty(self) -> None:
        """Remove all rows, and everything that dbt built from them."""
        self.warehouse.execute(
            "truncate raw.onchain_daily, intermediate.int_crypto_daily; drop table if exists"
            " intermediate.int_onchain_daily, intermediate.int_onchain_changes, intermediate.int_onchain_correlations,"
            " marts.fct_onchain_lead_lag, marts.fct_onchain_market_daily"
        )
