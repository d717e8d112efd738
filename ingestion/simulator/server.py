"""The simulator's HTTP server: routing, compression, faults in transport, statistics and the clock.

What the services answer is in `services`, `onchain`, `bucket`, `news` and `okx`; OKX's WebSocket is in `websocket`.

Base URLs are {host}/binance, {host}/archive, {host}/coingecko/api/v3, {host}/alternative, {host}/coinmetrics,
{host}/blockchain, {host}/gdelt, {host}/hackernews, {host}/feeds, {host}/x, the S3 bucket {host}/aws-public-blockchain
and {host}/okx, with its WebSocket at {host}/okx/ws/v5/public. Beside them: GET /_stats, GET, POST and DELETE /_faults,
POST /_okx {"rate": 2000} or {"do": "drop"} for the stream, and POST /_clock {"now": ISO} to set a clock that was
started with a fixed moment.
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
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .bucket import BUCKET, ROOT, BucketServices, Days
from .chain import Chain
from .coins import UNIVERSE, all_coins, read_universe
from .faults import INSTEAD, TRANSPORT, Faults, Rule, moment_ms, parse_rules
from .market import Market
from .news import FEEDS, NewsServices
from .okx import Exchange, OkxServices
from .press import Press
from .services import Clock, ErrorResponse, Limiter, Request
from .shapes import Shapes
from .websocket import Session, accept_key


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
        live_rate: float = 40.0,
    ) -> None:
        """Bind the port (0: a free one); ValueError for a bad universe or moment, OSError for a busy port."""
        self.market = Market(seed, all_coins(read_universe(universe or UNIVERSE)))
        self.shapes, self.chain = Shapes(self.market), Chain(self.market)
        self.clock = Clock(None if now is None else moment_ms(now), now_moves)
        self.limiter, self.coingecko_limiter = Limiter(weight_limit), Limiter(None)
        self.faults = Faults(seed)
        self.bitcoin_days = Days()
        self.exchange = Exchange(self.shapes, read_universe(universe or UNIVERSE), self.clock, live_rate)
        self.requests, self.lock = Counter[tuple[str, int]](), threading.Lock()
        in_url = f"[{host}]" if ":" in host else host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        base = self.base_url = f"http://{in_url}:{self.server_address[1]}"
        self.binance_url, self.archive_url = f"{base}/binance", f"{base}/archive"
        self.coingecko_url, self.fear_greed_url = f"{base}/coingecko/api/v3", f"{base}/alternative"
        self.coinmetrics_url, self.blockchain_url = f"{base}/coinmetrics", f"{base}/blockchain"
        self.okx_url = f"{base}/okx"
        self.okx_ws_url = f"{self.okx_url.replace('http', 'ws', 1)}/ws/v5/public"
        self.press = Press(self.market)

    def urls(self) -> dict[str, str]:
        """The base URLs by the environment variable that takes each."""
        return {
            "BINANCE_BASE_URL": self.binance_url,
            "BINANCE_ARCHIVE_URL": self.archive_url,
            "COINGECKO_BASE_URL": self.coingecko_url,
            "FEAR_GREED_BASE_URL": self.fear_greed_url,
            "COINMETRICS_BASE_URL": self.coinmetrics_url,
            "BLOCKCHAIN_BASE_URL": self.blockchain_url,
            "BITCOIN_TRANSACTIONS_URL": f"{self.base_url}/{BUCKET}/{ROOT}",
            "OKX_BASE_URL": self.okx_url,
            "OKX_WS_URL": self.okx_ws_url,
            "GDELT_BASE_URL": f"{self.base_url}/gdelt",
            "HN_BASE_URL": f"{self.base_url}/hackernews",
            "NEWS_FEEDS": ",".join(f"{self.base_url}/feeds/{name}" for name in FEEDS),
            "X_BASE_URL": f"{self.base_url}/x",
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
            "okx": self.exchange.stats(),
            "faults_served": dict(self.faults.served),
            "now": datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC).isoformat(),
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error; everything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def simulator(**settings: Any) -> Iterator[Simulator]:
    """Run a Simulator in this process, by default on a free port; settings are those of Simulator."""
    server = Simulator(**settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.exchange.stop()
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BucketServices, OkxServices, NewsServices):
    """One connection: finds the service of a request, and sends its response or the fault that replaces it."""

    server: Simulator
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 18
    disable_nagle_algorithm = True
    server_version, sys_version = "nginx", ""

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log: GET /_stats counts the requests."""

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None, rules: Sequence[Rule] = ()) -> None:
        """Send one response, damaged as the rules require."""
        headers = dict(headers or {})
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else json.dumps(body, separators=(",", ":")).encode()
        fault: Rule = next((r for r in rules if r["kind"] in TRANSPORT), {"kind": None})
        if fault["kind"] == "truncate":
            body = body[: int(fault.get("bytes", len(body) // 2))]
            self.close_connection = True
        binary = headers.get("Content-Type", "").startswith(("application/zip", "binary/"))
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
        if fault["kind"] == "cut":
            body = body[: int(fault.get("bytes", len(body) // 2))]
            self.close_connection = True
        if fault["kind"] == "slow":
            size = max(int(fault.get("bytes", 256)), 1)
            for at in range(0, len(body), size):
                self.wfile.write(body[at : at + size])
                self.wfile.flush()
                time.sleep(fault.get("seconds", 0.02))
            return
        self.wfile.write(body)

    def _count(self, status: int) -> None:
        with self.server.lock:
            self.server.requests[self._route, status] += 1

    def _answer_instead(self, rule: Rule) -> None:
        """Send the faults that replace a response."""
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
        if path == "/okx/ws/v5/public" and "Sec-WebSocket-Key" in self.headers:
            return self._stream()
        services = {
            "/binance": self._binance,
            "/archive": self._archive,
            "/coingecko/api/v3": self._coingecko,
            "/alternative": self._alternative,
            "/coinmetrics": self._coinmetrics,
            "/blockchain": self._blockchain,
            f"/{BUCKET}": self._bucket,
            "/okx": self._okx,
            "/gdelt": self._gdelt,
            "/hackernews": self._hackernews,
            "/feeds": self._feed,
            "/x": self._x,
        }
        prefix = next((p for p in services if f"{path}/".startswith(f"{p}/")), None)
        if prefix is None:
            return self._send(404, {"error": f"no service at {path}"})
        request = Request(path.removeprefix(prefix), parse_qsl(parts.query, keep_blank_values=True), now, rules)
        try:
            body = services[prefix](request)
            self._send(request.status, body, request.headers, rules)
        except ErrorResponse as error:
            self._send(error.status, error.body, request.headers | error.headers, rules)

    do_HEAD = do_GET

    def _stream(self) -> None:
        """Accept a WebSocket, and serve it until it ends."""
        self.close_connection = True
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.wfile.flush()
        self._count(101)
        Session(self.connection, self.server.exchange).run()

    def do_POST(self) -> None:
        """Replace the faults, or set the clock."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._route = self.path
        try:
            if self.path == "/_faults":
                self.server.faults.set(parse_rules(body, "/_faults"))
                return self._send(200, {"faults": len(self.server.faults.rules)})
            if self.path == "/_okx":
                return self._send(200, self.server.exchange.obey(json.loads(body)))
            if self.path == "/_clock":
                self.server.clock.set(moment_ms(json.loads(body)["now"]))
                return self._send(200, {"now_ms": self.server.clock.now_ms()})
            self._send(404, {"error": f"nothing to post at {self.path}"})
        except (KeyError, TypeError):
            self._send(400, {"error": 'write {"now": "2026-01-31T13:00:00Z"}'})
        except ValueError as error:
            self._send(400, {"error": str(error)})

    def do_DELETE(self) -> None:
        """Remove all faults."""
        self._route = self.path
        self.server.faults.clear()
        self._send(200, {"faults": 0})
