"""Writes millions of Bitcoin transactions straight to a bronze folder, as backfills of their days would have left them.

    .venv/bin/python benchmarks/transactions.py --millions 8 /tmp/scale/bronze
    TICKMART_HOME=/tmp/home .venv/bin/python benchmarks/transactions.py --millions 8 --lake

Half a million transactions a day in 144 blocks; the same arguments write the same rows. With ``--lake`` the folder is
the bucket of the home's S3 server, so that `tickmart rebuild` and engines that read S3 find them.
"""

import argparse
import hashlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ingestion.arrow import UTC_US  # noqa: E402
from ingestion.bronze.parquet import shape, write_options  # noqa: E402
from ingestion.datasets import midnight  # noqa: E402
from ingestion.settings import load_settings  # noqa: E402
from ingestion.sources.bitcoin.dataset import (  # noqa: E402
    BITCOIN_TRANSACTIONS,
    BLOCKS_SCHEMA,
    HASH,
    blocks_key,
    transactions_key,
)

FIRST_DAY, FIRST_HEIGHT = date(2024, 6, 1), 846_000
BLOCKS, PER_BLOCK, ROW_GROUP = 144, 3472, 1 << 16
DAY_ROWS = BLOCKS * PER_BLOCK
REPEATING = ["block_hash", "source_url", "batch_id", "block_timestamp", "block_number", "fetched_at"]


def block_hash(number: int) -> bytes:
    """The hash of the block at a height."""
    return hashlib.sha256(f"block {number}".encode()).digest()


def hashes(data: bytes) -> pa.Array:
    """Hashes of 32 bytes each."""
    return pa.Array.from_buffers(HASH, len(data) // 32, [None, pa.py_buffer(data)])


def transactions(number: int, day: date) -> pa.Table:
    """The transactions of the day of that number: 40% have one input, most have two outputs, fees of 1 to 60 sat/vB."""
    chance = np.random.default_rng(number)
    blocks = np.repeat(np.arange(BLOCKS, dtype="int32"), PER_BLOCK)
    is_coinbase = np.tile(np.arange(PER_BLOCK) == 0, BLOCKS)
    virtual = chance.integers(110, 900, DAY_ROWS, dtype="int32")
    fees = (virtual * chance.uniform(1, 60, DAY_ROWS)).astype("int64")
    outputs = np.clip(chance.lognormal(np.log(2e6), 2.5, DAY_ROWS), 1, 1e12).astype("int64")
    times = int(midnight(day).timestamp()) * 1_000_000 + (300 + 590 * blocks.astype("int64")) * 1_000_000
    columns = {
        "block_timestamp": pa.array(times).cast(UTC_US),
        "output_sats": pa.array(outputs),
        "input_sats": pa.array(outputs + fees, mask=is_coinbase),
        "fee_sats": pa.array(fees, mask=is_coinbase),
        "block_number": pa.array(blocks + np.int32(FIRST_HEIGHT + BLOCKS * number)),
        "input_count": pa.array(np.where(is_coinbase, 0, chance.choice([1, 1, 2, 3, 12], DAY_ROWS)).astype("int32")),
        "output_count": pa.array(chance.choice([1, 2, 2, 2, 2, 9], DAY_ROWS).astype("int32")),
        "size_bytes": pa.array(virtual + np.int32(80)),
        "virtual_size": pa.array(virtual),
        "is_coinbase": pa.array(is_coinbase),
        "block_hash": hashes(
            b"".join(block_hash(FIRST_HEIGHT + BLOCKS * number + n) * PER_BLOCK for n in range(BLOCKS))
        ),
        "txid": hashes(chance.bytes(32 * DAY_ROWS)),
        "position": pa.array(np.tile(np.arange(PER_BLOCK, dtype="int32"), BLOCKS)),
        "source_url": pa.repeat(f"s3://aws-public-blockchain/v1.0/btc/transactions/date={day}", DAY_ROWS),
        "fetched_at": pa.repeat(pa.scalar(datetime(2024, 12, 1, tzinfo=UTC), UTC_US), DAY_ROWS),
        "batch_id": pa.repeat("0" * 36, DAY_ROWS),
    }
    schema = BITCOIN_TRANSACTIONS.schema
    return pa.table({field.name: columns[field.name] for field in schema}, schema)


def blocks_of(number: int, day: date) -> pa.Table:
    """The blocks of the day of that number, each built on the one below."""
    first = FIRST_HEIGHT + BLOCKS * number
    rows: list[dict[str, Any]] = []
    for n in range(BLOCKS):
        at = midnight(day) + timedelta(seconds=300 + 590 * n)
        rows.append({
            "block_number": first + n, "block_hash": block_hash(first + n), "block_timestamp": at,
            "median_time": at - timedelta(hours=1), "previous_hash": block_hash(first + n - 1),
            "transaction_count": PER_BLOCK, "row_count": PER_BLOCK, "size_bytes": 1_500_000, "weight": 3_990_000,
            "is_final": True,
        })  # fmt: skip
    return pa.Table.from_pylist(rows, BLOCKS_SCHEMA)


def write_day(folder: Path, number: int) -> int:
    """Write the two objects of a day; return the bytes of its transactions."""
    day = FIRST_DAY + timedelta(days=number)
    path = folder / blocks_key(day)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, BLOCKS_SCHEMA, **write_options(BLOCKS_SCHEMA)) as writer:
        writer.write_table(blocks_of(number, day))
        writer.add_key_value_metadata(shape(BLOCKS, writer.schema))
    path = folder / transactions_key(day)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    pq.write_table(
        transactions(number, day), draft, row_group_size=ROW_GROUP, compression="zstd", use_dictionary=REPEATING,
        write_statistics=REPEATING, write_page_checksum=True, store_schema=False,
    )  # fmt: skip
    draft.replace(path)
    return path.stat().st_size


def main() -> None:
    """Write the transactions, and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=1, help="millions of rows (1)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--lake", action="store_true", help="write to the bucket of TICKMART_HOME's own S3 server")
    parser.add_argument("folder", type=Path, nargs="?", help="the folder that becomes the bucket")
    arguments = parser.parse_args()
    if arguments.lake == (arguments.folder is not None):
        parser.error("give either a folder or --lake")
    folder = arguments.folder or load_settings().home / "lake" / "bronze"
    days = max(1, round(arguments.millions * 1_000_000 / DAY_ROWS))
    began = time.perf_counter()
    with ProcessPoolExecutor(arguments.workers) as pool:
        size = sum(pool.map(write_day, [folder] * days, range(days)))
    seconds = time.perf_counter() - began
    print(f"{days * DAY_ROWS:,} transactions of {days} days, {size / 1e6:,.0f} MB in {seconds:.1f} s below {folder}")


if __name__ == "__main__":
    main()
