"""Days of simulated Bitcoin blocks as Parquet files in the layout of the AWS Public Blockchain bucket.

Belongs here: the rows of a day, and their files. Does not: faults, which a test makes by changing rows or files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SATS = 10**8
FIRST_HEIGHT = 850_000
_TIME = pa.timestamp("us")
# Nobody reads these; they are most of a real file.
_NESTED = pa.list_(pa.struct([("index", pa.int64()), ("address", pa.string()), ("value", pa.float64())]))


@dataclass(frozen=True)
class SimulatedDay:
    """Blocks and transactions of a day as the bucket has them, sorted by height."""

    day: date
    blocks: pa.Table
    transactions: pa.Table


def block_hash(number: int, fork: str = "") -> str:
    """Return the hash of the block at a height; another one on a fork."""
    return hashlib.sha256(f"block {number}{fork}".encode()).hexdigest()


def make_day(
    day: date, *, first: int = FIRST_HEIGHT, blocks: int = 144, per_block: int = 4, fork: str = ""
) -> SimulatedDay:
    """Return a day of blocks at random times from 00:05 on, with ``per_block`` transactions each.

    The same arguments give the same rows. Blocks are built on each other; those of a ``fork`` have other hashes.
    """
    generator = np.random.default_rng([day.toordinal(), first, len(fork)])
    start = datetime(day.year, day.month, day.day, tzinfo=UTC).replace(tzinfo=None)
    seconds = 300 + np.concatenate([[0], 1 + np.sort(generator.choice(86_000, blocks - 1, replace=False))])
    times = [start + timedelta(seconds=int(at)) for at in seconds]
    rows = blocks * per_block
    place = np.tile(np.arange(per_block), blocks)
    coinbase = place == 0
    block_of = np.repeat(np.arange(blocks), per_block)
    virtual = generator.integers(110, 900, rows)
    fees = np.where(coinbase, 0, (virtual * generator.uniform(1, 60, rows)).astype(np.int64))
    # Most outputs are small and a few are most of the value: lognormal, median 0.02 BTC.
    outputs = np.clip(generator.lognormal(np.log(0.02 * SATS), 2.5, rows), 1, 10_000 * SATS).astype(np.int64)
    inputs = generator.choice([1, 1, 1, 2, 3, 12], rows)
    payees = generator.choice([1, 2, 2, 2, 2, 9], rows)
    outputs[coinbase] = (50 * SATS >> first // 210_000) + np.bincount(block_of, fees, blocks).astype(np.int64)
    hashes = [block_hash(first + at, fork) for at in range(blocks)]
    numbers = pa.array(first + block_of, pa.int64())
    names = _hashes(f"{day} {first} {fork}", rows)
    transactions = pa.table(
        {
            "hash": names,
            "version": pa.array(np.full(rows, 2), pa.int64()),
            "size": pa.array(virtual + 80, pa.int64()),
            "block_hash": pa.array(hashes).take(pa.array(block_of)),
            "block_number": numbers,
            "index": pa.array(place, pa.int64()),
            "virtual_size": pa.array(virtual, pa.int64()),
            "lock_time": pa.array(np.zeros(rows, dtype=np.int64)),
            "input_count": pa.array(np.where(coinbase, 0, inputs), pa.int64()),
            "output_count": pa.array(payees, pa.int64()),
            "is_coinbase": pa.array(coinbase),
            "output_value": pa.array(outputs / SATS),
            "outputs": pa.nulls(rows, _NESTED),
            "block_timestamp": pa.array(times, _TIME).take(pa.array(block_of)),
            "last_modified": pa.nulls(rows, _TIME),
            "fee": pa.array(fees / SATS, mask=coinbase),
            "input_value": pa.array((outputs + fees) / SATS, mask=coinbase),
            "inputs": pa.nulls(rows, _NESTED),
        }
    )
    count = pa.array(np.full(blocks, per_block), pa.int64())
    previous = [block_hash(first - 1), *hashes[:-1]]
    header = {
        "hash": hashes,
        "size": pa.array(np.full(blocks, 1000 * per_block), pa.int64()),
        "weight": pa.array(np.full(blocks, 4000 * per_block), pa.int64()),
        "number": pa.array(range(first, first + blocks), pa.int64()),
        "timestamp": pa.array(times, _TIME),
        "transaction_count": count,
        "mediantime": pa.array([t - timedelta(hours=1) for t in times], _TIME),
        "previousblockhash": previous,
        "last_modified": pa.nulls(blocks, _TIME),
    }
    return SimulatedDay(day, pa.table(header), transactions)


def _hashes(seed: str, count: int) -> pa.Array:
    """Return texts of 64 hexadecimal digits."""
    key = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    data: NDArray[np.uint8] = np.random.default_rng(key).integers(0, 256, count * 32, dtype=np.uint8)
    text = data.tobytes().hex().encode()
    offsets = np.arange(0, 64 * count + 1, 64, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


def folder_of(root: Path, kind: str, day: date) -> Path:
    """Return the folder of a day; ``kind`` is blocks or transactions."""
    return root / kind / f"date={day.isoformat()}"


def write_daily(root: Path, made: SimulatedDay, *, parts: int = 1) -> list[Path]:
    """Write a day's daily files, the transactions in several parts, and remove nothing; return the paths."""
    size = -(-len(made.transactions) // parts)
    pieces = [("blocks", 0, made.blocks)]
    pieces += [("transactions", at, made.transactions.slice(at * size, size)) for at in range(parts)]
    return [
        _write(folder_of(root, kind, made.day) / f"part-{at:05}-sim.snappy.parquet", table)
        for kind, at, table in pieces
    ]


def write_per_block(root: Path, made: SimulatedDay) -> list[Path]:
    """Write a day's files of single blocks, as the bucket has them while the day lasts."""
    return [
        _write(folder_of(root, kind, made.day) / f"{number}.snappy.parquet", table)
        for number, *tables in by_block(made)
        for kind, table in zip(("blocks", "transactions"), tables, strict=True)
    ]


def by_block(made: SimulatedDay) -> Iterator[tuple[int, pa.Table, pa.Table]]:
    """Yield the height of each block, its row of the blocks, and its transactions."""
    numbers = np.asarray(made.transactions["block_number"])
    for at, number in enumerate(made.blocks["number"].to_pylist()):
        yield number, made.blocks.slice(at, 1), made.transactions.filter(pa.array(numbers == number))


def _write(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy", row_group_size=1 << 17)
    return path
