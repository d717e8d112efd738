"""OKX's WebSocket, simulated: frames (RFC 6455), subscriptions, the text ping, and the faults of a connection.

What is sent is in `okx`. Each connection has a thread that reads and one that writes.
"""

import base64
import hashlib
import json
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .okx import Exchange, Message

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PROTOCOL_PING, PROTOCOL_PONG = 1, 2, 8, 9, 10
CHANNELS = {"trades", "tickers"}
SILENT_S = 30.0
# A client that does not read is cut off, as OKX does.
MOST_WAITING = 50_000
NOTICE = {
    "event": "notice", "code": "64008", "connId": "a4d3ae55",
    "msg": "The connection will soon be closed for a service upgrade. Please reconnect.",
}  # fmt: skip
NOTICE_S = 2.0


def frame(text: bytes, operation: int = TEXT) -> bytes:
    """Return one unmasked frame."""
    n = len(text)
    if n < 126:
        head = bytes((0x80 | operation, n))
    elif n < 65536:
        head = bytes((0x80 | operation, 126)) + struct.pack("!H", n)
    else:
        head = bytes((0x80 | operation, 127)) + struct.pack("!Q", n)
    return head + text


def accept_key(key: str) -> str:
    """Return the header that accepts a handshake."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()  # noqa: S324 - RFC 6455


class Session:
    """One connection after its handshake."""

    def __init__(self, connection: socket.socket, exchange: Exchange) -> None:
        self._socket, self._exchange = connection, exchange
        self._wanted: set[tuple[str, str]] = set()
        self._queue: deque[bytes] = deque()
        self._due = threading.Condition()
        self._ended = self._is_silent = self._has_no_pong = False
        self._next: str | None = None
        self._cut_at = float("inf")
        self._last = time.monotonic()

    def run(self) -> None:
        """Serve until either side ends it."""
        # The reader waits in select: a timeout of the socket would also be one of sendall.
        writer = threading.Thread(target=self._write, daemon=True)
        writer.start()
        self._exchange.add(self)
        try:
            for operation, text in self._frames():
                self._handle(operation, text)
        except OSError:
            pass
        finally:
            self._exchange.remove(self)
            self._end()
            writer.join(timeout=5)

    def push(self, messages: Sequence[Message]) -> None:
        """Queue the messages of the subscribed channels."""
        if self._is_silent:
            return
        frames = [frame(text) for channel, inst_id, text in messages if (channel, inst_id) in self._wanted]
        if not frames:
            return
        if self._next is not None:
            frames = self._disturb(frames, self._next)
            self._next = None
        self._enqueue(frames)
        if len(self._queue) > MOST_WAITING:
            self._exchange.counts["slow_clients"] += 1
            self._end()

    def order(self, what: str) -> None:
        """Do the fault that was ordered."""
        self._exchange.counts[what.split()[0]] += 1
        if what == "drop":
            self._end()
        elif what == "notice":
            self._enqueue([frame(json.dumps(NOTICE).encode())])
            self._cut_at = time.monotonic() + NOTICE_S
        elif what == "silence":
            self._is_silent = True
        elif what == "no_pong":
            self._is_silent = self._has_no_pong = True
        elif what == "garbage":
            self._enqueue([frame(b"{not json")])
        elif what == "binary":
            self._enqueue([frame(bytes(range(200)), BINARY)])
        elif what == "half_frame":
            self._is_silent = True
            self._enqueue([frame(b"x" * 1000)[:300]])
            self._cut_at = time.monotonic() + 0.1
        elif what == "subscription_error":
            self._enqueue([_error("60014", "Requests too frequent.")])
        elif what.startswith("delist "):
            self._delist(what.removeprefix("delist "))
        else:
            self._next = what

    def _disturb(self, frames: list[bytes], what: str) -> list[bytes]:
        if what == "lose":
            self._exchange.counts["lost"] += len(frames)
            return []
        return frames + frames if what == "duplicate" else frames[::-1]

    def _delist(self, inst_id: str) -> None:
        known = {pair for pair in self._wanted if pair[1] == inst_id}
        self._wanted -= known
        self._enqueue(
            [_error("60018", f"Wrong URL or channel:{c},instId:{i} doesn't exist.") for c, i in sorted(known)]
        )

    def _handle(self, operation: int, text: bytes) -> None:
        self._last = time.monotonic()
        if operation == CLOSE:
            self._enqueue([frame(text[:2], CLOSE)])
            self._cut_at = time.monotonic() + 0.1
        elif operation == PROTOCOL_PING:
            self._enqueue([frame(text, PROTOCOL_PONG)])
        elif text == b"ping":
            if not self._has_no_pong:
                self._enqueue([frame(b"pong")])
        elif operation == TEXT:
            self._command(text)

    def _command(self, text: bytes) -> None:
        try:
            order = json.loads(text)
            changes = {"subscribe": self._wanted.add, "unsubscribe": self._wanted.discard}
            change: Callable[[Any], None] = changes[order["op"]]
            pairs = [(a["channel"], a["instId"]) for a in order["args"]]
        except (ValueError, KeyError, TypeError):
            return self._enqueue([_error("60012", f"Invalid request: {text.decode(errors='replace')[:200]}")])
        for channel, inst_id in pairs:
            listed = inst_id in self._exchange.instruments and inst_id not in self._exchange.delisted
            if channel not in CHANNELS or not listed:
                self._enqueue([_error("60018", f"Wrong URL or channel:{channel},instId:{inst_id} doesn't exist.")])
                continue
            change((channel, inst_id))
            body = {"event": order["op"], "arg": {"channel": channel, "instId": inst_id}, "connId": "a4d3ae55"}
            self._enqueue([frame(json.dumps(body).encode())])
        return None

    def _enqueue(self, frames: Sequence[bytes]) -> None:
        with self._due:
            self._queue.extend(frames)
            self._due.notify()

    def _write(self) -> None:
        """Send what is queued, one write for all that waits."""
        while not self._ended:
            with self._due:
                self._due.wait_for(lambda: self._queue or self._ended, timeout=0.1)
                frames = list(self._queue)
                self._queue.clear()
            try:
                if frames:
                    self._socket.sendall(b"".join(frames))
                    self._exchange.counts["sent_frames"] += len(frames)
                    self._last = time.monotonic()
            except OSError:
                break
            now = time.monotonic()
            if now > self._cut_at or (now - self._last > SILENT_S and not self._wanted):
                break
        self._end()

    def _end(self) -> None:
        self._ended = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield the client's frames, unmasked."""
        buffer = b""
        while not self._ended:
            if not select.select([self._socket], [], [], 0.5)[0]:
                continue
            received = self._socket.recv(65536)
            if not received:
                return
            buffer += received
            while (parsed := _parse(buffer)) is not None:
                operation, text, buffer = parsed
                yield operation, text


def _parse(buffer: bytes) -> tuple[int, bytes, bytes] | None:
    """Return operation, text and the rest of the first complete frame."""
    if len(buffer) < 2:
        return None
    n, at = buffer[1] & 127, 2
    if n == 126:
        n, at = int.from_bytes(buffer[2:4], "big"), 4
    elif n == 127:
        n, at = int.from_bytes(buffer[2:10], "big"), 10
    mask = buffer[at : at + 4] if buffer[1] & 128 else b"\0\0\0\0"
    at += 4 if buffer[1] & 128 else 0
    if len(buffer) < at + n:
        return None
    text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(buffer[at : at + n]))
    return buffer[0] & 15, text, buffer[at + n :]


def _error(code: str, message: str) -> bytes:
    return frame(json.dumps({"event": "error", "code": code, "msg": message, "connId": "a4d3ae55"}).encode())
