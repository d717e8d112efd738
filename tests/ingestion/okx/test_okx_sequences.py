"""Trade ids and gaps: whatever happens to a connection, each trade is stored once. Pure, driven by a state machine."""

import json
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingestion.sources.okx.sequences import Acknowledged, Sequences

INST = "BTC-USDT"


@dataclass
class Exchange:
    """Messages of one to three fills with contiguous ids, and REST's single fills."""

    trade_id: int = 100
    wire: list[tuple[int, int]] = field(default_factory=list)
    is_connected: bool = False

    def trade(self, fills: int) -> None:
        self.trade_id += fills
        if self.is_connected:
            self.wire.append((self.trade_id, fills))


class Stream(RuleBasedStateMachine):
    """Connect, drop, duplicate, reorder, lose, fill and restart in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange()
        self.sequences = Sequences()
        self.acknowledged = Acknowledged()
        # What raw would have by its key: the id of a message and its fills; and what is on its way to the broker.
        self.stored: dict[int, int] = {}
        self.on_its_way: list[tuple[int, int]] = []
        self.saved = json.dumps(self.sequences.to_state({}))

    @rule()
    def connect(self) -> None:
        self.exchange.is_connected = True

    @rule()
    def drop(self) -> None:
        self.exchange.is_connected = False
        self.exchange.wire.clear()

    @rule(fills=st.integers(1, 3), count=st.integers(1, 4))
    def trade(self, fills: int, count: int) -> None:
        for _ in range(count):
            self.exchange.trade(fills)

    @precondition(lambda self: self.exchange.wire)
    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.exchange.wire))):
            self.receive(*self.exchange.wire.pop(0))

    # Before the first message nothing is known of what it overtook.
    @precondition(lambda self: self.sequences.ids and len(self.exchange.wire) > 1)
    @rule(data=st.data())
    def reorder(self, data: st.DataObject) -> None:
        self.exchange.wire = data.draw(st.permutations(self.exchange.wire))

    @precondition(lambda self: self.exchange.wire)
    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        self.exchange.wire.append(data.draw(st.sampled_from(self.exchange.wire)))

    @precondition(lambda self: self.sequences.ids and self.exchange.wire)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.exchange.wire.remove(data.draw(st.sampled_from(self.exchange.wire)))

    @rule()
    def fill(self) -> None:
        """Answer every gap from REST, whose trades are single fills."""
        for gap in self.sequences.open_gaps():
            for trade_id in range(gap.after + 1, gap.before):
                self.stored[trade_id] = 1
            self.sequences.close(gap, is_filled=True)
            self.save()

    @rule()
    def restart(self) -> None:
        """Kill the collector: what it saved when a gap opened is there, and the newest id that the broker has."""
        self.drop()
        self.on_its_way.clear()
        self.sequences, self.acknowledged = Sequences.from_state(json.loads(self.saved)), Acknowledged()
        if self.stored:
            self.sequences.advance({INST: max(self.stored)})
        self.acknowledged.ids.update(self.sequences.ids)

    @precondition(lambda self: self.on_its_way)
    @rule(count=st.integers(1, 5))
    def acknowledge(self, count: int) -> None:
        """The broker has the oldest messages; later they are in raw."""
        for _ in range(min(count, len(self.on_its_way))):
            trade_id, fills = self.on_its_way.pop(0)
            self.stored[trade_id] = fills
            self.acknowledged.acknowledged(INST, trade_id)

    @rule()
    def save(self) -> None:
        """The collector stores its state every ten seconds."""
        self.saved = json.dumps(self.sequences.to_state(self.acknowledged.ids))

    def receive(self, trade_id: int, fills: int) -> None:
        observed = self.sequences.observe(INST, trade_id, fills, 0)
        if observed.opened is not None:
            self.save()
        if observed.is_new:
            self.on_its_way.append((trade_id, fills))
            self.acknowledged.sent(INST, trade_id)

    def covered(self) -> list[int]:
        return sorted(i for last, fills in self.stored.items() for i in range(last - fills + 1, last + 1))

    @invariant()
    def no_trade_is_stored_twice(self) -> None:
        covered = self.covered()
        assert len(covered) == len(set(covered))

    def teardown(self) -> None:
        """One more trade and the answers of REST leave nothing out."""
        self.drop()
        self.acknowledge(len(self.on_its_way))
        if not self.stored:
            return
        self.connect()
        self.exchange.trade(1)
        self.deliver(1)
        self.acknowledge(1)
        self.fill()
        covered = self.covered()
        assert covered == list(range(covered[0], self.exchange.trade_id + 1))
        assert self.sequences.open_gaps() == []


Stream.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestStream = Stream.TestCase


def test_a_message_without_count_is_one_trade():
    sequences = Sequences({INST: 10})
    assert sequences.observe(INST, 11, None, 0).opened is None
    assert sequences.observe(INST, 13, None, 0).opened is not None


def test_a_message_of_several_fills_leaves_no_gap():
    sequences = Sequences({INST: 10})
    assert sequences.observe(INST, 13, 3, 0).opened is None


def test_the_first_message_of_an_instrument_opens_no_gap():
    assert Sequences().observe(INST, 10**9, 1, 0).opened is None


def test_a_message_for_a_gap_that_rest_lacked_is_stored():
    sequences = Sequences({INST: 10})
    gap = sequences.observe(INST, 20, 1, 0).opened
    assert sequences.observe(INST, 15, 1, 0).late_for is gap
    sequences.close(gap, is_filled=False)
    assert sequences.observe(INST, 15, 1, 0).is_new
