"""Which blocks count, and what a day's blocks must satisfy. Pure: no files, no database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

HALVING, FIRST_SUBSIDY_SATS = 210_000, 50 * 10**8
# A header's time lies between the median of the eleven blocks below it and two hours after the network's time: a block
# so near to midnight can belong to the neighboring day.
DISORDER = timedelta(hours=2)
STALE, DUPLICATE = "stale", "duplicate"


@dataclass(frozen=True)
class Block:
    """A block of the folder ``day``; ``rows`` are its records in bronze, ``is_final`` says that a daily file had it."""

    day: date
    block_hash: bytes
    number: int
    time: datetime
    median_time: datetime | None
    previous_hash: bytes | None
    transaction_count: int
    size_bytes: int | None
    weight: int | None
    is_final: bool
    rows: int = 0


@dataclass(frozen=True)
class Contents:
    """What the records of one block add up to, in satoshis; ``records`` includes rejected ones.

    ``fees`` is None when a fee is unknown or a record was rejected; ``coinbase_output`` when there is no coinbase.
    """

    records: int
    rows: int
    fees: int | None
    coinbase_output: int | None


def subsidy(number: int) -> int:
    """Return the new coins of the block at a height, in satoshis."""
    return FIRST_SUBSIDY_SATS >> (number // HALVING)


def left_out(blocks: Sequence[Block], above: Mapping[int, bytes] | None = None) -> dict[int, str]:
    """Return the places of the blocks that do not count, with the reason: ``duplicate`` or ``stale``.

    Of one block in several folders, the folder of its header's day counts, else the earliest. Of several blocks at one
    height, the one that the next block is built on counts, else the one of a daily file, else the smallest hash: the
    result depends on the blocks alone, not on their order. ``above`` are the hashes of previous blocks that blocks
    outside the sequence name, by height of the block that is named.
    """
    reasons: dict[int, str] = {}
    by_hash: dict[bytes, list[int]] = {}
    for at, block in enumerate(blocks):
        by_hash.setdefault(block.block_hash, []).append(at)
    by_height: dict[int, list[int]] = {}
    for places in by_hash.values():
        first, *others = sorted(places, key=lambda at: _precedence(blocks[at]))
        reasons |= dict.fromkeys(others, DUPLICATE)
        by_height.setdefault(blocks[first].number, []).append(first)
    parents = dict(above or {})
    for number in sorted(by_height, reverse=True):
        parent = parents.get(number)
        first, *others = sorted(
            by_height[number],
            key=lambda at: (blocks[at].block_hash != parent, not blocks[at].is_final, blocks[at].block_hash),
        )
        reasons |= dict.fromkeys(others, STALE)
        if (previous := blocks[first].previous_hash) is not None:
            parents[number - 1] = previous
    return reasons


def _precedence(block: Block) -> tuple[bool, bool, date]:
    return block.day != block.time.astimezone(UTC).date(), not block.is_final, block.day


def complete(blocks: Iterable[Block], contents: Mapping[bytes, Contents]) -> tuple[list[Block], list[str]]:
    """Return the blocks whose records are all there, with their number of rows, and a line for each other block."""
    whole, problems = [], []
    for block in blocks:
        found = contents.get(block.block_hash, Contents(0, 0, None, None))
        if found.records == block.transaction_count:
            whole.append(replace(block, rows=found.rows))
        else:
            problems.append(
                f"block {block.number} has {found.records:,} of {block.transaction_count:,} transactions: left out"
            )
    return whole, problems


def check_chain(blocks: Sequence[Block], day: date) -> list[str]:
    """Return a line for each height that is missing between the blocks that count, and for each broken link.

    A height beside a block within two hours of midnight may be in the folder of the neighboring day.
    """
    ordered = sorted(blocks, key=lambda block: block.number)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    problems = []
    for below, block in pairwise(ordered):
        if block.number == below.number + 1:
            if block.previous_hash is not None and block.previous_hash != below.block_hash:
                problems.append(f"block {block.number} is not built on block {below.number} of this day")
            continue
        near = any(
            edge - DISORDER <= neighbor.time <= edge + DISORDER
            for neighbor in (below, block)
            for edge in (midnight, midnight + timedelta(days=1))
        )
        if not near:
            missing = f"{below.number + 1}" + (f" to {block.number - 1}" if block.number > below.number + 2 else "")
            problems.append(f"height {missing} is missing")
    return problems


def check_rewards(blocks: Iterable[Block], contents: Mapping[bytes, Contents]) -> tuple[list[str], list[str]]:
    """Compare coinbase output with subsidy and fees of each block; return problems and notes.

    A miner may claim less (blocks 124724 and 501726 did), which is noted; more is impossible. A block with an unknown
    fee is not compared.
    """
    problems, notes = [], []
    for block in blocks:
        found = contents[block.block_hash]
        if found.coinbase_output is None:
            if found.rows == block.transaction_count:
                problems.append(f"block {block.number} has no coinbase")
            continue
        if found.fees is None:
            continue
        surplus = found.coinbase_output - subsidy(block.number) - found.fees
        if surplus > 0:
            problems.append(f"block {block.number}: its coinbase exceeds subsidy and fees by {surplus:,} sats")
        elif surplus < 0:
            notes.append(f"block {block.number}: its miner claimed {-surplus:,} sats less than subsidy and fees")
    return problems, notes
