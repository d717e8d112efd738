"""Loads trades and tickers into raw: partitions by UTC day, COPY, and the rows that raw does not have yet.

Belongs here: what the sink and a rebuild share. Does not: messages of the broker (``ingestion.stream.sink``).

A trade or ticker never changes, so that the first row of a key stays; there are no restatements.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ingestion.arrow import UTC_US
from ingestion.bronze.read_ahead import read_batches
from ingestion.database.connections import Connection, fetch, locked
from ingestion.datasets import ONE_DAY, Dataset, midnight, object_day
from ingestion.raw.binary_copy import Stream, binary_copies
from ingestion.raw.ledger import LoadedObject, write_ledger
from ingestion.raw.loader import BronzeObject, Loaded, object_reader, pending_objects
from ingestion.raw.upsert import lock_table
from ingestion.settings import load_settings

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

LOAD_ROWS = 60_000


def ensure_partitions(connection: Connection, dataset: Dataset, days: Iterable[date]) -> None:
    """Create the partitions of UTC days that are missing, in transactions of their own: each locks the table."""
    wanted = {f"{dataset.name}_{day:%Y_%m_%d}": day for day in days}
    query = "select relname from pg_class where relnamespace = 'raw'::regnamespace and relname = any(%s)"
    known = {name for (name,) in fetch(connection, query, (list(wanted),))}
    for name in sorted(wanted.keys() - known):
        start = midnight(wanted[name])
        with connection, connection.cursor() as cursor:
            cursor.execute("set local lock_timeout = '10s'")
            cursor.execute(
                f"create table if not exists raw.{name} partition of raw.{dataset.name} for values from (%s) to (%s)",
                (start, start + ONE_DAY),
            )


def partition_days(connection: Connection, dataset: Dataset) -> list[date]:
    """Return the UTC days that have a partition, in order."""
    query = """
        select right(relname, 10) from pg_class inner join pg_inherits on inhrelid = oid
        where inhparent = %s::regclass order by 1
    """
    rows = fetch(connection, query, (f"raw.{dataset.name}",))
    return [date.fromisoformat(name.replace("_", "-")) for (name,) in rows]


def drop_partition(connection: Connection, dataset: Dataset, day: date) -> None:
    """Remove a day from raw, and its objects from the ledger; bronze keeps them, and ``first_day`` leaves them out."""
    with connection, connection.cursor() as cursor:
        cursor.execute("set local lock_timeout = '10s'")
        lock_table(cursor, dataset)
        cursor.execute(f"drop table if exists raw.{dataset.name}_{day:%Y_%m_%d}")
        cursor.execute(
            "delete from ops.load_ledger where dataset = %s and object_key like %s",
            (dataset.name, f"{dataset.prefix}/date={day.isoformat()}/%"),
        )


def first_day(today: date, days: int) -> date:
    """Return the first UTC day that raw keeps of the newest ``days`` ones."""
    return today - timedelta(days=days - 1)


def days_of(table: pa.Table) -> list[date]:
    """Return the UTC days of a table's stamps."""
    return sorted(pc.unique(table["ts"].cast(pa.date32())).to_pylist())


def insert_new(cursor: Any, dataset: Dataset, table: pa.Table, loaded_at: datetime) -> int:
    """Insert the rows whose key raw does not have; return their number. Partitions exist, the table is locked."""
    rows = table.select([*(c.name for c in dataset.columns), *dataset.raw_provenance, "batch_id"])
    rows = rows.append_column("loaded_at", pa.repeat(pa.scalar(loaded_at, UTC_US), len(rows)))
    columns = ", ".join(rows.schema.names)
    # Once per connection: a table of its own for each of 40,000 loads a day would bloat the catalog.
    cursor.execute(
        f"create temp table if not exists new_{dataset.name} (like raw.{dataset.name}) on commit delete rows"
    )
    _copy(cursor, f"new_{dataset.name} ({columns})", rows)
    cursor.execute(
        f"insert into raw.{dataset.name} ({columns}) select {columns} from new_{dataset.name} on conflict do nothing"  # noqa: S608
    )
    return int(cursor.rowcount)


def _copy(cursor: Any, target: str, rows: pa.Table) -> None:
    """COPY in binary, as CSV where a number has too many digits for it."""
    try:
        pieces = binary_copies([_in_fours(rows)])
    except pa.ArrowInvalid:
        sink = io.BytesIO()
        pyarrow.csv.write_csv(rows, sink, pyarrow.csv.WriteOptions(include_header=False))
        sink.seek(0)
        cursor.copy_expert(f"copy {target} from stdin with (format csv)", sink)
        return
    cursor.copy_expert(f"copy {target} from stdin with (format binary)", Stream(pieces), size=1 << 20)


def _in_fours(rows: pa.Table) -> pa.Table:
    """Return rows whose decimals have a scale that ``binary_copies`` encodes; ArrowInvalid if one does not fit."""
    for at, column in enumerate(rows.columns):
        if pa.types.is_decimal(column.type) and (column.type.scale % 4 or pa.types.is_decimal256(column.type)):
            kind = pa.decimal128(38, -(-column.type.scale // 4) * 4)
            rows = rows.set_column(at, rows.schema.names[at], column.cast(kind))
    return rows


def load_objects(
    lake: Lake,
    connection: Connection,
    dataset: Dataset,
    batch_id: str,
    *,
    restating: bool = True,
    on_progress: Callable[[int, int, int], None] = lambda done, total, rows: None,
) -> tuple[Loaded, list[str]]:
    """Load every pending object of a day that raw keeps; the signature is that of ``loader.load_pending``.

    The sink loads what it writes; this loads after a rebuild, and what a killed sink had written but not loaded.
    """
    oldest = first_day(datetime.now(UTC).date(), load_settings().live_raw_days)
    total, damaged = Loaded(), dict[str, str]()

    read = object_reader(lake, dataset, damaged)
    with locked(connection, f"raw {dataset.name}"):
        pending = [o for o in pending_objects(lake, connection, dataset) if (object_day(o.key) or oldest) >= oldest]
        for batch in read_batches(read, pending, lambda item: len(item.table), LOAD_ROWS):
            total += _load_batch(connection, dataset, batch, batch_id)
            on_progress(total.objects, len(pending), total.rows)
    return total, [damaged[key] for key in sorted(damaged)]


def _load_batch(connection: Connection, dataset: Dataset, batch: list[BronzeObject], batch_id: str) -> Loaded:
    ensure_partitions(connection, dataset, {day for item in batch for day in days_of(item.table)})
    with connection, connection.cursor() as cursor:
        lock_table(cursor, dataset)
        cursor.execute("select clock_timestamp()")
        loaded_at = cursor.fetchone()[0]  # type: ignore[index]
        loaded = [
            LoadedObject(o.info, o.sha256, len(o.table), insert_new(cursor, dataset, o.table, loaded_at), 0)
            for o in batch
        ]
        write_ledger(cursor, dataset, loaded, batch_id, loaded_at)
    rows, inserted = sum(o.rows for o in loaded), sum(o.inserted for o in loaded)
    return Loaded(len(batch), rows, inserted, 0, rows - inserted)


def newest_ids(connection: Connection, inst_ids: Iterable[str]) -> dict[str, int]:
    """Return the newest trade id that raw has of each instrument."""
    query = """
        select inst_id, (select max(trade_id) from raw.okx_trades as t where t.inst_id = i.inst_id)
        from unnest(%s) as i (inst_id)
    """
    return {inst_id: newest for inst_id, newest in fetch(connection, query, (list(inst_ids),)) if newest is not None}
