"""The dataset of CoinGecko market snapshots: columns, grain, object keys and the contract of a record."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    pass
from ingestion.arrow import UTC_US
from ingestion.datasets import Column, Dataset, _decimal_column
from ingestion.validation import Rule, _not_negative

COINGECKO_OPENED = date(2014, 4, 8)
_MARKET_NUMBERS = (
    "current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h",
    "price_change_24h", "price_change_percentage_24h", "market_cap_change_24h", "market_cap_change_percentage_24h",
    "circulating_supply", "total_supply", "max_supply", "ath", "ath_change_percentage", "atl", "atl_change_percentage",
    "price_change_percentage_1h_in_currency", "price_change_percentage_24h_in_currency",
    "price_change_percentage_7d_in_currency",
)  # fmt: skip
MARKETS = Dataset(
    name="coingecko_markets",
    source="CoinGecko",
    sla_seconds=lambda settings: 2 * 60 * settings.markets_every_minutes,
    prefix="coingecko/markets",
    key=("crypto_id", "snapshot_at"),
    columns=(
        Column("crypto_id", pa.string(), "text"),
        Column("snapshot_at", UTC_US, "timestamptz"),
        Column("symbol", pa.string(), "text"),
        Column("name", pa.string(), "text"),
        Column("image", pa.string(), "text", required=False),
        Column("market_cap_rank", pa.int64(), "integer", required=False),
        *(_decimal_column(name, required=False) for name in _MARKET_NUMBERS),
        Column("ath_date", UTC_US, "timestamptz", required=False),
        Column("atl_date", UTC_US, "timestamptz", required=False),
        Column("last_updated", UTC_US, "timestamptz", required=False),
        Column("payload", pa.string(), "jsonb"),
    ),
)


def markets_key(snapshot_at: datetime) -> str:
    """Return the key of one sweep over the market list."""
    return f"{MARKETS.prefix}/date={snapshot_at:%Y-%m-%d}/{snapshot_at:%H%M%S}Z.parquet"


MARKET_AMOUNTS = (
    "current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h",
    "circulating_supply", "total_supply", "max_supply", "ath", "atl",
)  # fmt: skip
MARKET_RULES: tuple[Rule, ...] = tuple(_not_negative(name) for name in MARKET_AMOUNTS)
