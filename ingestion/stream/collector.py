"""The collector: OKX's WebSocket to the broker, reconnecting for as long as it runs.

Belongs here: what is published of each frame, the reconnects, and the state that survives a restart. Does not: one
connection (``connection``), filling gaps (``gaps``), Postgres, which the collector can do without.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ingestion.database.connections import WarehouseError, closing, connect
from ingestion.settings import Settings
from ingestion.sources.conventions import SourceError
from ingestion.sources.okx.client import instruments_of, live_instruments
from ingestion.sources.okx.load import newest_ids
from ingestion.sources.okx.messages import TRADES, Frame, message_id
from ingestion.sources.okx.sequences import Acknowledged, Sequences
from ingestion.sources.okx.source import API
from ingestion.stream.broker import BROKER_ERRORS, Broker, Publisher
from ingestion.stream.connection import Connection, Ended, KeepAlive
from ingestion.stream.envelope import EVENTS, event, pack, subject_of, unpack
from ingestion.stream.gaps import GapFiller
from ingestion.universe import Asset, read_universe

STATE_KEY = "collector"
STATE_EVERY_S = 10.0
INSTRUMENTS_EVERY_S = 3600.0
REST_S = 8.0
# OKX allows three connections a second and address.
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 60.0
STABLE_S = 60.0
CLOCKS_DIFFER_S = 60.0


@dataclass
class Reconnects:
    """Waits between attempts to connect: exponential with jitter, from the first again after a stable connection."""

    failures: int = 0

    def next_wait(self, lasted_s: float) -> float:
        """Return the seconds to wait after a connection that lasted so long, 0 if it never was."""
        self.failures = 0 if lasted_s >= STABLE_S else self.failures + 1
        longest = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** max(self.failures - 1, 0))
        return random.uniform(longest / 2, longest)  # noqa: S311


@dataclass
class OncePerMinute:
    """Lets one line a minute through."""

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _said: float = field(default=float("-inf"))

    def __call__(self, text: str) -> None:
        """Say the text, unless another one was said in the last minute."""
        if self.clock() - self._said >= 60:
            self._said = self.clock()
            self.say(text)


class Collector:
    """Publishes every message of the universe's instruments; nothing counts before the broker has acknowledged it."""

    def __init__(
        self, settings: Settings, broker: Broker, say: Callable[[str], None], keep_alive: KeepAlive | None = None
    ) -> None:
        self._settings, self._broker, self._say = settings, broker, say
        self._quietly = OncePerMinute(say)
        self._keep_alive = keep_alive or KeepAlive()
        self._publisher = Publisher(broker)
        self._sequences, self._acknowledged = Sequences(), Acknowledged()
        self._filler = GapFiller(settings, self._publisher, self._sequences, self._save, say)
        self._instruments: dict[str, Asset] = {}
        self._missing: dict[str, str] = {}
        self._listed_at = float("-inf")
        self._received_us = 0
        self._delays: list[float] = []
        self._end_reason = "the collector was not running"
        self._fresh: set[str] = set()

    async def run(self) -> None:
        """Collect until canceled."""
        await self._publisher.start()
        await self._restore()
        helpers = [asyncio.create_task(self._filler.run()), asyncio.create_task(self._report())]
        try:
            await self._reconnect_forever()
        finally:
            for helper in helpers:
                helper.cancel()
            await self._publisher.stop(within_s=3)
            await self._save()

    async def _reconnect_forever(self) -> None:
        reconnects = Reconnects()
        while True:
            await self._choose_instruments()
            connected_us, began = 0, time.monotonic()

            async def opened() -> None:
                nonlocal connected_us, began
                connected_us, began = _now_us(), time.monotonic()
                self._fresh = set(self._instruments)
                await self._publish_event("connection", connected_us=connected_us, ended_us=None, reason=None)
                self._say(f"connected to {self._settings.okx_ws_url}: {len(self._instruments)} instruments")

            connection = Connection(
                self._settings.okx_ws_url, self._instruments, self._on_data, self._on_lost, self._keep_alive
            )
            try:
                await connection.run(opened)
            except* Ended as group:
                ended = _only(group)
            lasted = time.monotonic() - began if connected_us else 0.0
            if connected_us:
                self._end_reason = str(ended)
                await self._publish_event(
                    "connection", connected_us=connected_us, ended_us=_now_us(), reason=str(ended)[:200]
                )
            wait = reconnects.next_wait(lasted)
            self._quietly(f"{self._settings.okx_ws_url}: {ended}; connecting again in {wait:.1f} s")
            await asyncio.sleep(wait)

    async def _on_data(self, received: str, frame: Frame) -> None:
        """Publish a frame: as it is, or without the trades that are known to be in the broker already."""
        now = _now_us()
        records = frame.records
        if frame.channel == TRADES:
            records = [record for record in records if await self._is_new(frame.inst_id, record, now)]
            if not records:
                return
        self._received_us = now
        if len(self._delays) < 1000 and (stamp := str(records[-1].get("ts", ""))).isdigit():
            self._delays.append(now / 1e6 - int(stamp) / 1e3)
        text = received if len(records) == len(frame.records) else _frame(frame, records)
        on_ack = self._when_acknowledged(frame.inst_id, records) if frame.channel == TRADES else None
        await self._publisher.publish(
            subject_of(frame.channel, frame.inst_id), pack(now, "w", text),
            "|".join(message_id(frame.channel, record) for record in records)[:400], on_ack,
        )  # fmt: skip

    def _when_acknowledged(self, inst_id: str, records: Sequence[Mapping[str, Any]]) -> Callable[[], None] | None:
        """Record that trades are on their way; return what records that the broker has them."""
        ids = [int(r["tradeId"]) for r in records if str(r.get("tradeId", "")).isdigit()]
        if not ids:
            return None
        newest = max(ids)
        self._acknowledged.sent(inst_id, newest)
        return lambda: self._acknowledged.acknowledged(inst_id, newest)

    async def _is_new(self, inst_id: str, record: Mapping[str, Any], now: int) -> bool:
        trade_id, fills = str(record.get("tradeId", "")), str(record.get("count") or 1)
        if not (trade_id.isdigit() and fills.isdigit()):
            return True  # the sink rejects it with its reason
        observed = self._sequences.observe(inst_id, int(trade_id), int(fills), now)
        if observed.opened is not None:
            since = self._end_reason if inst_id in self._fresh else "ids skipped"
            # Before the message behind it, so that a killed collector knows the gap again.
            await self._filler.opened(observed.opened, since)
        if observed.late_for is not None:
            frame = _frame(Frame("data", TRADES, inst_id), [dict(record)])
            self._filler.hold(observed.late_for, pack(now, "w", frame), message_id(TRADES, dict(record)))
        self._fresh.discard(inst_id)
        return observed.is_new

    async def _on_lost(self, inst_id: str, text: str) -> None:
        asset = self._instruments.pop(inst_id, None)
        self._missing[inst_id] = asset.crypto_id if asset else inst_id
        self._say(f"{inst_id}: OKX no longer serves it ({text}); other instruments continue")

    async def _choose_instruments(self) -> None:
        """Ask once an hour which assets of the universe OKX lists; without an answer, OKX rejects what it lacks."""
        if time.monotonic() - self._listed_at < INSTRUMENTS_EVERY_S and self._instruments:
            return
        universe = read_universe(self._settings.universe_path)
        try:
            listed = await asyncio.to_thread(self._ask_instruments)
            self._listed_at = time.monotonic()
        except SourceError as error:
            self._quietly(str(error))
            listed = None
        self._instruments, missing = instruments_of(universe, listed)
        names = {f"{asset.binance_symbol}": asset.crypto_id for asset in missing}
        if names and names != self._missing:
            self._say(f"OKX does not list {len(names)} of the universe: {', '.join(sorted(names.values()))}")
        self._missing = names

    def _ask_instruments(self) -> set[str]:
        client = API.client(self._settings, deadline_s=REST_S)
        try:
            return live_instruments(client)
        finally:
            client.close()

    async def _restore(self) -> None:
        """Take up the state that the last collector left: in the broker, its last messages, and raw.

        The broker has what the sink has not committed, so that it is read before raw. Postgres may be away: then the
        broker has all that the sink would have.
        """
        stored = await self._broker.load_state(STATE_KEY)
        restored = Sequences.from_state(stored or {})
        self._sequences.restore(restored)
        universe = read_universe(self._settings.universe_path)
        inst_ids = list(instruments_of(universe, None)[0])
        in_broker: dict[str, int] = {}
        for inst_id in inst_ids:
            newest = await self._broker.last_message(subject_of(TRADES, inst_id))
            if newest is not None:
                in_broker[inst_id] = max(_trade_ids(newest), default=0)
        self._sequences.advance(in_broker)
        try:
            self._sequences.advance(await asyncio.to_thread(self._ids_of_raw, inst_ids))
        except WarehouseError as error:
            self._say(f"{error}; the collector continues without it")
        self._acknowledged.ids.update(self._sequences.ids)
        self._filler.resume(stored or {})

    def _ids_of_raw(self, inst_ids: Sequence[str]) -> dict[str, int]:
        assert self._settings.postgres is not None
        with closing(connect(self._settings.postgres, "ingest")) as connection:
            return newest_ids(connection, inst_ids)

    async def _save(self) -> bool:
        """Store ids and open gaps in the broker; return whether it has them."""
        try:
            await self._broker.save_state(
                STATE_KEY, self._sequences.to_state(self._acknowledged.ids) | {"reasons": self._filler.reasons()}
            )
        except BROKER_ERRORS:
            return False
        return True

    async def _report(self) -> None:
        """Publish every ten seconds that the collector lives, and what is wrong."""
        while True:
            await asyncio.sleep(STATE_EVERY_S)
            await self._save()
            problem = self._problem()
            if problem:
                self._quietly(problem)
            await self._publish_event(
                "status", received_us=self._received_us or None, missing=sorted(self._missing.values()),
                duplicates=self._publisher.duplicates, problem=problem,
            )  # fmt: skip

    def _problem(self) -> str | None:
        delays, self._delays = sorted(self._delays), []
        if self._publisher.is_full:
            return "the broker is full: the collector waits until the sink has read it; check Postgres and S3"
        if delays and abs(delays[0]) > CLOCKS_DIFFER_S:
            return f"the clocks of this machine and OKX differ by {delays[0]:.0f} s: set the time of this machine"
        return None

    async def _publish_event(self, kind: str, **values: Any) -> None:
        await self._publisher.publish(EVENTS, event(kind, **values), f"{kind}:{_now_us()}")


def _frame(frame: Frame, records: Sequence[dict[str, Any]]) -> str:
    body = {"arg": {"channel": frame.channel, "instId": frame.inst_id}, "data": list(records)}
    return orjson.dumps(body).decode()


def _trade_ids(message: bytes) -> list[int]:
    try:
        body = orjson.loads(unpack(message).frame)
    except ValueError:
        return []
    return [int(r["tradeId"]) for r in body.get("data", ()) if str(r.get("tradeId", "")).isdigit()]


def _only(group: BaseExceptionGroup[Ended]) -> Ended:
    found = group.exceptions[0]
    return found if isinstance(found, Ended) else _only(found)


def _now_us() -> int:
    return time.time_ns() // 1000
