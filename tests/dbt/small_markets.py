"""Small markets to load into raw: recorded ones, random walks, and the rows that turn them into COPY input.

Belongs here: rows. Does not: dbt, comparisons.
"""

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

KLINE_COLUMNS = (
    "symbol", "interval", "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume",
    "trade_count", "taker_buy_base_volume", "taker_buy_quote_volume", "loaded_at", "batch_id",
)  # fmt: skip
RECORDED = {
    "BTCUSDT": "bitcoin",
    "ETHUSDT": "ethereum",
    "SOLUSDT": "solana",
    "XRPUSDT": "ripple",
    "DOGEUSDT": "dogecoin",
}
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Bar:
    """One hourly bar of a symbol; amounts are exact decimals as the exchange writes them."""

    symbol: str
    opened_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trade_count: int

    def row(self, loaded_at: datetime) -> tuple[Any, ...]:
        """The bar as a row of raw.binance_klines."""
        closed_at = self.opened_at + HOUR - timedelta(milliseconds=1)
        return (
            self.symbol, "1h", self.opened_at.isoformat(), self.open, self.high, self.low, self.close, self.volume,
            closed_at.isoformat(), self.quote_volume, self.trade_count, self.volume / 2, self.quote_volume / 2,
            loaded_at.isoformat(), "test",
        )  # fmt: skip


def random_walk(
    symbol: str, hours: Iterable[datetime], *, price: float, decimals: int, seed: int, idle: float = 0.02
) -> list[Bar]:
    """Bars of a random walk from `price`, rounded to `decimals`; a share `idle` of them has no trade."""
    generator = np.random.default_rng(seed)
    bars = []
    unit = Decimal(1).scaleb(-decimals)
    close = Decimal(str(price)).quantize(unit)
    for hour in hours:
        opened = close
        ends = [
            max(unit, (opened * Decimal(repr(float(x)))).quantize(unit)) for x in np.exp(generator.normal(0, 0.01, 3))
        ]
        close = opened if generator.random() < idle else ends[0]
        idle_now = close == opened and generator.random() < 0.5
        low, high = (opened, opened) if idle_now else (min(*ends, opened, close), max(*ends, opened, close))
        volume = Decimal(0) if idle_now else Decimal(repr(round(float(generator.lognormal(5, 1)), 3)))
        middle = (low + high) / 2
        bars.append(
            Bar(symbol, hour, opened, high, low, close, volume, volume * middle, 0 if idle_now else 1 + int(volume))
        )
    return bars


def hours_between(start: datetime, end: datetime) -> list[datetime]:
    """Every full hour in [start, end)."""
    return [start + HOUR * i for i in range(int((end - start) / HOUR))]


def recorded_bars(folder: Path, symbol: str, since: datetime, until: datetime) -> list[Bar]:
    """Recorded bars of a symbol that opened in [since, until); `folder` is the replay's data folder."""
    with gzip.open(folder / f"binance/klines/1h/{symbol}.json.gz", "rt") as file:
        rows = json.load(file)
    bars = []
    for row in rows:
        opened_at = datetime.fromtimestamp(row[0] / 1000, UTC)
        if since <= opened_at < until:
            prices = [Decimal(text) for text in row[1:6]]
            bars.append(Bar(symbol, opened_at, *prices, Decimal(row[7]), row[8]))
    return bars


def universe_rows(names: Sequence[tuple[str, str, str | None, str | None]]) -> list[tuple[Any, ...]]:
    """Rows of raw.universe from (crypto_id, binance_symbol, valid_from, valid_to)."""
    return [(crypto, symbol, crypto.title(), "test", start, end, "test") for crypto, symbol, start, end in names]


UNIVERSE_COLUMNS = ("crypto_id", "binance_symbol", "name", "category", "valid_from", "valid_to", "batch_id")
