"""The dataset of Binance klines: columns, grain, object keys and the contract of a record."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    pass
from ingestion.arrow import UTC_US
from ingestion.datasets import HOUR_S, Column, Dataset, _decimal_column
from ingestion.validation import Rule, _above, _not_negative, _positive

INTERVAL_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000}
BINANCE_OPENED = date(2017, 8, 17)  # the first bar of BTCUSDT
KLINES = Dataset(
    name="binance_klines",
    source="Binance",
    sla_seconds=lambda _: 2 * HOUR_S,
    other_assets=("ops/gaps",),
    prefix="binance/klines",
    key=("symbol", "interval", "open_time"),
    columns=(
        Column("symbol", pa.string(), "text"),
        Column("interval", pa.string(), "text"),
        Column("open_time", UTC_US, "timestamptz"),
        *(_decimal_column(name) for name in ("open", "high", "low", "close", "volume")),
        Column("close_time", UTC_US, "timestamptz"),
        _decimal_column("quote_volume"),
        Column("trade_count", pa.int64(), "bigint"),
        _decimal_column("taker_buy_base_volume"),
        _decimal_column("taker_buy_quote_volume"),
    ),
    # The twelfth field is documented as unused; it and anything behind it are kept as they were sent.
    bronze_only=(("extra", pa.string()),),
    parts=("interval", tuple(INTERVAL_MS)),
)


def klines_key(interval: str, day: date) -> str:
    """Return the key of the object that holds one UTC day of bars of every symbol."""
    return f"{KLINES.prefix}/interval={interval}/date={day.isoformat()}/bars.parquet"


def klines_day(key: str) -> tuple[str, date] | None:
    """Return the interval and the UTC day of the object under a key of ``klines_key``; None for another key."""
    named = re.fullmatch(rf"{KLINES.prefix}/interval=(\w+)/date=(\d{{4}}-\d\d-\d\d)/bars\.parquet", key)
    return (named[1], date.fromisoformat(named[2])) if named else None


def _longer_than_interval(table: pa.Table) -> Any:
    """Tell which bars end after their interval: those of a coarser one, in a file or answer of the wrong kind."""
    names = table["interval"].combine_chunks().dictionary_encode()
    steps = pa.array([1000 * INTERVAL_MS[name] for name in names.dictionary.to_pylist()], pa.int64())
    span = pc.subtract(table["close_time"].cast(pa.int64()), table["open_time"].cast(pa.int64()))
    return pc.greater_equal(span, steps.take(names.indices))


KLINE_RULES: tuple[Rule, ...] = (
    *(_positive(name) for name in ("open", "high", "low", "close")),
    *(_not_negative(n) for n in ("volume", "quote_volume", "trade_count")),
    *(_not_negative(n) for n in ("taker_buy_base_volume", "taker_buy_quote_volume")),
    *(_above(name, "high") for name in ("low", "open", "close")),
    *(_above("low", name) for name in ("open", "close")),
    _above("taker_buy_base_volume", "volume"),
    _above("taker_buy_quote_volume", "quote_volume"),
    ("close_time is not after open_time", lambda t: pc.less_equal(t["close_time"], t["open_time"])),
    ("close_time is after the bar's interval", _longer_than_interval),
)
