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
    Column("symbol", pa.string(), "text", "Trading pair, as BTCUSDT."),
    Column("interval", pa.string(), "text", "Length of the bar: 1m, 5m, 15m, 1h, 4h or 1d."),
    Column("open_time", UTC_US, "timestamptz", "Start of the bar."),
    decimal_column("open", "Price of the first trade, in the quote currency."),
    decimal_column("high", "Highest price, in the quote currency."),
    decimal_column("low", "Lowest price, in the quote currency."),
    decimal_column("close", "Price of the last trade, in the quote currency."),
    decimal_column("volume", "Traded amount, in the base currency."),
    Column("close_time", UTC_US, "timestamptz", "Last moment of the bar."),
    decimal_column("quote_volume", "Traded amount, in the quote currency."),
    Column("trade_count", pa.int64(), "bigint", "Number of trades."),
    decimal_column("taker_buy_base_volume", "Amount that takers bought, in the base currency."),
    decimal_column("taker_buy_quote_volume", "Amount that takers bought, in the quote currency."),
)
# The twelfth field is documented as unused. It and any further fields are stored as they were sent.
BRONZE_ONLY = (("extra", pa.string(), "The twelfth and any further fields, as the source sent them."),)


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
