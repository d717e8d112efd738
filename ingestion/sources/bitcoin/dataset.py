"""The dataset ``bitcoin_transactions``: its columns, its objects in bronze, and the blocks beside them.

Belongs here: names, types and keys. Does not: reading the source (``bucket``, ``parse``), which blocks count
(``chain``).
"""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from ingestion.arrow import UTC_US
from ingestion.database.connections import Connection, execute
from ingestion.datasets import HOUR_S, Column, Dataset, object_day

NAME, PREFIX = "bitcoin_transactions", "bitcoin/transactions"
HASH = pa.binary(32)
COLUMNS = (
    Column("block_timestamp", UTC_US, "timestamptz", "Time in the block's header; not monotone by height."),
    Column("output_sats", pa.int64(), "bigint", "Gross output in satoshis; it includes change."),
    Column("input_sats", pa.int64(), "bigint", "Input in satoshis; null for a coinbase and when unknown.", False),
    Column("fee_sats", pa.int64(), "bigint", "Fee in satoshis; null for a coinbase and when unknown.", False),
    Column("block_number", pa.int32(), "integer", "Height of the block."),
    Column("input_count", pa.int32(), "integer", "Inputs; 0 for a coinbase."),
    Column("output_count", pa.int32(), "integer", "Outputs."),
    Column("size_bytes", pa.int32(), "integer", "Size in bytes."),
    Column("virtual_size", pa.int32(), "integer", "Size in virtual bytes (BIP 141)."),
    Column("is_coinbase", pa.bool_(), "boolean", "Whether it is the block's first transaction, which pays its miner."),
    Column("block_hash", HASH, "bytea", "Hash of the block, in the order of bytes in which it is written."),
    Column("txid", HASH, "bytea", "Id of the transaction; two pairs of blocks share one (BIP 30)."),
)
BRONZE_ONLY = (("position", pa.int32(), "Place of the transaction in its block."),)
BLOCKS_SCHEMA = pa.schema(
    [
        pa.field("block_number", pa.int32(), nullable=False),
        pa.field("block_hash", HASH, nullable=False),
        pa.field("block_timestamp", UTC_US, nullable=False),
        pa.field("median_time", UTC_US),
        pa.field("previous_hash", HASH),
        pa.field("transaction_count", pa.int32(), nullable=False),
        pa.field("row_count", pa.int32(), nullable=False),
        pa.field("size_bytes", pa.int32()),
        pa.field("weight", pa.int32()),
        pa.field("is_final", pa.bool_(), nullable=False),
    ]
)


def transactions_key(day: date) -> str:
    """Return the key of a day's transactions."""
    return f"{PREFIX}/date={day.isoformat()}/transactions.parquet"


def blocks_key(day: date) -> str:
    """Return the key of the blocks beside a day's transactions, which are written after them and complete the day."""
    return f"bitcoin/blocks/date={day.isoformat()}/blocks.parquet"


def _request_again(connection: Connection, key: str) -> None:
    execute(connection, "delete from ops.bitcoin_days where day = %s", (object_day(key),))


BITCOIN_TRANSACTIONS = Dataset(
    name=NAME,
    source="AWS Public Blockchain",
    prefix=PREFIX,
    key=("block_hash", "txid"),
    columns=COLUMNS,
    bronze_only=BRONZE_ONLY,
    # A file arrives about 20 s after its block; blocks are rarely more than an hour apart, and runs are hourly.
    sla_seconds=lambda _: 4 * HOUR_S,
    newest_sql="select max(block_timestamp) from raw.bitcoin_blocks where left_out is null",
    # Counting the rows of three months takes seconds.
    count_sql="select coalesce(sum(row_count), 0)::bigint from raw.bitcoin_blocks where left_out is null",
    object_key=lambda row: transactions_key(row["block_timestamp"].date()),
    damaged_advice="the next run or backfill of its day fetches it again",
    on_damaged=_request_again,
    is_on=lambda settings: settings.bitcoin_transactions,
    optional=True,
    whole_objects=True,
    other_assets=("raw/bitcoin_blocks",),
)
