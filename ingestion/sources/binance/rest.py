"""Requests Binance Spot REST: exchange clock, symbol list, klines.

Belongs here: paths, paging, weights, and what the API's headers and codes mean. Does not: parsing a bar (``parse``).
Facts: https://developers.binance.com/docs/binance-spot-api-docs/rest-api (klines weigh 2, at most 1000 a request,
always ascending, the bar in progress included; exchangeInfo weighs 20; one unknown symbol fails a request with -1121;
418 is a ban of this address, whose message has its end).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.datasets import Page
from ingestion.sources.binance.contract import INTERVAL_MS
from ingestion.sources.binance.parse import parse_klines
from ingestion.sources.conventions import Answer, Conventions, retry_after
from ingestion.sources.http import HttpClient, RequestRejected, SourceError

PAGE = 1000
KLINES_WEIGHT = 2
EXCHANGE_INFO_WEIGHT = 20
UNKNOWN_SYMBOL = -1121
# A ban whose message has no end lasts at least this long.
SHORTEST_BAN_S = 120


def _banned_until(answer: Answer) -> datetime | None:
    """Return the end of a ban: by the message ("banned until <ms>"), else by Retry-After, else the shortest."""
    if answer.status != 418:
        return None
    if match := re.search(rb"until (\d{13})", answer.body):
        return datetime.fromtimestamp(int(match[1]) / 1000, UTC)
    wait = retry_after(answer.headers)
    return datetime.fromtimestamp(time.time() + (wait if wait is not None else SHORTEST_BAN_S), UTC)


CONVENTIONS = Conventions(
    used_weight=lambda headers: int(used) if (used := headers.get("x-mbx-used-weight-1m", "")).isdigit() else None,
    banned_until=_banned_until,
    error_code=lambda body: code if isinstance(body, dict) and isinstance(code := body.get("code"), int) else None,
    error_message=lambda body: str(body.get("msg") or "") if isinstance(body, dict) else "",
)


def unknown_symbol(symbol: str) -> str:
    """Return the message for a symbol that the exchange does not list, with its fix."""
    return f"Binance does not know the symbol {symbol} (-1121); correct or remove its row in the universe file"


@dataclass(frozen=True)
class Exchange:
    """The exchange's clock, its weight limit per minute, and the status of each requested symbol."""

    now: datetime
    weight_per_minute: int | None
    status: dict[str, str]


@dataclass(frozen=True)
class FetchedRange:
    """UTC days of one symbol, [first, last), that were answered: by rest or archive, and with which pages."""

    first: date
    last: date
    source: str
    pages: list[Page]


def exchange_clock(client: HttpClient) -> datetime:
    """Return the exchange's own time: the only clock that decides whether a bar is closed."""

    def parse(answer: Answer) -> datetime:
        body = orjson.loads(answer.body)
        if not isinstance(body, dict) or not isinstance(body.get("serverTime"), int):
            raise ValueError("no serverTime in it")
        return datetime.fromtimestamp(body["serverTime"] / 1000, UTC)

    now = client.get("/api/v3/time", parse=parse)
    assert now is not None
    return now


def exchange_info(client: HttpClient, symbols: Sequence[str]) -> Exchange:
    """Request the clock, the weight limit and the status of ``symbols``.

    A symbol that the list lacks is ``UNKNOWN`` only when the exchange also rejects it by name. A symbol that is neither
    listed nor rejected has an empty status: nothing is known of it in this run.
    """
    try:
        body = _exchange_info(client, symbols)
    except RequestRejected:
        # One unknown symbol fails the whole list; the full list costs the same weight, only more bytes.
        body = _exchange_info(client, ())
    known = _statuses(body)
    for symbol in symbols:
        if symbol not in known:
            known[symbol] = _status_by_name(client, symbol)
    limits = [
        int(limit["limit"]) // int(limit.get("intervalNum", 1))
        for limit in body.get("rateLimits", [])
        if limit.get("rateLimitType") == "REQUEST_WEIGHT" and limit.get("interval") == "MINUTE"
    ]
    now = datetime.fromtimestamp(body["serverTime"] / 1000, UTC) if "serverTime" in body else exchange_clock(client)
    return Exchange(now, min(limits, default=None), {s: known[s] for s in symbols})


def _exchange_info(client: HttpClient, symbols: Sequence[str]) -> dict[str, Any]:
    def parse(answer: Answer) -> dict[str, Any]:
        body = orjson.loads(answer.body)
        if not isinstance(body, dict) or not isinstance(body.get("symbols"), list):
            raise ValueError("no symbols in it")
        if not body["symbols"]:
            raise ValueError("its list of symbols is empty")
        return body

    wanted = {"symbols": json.dumps(list(symbols), separators=(",", ":"), ensure_ascii=False)} if symbols else {}
    params = {**wanted, "showPermissionSets": "false"} if symbols else {}
    body = client.get("/api/v3/exchangeInfo", params, weight=EXCHANGE_INFO_WEIGHT, parse=parse)
    assert body is not None
    return body


def _status_by_name(client: HttpClient, symbol: str) -> str:
    try:
        return _statuses(_exchange_info(client, [symbol])).get(symbol, "")
    except RequestRejected as error:
        return "UNKNOWN" if error.code == UNKNOWN_SYMBOL else ""
    except SourceError as error:
        if error.kind != "failing":
            raise
        return ""


def _statuses(body: dict[str, Any]) -> dict[str, str]:
    return {entry["symbol"]: str(entry.get("status", "")) for entry in body["symbols"]}


def first_bar(client: HttpClient, symbol: str) -> datetime | None:
    """Return when the symbol's first daily bar opened (its listing), or None when it has none."""
    page = klines_page(client, symbol, "1d", 0, None, limit=1)
    opened = page.rows["open_time"]
    return opened[0].as_py() if len(opened) else None


def last_bar(client: HttpClient, symbol: str, since: datetime, until: datetime) -> datetime | None:
    """Return when the symbol's last daily bar opened in [since, until), or None when it has none."""
    pages = klines(client, symbol, "1d", since, until)
    return max((pc.max(page.rows["open_time"]).as_py() for page in pages if len(page.rows)), default=None)


def klines(client: HttpClient, symbol: str, interval: str, start: datetime, end: datetime) -> list[Page]:
    """Return the bars that open in [start, end), page by page, the one in progress included; ``end`` is not ahead.

    A page without newer bars ends the series: the exchange repeats pages before a listing. A page with fewer bars than
    possible ends it only at ``end``: the response may be truncated. Raises RequestRejected for this symbol alone,
    SourceError when the source cannot be used.
    """
    at, last, step = _ms(start), _ms(end) - 1, INTERVAL_MS[interval]
    pages: list[Page] = []
    while at <= last:
        page = klines_page(client, symbol, interval, at, last)
        pages.append(page)
        received = len(page.rows) + len(page.rejected)
        # An impossible time must not skip the bars that follow.
        opened = page.rows["open_time"].cast(pa.int64())
        newest = pc.max(opened.filter(pc.less_equal(opened, 1000 * last + 999))).as_py()
        if received == 0 or (newest is not None and newest // 1000 < at):
            break
        if received < PAGE and (newest is None or newest // 1000 + step > last):
            break
        # Not one interval further: after a halt a bar may open off the grid. If every bar of a page is rejected, the
        # page size is the only measure of how far it reached.
        at = newest // 1000 + 1 if newest is not None else at + PAGE * step
    return pages


def klines_page(
    client: HttpClient, symbol: str, interval: str, start_ms: int, last_ms: int | None, limit: int = PAGE
) -> Page:
    """Request one page of at most ``limit`` bars that open in [start_ms, last_ms], the oldest first."""
    params: dict[str, str | int] = {"symbol": symbol, "interval": interval, "startTime": start_ms, "limit": limit}
    if last_ms is not None:
        params["endTime"] = last_ms

    def parse(answer: Answer) -> Page:
        return parse_klines(answer.body, symbol, interval, answer.url, datetime.now(UTC))

    page = client.get("/api/v3/klines", params, weight=KLINES_WEIGHT, parse=parse)
    if page is None:
        raise SourceError(client.source, f"no klines for {symbol}")
    return page


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
