"""One WebSocket connection to OKX: subscriptions, keep-alive, and why it ended.

Belongs here: the life of a connection. Does not: what is done with its frames (``collector``), the protocol's texts
(``ingestion.sources.okx.messages``).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass

import websockets
from websockets.asyncio.client import ClientConnection, connect

from ingestion.sources.okx.messages import CLOSING_SOON, PING, Frame, parse_frame, rejected_instrument, subscriptions

CONNECT_S = 10.0
MAX_FRAME_BYTES = 4 << 20


@dataclass(frozen=True)
class KeepAlive:
    """OKX closes a connection after 30 s without traffic; the answer to a ping comes within the time of a round trip.

    Some instrument of the universe has a ticker every second: without data for ``no_data_s`` the connection is dead.
    """

    ping_after_s: float = 15.0
    pong_within_s: float = 8.0
    no_data_s: float = 30.0


class Ended(Exception):
    """A connection that ended; the message says why, ``connected`` whether it had been established."""

    def __init__(self, reason: str, *, connected: bool = True) -> None:
        super().__init__(reason)
        self.connected = connected


class Connection:
    """Reads one connection until it ends; frames with data and lost instruments go to the callbacks."""

    def __init__(
        self,
        url: str,
        inst_ids: Collection[str],
        on_data: Callable[[str, Frame], Awaitable[None]],
        on_lost: Callable[[str, str], Awaitable[None]],
        keep_alive: KeepAlive,
    ) -> None:
        self._url, self._inst_ids, self._subscribed = url, set(inst_ids), frozenset(inst_ids)
        self._on_data, self._on_lost, self._keep_alive = on_data, on_lost, keep_alive
        self._is_waiting = True
        self._last_frame = self._last_data = time.monotonic()
        self._end: str | None = None

    async def run(self, on_open: Callable[[], Awaitable[None]]) -> None:
        """Connect, subscribe and read; always ends with ``Ended``."""
        try:
            # OKX answers the text "ping", not the ping frames of WebSocket. Uncompressed: OKX compresses nothing.
            socket = await connect(
                self._url, open_timeout=CONNECT_S, close_timeout=1, ping_interval=None, max_size=MAX_FRAME_BYTES,
                compression=None,
            )  # fmt: skip
        except (TimeoutError, OSError, websockets.WebSocketException) as error:
            raise Ended(_described(error), connected=False) from None
        async with asyncio.TaskGroup() as tasks, _closing(socket):
            await on_open()
            watch = tasks.create_task(self._watch(socket))
            try:
                reason = await self._read(socket)
            finally:
                watch.cancel()
        raise Ended(reason)

    async def _read(self, socket: ClientConnection) -> str:
        """Read frames until the end of the connection; return the reason."""
        try:
            for request in subscriptions(sorted(self._inst_ids)):
                await socket.send(request)
            self._last_frame = self._last_data = time.monotonic()
            async for received in socket:
                self._is_waiting = False
                if isinstance(received, str) and (reason := await self._handle(received)):
                    return reason
                if isinstance(received, bytes):
                    return f"garbage: {parse_frame(received).text}"
                self._is_waiting, self._last_frame = True, time.monotonic()
            return self._end or "closed by the exchange"
        except websockets.ConnectionClosed as error:
            return self._end or f"connection lost: {_described(error)}"

    async def _handle(self, received: str) -> str | None:
        """Handle one frame; return a reason to end the connection."""
        frame = parse_frame(received)
        if frame.kind == "data":
            await self._on_data(received, frame)
            self._last_data = time.monotonic()
        elif frame.kind == "garbage":
            return f"garbage: {frame.text}"
        elif frame.kind == "notice" and frame.code == CLOSING_SOON:
            return f"notice {frame.text}"
        elif frame.kind in ("error", "unsubscribed"):
            inst_id = rejected_instrument(frame, self._subscribed)
            if inst_id is None:
                return f"error {frame.text}"
            if inst_id in self._inst_ids:
                self._inst_ids.discard(inst_id)
                await self._on_lost(inst_id, frame.text)
            if not self._inst_ids:
                return "OKX lists no instrument of the universe any more"
        return None

    async def _watch(self, socket: ClientConnection) -> None:
        """Send pings, and close a connection that is silent. While a frame is handled, no other can arrive."""
        pinged: float | None = None
        step = min(1.0, self._keep_alive.pong_within_s / 4)
        while True:
            await asyncio.sleep(step)
            now = time.monotonic()
            if not self._is_waiting:
                pinged, self._last_data = None, now
                continue
            if pinged is not None and self._last_frame > pinged:
                pinged = None
            if pinged is not None and now - pinged > self._keep_alive.pong_within_s:
                self._end = f"silence: no pong within {self._keep_alive.pong_within_s:g} s"
            elif now - self._last_data > self._keep_alive.no_data_s:
                self._end = f"silence: no data for {self._keep_alive.no_data_s:g} s"
            elif pinged is None and now - self._last_frame > self._keep_alive.ping_after_s:
                pinged = now
                with contextlib.suppress(websockets.ConnectionClosed):
                    await socket.send(PING)
            if self._end is not None:
                # Not a close, which waits for the other side.
                socket.transport.abort()
                return


@contextlib.asynccontextmanager
async def _closing(socket: ClientConnection) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(OSError, websockets.WebSocketException, asyncio.TimeoutError):
            await asyncio.wait_for(socket.close(), 2)


def _described(error: BaseException) -> str:
    """Return an error of the connection as one line."""
    text = " ".join(str(error).split())[:160]
    return text or type(error).__name__
