"""Reads the tracked assets from one CSV file and validates all of it before anything is fetched.

Belongs here: the file's format and consistency. Does not: what the exchange reports about a symbol.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date
from pathlib import Path

REQUIRED = ("crypto_id", "binance_symbol", "name", "category")
OPTIONAL = ("valid_from", "valid_to")


class UniverseError(ValueError):
    """A universe file that cannot be used; the message is one line: file, line, value, fix."""


@dataclass(frozen=True)
class Asset:
    """One row of the universe: an asset under the symbol it trades by in [valid_from, valid_to)."""

    crypto_id: str
    binance_symbol: str
    name: str
    category: str
    valid_from: date | None = None
    valid_to: date | None = None

    def trades_in(self, start: date, end: date) -> bool:
        """Return whether the half-open range of days touches the row's validity."""
        return (self.valid_from is None or self.valid_from < end) and (self.valid_to is None or start < self.valid_to)


def read_universe(path: Path) -> list[Asset]:
    """Read the assets from ``path``; raise UniverseError naming file, line and value when one is malformed.

    A renamed asset has one row per symbol with validity ranges that do not overlap. ``binance_symbol`` may be empty for
    an asset that Binance does not list.
    """
    lines = _lines(path)
    header = lines[0][1] if lines else []
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in REQUIRED + OPTIONAL or header.count(name) > 1]
    if missing or unknown:
        wrong = (
            f"column {missing[0]!r} is missing" if missing else f"column {unknown[0]!r} is not known, or twice there"
        )
        raise UniverseError(f"{path}:1: {wrong}; the header is {','.join(REQUIRED)}[,{','.join(OPTIONAL)}]")
    assets: list[Asset] = []
    for number, cells in lines[1:]:
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise UniverseError(
                f"{path}:{number}: {len(cells)} cells where the header has {len(header)}: {','.join(cells)[:80]!r}"
            )
        assets.append(_asset(dict(zip(header, cells, strict=True)), f"{path}:{number}"))
        _reject_conflict(assets, f"{path}:{number}")
    if not assets:
        raise UniverseError(f"{path}: lists no assets; add at least one row below the header")
    return assets


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the file's rows of trimmed cells, each with the number of the line on which it ends."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UniverseError(f"{path}: no such file; TICKMART_UNIVERSE must name a CSV file") from None
    except (OSError, ValueError) as error:
        raise UniverseError(f"{path}: cannot be read ({error}); it must be a UTF-8 CSV file") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(rows.line_num, [cell.strip() for cell in cells]) for cells in rows]
    except csv.Error as error:
        raise UniverseError(f"{path}:{rows.line_num}: no CSV ({error}); look for a stray quotation mark") from None


def _asset(row: dict[str, str], where: str) -> Asset:
    crypto_id, symbol = row["crypto_id"], row["binance_symbol"]
    if (
        not crypto_id
        or any(c.isspace() or not c.isprintable() or c in ",/" for c in crypto_id)
        or crypto_id != crypto_id.lower()
    ):
        raise UniverseError(f"{where}: crypto_id {crypto_id!r} is not a CoinGecko id (lower case, such as 'bitcoin')")
    # Binance lists symbols in other scripts since 2025, so only characters that break a URL or a file are rejected.
    if any(c.isspace() or not c.isprintable() or c in "/\\?#%&" for c in symbol) or symbol != symbol.upper():
        raise UniverseError(f"{where}: binance_symbol {symbol!r} is not a symbol (upper case, such as 'BTCUSDT')")
    for column in ("name", "category"):
        if not row[column].isprintable() or (column == "name" and not row[column]):
            raise UniverseError(f"{where}: {column} {row[column]!r} of {crypto_id!r} is empty, or no text in one line")
    days: dict[str, date | None] = {}
    for column in OPTIONAL:
        value = row.get(column, "")
        try:
            days[column] = date.fromisoformat(value) if value else None
        except ValueError:
            raise UniverseError(f"{where}: {column} {value!r} is not a date (YYYY-MM-DD)") from None
    start, end = days["valid_from"], days["valid_to"]
    if start and end and start >= end:
        raise UniverseError(f"{where}: valid_from {start} is not before valid_to {end}")
    return Asset(crypto_id, symbol, row["name"], row["category"], start, end)


def _reject_conflict(assets: list[Asset], where: str) -> None:
    new = assets[-1]
    for old in assets[:-1]:
        same_time = new.trades_in(old.valid_from or date.min, old.valid_to or date.max)
        if (
            new.binance_symbol
            and old.binance_symbol == new.binance_symbol
            and (same_time or old.crypto_id == new.crypto_id)
        ):
            raise UniverseError(f"{where}: binance_symbol {new.binance_symbol!r} appears twice; keep one row for it")
        if old.crypto_id == new.crypto_id and same_time:
            raise UniverseError(
                f"{where}: crypto_id {new.crypto_id!r} appears twice for the same days; "
                "give the rows valid_from and valid_to that do not overlap"
            )
