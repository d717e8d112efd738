"""An HTTP server that answers as a test dictates, request by request, and remembers what it was asked.

Beside the simulator, which is a market with faults, this one has no opinion: any status, header, body or broken wire.
"""

import contextlib
import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """One answer. `wire` breaks it: reset, cut (after half its bytes), drip (a byte at a time), short gzip, no gzip."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    wire: str = ""

    def bytes(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: str
    body: bytes = b""


class ScriptedServer(ThreadingHTTPServer):
    """Answers with `script`: replies in order (the last one for ever), or a function of what is asked."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, script: Sequence[Reply] | Callable[[Asked], Reply]) -> None:
        self.script, self.asked, self.lock = script, list[Asked](), threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def next(self, asked: Asked) -> Reply:
        with self.lock:
            self.asked.append(asked)
            if callable(self.script):
                return self.script(asked)
            return self.script[min(len(self.asked), len(self.script)) - 1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(parts.path, dict(parse_qsl(parts.query)), dict(self.headers.items()), self.path, sent)
        reply = self.server.next(asked)
        if reply.wire == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        body, headers = reply.bytes(), dict(reply.headers)
        if reply.wire == "short gzip":
            body = gzip.compress(body)[:-12]
            headers["Content-Encoding"] = "gzip"
        elif reply.wire == "no gzip":
            headers["Content-Encoding"] = "gzip"
        elif reply.wire == "silence":
            time.sleep(5)
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.wire == "cut":
            self.close_connection = True
            body = body[: len(body) // 2]
        for at in range(0, len(body), 1 if reply.wire == "drip" else max(1, len(body))):
            self.wfile.write(body[at : at + 1] if reply.wire == "drip" else body)
            if reply.wire == "drip":
                self.wfile.flush()
                time.sleep(0.05)

    do_POST = do_PUT = do_CONNECT = do_GET


@contextlib.contextmanager
def scripted(script: Sequence[Reply] | Callable[[Asked], Reply]) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
