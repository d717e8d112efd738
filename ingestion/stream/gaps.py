"""Fills gaps of the stream with the trades of REST, and reports what was filled.

Belongs here: when a gap is asked for, and its end. Does not: finding it (``ingestion.sources.okx.sequences``), the
requests (``ingestion.sources.okx.client``).

The state of the collector has a gap before the gap is reported, and until the broker has the report of its end. So a
collector that is killed at any moment leaves no reported gap that the next one does not know.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ingestion.settings import Settings
from ingestion.sources.conventions import SourceError
from ingestion.sources.okx.client import Fills, trades_between
from ingestion.sources.okx.messages import TRADES, message_id
from ingestion.sources.okx.sequences import Gap, Sequences
from ingestion.sources.okx.source import API
from ingestion.stream.broker import Publisher
from ingestion.stream.envelope import EVENTS, event, pack, subject_of

# Trades are in REST some moments after the stream has them.
GRACE_S = 2.0
# The most late messages that are held for a gap.
HELD = 1000
# Waits between attempts; then the gap stays.
AT_ONCE = 5
RETRIES_S = (2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
REST_S = 60.0


@dataclass
class _Work:
    reason: str
    due: float
    attempts: int = 0
    filled: int = 0
    # Messages that came late: stored if REST does not answer.
    held: list[tuple[bytes, str]] = field(default_factory=list)


@dataclass
class GapFiller:
    """Works on a few gaps at once."""

    settings: Settings
    publisher: Publisher
    sequences: Sequences
    save: Callable[[], Awaitable[bool]]
    say: Callable[[str], None]
    _works: dict[tuple[str, int, int], _Work] = field(default_factory=dict)

    async def opened(self, gap: Gap, reason: str) -> None:
        """Store a new gap in the state, report it, and ask for it after the grace time."""
        work = self._works[_key(gap)] = _Work(reason, math.inf)
        while not await self.save():
            await asyncio.sleep(1)
        await self._report(gap, work, closed_us=None, is_filled=False)
        work.due = time.monotonic() + GRACE_S

    def hold(self, gap: Gap, payload: bytes, message_id: str) -> None:
        """Keep a message that came late for a gap until REST has answered."""
        held = self._works.setdefault(_key(gap), _Work("unknown", 0.0)).held
        if len(held) < HELD:
            held.append((payload, message_id))

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take up the open gaps of an earlier collector."""
        reasons = {tuple(key): reason for *key, reason in state.get("reasons", ())}
        for gap in self.sequences.open_gaps():
            self._works[_key(gap)] = _Work(reasons.get(_key(gap), "unknown"), time.monotonic())

    def reasons(self) -> list[list[Any]]:
        """Return why each open gap was opened, for the state."""
        return [[*key, work.reason] for key, work in self._works.items()]

    async def run(self) -> None:
        """Fill gaps until canceled."""
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            works = [(g, self._works.setdefault(_key(g), _Work("unknown", 0.0))) for g in self.sequences.open_gaps()]
            due = [(gap, work) for gap, work in works if now >= work.due]
            await asyncio.gather(*(self._fill(gap, work) for gap, work in due[:AT_ONCE]))

    async def _fill(self, gap: Gap, work: _Work) -> None:
        try:
            fills = await asyncio.to_thread(self._ask, gap)
        except SourceError as error:
            if work.attempts >= len(RETRIES_S):
                work.reason = f"{work.reason}; {error}"
                await self._publish_held(gap, work)
                await self._close(gap, work, is_filled=False)
                return
            work.due = time.monotonic() + RETRIES_S[work.attempts]
            work.attempts += 1
            return
        for record in fills.records:
            frame = orjson.dumps({"arg": {"channel": TRADES, "instId": gap.inst_id}, "data": [record]})
            subject = subject_of("fills", gap.inst_id)
            await self.publisher.publish(subject, pack(time.time_ns() // 1000, "r", frame), message_id(TRADES, record))
        await self.publisher.flush()
        work.filled = len(fills.records)
        if not fills.is_complete:
            work.reason = f"{work.reason}; REST does not reach back to it"
        await self._close(gap, work, is_filled=fills.is_complete)

    def _ask(self, gap: Gap) -> Fills:
        client = API.client(self.settings, deadline_s=REST_S)
        try:
            return trades_between(client, gap.inst_id, gap.after, gap.before)
        except (KeyError, TypeError, ValueError) as problem:
            raise SourceError(API.name, f"{gap.inst_id}: an answer has a trade without an id ({problem})") from None
        finally:
            client.close()

    async def _publish_held(self, gap: Gap, work: _Work) -> None:
        while work.held:
            await self.publisher.publish(subject_of("fills", gap.inst_id), *work.held.pop(0))
            work.filled += 1

    async def _close(self, gap: Gap, work: _Work, *, is_filled: bool) -> None:
        in_broker = asyncio.Event()
        await self._report(gap, work, closed_us=time.time_ns() // 1000, is_filled=is_filled, on_ack=in_broker.set)
        await in_broker.wait()
        if not is_filled:
            await self._publish_held(gap, work)  # what came meanwhile
        self.sequences.close(gap, is_filled=is_filled)
        self._works.pop(_key(gap), None)
        await self.save()
        self.say(
            f"{gap.inst_id}: gap of trades {gap.after} to {gap.before} ({work.reason}): {work.filled} filled"
            + ("" if is_filled else ", the rest is missing")
        )

    async def _report(
        self, gap: Gap, work: _Work, *, closed_us: int | None, is_filled: bool, on_ack: Callable[[], None] | None = None
    ) -> None:
        body = event(
            "gap", inst_id=gap.inst_id, after=gap.after, before=gap.before, opened_us=gap.opened_us,
            closed_us=closed_us, reason=work.reason[:300], filled=work.filled, is_filled=is_filled,
        )  # fmt: skip
        name = f"gap:{gap.inst_id}:{gap.after}:{gap.before}:{'closed' if closed_us else 'open'}:{gap.opened_us}"
        await self.publisher.publish(EVENTS, body, name, on_ack)


def _key(gap: Gap) -> tuple[str, int, int]:
    return gap.inst_id, gap.after, gap.before
