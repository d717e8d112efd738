"""Trade ids of each instrument: which trades are new, and where the stream has gaps. A pure state machine.

Belongs here: the decision. Does not: asking REST for the trades of a gap, or recording it (``ingestion.stream``).

OKX joins the fills of one taker order: a message with ``tradeId`` 105 and ``count`` 3 has the trades 103, 104 and 105,
and the message before it has ``tradeId`` 102. Without ``count`` a message is one trade. Ids that are skipped open a
gap; whether trades are missing there, the ids of REST decide, whose trades are single fills.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Gaps of an instrument that stay in memory after they are closed, so that a late message is recognized.
CLOSED_GAPS = 50


@dataclass
class Gap:
    """The trade ids strictly between two that were received."""

    inst_id: str
    after: int
    before: int
    opened_us: int
    is_open: bool = True

    def has(self, trade_id: int) -> bool:
        """Return whether a trade belongs to the gap."""
        return self.after < trade_id < self.before


class Acknowledged:
    """The trade id of each instrument up to which the broker has acknowledged every message.

    A message that is on its way when the collector is killed may be lost: the next collector must ask for it again.
    """

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self._sent: dict[str, deque[int]] = {}
        self._early: dict[str, set[int]] = {}

    def sent(self, inst_id: str, trade_id: int) -> None:
        """Record a message on its way."""
        self._sent.setdefault(inst_id, deque()).append(trade_id)

    def acknowledged(self, inst_id: str, trade_id: int) -> None:
        """Record the acknowledgement of a message."""
        sent, early = self._sent[inst_id], self._early.setdefault(inst_id, set())
        early.add(trade_id)
        while sent and sent[0] in early:
            newest = sent.popleft()
            if newest not in sent:
                early.discard(newest)
            self.ids[inst_id] = max(newest, self.ids.get(inst_id, newest))


@dataclass(frozen=True)
class Observed:
    """What a trade message is: whether to store it, the gap that it opened, and the open gap that it came late for."""

    is_new: bool
    opened: Gap | None = None
    late_for: Gap | None = None


class Sequences:
    """The newest trade id and the gaps of every instrument."""

    def __init__(self, ids: Mapping[str, int] | None = None, gaps: Iterable[Gap] = ()) -> None:
        self.ids = dict(ids or {})
        self._gaps: dict[str, list[Gap]] = {}
        for gap in gaps:
            self._gaps.setdefault(gap.inst_id, []).append(gap)

    def observe(self, inst_id: str, trade_id: int, fills: int | None, now_us: int) -> Observed:
        """Record a message with the ids (trade_id - fills, trade_id].

        A message that comes late for an open gap is held: REST fills the gap with single trades, and the message would
        double some of them; a killed collector could not know which. One that comes after its gap was filled is not
        new. An older one that no gap explains is passed on: the broker and the key of raw decide whether it is known.
        """
        first = trade_id - (fills or 1) + 1
        newest = self.ids.get(inst_id)
        if newest is None or first == newest + 1:
            self.ids[inst_id] = trade_id
            return Observed(is_new=True)
        if first > newest:
            gap = Gap(inst_id, newest, first, now_us)
            self._gaps.setdefault(inst_id, []).append(gap)
            self.ids[inst_id] = trade_id
            return Observed(is_new=True, opened=gap)
        self.ids[inst_id] = max(newest, trade_id)
        for gap in self._gaps.get(inst_id, ()):
            if gap.has(trade_id):
                return Observed(is_new=False, late_for=gap if gap.is_open else None)
        return Observed(is_new=True)

    def close(self, gap: Gap, *, is_filled: bool) -> None:
        """Close a gap: messages for it that still come are not new if it is filled."""
        gap.is_open = False
        gaps = self._gaps.get(gap.inst_id, [])
        if not is_filled:
            gaps.remove(gap)
        closed = [known for known in gaps if not known.is_open]
        for old in closed[:-CLOSED_GAPS]:
            gaps.remove(old)

    def open_gaps(self) -> list[Gap]:
        """Return the gaps to fill, the oldest first."""
        gaps = (gap for of_instrument in self._gaps.values() for gap in of_instrument if gap.is_open)
        return sorted(gaps, key=lambda gap: gap.opened_us)

    def restore(self, other: Sequences) -> None:
        """Take over ids and gaps of a stored state."""
        self.ids, self._gaps = other.ids, other._gaps

    def advance(self, ids: Mapping[str, int]) -> None:
        """Raise the newest ids to those that are known from elsewhere."""
        for inst_id, trade_id in ids.items():
            self.ids[inst_id] = max(trade_id, self.ids.get(inst_id, trade_id))

    def to_state(self, ids: Mapping[str, int]) -> dict[str, Any]:
        """Return open gaps and ids as JSON has them; ``ids`` are the newest that the broker has acknowledged."""
        return {"ids": dict(ids), "gaps": [asdict(gap) for gap in self.open_gaps()]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Sequences:
        """Return the state that ``to_state`` has written."""
        return cls(state.get("ids"), [Gap(**gap) for gap in state.get("gaps", ())])
