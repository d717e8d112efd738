"""CoinGecko's market list: a sweep over the universe's ids and the top coins by market cap.

Belongs here: requests, paging and parsing. Facts: https://docs.coingecko.com/reference/coins-markets (up to 250 a page;
anything but id, symbol, name may be null, and what does not fit its column is made null; ranks move between pages, so a
coin can come twice or not at all; the key travels in a header). Numbers are JSON numbers of any form: they are read as
decimals, never as floats.
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
from ingestion.sources.coingecko.parse import _table, parse_markets
from ingestion.sources.http import Answer, HttpClient
from ingestion.validation import Rejected

PER_PAGE = 250
TOP = 250
# Ids travel in the URL, which proxies cut at about 8 kB; the longest ids have some 50 characters.
IDS_PER_REQUEST = 120
# Tracked coins are updated every minute or so; the record of a retired id stands still for good.
QUIET_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Snapshot(Page):
    """One pass over the market list: how many coins it showed twice (``repeated``), how many of the top not at all.

    ``unfit`` names, by field, the coins whose value does not fit the column and is null there, with that value.
    """

    repeated: int = 0
    missing_from_top: int = 0
    unfit: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)


def fetch_snapshot(client: HttpClient, ids: Sequence[str], snapshot_at: datetime) -> Snapshot:
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
    return Snapshot(_table(list(rows.values())), tuple(rejected), repeated, missing, _unfit(rows.values()))


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


def stale_coins(table: pa.Table) -> dict[str, str]:
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
