"""The broker: connecting to NATS JetStream, its stream, and publishing with acknowledgement.

Belongs here: everything that speaks NATS. Does not: what is published (``envelope``) and when.

The stream keeps messages until the sink has committed them and is bounded: when it is full it rejects new messages, so
that the collector waits. Messages that the sink has not read are never dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nats
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, KeyValueConfig, StreamConfig
from nats.js.errors import Error as JetStreamError
from nats.js.errors import KeyNotFoundError, NotFoundError

from ingestion.stream.envelope import BROKER_STREAM, STATE_BUCKET, SUBJECTS

# For so long the broker remembers ids of messages: some 100 bytes each, so that an hour would be 700 MB.
DUPLICATES_S = 60
ACK_S = 5.0
# Messages on their way: 2,000 are one second of the target rate, and about 1 MB.
WINDOW = 2000
# JetStream's code for a message beyond max_bytes.
FULL = 10077
BROKER_ERRORS = (nats.errors.Error, JetStreamError, OSError, asyncio.TimeoutError)
MB = 1_000_000


@dataclass(frozen=True)
class BrokerState:
    """The broker's stream: which one it is, its last sequence, and how full it is."""

    broker_id: str
    last_sequence: int
    bytes: int
    max_bytes: int


class Broker:
    """A connection that lasts until it is closed: it reconnects for as long as that takes."""

    def __init__(self, client: Client, max_bytes: int) -> None:
        self.client = client
        self.jetstream: JetStreamContext = client.jetstream(timeout=ACK_S)
        self._max_bytes = max_bytes

    @classmethod
    async def connect(cls, url: str, max_mb: int, name: str, say: Callable[[str], None]) -> Broker:
        """Connect, waiting for a server that does not answer yet, and create the stream unless it exists."""
        waited = False
        while True:
            try:
                # Without a callback, nats-py logs tracebacks.
                client = await nats.connect(
                    url, name=name, connect_timeout=5, allow_reconnect=True, max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5, ping_interval=10, max_outstanding_pings=3, error_cb=_ignore,
                )  # fmt: skip
                broker = cls(client, max_mb * MB)
                await broker.ensure_stream()
                return broker
            except BROKER_ERRORS as error:
                if not waited:
                    say(f"broker does not answer ({_reason(error)}): waiting for it; check NATS_URL if it is yours")
                waited = True
                await asyncio.sleep(1)

    async def ensure_stream(self) -> None:
        """Create the stream and the bucket of the collector's state, or change the limit of the stream."""
        config = StreamConfig(
            name=BROKER_STREAM, subjects=[SUBJECTS], max_bytes=self._max_bytes, discard=DiscardPolicy.NEW,
            duplicate_window=DUPLICATES_S, num_replicas=1,
        )  # fmt: skip
        try:
            info = await self.jetstream.stream_info(BROKER_STREAM)
            if info.config.max_bytes != self._max_bytes:
                await self.jetstream.update_stream(config)
        except NotFoundError:
            await self.jetstream.add_stream(config)
        try:
            await self.jetstream.key_value(STATE_BUCKET)
        except NotFoundError:
            await self.jetstream.create_key_value(KeyValueConfig(bucket=STATE_BUCKET, history=1))

    async def state(self) -> BrokerState:
        """Return the present state of the stream."""
        # nats-py leaves out when the stream was created.
        reply = await self.client.request(f"$JS.API.STREAM.INFO.{BROKER_STREAM}", b"", timeout=ACK_S)
        info = orjson.loads(reply.data)
        if "error" in info:
            raise JetStreamError(info["error"].get("description", "no stream"))
        counts = info["state"]
        created = str(info["created"])
        return BrokerState(created, counts["last_seq"], counts["bytes"], info["config"]["max_bytes"])

    async def last_message(self, subject: str) -> bytes | None:
        """Return the newest message of a subject that the sink has not committed; None without one."""
        try:
            found = await self.jetstream.get_last_msg(BROKER_STREAM, subject)
        except NotFoundError:
            return None
        return found.data

    async def messages_from(self, sequence: int) -> JetStreamContext.PullSubscription:
        """Return a subscription that begins at a sequence; the reader records its position itself."""
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=sequence, ack_policy=AckPolicy.NONE,
            inactive_threshold=60,
        )  # fmt: skip
        return await self.jetstream.pull_subscribe(SUBJECTS, config=config, stream=BROKER_STREAM)

    async def remove_up_to(self, sequence: int) -> None:
        """Remove the messages up to a sequence, which are in raw."""
        await self.jetstream.purge_stream(BROKER_STREAM, seq=sequence + 1)

    async def load_state(self, key: str) -> Any:
        """Return what ``save_state`` stored last; None without it."""
        bucket = await self.jetstream.key_value(STATE_BUCKET)
        try:
            entry = await bucket.get(key)
        except KeyNotFoundError:
            return None
        return orjson.loads(entry.value) if entry.value else None

    async def save_state(self, key: str, value: Any) -> None:
        """Store a value in the broker."""
        bucket = await self.jetstream.key_value(STATE_BUCKET)
        await bucket.put(key, orjson.dumps(value))

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(*BROKER_ERRORS):
            await self.client.close()


@dataclass
class _Sent:
    subject: str
    payload: bytes
    message_id: str
    at: float
    on_ack: Callable[[], None] | None


class Publisher:
    """Publishes with a window of messages on their way; each is sent again until the broker has acknowledged it."""

    def __init__(self, broker: Broker, window: int = WINDOW) -> None:
        self._broker, self._window = broker, window
        self._sent: dict[int, _Sent] = {}
        self._number = 0
        self._window_open, self._empty = asyncio.Event(), asyncio.Event()
        self._window_open.set()
        self._empty.set()
        self._inbox = ""
        self._retrying: asyncio.Task[None] | None = None
        self.acknowledged = self.duplicates = 0
        self.is_full = False

    async def start(self) -> None:
        """Subscribe to the acknowledgements."""
        self._inbox = self._broker.client.new_inbox()
        await self._broker.client.subscribe(f"{self._inbox}.*", cb=self._on_reply)
        self._retrying = asyncio.create_task(self._retry())

    async def stop(self, within_s: float) -> None:
        """Wait for the acknowledgements of what is on its way, but not longer than so many seconds."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.flush(), within_s)
        if self._retrying is not None:
            self._retrying.cancel()

    async def publish(
        self, subject: str, payload: bytes, message_id: str, on_ack: Callable[[], None] | None = None
    ) -> None:
        """Send a message; wait while the window is full. ``on_ack`` is called once the broker has it."""
        while len(self._sent) >= self._window:
            self._window_open.clear()
            await self._window_open.wait()
        self._number += 1
        sent = self._sent[self._number] = _Sent(subject, payload, message_id, time.monotonic(), on_ack)
        self._empty.clear()
        await self._send(self._number, sent)

    async def flush(self) -> None:
        """Wait until the broker has acknowledged every message."""
        await self._empty.wait()

    async def _send(self, number: int, sent: _Sent) -> None:
        sent.at = time.monotonic()
        # Not sent while the broker is away: the next retry sends it.
        with contextlib.suppress(*BROKER_ERRORS):
            await self._broker.client.publish(
                sent.subject, sent.payload, reply=f"{self._inbox}.{number}", headers={"Nats-Msg-Id": sent.message_id}
            )

    async def _on_reply(self, reply: Msg) -> None:
        number = int(reply.subject.rpartition(".")[2])
        try:
            body: Mapping[str, Any] = orjson.loads(reply.data)
        except ValueError:  # no server for the stream at this moment
            return
        if "error" in body:
            self.is_full = self.is_full or body["error"].get("err_code") == FULL
            return
        sent = self._sent.pop(number, None)
        if sent is None:
            return
        if sent.on_ack is not None:
            sent.on_ack()
        self.is_full = False
        self.acknowledged += 1
        self.duplicates += bool(body.get("duplicate"))
        self._window_open.set()
        if not self._sent:
            self._empty.set()

    async def _retry(self) -> None:
        """Send again what was not acknowledged in time, in order."""
        while True:
            await asyncio.sleep(1)
            late = time.monotonic() - (1 if self.is_full else ACK_S)
            for number, sent in list(self._sent.items()):
                if sent.at < late and number in self._sent:
                    await self._send(number, sent)


async def _ignore(error: Exception) -> None:
    """Errors reach the callers of each request."""


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
