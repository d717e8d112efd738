"""A TCP proxy that breaks its connections, for tests: latency, resets, silence, an end after so many bytes."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Toxics:
    """What is done to the connections opened from now on; counts are bytes, in the direction of their name."""

    latency_s: float = 0.0
    reset_on_connect: bool = False
    silence_after_sent: int | None = None
    cut_after_sent: int | None = None
    cut_after_received: int | None = None
    times: int = 10**9
    """To how many connections; those after them pass unharmed."""


class TcpProxy:
    """Listens on loopback in a thread of its own; `toxics` may be changed at any time."""

    def __init__(self, host: str, port: int, listen: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self.toxics = Toxics()
        self.connections = self.broken = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, listen, 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def sever(self) -> None:
        """Tear down every connection, and each new one until `toxics` say otherwise."""
        self.toxics = Toxics(reset_on_connect=True)
        self._loop.call_soon_threadsafe(lambda: [_reset(writer) for writer in self._open])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        toxics = Toxics()
        if self.toxics.times > 0 and self.toxics != Toxics():
            self.toxics.times -= 1
            self.broken += 1
            toxics = self.toxics
        if toxics.reset_on_connect:
            _reset(writer)
            return
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        sent = self._pump(reader, up_writer, toxics.latency_s, toxics.cut_after_sent, toxics.silence_after_sent)
        received = self._pump(up_reader, writer, toxics.latency_s, toxics.cut_after_received, None)
        self._open |= {writer, up_writer}
        ways = [asyncio.ensure_future(sent), asyncio.ensure_future(received)]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, up_writer):
            _reset(end)
            self._open.discard(end)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        latency_s: float,
        cut_after: int | None,
        silence_after: int | None,
    ) -> None:
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 14):
                await asyncio.sleep(latency_s)
                end = min(n for n in (cut_after, silence_after, 1 << 62) if n is not None)
                data = data[: max(0, end - passed)]
                passed += len(data)
                writer.write(data)
                await writer.drain()
                if cut_after is not None and passed >= cut_after:
                    return
                if silence_after is not None and passed >= silence_after:
                    await asyncio.sleep(3600)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection (RST)."""
    with contextlib.suppress(OSError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def tcp_proxy(host: str, port: int, listen: str = "127.0.0.1") -> Iterator[TcpProxy]:
    proxy = TcpProxy(host, port, listen)
    try:
        yield proxy
    finally:
        proxy.close()
