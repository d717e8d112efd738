"""Which blocks count, and what the blocks of a day must satisfy."""

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.sources.bitcoin.chain import (
    Block,
    Contents,
    check_chain,
    check_rewards,
    complete,
    left_out,
    subsidy,
)

DAY = date(2024, 6, 1)
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def block(number: int, name: str = "", parent: str = "", **fields: object) -> Block:
    """A block at a height; `name` and `parent` tell the blocks of one height apart."""
    made = Block(
        day=DAY, block_hash=hash_of(number, name), number=number, time=NOON + timedelta(minutes=number % 60),
        median_time=None, previous_hash=hash_of(number - 1, parent), transaction_count=2, size_bytes=None, weight=None,
        is_final=True,
    )  # fmt: skip
    return replace(made, **fields)


def hash_of(number: int, name: str = "") -> bytes:
    return f"{number}{name}".encode().rjust(32, b"\0")


def test_the_block_that_the_next_one_is_built_on_counts() -> None:
    blocks = [block(1), block(2, "a"), block(2, "b"), block(3, parent="b")]
    assert left_out(blocks) == {1: "stale"}


def test_a_whole_branch_is_stale_when_the_block_above_it_names_the_other_one() -> None:
    blocks = [block(1, "a"), block(1, "b"), block(2, "a", "a"), block(2, "b", "b"), block(3, parent="b")]
    assert left_out(blocks) == {0: "stale", 2: "stale"}


def test_without_a_next_block_the_daily_file_decides() -> None:
    assert left_out([block(2, "a", is_final=False), block(2, "b")]) == {0: "stale"}
    assert left_out([block(2, "a", is_final=False), block(2, "b")], {2: hash_of(2, "a")}) == {1: "stale"}


def test_a_block_in_two_folders_counts_in_that_of_its_header() -> None:
    other = date(2024, 6, 2)
    assert left_out([block(1, day=other), block(1)]) == {0: "duplicate"}
    late = datetime(2024, 6, 3, tzinfo=UTC)
    assert left_out([block(1, day=other, time=late), block(1, time=late)]) == {0: "duplicate"}


branches = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from("abc"), st.sampled_from("abc"), st.booleans(), st.integers(0, 1)),
    max_size=7, unique_by=lambda b: (b[0], b[1], b[4]),
)  # fmt: skip


@given(branches, st.randoms(use_true_random=False))
def test_the_decision_is_the_same_in_any_order_and_leaves_one_block_per_height(branches, random) -> None:
    # A hash has one parent, wherever the block is.
    parents = {(number, name): parent for number, name, parent, _, _ in branches}
    blocks = [
        block(number, name, parents[number, name], is_final=final, day=DAY + timedelta(days=later))
        for number, name, _, final, later in branches
    ]
    shuffled = random.sample(blocks, len(blocks))

    def counted(of: list[Block]) -> set[Block]:
        gone = left_out(of)
        return {b for at, b in enumerate(of) if at not in gone}

    assert counted(blocks) == counted(shuffled)
    assert sorted(b.number for b in counted(blocks)) == sorted({b.number for b in blocks})


def test_a_block_is_complete_when_all_its_transactions_are_there() -> None:
    blocks = [block(1), block(2), block(3)]
    contents = {blocks[0].block_hash: Contents(2, 2, 0, 1), blocks[1].block_hash: Contents(1, 1, 0, 1)}
    whole, problems = complete(blocks, contents)
    assert [b.number for b in whole] == [1]
    assert [line.split()[1] for line in problems] == ["2", "3"]
    # A rejected record was sent, so the block is not partial.
    assert complete(blocks[:1], {blocks[0].block_hash: Contents(2, 1, None, 1)})[0][0].rows == 1


def test_a_missing_height_is_a_problem_unless_it_may_be_in_the_neighboring_day() -> None:
    assert check_chain([block(1), block(2), block(3)], DAY) == []
    assert len(check_chain([block(1), block(3)], DAY)) == 1
    evening = NOON.replace(hour=23)
    assert check_chain([block(1, time=evening), block(3, time=evening)], DAY) == []
    # Block times may go backwards (trap 4): heights order the blocks.
    assert check_chain([block(1, time=NOON), block(2, time=NOON - timedelta(hours=1)), block(3)], DAY) == []


def test_a_broken_link_is_a_problem() -> None:
    assert len(check_chain([block(1), block(2, parent="other")], DAY)) == 1
    assert check_chain([block(1), block(2, previous_hash=None)], DAY) == []


@pytest.mark.parametrize(
    ("number", "sats"), [(0, 50 * 10**8), (209_999, 50 * 10**8), (210_000, 25 * 10**8), (840_000, 312_500_000)]
)
def test_the_subsidy_halves_every_210000_blocks(number: int, sats: int) -> None:
    assert subsidy(number) == sats


def test_a_coinbase_takes_subsidy_and_fees_at_most() -> None:
    at = block(840_000)

    def check(fees: int | None, reward: int | None, rows: int = 2) -> tuple[int, int]:
        problems, notes = check_rewards([at], {at.block_hash: Contents(2, rows, fees, reward)})
        return len(problems), len(notes)

    assert check(10, 312_500_010) == (0, 0)
    assert check(10, 312_500_011) == (1, 0)
    assert check(10, 312_500_009) == (0, 1)
    assert check(None, 999_999_999) == (0, 0)  # a fee is unknown
    assert check(10, None) == (1, 0)  # no coinbase
    assert check(None, None, rows=1) == (0, 0)  # it was rejected


def test_neighbors_are_compared_by_height_not_by_place() -> None:
    blocks = [block(n) for n in range(5)]
    for order in itertools.permutations(blocks):
        assert check_chain(order, DAY) == []
