"""The simulator's HTTP server: paths, parameters, error codes, request weights, and faults on the wire.

Here belongs what a client meets: routing, parameter checks as the real services make them, the weight limiter and the
bans, compression, and the ways in which an answer is broken. What the answers say stands in `shapes`.

Base URLs are {host}/binance, {host}/archive, {host}/coingecko/api/v3 and {host}/alternative. Beside them: GET /_stats,
GET, POST and DELETE /_faults, and POST /_clock {"now": ISO} to set a clock that was started with a fixed moment.
"""

import json
import re
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .coins import UNIVERSE, all_coins, read_universe
from .faults import INSTEAD, ROWS, WIRE, Faults, Rule, edits_of, moment_ms, parse_rules, spoil_rows
from .market import DAY_MS, DAYS, FIRST_DAY, INTERVALS_MS, Market
from .shapes import Shapes

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
REFUSALS_BEFORE_BAN = 20


class Refused(Exception):
    """An answer that is an error: HTTP status, body (bytes, or JSON), headers."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def binance_error(status: int, code: int, message: str) -> Refused:
    """An error in Binance's shape."""
    return Refused(status, {"code": code, "msg": message})


@dataclass
class Ask:
    """One request to a service: the path below its base URL, and the headers of the answer, to be added to."""

    path: str
    pairs: list[tuple[str, str]]
    now_ms: int
    rules: list[Rule]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def query(self) -> dict[str, str]:
        """The parameters; of repeated ones the last."""
        return dict(self.pairs)


class Clock:
    """The simulator's time: the real one, or a given moment that stands still or moves on."""

    def __init__(self, now_ms: int | None, moves: bool) -> None:
        self._moves = moves or now_ms is None
        self.set(now_ms)

    def set(self, now_ms: int | None) -> None:
        """Make it this moment; None is the real time. ValueError outside the simulated world."""
        if now_ms is not None and not FIRST_DAY * DAY_MS <= now_ms < (FIRST_DAY + DAYS) * DAY_MS:
            raise ValueError(f"the clock cannot be at {now_ms} ms; the simulated world is 2017-08-17 to 2040-08-15")
        self._base, self._started = (time.time() * 1000 if now_ms is None else now_ms), time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self._base + ((time.monotonic() - self._started) * 1000 if self._moves else 0))


class Limiter:
    """So much weight for each address and real minute; then 429, and 418 for whoever goes on (None: no limit)."""

    def __init__(self, limit: int | None, ban_seconds: float) -> None:
        self.limit, self.total, self._ban_seconds, self._lock = limit, 0, ban_seconds, threading.Lock()
        self._minute = 0
        self._used, self._refused = Counter[str](), Counter[str]()
        self._banned_until: dict[str, float] = {}

    def spend(self, address: str, weight: int) -> tuple[int, int, int]:
        """HTTP status, weight used in this minute, and seconds to wait."""
        with self._lock:
            now = time.time()
            if now < self._banned_until.get(address, 0):
                return 418, self._used[address], int(self._banned_until[address] - now) + 1
            if int(now // 60) != self._minute:
                self._minute = int(now // 60)
                self._used.clear()
                self._refused.clear()
            self._used[address] += weight
            self.total += weight
            if self.limit is None or self._used[address] <= self.limit:
                return 200, self._used[address], 0
            self._refused[address] += 1
            if self._refused[address] > REFUSALS_BEFORE_BAN:
                self._banned_until[address] = now + self._ban_seconds
                return 418, self._used[address], int(self._ban_seconds) + 1
            return 429, self._used[address], int(60 - now % 60) + 1


class Simulator(ThreadingHTTPServer):
    """The listening server with everything that its requests share."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 3,
        universe: Path | None = None,
        now: str | int | None = None,
        now_moves: bool = False,
        weight_limit: int = 6000,
        coingecko_limit: int | None = None,
        faults: Sequence[Rule] = (),
        ban_seconds: float = 120,
    ) -> None:
        """Bind the port (0: a free one); ValueError for a bad universe, moment or rule, OSError for a busy port."""
        self.market = Market(seed, all_coins(read_universe(universe or UNIVERSE)))
        self.shapes = Shapes(self.market)
        self.clock = Clock(None if now is None else moment_ms(now), now_moves)
        self.limiter = Limiter(weight_limit, ban_seconds)
        self.coingecko_limiter = Limiter(coingecko_limit, ban_seconds)
        self.faults = Faults(seed, list(faults))
        self.requests, self.lock = Counter[tuple[str, int]](), threading.Lock()
        in_url = f"[{host}]" if ":" in host else host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        base = f"http://{in_url}:{self.server_address[1]}"
        self.base_url = base
        self.binance_url, self.archive_url = f"{base}/binance", f"{base}/archive"
        self.coingecko_url, self.fear_greed_url = f"{base}/coingecko/api/v3", f"{base}/alternative"

    def urls(self) -> dict[str, str]:
        """The base URLs by the environment variable that takes each."""
        return {
            "BINANCE_BASE_URL": self.binance_url,
            "BINANCE_ARCHIVE_URL": self.archive_url,
            "COINGECKO_BASE_URL": self.coingecko_url,
            "FEAR_GREED_BASE_URL": self.fear_greed_url,
        }

    def stats(self) -> dict[str, Any]:
        """Requests by path and status, weight used, faults served, the clock."""
        with self.lock:
            paths: dict[str, dict[str, int]] = {}
            for (path, status), count in sorted(self.requests.items()):
                paths.setdefault(path, {})[str(status) if status else "cut"] = count
        return {
            "requests": sum(sum(by_status.values()) for by_status in paths.values()),
            "paths": paths,
            "weight_used": self.limiter.total,
            "faults_served": dict(self.faults.served),
            "now": datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC).isoformat(),
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error; everything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def simulator(**settings: Any) -> Iterator[Simulator]:
    """A running Simulator in this process, on a free port unless told otherwise; settings are those of Simulator."""
    server = Simulator(**settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """One connection; every request is answered by the method of its service, which returns or raises Refused."""

    server: Simulator
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 18
    disable_nagle_algorithm = True
    server_version, sys_version = "nginx", ""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: GET /_stats tells what was asked."""

    # -- the wire ------------------------------------------------------------------------------------------

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None, rules: Sequence[Rule] = ()) -> None:
        """Write one answer, broken as the rules have it."""
        headers = dict(headers or {})
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else json.dumps(body, separators=(",", ":")).encode()
        wire: Rule = next((r for r in rules if r["kind"] in WIRE), {"kind": None})
        if wire["kind"] == "truncate":
            body = body[: int(wire.get("bytes", len(body) // 2))]
            self.close_connection = True
        binary = headers.get("Content-Type", "").startswith("application/zip")
        if len(body) > 1024 and not binary and "gzip" in self.headers.get("Accept-Encoding", ""):
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            body = packer.compress(body) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        self.send_response(status)
        self.send_header("Content-Type", headers.pop("Content-Type", "application/json;charset=UTF-8"))
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, str(value))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self._count(status)
        if self.command == "HEAD":
            return
        if wire["kind"] == "cut":
            body = body[: int(wire.get("bytes", len(body) // 2))]
            self.close_connection = True
        if wire["kind"] == "slow":
            size = max(int(wire.get("bytes", 256)), 1)
            for at in range(0, len(body), size):
                self.wfile.write(body[at : at + size])
                self.wfile.flush()
                time.sleep(wire.get("seconds", 0.02))
            return
        self.wfile.write(body)

    def _count(self, status: int) -> None:
        with self.server.lock:
            self.server.requests[self._route, status] += 1

    def _answer_instead(self, rule: Rule) -> None:
        """The faults that need no real answer."""
        kind = rule["kind"]
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self._count(0)
            self.connection.close()
        elif kind == "html":
            page = "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>"
            self._send(rule.get("status", 403), page, {"Content-Type": "text/html"})
        elif kind == "empty":
            self._send(200, b"[]")
        elif kind == "garbage":
            self._send(200, b'{"oops": [1, 2,')
        else:
            body = rule["body"] if "body" in rule else self._usual_body(rule["status"])
            headers = {"Content-Type": "text/html"} if isinstance(body, str) and body.startswith("<") else {}
            self._send(rule["status"], body, headers | rule.get("headers", {}))

    def _usual_body(self, status: int) -> Any:
        """What the service in question says with this status."""
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

    def do_GET(self) -> None:
        """Answer one request."""
        parts = urlsplit(self.path)
        path, url = unquote(parts.path), unquote(self.path)
        self._route = re.sub(r"/[A-Z0-9]{5,}/.*", "/*", path)
        if path == "/_stats":
            return self._send(200, self.server.stats())
        if path == "/_faults":
            return self._send(200, self.server.faults.rules)
        now = self.server.clock.now_ms()
        rules = self.server.faults.meet(path, url, now)
        for rule in rules:
            if rule["kind"] == "delay":
                time.sleep(rule["seconds"])
        if rules and rules[-1]["kind"] in INSTEAD:
            return self._answer_instead(rules[-1])
        services = {
            "/binance": self._binance,
            "/archive": self._archive,
            "/coingecko/api/v3": self._coingecko,
            "/alternative": self._alternative,
        }
        prefix = next((p for p in services if path.startswith(f"{p}/")), None)
        if prefix is None:
            return self._send(404, {"error": f"no service at {path}"})
        ask = Ask(path.removeprefix(prefix), parse_qsl(parts.query, keep_blank_values=True), now, rules)
        try:
            self._send(200, services[prefix](ask), ask.headers, rules)
        except Refused as refused:
            self._send(refused.status, refused.body, ask.headers | refused.headers, rules)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Replace the faults, or set the clock."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._route = self.path
        try:
            if self.path == "/_faults":
                self.server.faults.set(parse_rules(body, "/_faults"))
                return self._send(200, {"faults": len(self.server.faults.rules)})
            if self.path == "/_clock":
                self.server.clock.set(moment_ms(json.loads(body)["now"]))
                return self._send(200, {"now_ms": self.server.clock.now_ms()})
            self._send(404, {"error": f"nothing to post at {self.path}"})
        except (KeyError, TypeError):
            self._send(400, {"error": 'write {"now": "2026-01-31T13:00:00Z"}'})
        except ValueError as error:
            self._send(400, {"error": str(error)})

    def do_DELETE(self) -> None:
        """No more faults."""
        self._route = self.path
        self.server.faults.clear()
        self._send(200, {"faults": 0})

    # -- Binance Spot REST ---------------------------------------------------------------------------------

    def _binance(self, ask: Ask) -> Any:
        path, query, listed = ask.path, ask.query, self.server.market.listed
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
        ask.headers |= {"x-mbx-uuid": "0", "x-mbx-used-weight": str(used), "x-mbx-used-weight-1m": str(used)}
        if status != 200:
            ask.headers["Retry-After"] = str(wait)
            body = self._usual_body(status)
            if status == 418:
                body["msg"] = re.sub(r"\d{13}", str(int((time.time() + wait) * 1000)), body["msg"])
            raise Refused(status, body)
        if allowed is None:
            raise Refused(404, b"<html><body><h2>404 Not found</h2></body></html>", {"Content-Type": "text/html"})
        if len(query) != len(ask.pairs):
            raise binance_error(400, -1101, "Duplicate values for a parameter detected.")
        if set(query) - allowed:
            message = f"Not all sent parameters were read; read '{len(set(query) & allowed)}' parameter(s) but was sent"
            raise binance_error(400, -1104, f"{message} '{len(query)}'.")
        if path == "/api/v3/ping":
            return {}
        if path == "/api/v3/time":
            return {"serverTime": ask.now_ms}
        if klines:
            return self._klines(ask)
        symbols = self._symbols(query)
        if path == "/api/v3/exchangeInfo":
            limit = self.server.limiter.limit
            return {
                "timezone": "UTC",
                "serverTime": ask.now_ms,
                "rateLimits": [
                    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit},
                    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
                    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
                ],
                "exchangeFilters": [],
                "symbols": [self.server.shapes.symbol_info(s, ask.now_ms) for s in symbols or listed],
            }
        kind = query.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise binance_error(400, -1139, "Invalid ticker type.")
        edits = edits_of(ask.rules)
        rows = [self.server.shapes.ticker_24h(s, ask.now_ms, kind == "MINI", edits) for s in symbols or listed]
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

    def _illegal(self, name: str, pattern: str) -> Refused:
        message = f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'."
        return binance_error(400, -1100, message)

    def _symbol(self, text: str) -> str:
        if text in self.server.market.listed:
            return text
        if not re.fullmatch(SYMBOL_PATTERN, text):
            raise self._illegal("symbol", SYMBOL_PATTERN)
        raise binance_error(400, -1121, "Invalid symbol.")

    def _klines(self, ask: Ask) -> bytes:
        query = ask.query
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
            symbol, query["interval"], start, end, min(limit, 1000), ask.now_ms, edits_of(ask.rules), micro
        )
        if any(r["kind"] in ROWS for r in ask.rules):
            page = json.dumps(spoil_rows(json.loads(page), ask.rules), separators=(",", ":")).encode()
        return page

    # -- Binance bulk archives -----------------------------------------------------------------------------

    def _archive(self, ask: Ask) -> bytes:
        ask.headers["Content-Type"] = "application/xml"
        absent = Refused(
            404,
            '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>The '
            f"specified key does not exist.</Message><Key>{ask.path[1:]}</Key></Error>",
        )
        found = ARCHIVE_PATH.fullmatch(ask.path)
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
        if early or not known or ask.now_ms < ready.timestamp() * 1000:
            raise absent
        kinds = {r["kind"] for r in ask.rules}
        name = f"{symbol}-{interval}-{when}"
        made = self.server.shapes.archive(symbol, interval, first, end, name, edits_of(ask.rules), "header" in kinds)
        if made is None:
            raise absent
        body, digest = made
        if checksum:
            ask.headers["Content-Type"] = "binary/octet-stream"
            digest = digest[::-1] if "checksum" in kinds else digest
            return f"{digest}  {name}.zip\n".encode()
        ask.headers |= {"Content-Type": "application/zip", "ETag": f'"{digest[:32]}"'}
        return body

    # -- CoinGecko -----------------------------------------------------------------------------------------

    def _coingecko_status(self, code: int, message: str) -> dict[str, Any]:
        stamp = datetime.fromtimestamp(self.server.clock.now_ms() / 1000, UTC).isoformat(timespec="milliseconds")
        return {"error": {"status": {"timestamp": stamp, "error_code": code, "error_message": message}}}

    def _coingecko(self, ask: Ask) -> Any:
        status, _, wait = self.server.coingecko_limiter.spend(self.client_address[0], 1)
        if status != 200:
            raise Refused(429, self._usual_body(429), {"Retry-After": str(wait)})
        if "x-cg-pro-api-key" in self.headers or "x_cg_pro_api_key" in ask.query:
            raise Refused(400, self._coingecko_status(10010, GECKO_PRO_KEY))
        path, query = ask.path, ask.query
        ask.headers |= {"Cache-Control": "max-age=30, public, must-revalidate, s-maxage=60"}
        if path == "/ping":
            return {"gecko_says": "(V3) To the Moon!"}
        if path == "/coins/list":
            return [{"id": c.crypto_id, "symbol": c.ticker, "name": c.name} for c in self.server.market.coins]
        if path == "/global":
            return self.server.shapes.coingecko_global(ask.now_ms)
        if path != "/coins/markets":
            raise Refused(404, {"error": "Could not find coin with the given id"})
        if not query.get("vs_currency"):
            raise Refused(422, {"error": "Missing parameter vs_currency"})
        if query["vs_currency"] != "usd":
            raise Refused(400, {"error": "invalid vs_currency"})
        windows = [w for w in query.get("price_change_percentage", "").replace(" ", "").split(",") if w]
        numbers = [query.get(name, usual) for name, usual in (("per_page", "100"), ("page", "1"))]
        if set(windows) - {"1h", "24h", "7d", "14d", "30d", "200d", "1y"} or not all(n.isdigit() for n in numbers):
            raise Refused(400, {"error": "Invalid parameter"})
        per_page, page = min(max(int(numbers[0]), 1), 250), max(int(numbers[1]), 1)
        rows = self.server.shapes.coingecko_markets(
            ask.now_ms,
            query.get("ids"),
            windows,
            query.get("sparkline") == "true",
            query.get("order", "market_cap_desc"),
        )
        first = (page - 1) * per_page
        if page > 1 and any(r["kind"] == "repeat_coin" for r in ask.rules):
            first -= 1  # ranks moved between two pages: the last coin of the page before comes again
        return spoil_rows(rows[first : first + per_page], ask.rules)

    # -- alternative.me ------------------------------------------------------------------------------------

    def _alternative(self, ask: Ask) -> Any:
        if ask.path.rstrip("/") != "/fng":
            raise Refused(404, b"<html><body><h1>404 Not Found</h1></body></html>", {"Content-Type": "text/html"})
        limit = ask.query.get("limit", "1")
        rows = self.server.shapes.fear_greed_rows(ask.now_ms, int(limit) if limit.isdigit() else 1)
        return {"name": "Fear and Greed Index", "data": spoil_rows(rows, ask.rules), "metadata": {"error": None}}
