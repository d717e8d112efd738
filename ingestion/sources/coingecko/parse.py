"""The columns and rules of a CoinGecko market snapshot, and its parser: JSON into Arrow columns, record by record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ingestion.arrow import DECIMAL, UTC_US, decimals, exact, read_json
from ingestion.datasets import Column, Page, decimal_column, midnight, page_schema
from ingestion.text import plain
from ingestion.validation import Rejected, Rule, not_negative, parse_each

_NUMBERS = {
    "current_price": "Price in USD.",
    "market_cap": "Market capitalization in USD.",
    "fully_diluted_valuation": "Price times the maximum or total supply, in USD.",
    "total_volume": "Volume of the last 24 hours in USD, over all exchanges.",
    "high_24h": "Highest price of the last 24 hours in USD.",
    "low_24h": "Lowest price of the last 24 hours in USD.",
    "price_change_24h": "Change of the price over 24 hours in USD.",
    "price_change_percentage_24h": "Change of the price over 24 hours in percent.",
    "market_cap_change_24h": "Change of the market capitalization over 24 hours in USD.",
    "market_cap_change_percentage_24h": "Change of the market capitalization over 24 hours in percent.",
    "circulating_supply": "Coins in circulation.",
    "total_supply": "Coins that exist, less those burned.",
    "max_supply": "Coins that can ever exist.",
    "ath": "All-time high of the price in USD.",
    "ath_change_percentage": "Distance of the price from its all-time high in percent.",
    "atl": "All-time low of the price in USD.",
    "atl_change_percentage": "Distance of the price from its all-time low in percent.",
    "price_change_percentage_1h_in_currency": "Change of the price over 1 hour in percent.",
    "price_change_percentage_24h_in_currency": "Change of the price over 24 hours in percent.",
    "price_change_percentage_7d_in_currency": "Change of the price over 7 days in percent.",
}
AMOUNTS = (
    "current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h",
    "circulating_supply", "total_supply", "max_supply", "ath", "atl",
)  # fmt: skip
COLUMNS = (
    Column("crypto_id", pa.string(), "text", "CoinGecko's id of the coin."),
    Column("snapshot_at", UTC_US, "timestamptz", "When the snapshot was taken."),
    Column("symbol", pa.string(), "text", "Ticker; several coins may share one."),
    Column("name", pa.string(), "text", "Name of the coin."),
    Column("image", pa.string(), "text", "Address of the logo.", required=False),
    Column("market_cap_rank", pa.int64(), "integer", "Rank by market capitalization.", required=False),
    *(decimal_column(name, description, required=False) for name, description in _NUMBERS.items()),
    Column("ath_date", UTC_US, "timestamptz", "When the price was at its all-time high.", required=False),
    Column("atl_date", UTC_US, "timestamptz", "When the price was at its all-time low.", required=False),
    Column("last_updated", UTC_US, "timestamptz", "When CoinGecko last updated the coin.", required=False),
    Column("payload", pa.string(), "jsonb", "The record as JSON, as the source sent it."),
)
_OPENED = midnight(date(2014, 4, 8))
# Known fields without a column: the payload has them.
ONLY_IN_PAYLOAD = ("roi", "market_cap_rank_with_rehypothecated")


def rules(now: datetime) -> Sequence[Rule]:
    """Return the rules of a row; the parser has already set amounts below 0 to null."""
    return [not_negative(name) for name in AMOUNTS]


def parse_markets(
    body: bytes, url: str, snapshot_at: datetime, fetched_at: datetime
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Parse one page into rows; a coin without its identity is rejected alone.

    An optional value that does not fit its column becomes null and is returned in the row's ``unfit``, by its name.
    ValueError when the body is not a list, so that it is requested again.
    """

    def parse(text: str) -> dict[str, Any]:
        of_fetch = {"snapshot_at": snapshot_at, "payload": text, "source_url": url, "fetched_at": fetched_at}
        return _coin(read_json(text), snapshot_at) | of_fetch

    return parse_each(_objects(body.decode("utf-8")), parse, str)


def read_coins(body: bytes, url: str, snapshot_at: datetime, fetched_at: datetime) -> Page:
    """Parse one page into a table of the dataset's bronze columns (without ``batch_id``)."""
    good, rejected = parse_markets(body, url, snapshot_at, fetched_at)
    return Page(to_table(good), tuple(rejected))


def unknown_fields(payloads: Iterable[str]) -> dict[str, str]:
    """Return, by name, an example of each field that is neither a column nor one of ``ONLY_IN_PAYLOAD``."""
    known = {c.name for c in COLUMNS} | {"id", *ONLY_IN_PAYLOAD}
    found: dict[str, str] = {}
    for payload in payloads:
        for name, value in read_json(payload).items():
            if name not in known and name not in found:
                found[name] = json.dumps(value, default=plain)
    return found


def _objects(text: str) -> Iterator[str]:
    """Yield each element of a JSON array exactly as it was sent."""
    decoder = json.JSONDecoder()
    at = _skip_space(text, 0)
    if text[at : at + 1] != "[":
        raise ValueError("not a list of coins")
    at = _skip_space(text, at + 1)
    while text[at : at + 1] != "]":
        try:
            _, end = decoder.raw_decode(text, at)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        yield text[at:end]
        at = _skip_space(text, end)
        if text[at : at + 1] == ",":
            at = _skip_space(text, at + 1)
        elif text[at : at + 1] != "]":
            raise ValueError(f"cut at character {at}")


def _skip_space(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _coin(entry: Any, snapshot_at: datetime) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError(f"a {type(entry).__name__} instead of an object")
    row: dict[str, Any] = {}
    for source, name in (("id", "crypto_id"), ("symbol", "symbol"), ("name", "name")):
        if not isinstance(entry[source], str) or not entry[source]:
            raise ValueError(f"{source} is {entry[source]!r}, not text")
        row[name] = entry[source]
    row["unfit"] = {}
    for column in COLUMNS:
        if column.name in row or column.name in ("snapshot_at", "payload"):
            continue
        value = entry.get(column.name)
        try:
            row[column.name] = None if value is None else _typed(column.name, column.arrow, value, snapshot_at)
        except (ValueError, OverflowError):
            row[column.name], row["unfit"][column.name] = None, str(value)[:60]
    return row


def _typed(name: str, kind: pa.DataType, value: Any, snapshot_at: datetime) -> Any:
    """Convert ``value`` to the column's type; ValueError or OverflowError when it does not fit."""
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    if kind == DECIMAL and is_number and not (name in AMOUNTS and value < 0):
        return format(exact(str(value)), "f")
    # Ranks are stored as a Postgres integer.
    if kind == pa.int64() and is_number and 0 < value < 2**31 and value == int(value):
        return int(value)
    if kind == pa.string() and isinstance(value, str):
        return value
    if kind == UTC_US and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        # Without an offset it is UTC, whatever the time zone of this machine.
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        # A coin may have been updated a moment after the snapshot began, and by a clock of its own.
        if name != "last_updated" or _OPENED <= moment <= snapshot_at + timedelta(days=1):
            return moment
    raise ValueError(f"{name} is {str(value)[:60]!r}, which is not {kind}")


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return parsed rows as a table of bronze columns (without ``batch_id``)."""
    columns = {}
    for field in page_schema(COLUMNS):
        values = [row[field.name] for row in rows]
        columns[field.name] = (
            decimals(pa.array(values, pa.string())) if field.type == DECIMAL else pa.array(values, field.type)
        )
    return pa.table(columns)
