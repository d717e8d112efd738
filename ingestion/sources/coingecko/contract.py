"""The contract of CoinGecko market snapshots: columns, and the amounts that cannot be negative."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import pyarrow as pa

from ingestion.arrow import UTC_US
from ingestion.datasets import Column, decimal_column
from ingestion.validation import Rule, not_negative

COINGECKO_OPENED = date(2014, 4, 8)
_NUMBERS = (
    "current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h",
    "price_change_24h", "price_change_percentage_24h", "market_cap_change_24h", "market_cap_change_percentage_24h",
    "circulating_supply", "total_supply", "max_supply", "ath", "ath_change_percentage", "atl", "atl_change_percentage",
    "price_change_percentage_1h_in_currency", "price_change_percentage_24h_in_currency",
    "price_change_percentage_7d_in_currency",
)  # fmt: skip
AMOUNTS = (
    "current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h",
    "circulating_supply", "total_supply", "max_supply", "ath", "atl",
)  # fmt: skip
COLUMNS = (
    Column("crypto_id", pa.string(), "text"),
    Column("snapshot_at", UTC_US, "timestamptz"),
    Column("symbol", pa.string(), "text"),
    Column("name", pa.string(), "text"),
    Column("image", pa.string(), "text", required=False),
    Column("market_cap_rank", pa.int64(), "integer", required=False),
    *(decimal_column(name, required=False) for name in _NUMBERS),
    Column("ath_date", UTC_US, "timestamptz", required=False),
    Column("atl_date", UTC_US, "timestamptz", required=False),
    Column("last_updated", UTC_US, "timestamptz", required=False),
    Column("payload", pa.string(), "jsonb"),
)


def rules(now: datetime) -> Sequence[Rule]:
    """Return the rules of a row; the parser has already set amounts below 0 to null."""
    return [not_negative(name) for name in AMOUNTS]
