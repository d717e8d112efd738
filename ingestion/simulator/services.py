"""The simulated services: paths, parameter checks, error codes, limits and the clock, as the real APIs have them.

What the responses contain is in `shapes`; sending and breaking them is in `server`.
"""

import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

from .faults import ROWS, Rule, corrupt_rows, edits_of
from .market import DAY_MS, DAYS, FIRST_DAY, INTERVALS_MS

GEO_BLOCK = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you received this "
    "message in error."
)
GECKO_RATE_LIMIT = (
    "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe to our API "
    "plans for higher rate limits."
)
GECKO_TIME_RANGE = (
    "Your request exceeds the allowed time range. Public API users are limited to querying historical data within the "
    "past 365 days."
)
GECKO_PRO_KEY = "If you are using Pro API key, please change your root URL to pro-api.coingecko.com"
ARCHIVE_PATH = re.compile(
    r"/data/spot/(monthly|daily)/klines/([A-Z0-9]+)/(\w+)/\2-\3-(\d{4}-\d\d(?:-\d\d)?)\.zip(\.CHECKSUM)?"
)
DAILY_ARCHIVES_SINCE = date(2021, 3, 1)
SYMBOL_PATTERN = "^[A-Z0-9-_.]{1,20}$"

REJECTIONS_BEFORE_BAN = 20


class ErrorResponse(Exception):
    """A response that is an error: HTTP status, body (bytes, or JSON), headers."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def binance_error(status: int, code: int, message: str) -> ErrorResponse:
    """An error in Binance's shape."""
    return ErrorResponse(status, {"code": code, "msg": message})


@dataclass
class Request:
    """One request to a service: the path below its base URL, and the headers of the response, which it adds to."""

    path: str
    pairs: list[tuple[str, str]]
    now_ms: int
    rules: list[Rule]
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200

    @property
    def query(self) -> dict[str, str]:
        """The parameters; the last one of repeated ones."""
        return dict(self.pairs)


class Clock:
    """The simulator's time: the real one, or a given moment that is fixed or moves on."""

    def __init__(self, now_ms: int | None, moves: bool) -> None:
        self._moves = moves or now_ms is None
        self.set(now_ms)

    def set(self, now_ms: int | None) -> None:
        """Set the moment; None is the real time. ValueError outside the simulated years."""
        if now_ms is not None and not FIRST_DAY * DAY_MS <= now_ms < (FIRST_DAY + DAYS) * DAY_MS:
            raise ValueError(f"the clock cannot be at {now_ms} ms; the simulated years are 2017-08-17 to 2040-08-15")
        self._base, self._started = (time.time() * 1000 if now_ms is None else now_ms), time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self._base + ((time.monotonic() - self._started) * 1000 if self._moves else 0))


class Limiter:
    """A limit of weight per address and real minute (None: no limit): then 429, and 418 after repeated 429s."""

    ban_seconds = 120.0

    def __init__(self, limit: int | None) -> None:
        self.limit, self.total, self._minute, self._lock = limit, 0, 0, threading.Lock()
        self._used, self._rejected = Counter[str](), Counter[str]()
        self._banned_until: dict[str, float] = {}

    def spend(self, address: str, weight: int) -> tuple[int, int, int]:
        """Return HTTP status, weight used in this minute, and seconds to wait."""
        with self._lock:
            now = time.time()
            if now < self._banned_until.get(address, 0):
                return 418, self._used[address], int(self._banned_until[address] - now) + 1
            if int(now // 60) != self._minute:
                self._minute = int(now // 60)
                self._used.clear()
                self._rejected.clear()
            self._used[address] += weight
            self.total += weight
            if self.limit is None or self._used[address] <= self.limit:
                return 200, self._used[address], 0
            self._rejected[address] += 1
            if self._rejected[address] > REJECTIONS_BEFORE_BAN:
                self._banned_until[address] = now + self.ban_seconds
                return 418, self._used[address], int(self.ban_seconds) + 1
            return 429, self._used[address], int(60 - now % 60) + 1


class Services(BaseHTTPRequestHandler):
    """Answers requests to the four APIs; each method returns a body or raises ErrorResponse."""

    server: Any  # a server.Simulator
    _route: str

    def _usual_body(self, status: int) -> Any:
        """Return the body that the route's service sends with this status."""
        if self._route.startswith("/coingecko"):
            if status == 429:
                return {"status": {"error_code": 429, "error_message": GECKO_RATE_LIMIT}}
            if status in (400, 401):
                return self._coingecko_status(10012, GECKO_TIME_RANGE)
            return {"error": "Could not find coin with the given id" if status == 404 else f"HTTP {status}"}
        if not self._route.startswith("/binance"):
            return f"<html><body><h1>{status}</h1></body></html>"
        limit = self.server.limiter.limit
        codes: dict[int, tuple[int, str]] = {
            418: (
                -1003,
                f"Way too much request weight used; IP banned until {int((time.time() + 120) * 1000)}. Please "
                "use WebSocket Streams for live updates to avoid bans.",
            ),
            429: (
                -1003,
                f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. Please "
                "use WebSocket Streams for live updates to avoid polling the API.",
            ),
            451: (0, GEO_BLOCK),
            503: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
            504: (
                -1007,
                "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
            ),
        }
        code, message = codes.get(status, (-1000, "An unknown error occurred while processing the request."))
        return {"code": code, "msg": message}

    # -- Binance Spot REST ---------------------------------------------------------------------------------

    def _binance(self, request: Request) -> Any:
        path, query, listed = request.path, request.query, self.server.market.listed
        allowed = {
            "/api/v3/ping": set[str](),
            "/api/v3/time": set[str](),
            "/api/v3/exchangeInfo": {"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"},
            "/api/v3/klines": {"symbol", "interval", "startTime", "endTime", "timeZone", "limit"},
            "/api/v3/uiKlines": {"symbol", "interval", "startTime", "endTime", "timeZone", "limit"},
            "/api/v3/ticker/24hr": {"symbol", "symbols", "type", "symbolStatus"},
        }.get(path)
        klines = path in ("/api/v3/klines", "/api/v3/uiKlines")
        weight = 2 if klines else 20 if path == "/api/v3/exchangeInfo" else 1
        if path == "/api/v3/ticker/24hr":
            asked = query.get("symbols", "").count(",") + 1
            weight = 80 if asked > 100 or not {"symbol", "symbols"} & set(query) else 40 if asked > 20 else 2
        status, used, wait = self.server.limiter.spend(self.client_address[0], weight)
        request.headers |= {"x-mbx-uuid": "0", "x-mbx-used-weight": str(used), "x-mbx-used-weight-1m": str(used)}
        if status != 200:
            request.headers["Retry-After"] = str(wait)
            body = self._usual_body(status)
            if status == 418:
                body["msg"] = re.sub(r"\d{13}", str(int((time.time() + wait) * 1000)), body["msg"])
            raise ErrorResponse(status, body)
        if allowed is None:
            raise ErrorResponse(404, b"<html><body><h2>404 Not found</h2></body></html>", {"Content-Type": "text/html"})
        if len(query) != len(request.pairs):
            raise binance_error(400, -1101, "Duplicate values for a parameter detected.")
        if set(query) - allowed:
            message = f"Not all sent parameters were read; read '{len(set(query) & allowed)}' parameter(s) but was sent"
            raise binance_error(400, -1104, f"{message} '{len(query)}'.")
        if path == "/api/v3/ping":
            return {}
        if path == "/api/v3/time":
            return {"serverTime": request.now_ms}
        if klines:
            return self._klines(request)
        symbols = self._symbols(query)
        if path == "/api/v3/exchangeInfo":
            limit = self.server.limiter.limit
            return {
                "timezone": "UTC",
                "serverTime": request.now_ms,
                "rateLimits": [
                    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit},
                    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
                    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
                ],
                "exchangeFilters": [],
                "symbols": [self.server.shapes.symbol_info(s, request.now_ms) for s in symbols or listed],
            }
        kind = query.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise binance_error(400, -1139, "Invalid ticker type.")
        edits = edits_of(request.rules)
        rows = [self.server.shapes.ticker_24h(s, request.now_ms, kind == "MINI", edits) for s in symbols or listed]
        return rows[0] if "symbol" in query else rows

    def _symbols(self, query: dict[str, str]) -> list[str]:
        """The symbols asked for; empty means all of them."""
        if "symbol" in query and "symbols" in query:
            raise binance_error(400, -1128, "Combination of optional parameters invalid.")
        if "symbol" in query:
            return [self._symbol(query["symbol"])]
        if "symbols" not in query:
            return []
        if not re.fullmatch(r'\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}")*\]', query["symbols"]):
            raise self._illegal("symbols", '^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$')
        return [self._symbol(s) for s in json.loads(query["symbols"])]

    def _illegal(self, name: str, pattern: str) -> ErrorResponse:
        message = f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'."
        return binance_error(400, -1100, message)

    def _symbol(self, text: str) -> str:
        if text in self.server.market.listed:
            return text
        if not re.fullmatch(SYMBOL_PATTERN, text):
            raise self._illegal("symbol", SYMBOL_PATTERN)
        raise binance_error(400, -1121, "Invalid symbol.")

    def _klines(self, request: Request) -> Any:
        query = request.query
        for name in ("symbol", "interval"):
            if not query.get(name):
                message = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
                raise binance_error(400, -1102, message)
        numbers: dict[str, int] = {}
        for name in {"startTime", "endTime", "limit"} & set(query):
            if not re.fullmatch(r"\d{1,20}", query[name]):
                raise self._illegal(name, "^[0-9]{1,20}$")
            numbers[name] = int(query[name])
        if query["interval"] not in INTERVALS_MS:
            raise binance_error(400, -1120, "Invalid interval.")
        symbol = self._symbol(query["symbol"])
        if query.get("timeZone", "0") not in ("0", "00:00", "+00:00"):
            raise binance_error(400, -1130, "Data sent for parameter 'timeZone' is not valid.")
        limit = numbers.get("limit", 500)
        if limit == 0:
            raise binance_error(400, -1130, "Data sent for parameter 'limit' is not valid.")
        start, end = (
            (v // 1000 if v >= 10**14 else v) if (v := numbers.get(name)) is not None else None
            for name in ("startTime", "endTime")
        )
        micro = self.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND"
        page = self.server.shapes.klines(
            symbol, query["interval"], start, end, min(limit, 1000), request.now_ms, edits_of(request.rules), micro
        )
        if any(r["kind"] in ROWS for r in request.rules):
            page = json.dumps(corrupt_rows(json.loads(page), request.rules), separators=(",", ":")).encode()
        return page

    # -- Binance bulk archives -----------------------------------------------------------------------------

    def _archive(self, request: Request) -> Any:
        request.headers["Content-Type"] = "application/xml"
        absent = ErrorResponse(
            404,
            '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>The '
            f"specified key does not exist.</Message><Key>{request.path[1:]}</Key></Error>",
        )
        found = ARCHIVE_PATH.fullmatch(request.path)
        if not found:
            raise absent
        span, symbol, interval, when, checksum = found.groups()
        try:
            first = date.fromisoformat(when if span == "daily" else f"{when}-01")
        except ValueError:
            raise absent from None
        end = first + timedelta(days=1) if span == "daily" else (first + timedelta(days=31)).replace(day=1)
        # A day's file comes at 08:30 of the next day, a month's on the first Monday after it.
        published = end if span == "daily" else end + timedelta(days=-end.weekday() % 7)
        ready = datetime(published.year, published.month, published.day, 8, 30, tzinfo=UTC)
        early = span == "daily" and first < DAILY_ARCHIVES_SINCE
        known = symbol in self.server.market.listed and interval in INTERVALS_MS
        if early or not known or request.now_ms < ready.timestamp() * 1000:
            raise absent
        kinds = {r["kind"] for r in request.rules}
        name = f"{symbol}-{interval}-{when}"
        made = self.server.shapes.archive(
            symbol, interval, first, end, name, edits_of(request.rules), "header" in kinds
        )
        if made is None:
            raise absent
        body, digest = made
        if checksum:
            request.headers["Content-Type"] = "binary/octet-stream"
            digest = digest[::-1] if "checksum" in kinds else digest
            return f"{digest}  {name}.zip\n".encode()
        request.headers |= {"Content-Type": "application/zip", "ETag": f'"{digest[:32]}"'}
        return body

    # -- CoinGecko -----------------------------------------------------------------------------------------

    def _coingecko_status(self, code: int, message: str) -> dict[str, Any]:
        timestamp = datetime.fromtimestamp(self.server.clock.now_ms() / 1000, UTC).isoformat(timespec="milliseconds")
        return {"error": {"status": {"timestamp": timestamp, "error_code": code, "error_message": message}}}

    def _coingecko(self, request: Request) -> Any:
        status, _, wait = self.server.coingecko_limiter.spend(self.client_address[0], 1)
        if status != 200:
            raise ErrorResponse(429, self._usual_body(429), {"Retry-After": str(wait)})
        if "x-cg-pro-api-key" in self.headers or "x_cg_pro_api_key" in request.query:
            raise ErrorResponse(400, self._coingecko_status(10010, GECKO_PRO_KEY))
        path, query = request.path, request.query
        request.headers |= {"Cache-Control": "max-age=30, public, must-revalidate, s-maxage=60"}
        if path == "/ping":
            return {"gecko_says": "(V3) To the Moon!"}
        if path == "/coins/list":
            return [{"id": c.crypto_id, "symbol": c.ticker, "name": c.name} for c in self.server.market.coins]
        if path == "/global":
            return self.server.shapes.coingecko_global(request.now_ms)
        if path != "/coins/markets":
            raise ErrorResponse(404, {"error": "Could not find coin with the given id"})
        if not query.get("vs_currency"):
            raise ErrorResponse(422, {"error": "Missing parameter vs_currency"})
        if query["vs_currency"] != "usd":
            raise ErrorResponse(400, {"error": "invalid vs_currency"})
        windows = [w for w in query.get("price_change_percentage", "").replace(" ", "").split(",") if w]
        numbers = [query.get(name, usual) for name, usual in (("per_page", "100"), ("page", "1"))]
        if set(windows) - {"1h", "24h", "7d", "14d", "30d", "200d", "1y"} or not all(n.isdigit() for n in numbers):
            raise ErrorResponse(400, {"error": "Invalid parameter"})
        per_page, page = min(max(int(numbers[0]), 1), 250), max(int(numbers[1]), 1)
        rows = self.server.shapes.coingecko_markets(
            request.now_ms,
            query.get("ids"),
            windows,
            query.get("sparkline") == "true",
            query.get("order", "market_cap_desc"),
        )
        first = (page - 1) * per_page
        if page > 1 and any(r["kind"] == "repeat_coin" for r in request.rules):
            first -= 1  # ranks moved between two pages: the last coin of the page before comes again
        return corrupt_rows(rows[first : first + per_page], request.rules)

    # -- alternative.me ------------------------------------------------------------------------------------

    def _alternative(self, request: Request) -> Any:
        if request.path.rstrip("/") != "/fng":
            raise ErrorResponse(404, b"<html><body><h1>404 Not Found</h1></body></html>", {"Content-Type": "text/html"})
        limit = request.query.get("limit", "1")
        rows = self.server.shapes.fear_greed_rows(request.now_ms, int(limit) if limit.isdigit() else 1)
        return {"name": "Fear and Greed Index", "data": corrupt_rows(rows, request.rules), "metadata": {"error": None}}
