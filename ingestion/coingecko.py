"""CoinGecko's market list: a sweep over the universe's ids and the top coins by market cap.

Belongs here: requests, paging and parsing. Facts: https://docs.coingecko.com/reference/coins-markets (up to 250 a page;
anything but id, symbol, name may be null, and what does not fit its column is made null; ranks move between pages, so a
coin can come twice or not at all; the key travels in a header). Numbers are JSON numbers of any form: they are read as
decimals, never as floats.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.datasets import (
    COINGECKO_OPENED,
    DECIMAL,
    MARKET_AMOUNTS,
    MARKETS,
    UTC_US,
    Page,
    Rejected,
    decimals,
    exact,
    read_json,
)
from ingestion.http import Answer, HttpClient
from ingestion.text import plain

PER_PAGE = 250
TOP = 250
# Ids travel in the URL, which proxies cut at about 8 kB; the longest ids have some 50 characters.
IDS_PER_REQUEST = 120
# Tracked coins are updated every minute or so; the record of a retired id stands still for good.
QUIET_FOR = timedelta(days=1)
# Fields that have a meaning but no column: the payload keeps them.
ONLY_IN_PAYLOAD = ("roi", "market_cap_rank_with_rehypothecated")


@dataclass(frozen=True)
class Sweep(Page):
    """One pass over the market list: how many coins it showed twice (``repeated``), how many of the top not at all.

    ``unfit`` names, by field, the coins whose value does not fit the column and is null there, with that value.
    """

    repeated: int = 0
    missing_from_top: int = 0
    unfit: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)


def sweep(client: HttpClient, ids: Sequence[str], snapshot_at: datetime) -> Sweep:
    """Return one snapshot of the universe and the top 250; a coin that CoinGecko does not know is just not in it.

    The table has MARKETS' bronze columns (without ``batch_id``), one row per coin: of a coin that came twice the row
    updated last is kept. Top pages that were full and still brought too few coins, because some changed places between
    two requests, are asked for once more, and so are ids that one answer lacks.
    """
    rows: dict[str, dict[str, Any]] = {}
    rejected: list[Rejected] = []

    def ask(**which: str | int) -> tuple[list[str], int]:
        """Take one page over; return its coins, and how many of its records cannot be read."""

        def parse(answer: Answer) -> tuple[list[dict[str, Any]], list[Rejected]]:
            good, refused = parse_markets(answer.body, answer.url, snapshot_at, datetime.now(UTC))
            if not good and not refused and "ids" not in which:
                raise ValueError("its list of coins is empty")
            return good, refused

        params = {"vs_currency": "usd", "per_page": PER_PAGE, "price_change_percentage": "1h,24h,7d", **which}
        answer = client.get("/coins/markets", params, parse=parse)
        assert answer is not None
        for row in answer[0]:
            known = rows.get(row["crypto_id"])
            if known is None or (row["last_updated"] or snapshot_at) >= (known["last_updated"] or snapshot_at):
                rows[row["crypto_id"]] = row
        rejected.extend(answer[1])
        return [row["crypto_id"] for row in answer[0]], len(answer[1])

    top: set[str] = set()
    repeated = missing = 0
    for _ in range(2):
        came, refused, full = list[str](), 0, True
        for page in range(-(-TOP // PER_PAGE)):
            coins, unread = ask(order="market_cap_desc", page=page + 1)
            came += coins
            refused += unread
            full = len(coins) + unread >= PER_PAGE
            if not full:  # the list ends here
                break
        top |= set(came)
        repeated += len(came) - len(set(came))
        missing = max(0, TOP - len(top) - refused)
        if not missing or not full:
            break
    twice, unread = _ask_by_id(ask, ids)
    lacking = [coin for coin in ids if coin not in rows]
    if len(lacking) > unread:  # else each was answered, but cannot be read
        _ask_by_id(ask, lacking)
    repeated += twice
    return Sweep(_table(list(rows.values())), tuple(rejected), repeated, missing, _unfit(rows.values()))


def _unfit(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        for name, value in row["unfit"].items():
            found.setdefault(name, {})[row["crypto_id"]] = value
    return found


def _ask_by_id(ask: Callable[..., tuple[list[str], int]], ids: Sequence[str]) -> tuple[int, int]:
    """Request the records of ids; return how many came twice, and how many cannot be read."""
    twice = unread = 0
    for at in range(0, len(ids), IDS_PER_REQUEST):
        coins, refused = ask(ids=",".join(ids[at : at + IDS_PER_REQUEST]), page=1)
        twice += len(coins) - len(set(coins))
        unread += refused
    return twice, unread


def without_news(table: pa.Table) -> dict[str, str]:
    """Return the coins that are answered without a price, or with one that has not moved for a day, and since when.

    CoinGecko does not refuse a retired id. Age is counted from the newest update of the same sweep: this machine's
    clock does not matter.
    """
    newest = pc.max(table["last_updated"]).as_py()
    found: dict[str, str] = {}
    for coin, price, updated in zip(*(table[n].to_pylist() for n in _NEWS), strict=True):
        if not price:
            found[coin] = "without a price" + (f" since {updated:%Y-%m-%d}" if updated else "")
        elif updated is not None and updated < newest - QUIET_FOR:
            found[coin] = f"with a price that stands still since {updated:%Y-%m-%d %H:%M} UTC"
    return found


_NEWS = ("crypto_id", "current_price", "last_updated")


def parse_markets(
    body: bytes, url: str, snapshot_at: datetime, fetched_at: datetime
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Read one page into rows of MARKETS' columns; a coin without its identity is rejected alone.

    An optional value that does not fit its column is null, and stands under ``unfit`` in the row by its name.
    ValueError when the body is no list: it is asked for again.
    """
    good: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for text in _objects(body.decode("utf-8")):
        try:
            row = _coin(read_json(text), snapshot_at)
            good.append(
                {**row, "snapshot_at": snapshot_at, "payload": text, "source_url": url, "fetched_at": fetched_at}
            )
        except (ValueError, TypeError, KeyError, OverflowError) as problem:
            reason = f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)
            rejected.append(Rejected(text, reason))
    return good, rejected


def read_coins(body: bytes, url: str, snapshot_at: datetime, fetched_at: datetime) -> Page:
    """Read one page into a table of MARKETS' bronze columns (without ``batch_id``)."""
    good, rejected = parse_markets(body, url, snapshot_at, fetched_at)
    return Page(_table(good), tuple(rejected))


def unknown_fields(payloads: Iterable[str]) -> dict[str, str]:
    """Return, by name, an example of each field that is neither a column nor known to be left in the payload."""
    known = {c.name for c in MARKETS.columns} | {"id", *ONLY_IN_PAYLOAD}
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
    for column in MARKETS.columns:
        if column.name in row or column.name in ("snapshot_at", "payload"):
            continue
        value = entry.get(column.name)
        try:
            row[column.name] = None if value is None else _typed(column.name, column.arrow, value, snapshot_at)
        except (ValueError, OverflowError):
            row[column.name], row["unfit"][column.name] = None, str(value)[:60]
    return row


def _typed(name: str, kind: pa.DataType, value: Any, snapshot_at: datetime) -> Any:
    """Return ``value`` as the column's type wants it; ValueError or OverflowError when it does not fit."""
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    if kind == DECIMAL and is_number and not (name in MARKET_AMOUNTS and value < 0):
        return format(exact(str(value)), "f")
    # Ranks go into a Postgres integer.
    if kind == pa.int64() and is_number and 0 < value < 2**31 and value == int(value):
        return int(value)
    if kind == pa.string() and isinstance(value, str):
        return value
    if kind == UTC_US and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        # Without an offset it is UTC all the same, whatever the zone of this machine.
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        # A coin may have been updated a moment after the snapshot began, and by a clock of its own.
        if name != "last_updated" or _OPENED <= moment <= snapshot_at + timedelta(days=1):
            return moment
    raise ValueError(f"{name} is {str(value)[:60]!r}, which is not {kind}")


_OPENED = datetime(COINGECKO_OPENED.year, COINGECKO_OPENED.month, COINGECKO_OPENED.day, tzinfo=UTC)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {}
    for field in MARKETS.schema:
        if field.name == "batch_id":
            continue
        values = [row[field.name] for row in rows]
        columns[field.name] = (
            decimals(pa.array(values, pa.string())) if field.type == DECIMAL else pa.array(values, field.type)
        )
    return pa.table(columns)
