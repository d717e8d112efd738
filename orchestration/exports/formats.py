"""Writes bars as Parquet, CSV, Feather and freqtrade's Feather. Knows no database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq

from ingestion.settings import SettingsError
from orchestration.exports.bars import BAR, Coin
from orchestration.exports.reading import Numbers

# Binance ends the name of a pair with the currency of its prices.
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "DAI", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY")
_ROW_GROUP = 8_760  # a year of hours: a reader of one coin skips all others, one of a month reads a year


class Writer(Protocol):
    """Writes the bars of coins into a folder."""

    def add(self, file: str, coin: Coin, bars: pa.Table) -> None:
        """Write a coin's bars to the file that the format names for it."""

    def close(self) -> None:
        """Finish the files."""


@dataclass(frozen=True)
class Format:
    """A file format: how numbers are read, whether metrics go along, a coin's file by interval, and its writer."""

    numbers: Numbers
    metrics: bool
    file_name: Callable[[Coin, str], str]
    writer: Callable[[Path], Writer]


class UnknownQuoteError(SettingsError):
    """A pair whose quote currency freqtrade's file name needs and tickmart does not know."""


def freqtrade_pair(symbol: str) -> str:
    """Return freqtrade's name of a pair in file names: BTC_USDT for BTCUSDT."""
    for quote in _QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return f"{symbol.removesuffix(quote)}_{quote}"
    raise UnknownQuoteError(
        f"{symbol}: its quote currency is none of {', '.join(_QUOTES)}, so freqtrade has no name for it"
    )


def write_csv(bars: pa.Table, path: Path) -> None:
    """Write CSV: header in line 1, ISO 8601 times, numbers as Postgres writes them, missing values empty."""
    opened = pc.strftime(bars["opened_at"], "%Y-%m-%dT%H:%M:%SZ")
    # strftime has fractions of a second, which are zero: bars open at full hours
    opened = pc.replace_substring_regex(opened, r"\.0+Z$", "Z")
    pa.csv.write_csv(
        bars.set_column(0, "opened_at", opened),
        path,
        pa.csv.WriteOptions(quoting_style="none", quoting_header="none"),
    )


def write_feather(bars: pa.Table, path: Path) -> None:
    """Write Feather with doubles."""
    pa.feather.write_feather(bars, str(path), compression="lz4", chunksize=bars.num_rows or None)


def write_freqtrade(bars: pa.Table, path: Path) -> None:
    """Write Feather with the columns, types and name that freqtrade reads (freqtrade/data/history/datahandlers)."""
    columns = {"date": bars["opened_at"].cast(pa.timestamp("ms", "UTC"))}
    columns |= {name: bars[name].cast(pa.float64()) for name in BAR[1:6]}
    write_feather(pa.table(columns), path)


class FilePerCoin:
    """One file for each coin."""

    def __init__(self, write: Callable[[pa.Table, Path], None], folder: Path) -> None:
        self._write, self._folder = write, folder

    def add(self, file: str, coin: Coin, bars: pa.Table) -> None:
        """Write a coin's file."""
        self._write(bars, self._folder / file)

    def close(self) -> None:
        """Do nothing: each file is finished."""


class ParquetFile:
    """One Parquet file for all coins, sorted by coin and time; a coin begins a new row group."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None

    def add(self, file: str, coin: Coin, bars: pa.Table) -> None:
        """Append a coin's bars."""
        table = bars.add_column(0, "crypto_id", pa.array([coin.crypto_id] * bars.num_rows, pa.string()))
        if self._writer is None:
            path = self._folder / file
            # Prices hardly repeat: without dictionaries, writing takes half the time and the file is a fifth smaller.
            self._writer = pq.ParquetWriter(
                path, table.schema, compression="zstd", write_page_index=True, use_dictionary=["crypto_id"]
            )
        self._writer.write_table(table, row_group_size=_ROW_GROUP)

    def close(self) -> None:
        """Write the footer."""
        if self._writer:
            self._writer.close()


def _per_coin(ending: str) -> Callable[[Coin, str], str]:
    return lambda coin, interval: f"{coin.crypto_id}-{interval}.{ending}"


FORMATS = {
    "parquet": Format("double", True, lambda _, interval: f"bars-{interval}.parquet", ParquetFile),
    "csv": Format("text", True, _per_coin("csv"), partial(FilePerCoin, write_csv)),
    "pandas-feather": Format("double", False, _per_coin("feather"), partial(FilePerCoin, write_feather)),
    "freqtrade": Format(
        "double", False, lambda coin, interval: f"{freqtrade_pair(coin.binance_symbol)}-{interval}.feather",
        partial(FilePerCoin, write_freqtrade),
    ),
}  # fmt: skip
