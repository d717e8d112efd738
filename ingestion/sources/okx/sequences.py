"""Trade ids of each instrument: which trades are new, and where the stream has gaps. A pure state machine.

Belongs here: the decision. Does not: asking REST for the trades of a gap, or recording it (``ingestion.stream``).

OKX joins the fills of one taker order: a message with ``tradeId`` 105 and ``count`` 3 has the trades 103, 104 and 105,
and the message before it has ``tradeId`` 102. Without ``count`` a message is one trade. Ids that are skipped open a
gap; whether trades are missing there, the ids of REST decide, whose trades are single fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Gaps of an instrument that stay in memory after they are closed, so that a late message is recognized.
CLOSED_GAPS = 50


@dataclass
class Gap:
    """The trade ids strictly between two that were received; ``seen`` are ranges that came late, both ends included."""

    inst_id: str
    after: int
    before: int
    opened_us: int
    seen: list[tuple[int, int]] = field(default_factory=list)
    is_open: bool = True

    def lacks(self, trade_id: int) -> bool:
        """Return whether a trade belongs to the gap and did not come late."""
        return self.after < trade_id < self.before and not any(low <= trade_id <= high for low, high in self.seen)

    @property
    def is_complete(self) -> bool:
        """Whether late messages have all of its ids."""
        return sum(high - low + 1 for low, high in self.seen) >= self.before - self.after - 1


@dataclass(frozen=True)
class Observed:
    """What a trade message is: whether to store it, and the gap that it opened."""

    is_new: bool
    gap: Gap | None = None


class Sequences:
    """The newest trade id and the gaps of every instrument."""

    def __init__(self, ids: Mapping[str, int] | None = None, gaps: Iterable[Gap] = ()) -> None:
        self.ids = dict(ids or {})
        self._gaps: dict[str, list[Gap]] = {}
        for gap in gaps:
            self._gaps.setdefault(gap.inst_id, []).append(gap)

    def observe(self, inst_id: str, trade_id: int, fills: int | None, now_us: int) -> Observed:
        """Record a message with the ids (trade_id - fills, trade_id].

        A message is not new if REST has filled its place meanwhile. An older one that no gap explains is passed on: the
        broker and the key of raw decide whether it is known.
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
            return Observed(is_new=True, gap=gap)
        self.ids[inst_id] = max(newest, trade_id)
        for gap in self._gaps.get(inst_id, ()):
            if gap.after < trade_id < gap.before:
                is_late = gap.lacks(trade_id) and gap.lacks(first) and gap.is_open
                if is_late:
                    gap.seen.append((max(first, gap.after + 1), trade_id))
                return Observed(is_new=is_late)
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

    def to_state(self) -> dict[str, Any]:
        """Return ids and open gaps as JSON has them."""
        return {"ids": self.ids, "gaps": [asdict(gap) for gap in self.open_gaps()]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Sequences:
        """Return the state that ``to_state`` has written."""
        gaps = [Gap(**{**g, "seen": [(low, high) for low, high in g["seen"]]}) for g in state.get("gaps", ())]
        return cls(state.get("ids"), gaps)
