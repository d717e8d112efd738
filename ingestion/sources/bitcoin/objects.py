"""The two bronze objects of a day, its blocks and its transactions: written, and read in batches of bounded memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.arrow import UTC_US
from ingestion.bronze.objects import DamagedObject, LakeError, Written
from ingestion.sources.bitcoin.chain import Block
from ingestion.sources.bitcoin.dataset import (
    BITCOIN_TRANSACTIONS,
    BLOCKS_SCHEMA,
    HASH,
    blocks_key,
    transactions_key,
)
from ingestion.sources.bitcoin.day import Day

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

ROW_GROUP = 1 << 16


def write_day(lake: Lake, day: date, read: Day, fetched_at: datetime, batch_id: str) -> Written:
    """Write a day's objects, each with a single PUT after it was read back: the blocks first, then the transactions."""
    lake.write(blocks_key(day), _blocks_table(read.blocks))
    body = _serialize(read.transactions, read.files, fetched_at, batch_id)
    key = transactions_key(day)
    names = [c.name for c in BITCOIN_TRANSACTIONS.columns]
    written = 0
    for batch in read_transactions(body, key):
        if not batch.equals(read.transactions.slice(written, len(batch)).select(names).cast(batch.schema)):
            raise LakeError(f"{key}: the serialized table does not read back equal; nothing was written")
        written += len(batch)
    if written != len(read.transactions):
        raise LakeError(f"{key}: {written} of {len(read.transactions)} rows read back; nothing was written")
    lake.put(key, body)
    return Written(key, "created", written, len(body))


def _blocks_table(blocks: Sequence[Block]) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {
            "block_number": b.number, "block_hash": b.block_hash, "block_timestamp": b.time,
            "median_time": b.median_time, "previous_hash": b.previous_hash, "transaction_count": b.transaction_count,
            "row_count": b.rows, "size_bytes": b.size_bytes, "weight": b.weight, "is_final": b.is_final,
        }
        for b in blocks
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, BLOCKS_SCHEMA)


def _serialize(table: pa.Table, files: Sequence[str], fetched_at: datetime, batch_id: str) -> bytes:
    """Return the Parquet file of a day's transactions. Provenance is added by row group: it would double the day."""
    schema = BITCOIN_TRANSACTIONS.schema
    sink = io.BytesIO()
    # Transaction ids do not repeat: 46 bytes per row, 52 with dictionaries of all columns, 56 with snappy.
    repeating = ["block_hash", "source_url", "batch_id", "block_timestamp", "block_number", "fetched_at"]
    with pq.ParquetWriter(
        sink, schema, compression="zstd", write_page_checksum=True, use_dictionary=repeating,
        write_statistics=repeating, store_schema=False,
    ) as writer:  # fmt: skip
        addresses = pa.array(files, pa.string())
        for at in range(0, len(table), ROW_GROUP):
            part = table.slice(at, ROW_GROUP)
            columns = {
                **{name: part[name] for name in part.schema.names},
                "source_url": pc.take(addresses, part["file"]),
                "fetched_at": pa.repeat(pa.scalar(fetched_at, UTC_US), len(part)),
                "batch_id": pa.repeat(batch_id, len(part)),
            }
            writer.write_table(pa.table({f.name: columns[f.name] for f in schema}, schema))
    return sink.getvalue()


def read_transactions(body: bytes, key: str) -> Iterator[pa.Table]:
    """Yield the columns of raw from a day's object in batches; DamagedObject if it is not a complete Parquet file."""
    names = [c.name for c in BITCOIN_TRANSACTIONS.columns]
    try:
        file = pq.ParquetFile(pa.BufferReader(body), page_checksum_verification=True)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, names, use_threads=False).combine_chunks()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DamagedObject(f"{key}: not a complete Parquet file ({' '.join(str(error).split())[:100]})") from None


def read_objects(lake: Lake, day: date) -> tuple[list[Block], bytes, str]:
    """Return a day's blocks, the bytes of its transactions and their SHA-256; DamagedObject if one cannot be read."""
    key = transactions_key(day)
    body, found = lake.get(key), lake.read(blocks_key(day))
    if body is None or found is None:
        raise DamagedObject(f"{key}: {'it' if body is None else blocks_key(day)} is missing")
    blocks = [
        Block(
            day, b["block_hash"], b["block_number"], b["block_timestamp"], b["median_time"], b["previous_hash"],
            b["transaction_count"], b["size_bytes"], b["weight"], b["is_final"], b["row_count"],
        )
        for b in found[0].to_pylist()
    ]  # fmt: skip
    return blocks, body, hashlib.sha256(body).hexdigest()


def rows_of_blocks(body: bytes, day: date, blocks: Sequence[Block], left_out: Collection[bytes]) -> Iterator[pa.Table]:
    """Yield the transactions of a day in batches, without those of the blocks that are left out.

    DamagedObject at the end, if the transactions are not those of the blocks: one of the two objects is of another
    version, because a process was killed between the writes.
    """
    key = transactions_key(day)
    counts: dict[bytes, int] = {}
    kept = pa.array([b.block_hash for b in blocks if b.block_hash not in left_out], HASH)
    for batch in read_transactions(body, key):
        for entry in batch["block_hash"].value_counts().to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
        yield batch.filter(pc.is_in(batch["block_hash"], kept)) if left_out else batch
    if counts != {b.block_hash: b.rows for b in blocks if b.rows}:
        raise DamagedObject(f"{key}: its blocks are not those of {blocks_key(day)}")
