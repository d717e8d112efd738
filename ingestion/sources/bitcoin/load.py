"""Loads days of Bitcoin transactions from bronze into raw: one transaction per day, which replaces the day whole.

Belongs here: partitions, and which blocks of neighboring days count after a load. Does not: the rule for that
(``chain.left_out``) nor the encoding (``raw.binary_copy``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg2
import pyarrow as pa
from psycopg2.extras import execute_values

from ingestion.bronze.objects import DamagedObject, ObjectInfo
from ingestion.database.connections import Connection, execute, locked
from ingestion.datasets import Dataset, object_day
from ingestion.ops.bitcoin_days import mark_loaded
from ingestion.raw.binary_copy import Stream, ahead, binary_copies
from ingestion.raw.ledger import LoadedObject, write_ledger
from ingestion.raw.loader import Loaded, pending_objects
from ingestion.raw.upsert import lock_table
from ingestion.sources.bitcoin.chain import Block, left_out
from ingestion.sources.bitcoin.dataset import transactions_key
from ingestion.sources.bitcoin.objects import read_objects, rows_of_blocks

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

# A reorganization of more than six blocks has not been seen since 2013.
REORGANIZED = 6
# A load can bring a block of another day back, whose day is then loaded again.
PASSES = 3
_TABLE = "raw.bitcoin_transactions"


def load_days(
    lake: Lake,
    connection: Connection,
    dataset: Dataset,
    batch_id: str,
    *,
    restating: bool = True,
    on_progress: Callable[[int, int, int], None] = lambda done, total, rows: None,
) -> tuple[Loaded, list[str]]:
    """Load every pending day; return what changed, and a line for each damaged object (as ``loader.load_pending``).

    ``restating`` is of no meaning here: a transaction has no other value later, only its block can leave.
    """
    total = Loaded()
    damaged: dict[str, str] = {}
    partitions: set[str] = set()
    with locked(connection, f"raw {dataset.name}"):
        for _ in range(PASSES):
            pending = [o for o in pending_objects(lake, connection, dataset) if o.key not in damaged]
            if not pending:
                break
            for info in pending:
                try:
                    total += _load_day(lake, connection, dataset, info, batch_id, partitions)
                except DamagedObject as error:
                    damaged[info.key] = f"{error}: {dataset.damaged_advice}"
                on_progress(total.objects, len(pending), total.rows)
        for partition in sorted(partitions):
            _index_new_rows(connection, partition)
    if dataset.on_damaged is not None:
        for key in damaged:
            dataset.on_damaged(connection, key)
    return total, [damaged[key] for key in sorted(damaged)]


def _load_day(
    lake: Lake, connection: Connection, dataset: Dataset, info: ObjectInfo, batch_id: str, partitions: set[str]
) -> Loaded:
    """Replace a day in raw, in one transaction; add its partitions to ``partitions``."""
    day = object_day(info.key)
    assert day is not None
    blocks, body, sha256 = read_objects(lake, day)
    for month in sorted({(block.time.year, block.time.month) for block in blocks}):
        partitions.add(_ensure_partition(connection, *month))
    with connection, connection.cursor() as cursor:
        lock_table(cursor, dataset)
        cursor.execute("select clock_timestamp()")
        loaded_at = cursor.fetchone()[0]  # type: ignore[index]
        before = _blocks_of(cursor, day)
        reasons = _resolve(cursor, dataset, day, blocks, before, loaded_at)
        deleted = _delete_rows(cursor, [block for block, reason in before if reason is None])
        _replace_blocks(cursor, day, blocks, reasons, loaded_at, batch_id)
        rows = sum(block.rows for block in blocks)
        inserted = _copy(cursor, rows_of_blocks(body, day, blocks, reasons))
        # Raw had these rows or fewer: what a reload only repeats is no new row.
        new = max(inserted - deleted, 0)
        replaced = min(inserted, deleted)
        write_ledger(cursor, dataset, [LoadedObject(info, sha256, rows, new, replaced)], batch_id, loaded_at)
        mark_loaded(cursor, day)
    return Loaded(1, rows, new, replaced, rows - inserted)


def _ensure_partition(connection: Connection, year: int, month: int) -> str:
    """Create the partition of a month and return its name, in a transaction of its own: it locks the table."""
    following = (year + month // 12, month % 12 + 1)
    name = f"{_TABLE}_{year:04}_{month:02}"
    execute(
        connection,
        f"create table if not exists {name} partition of {_TABLE} for values from (%s) to (%s)",
        (datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)),
    )
    return name


def _index_new_rows(connection: Connection, partition: str) -> None:
    """Summarize the new pages of a partition's BRIN index, and count its times for the planner.

    Autovacuum does both in its own time. Until then a query of one day reads the whole month.
    """
    execute(connection, f"analyze {partition} (block_timestamp)")
    execute(
        connection,
        "select brin_summarize_new_values(indexrelid) from pg_index inner join pg_class on pg_class.oid = indexrelid"
        " inner join pg_am on pg_am.oid = relam where indrelid = %s::regclass and amname = 'brin'",
        (partition,),
    )


def _blocks_of(cursor: Any, day: date) -> list[tuple[Block, str | None]]:
    return _read_blocks(cursor, "source_day = %s", (day,))


def _read_blocks(cursor: Any, condition: str, values: tuple[Any, ...]) -> list[tuple[Block, str | None]]:
    """Return blocks of raw with the reason why they do not count, None for those that do."""
    cursor.execute(
        f"""
        select
            source_day, block_hash, block_number, block_timestamp, median_time, previous_hash, transaction_count,
            size_bytes, weight, is_final, row_count, left_out
        from raw.bitcoin_blocks where {condition}
        """,  # noqa: S608 - the conditions of this module
        values,
    )
    found = []
    for *values_of_block, reason in cursor.fetchall():
        plain: list[Any] = [bytes(value) if isinstance(value, memoryview) else value for value in values_of_block]
        found.append((Block(*plain), reason))
    return found


def _resolve(
    cursor: Any, dataset: Dataset, day: date, blocks: Sequence[Block], before: Sequence[tuple[Block, str | None]],
    loaded_at: datetime,
) -> dict[bytes, str]:  # fmt: skip
    """Decide which blocks count, of a day and of other days at its heights; return why blocks of the day do not.

    A block of another day that counts no more loses its rows. One that counts again has none: its day is loaded again.
    """
    numbers = [block.number for block in (*blocks, *(block for block, _ in before))]
    low, high = min(numbers) - REORGANIZED, max(numbers)
    hashes = [block.block_hash for block in blocks]
    near = "source_day <> %s and (block_number between %s and %s or block_hash = any(%s))"
    others = _read_blocks(cursor, near, (day, low, high, hashes))
    cursor.execute(
        "select block_number - 1, previous_hash from raw.bitcoin_blocks"
        " where block_number = %s and source_day <> %s and left_out is null and previous_hash is not null",
        (high + 1, day),
    )
    above = {number: bytes(parent) for number, parent in cursor.fetchall()}
    reasons = left_out([*blocks, *(block for block, _ in others)], above)
    for at, (block, reason) in enumerate(others, start=len(blocks)):
        decided = reasons.get(at)
        if decided is not None and decided != reason:
            if reason is None:
                _delete_rows(cursor, [block])
            cursor.execute(
                "update raw.bitcoin_blocks set left_out = %s, loaded_at = %s where source_day = %s and block_hash = %s",
                (decided, loaded_at, block.day, block.block_hash),
            )
        elif decided is None and reason is not None:
            cursor.execute(
                "delete from ops.load_ledger where dataset = %s and object_key = %s",
                (dataset.name, transactions_key(block.day)),
            )
    return {block.block_hash: reasons[at] for at, block in enumerate(blocks) if at in reasons}


def _delete_rows(cursor: Any, blocks: Sequence[Block]) -> int:
    """Delete the rows of blocks; their times select partitions and pages, whose rows have no other index."""
    if not blocks:
        return 0
    cursor.execute(
        f"delete from {_TABLE} where block_timestamp between %s and %s and block_hash = any(%s)",  # noqa: S608
        (min(b.time for b in blocks), max(b.time for b in blocks), [b.block_hash for b in blocks]),
    )
    return int(cursor.rowcount)


def _replace_blocks(
    cursor: Any, day: date, blocks: Iterable[Block], reasons: Mapping[bytes, str], loaded_at: datetime, batch_id: str
) -> None:
    cursor.execute("delete from raw.bitcoin_blocks where source_day = %s", (day,))
    execute_values(
        cursor,
        """
        insert into raw.bitcoin_blocks (
            source_day, block_hash, block_number, block_timestamp, median_time, previous_hash, transaction_count,
            row_count, size_bytes, weight, is_final, left_out, loaded_at, batch_id
        ) values %s
        """,
        [
            (b.day, b.block_hash, b.number, b.time, b.median_time, b.previous_hash, b.transaction_count, b.rows,
             b.size_bytes, b.weight, b.is_final, reasons.get(b.block_hash), loaded_at, batch_id)
            for b in blocks
        ],
        page_size=1000,
    )  # fmt: skip


def _copy(cursor: Any, batches: Iterator[pa.Table]) -> int:
    """COPY the batches in binary form, one ahead of the server; return the number of rows."""
    first = next(batches, None)
    if first is None:
        return 0
    rows, damage = 0, list[DamagedObject]()

    def counting() -> Iterator[pa.Table]:
        nonlocal rows
        try:
            for batch in chain((first,), batches):
                rows += len(batch)
                yield batch
        except DamagedObject as error:
            damage.append(error)
            raise

    stream = Stream(ahead(binary_copies(counting())))
    columns = ", ".join(first.schema.names)
    try:
        cursor.copy_expert(f"copy {_TABLE} ({columns}) from stdin with (format binary)", stream, size=1 << 20)
    except psycopg2.errors.QueryCanceled:
        # psycopg2 turns an error of what it reads from into this one.
        if damage:
            raise damage[0] from None
        raise
    return rows
