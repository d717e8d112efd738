"""Requests snapshots of CoinGecko's market list: the universe's ids and the top coins by market cap.

Belongs here: requests and paging. Does not: parsing a coin (``parse``). Facts:
https://docs.coingecko.com/reference/coins-markets (up to 250 a page; all fields but id, symbol and name may be null;
ranks move between pages, so a coin can come twice or not at all; the key travels in a header).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.datasets import Page
from ingestion.sources.coingecko.parse import parse_markets, to_table
from ingestion.sources.conventions import Answer, Conventions
from ingestion.sources.http import HttpClient
from ingestion.validation import Rejected

PER_PAGE = 250
TOP = 250
# Ids travel in the URL, which proxies limit to about 8 kB; the longest ids have some 50 characters.
IDS_PER_REQUEST = 120
# Tracked coins are updated every minute or so; the record of a retired id is never updated again.
STALE_AFTER = timedelta(days=1)


def _error_message(body: Any) -> str:
    """Return the text of the error bodies: {"error": "..."}, {"error": {"status": ...}} and {"status": ...}."""
    found = body.get("error", body) if isinstance(body, dict) else None
    if isinstance(found, dict):
        status = found.get("status")
        found = status.get("error_message") if isinstance(status, dict) else found.get("error_message")
    return found if isinstance(found, str) else ""


CONVENTIONS = Conventions(error_message=_error_message)


@dataclass(frozen=True)
class Snapshot(Page):
    """One pass over the market list: how many coins came twice (``repeated``), and how many of the top not at all.

    ``unfit`` has, by field and coin, the values that do not fit their column and are null there.
    """

    repeated: int = 0
    missing_from_top: int = 0
    unfit: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)


def fetch_snapshot(client: HttpClient, ids: Sequence[str], snapshot_at: datetime) -> Snapshot:
    """Request one snapshot of the universe and the top 250; it lacks coins that CoinGecko does not know.

    The table has one row per coin in the dataset's bronze columns (without ``batch_id``): of a coin that came twice,
    the row updated last. Full top pages with too few distinct coins, because ranks moved between two requests, are
    requested once more, and so are missing ids.
    """
    rows: dict[str, dict[str, Any]] = {}
    rejected: list[Rejected] = []

    def request(**which: str | int) -> tuple[list[str], int]:
        """Request one page; return its coins, and how many of its records cannot be parsed."""

        def parse(answer: Answer) -> tuple[list[dict[str, Any]], list[Rejected]]:
            good, unreadable = parse_markets(answer.body, answer.url, snapshot_at, datetime.now(UTC))
            if not good and not unreadable and "ids" not in which:
                raise ValueError("its list of coins is empty")
            return good, unreadable

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
        received, unread_in_top, full = list[str](), 0, True
        for page in range(-(-TOP // PER_PAGE)):
            coins, unread = request(order="market_cap_desc", page=page + 1)
            received += coins
            unread_in_top += unread
            full = len(coins) + unread >= PER_PAGE
            if not full:  # the list ends here
                break
        top |= set(received)
        repeated += len(received) - len(set(received))
        missing = max(0, TOP - len(top) - unread_in_top)
        if not missing or not full:
            break
    twice, unread = _request_ids(request, ids)
    lacking = [coin for coin in ids if coin not in rows]
    if len(lacking) > unread:  # otherwise each was answered, but cannot be parsed
        _request_ids(request, lacking)
    repeated += twice
    return Snapshot(to_table(list(rows.values())), tuple(rejected), repeated, missing, _unfit(rows.values()))


def _unfit(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        for name, value in row["unfit"].items():
            found.setdefault(name, {})[row["crypto_id"]] = value
    return found


def _request_ids(request: Callable[..., tuple[list[str], int]], ids: Sequence[str]) -> tuple[int, int]:
    """Request the records of ids; return how many came twice, and how many cannot be parsed."""
    twice = unread = 0
    for at in range(0, len(ids), IDS_PER_REQUEST):
        coins, rejected = request(ids=",".join(ids[at : at + IDS_PER_REQUEST]), page=1)
        twice += len(coins) - len(set(coins))
        unread += rejected
    return twice, unread


def stale_coins(table: pa.Table) -> dict[str, str]:
    """Return the coins without a price, or with a price that was not updated for a day, and since when.

    CoinGecko does not reject a retired id. Age counts from the newest update of the same snapshot, so that this
    machine's clock does not matter.
    """
    newest = pc.max(table["last_updated"]).as_py()
    found: dict[str, str] = {}
    for coin, price, updated in zip(
        *(table[n].to_pylist() for n in ("crypto_id", "current_price", "last_updated")), strict=True
    ):
        if not price:
            found[coin] = "without a price" + (f" since {updated:%Y-%m-%d}" if updated else "")
        elif updated is not None and updated < newest - STALE_AFTER:
            found[coin] = f"with a price that has not changed since {updated:%Y-%m-%d %H:%M} UTC"
    return found
