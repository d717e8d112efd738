"""The contract of Binance klines: columns, intervals and the rules that a bar must satisfy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US
from ingestion.datasets import Column, decimal_column, midnight
from ingestion.validation import Rule, not_above, not_negative, positive, within

DAY_MS = 86_400_000
INTERVAL_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "4h": 14_400_000, "1d": DAY_MS}
BINANCE_OPENED = date(2017, 8, 17)  # the first bar of BTCUSDT
COLUMNS = (
    Column("symbol", pa.string(), "text"),
    Column("interval", pa.string(), "text"),
    Column("open_time", UTC_US, "timestamptz"),
    *(decimal_column(name) for name in ("open", "high", "low", "close", "volume")),
    Column("close_time", UTC_US, "timestamptz"),
    decimal_column("quote_volume"),
    Column("trade_count", pa.int64(), "bigint"),
    decimal_column("taker_buy_base_volume"),
    decimal_column("taker_buy_quote_volume"),
)
# The twelfth field is documented as unused. It and any further fields are stored as they were sent.
BRONZE_ONLY = (("extra", pa.string()),)


def bars_per_day(interval: str) -> int:
    """Return how many bars of an interval a UTC day has."""
    return DAY_MS // INTERVAL_MS[interval]


def _longer_than_interval(table: pa.Table) -> Any:
    """Mark bars that end after their interval: bars of a longer interval, in a file or response of the wrong kind."""
    names = table["interval"].combine_chunks().dictionary_encode()
    steps = pa.array([1000 * INTERVAL_MS[name] for name in names.dictionary.to_pylist()], pa.int64())
    span = pc.subtract(table["close_time"].cast(pa.int64()), table["open_time"].cast(pa.int64()))
    return pc.greater_equal(span, steps.take(names.indices))


BAR_RULES: tuple[Rule, ...] = (
    *(positive(name) for name in ("open", "high", "low", "close")),
    *(not_negative(n) for n in ("volume", "quote_volume", "trade_count")),
    *(not_negative(n) for n in ("taker_buy_base_volume", "taker_buy_quote_volume")),
    *(not_above(name, "high") for name in ("low", "open", "close")),
    *(not_above("low", name) for name in ("open", "close")),
    not_above("taker_buy_base_volume", "volume"),
    not_above("taker_buy_quote_volume", "quote_volume"),
    ("close_time is not after open_time", lambda t: pc.less_equal(t["close_time"], t["open_time"])),
    ("close_time is after the bar's interval", _longer_than_interval),
)


def rules(now: datetime) -> Sequence[Rule]:
    """Return the rules for bars that are fetched at ``now``."""
    return [*BAR_RULES, within("open_time", midnight(BINANCE_OPENED), now)]
