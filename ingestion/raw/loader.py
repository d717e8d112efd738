"""The loader of the raw tables: COPY, deduplication, upsert of what changed and the ledger, in one transaction.

Every bronze object whose present version is not in raw is loaded, in batches of one transaction each.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import chain, groupby
from typing import TYPE_CHECKING

import pyarrow as pa
from psycopg2 import sql
from psycopg2.extras import execute_values

from ingestion.bronze.merged import current, part_rows
from ingestion.bronze.objects import DamagedObject, ObjectInfo
from ingestion.bronze.parquet import read_pieces
from ingestion.bronze.read_ahead import read_batches
from ingestion.database.connections import LOCK_SPACE, Connection, fetch, locked
from ingestion.datasets import Dataset, is_merged
from ingestion.ops.merged_objects import write_parts
from ingestion.raw.ledger import LoadedObject, write_ledger
from ingestion.raw.upsert import lock_table, write_rows
from ingestion.universe import Asset

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

# Rows of the objects that one transaction loads: some 15 MB. The next batch is read meanwhile.
LOAD_ROWS = 60_000
# A larger object is loaded in pieces: its rows take some five times its bytes in memory.
LARGE_BYTES = 16 << 20


@dataclass(frozen=True)
class Loaded:
    """How many objects were loaded, and what they changed, in records."""

    objects: int = 0
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: Loaded) -> Loaded:
        return Loaded(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class BronzeObject:
    """An object to load: its listing, the hash of its bytes, and its rows."""

    info: ObjectInfo
    sha256: str
    table: pa.Table


def load_totals(connection: Connection, dataset: Dataset, batch_id: str) -> Loaded:
    """Return what the loads of a batch changed by the ledger, including interrupted steps."""
    query = """
        select count(*), sum(rows), sum(inserted), sum(updated), sum(unchanged)
        from ops.load_ledger where dataset = %s and batch_id = %s and merged_into is null
    """
    [totals] = fetch(connection, query, (dataset.name, batch_id))
    return Loaded(*(int(n or 0) for n in totals))


def load(
    connection: Connection,
    dataset: Dataset,
    objects: Sequence[BronzeObject],
    batch_id: str,
    *,
    restating: bool = True,
) -> Loaded:
    """Load the objects' rows into the raw table and write the ledger, in one transaction.

    A record with an equal value in raw is not touched. A record with another value is updated, and its old value goes
    to ``ops.restatements`` (unless ``restating`` is False: a rebuild has recorded its restatements before). Of several
    versions of a record in one batch the newest value wins, under the batch id with which it came first: raw ends up
    with the same rows whether objects are loaded one by one or together.
    """
    if not objects:
        return Loaded()
    with connection, connection.cursor() as cursor:
        loaded_at, changes = write_rows(cursor, dataset, [o.table for o in objects], batch_id if restating else None)
        by_object = [
            LoadedObject(o.info, o.sha256, len(o.table), *changes.get(at, (0, 0))) for at, o in enumerate(objects)
        ]
        write_ledger(cursor, dataset, by_object, batch_id, loaded_at)
        for o in objects:
            if is_merged(o.info.key):
                write_parts(cursor, dataset, o.info.key, part_rows(dataset, o.info.key, o.table), batch_id, loaded_at)
    rows, inserted, updated = (sum(n) for n in zip(*((o.rows, o.inserted, o.updated) for o in by_object), strict=True))
    return Loaded(len(objects), rows, inserted, updated, rows - inserted - updated)


def load_in_pieces(
    connection: Connection, dataset: Dataset, info: ObjectInfo, body: bytes, batch_id: str, *, restating: bool = True
) -> Loaded:
    """Load a large object as ``load`` does, in transactions of some rows each; until the last one it stays pending.

    Raises DamagedObject for a piece that cannot be read.
    """
    sha256 = hashlib.sha256(body).hexdigest()
    total, parts = Loaded(1), Counter[str]()
    unfinished, piece = replace(info, etag=""), None
    for following in chain(read_pieces(body, info.key, LOAD_ROWS), (None,)):
        if piece is not None:
            with connection, connection.cursor() as cursor:
                loaded_at, changes = write_rows(cursor, dataset, [piece], batch_id if restating else None)
                inserted, updated = changes.get(0, (0, 0))
                total += Loaded(0, len(piece), inserted, updated, len(piece) - inserted - updated)
                parts.update(part_rows(dataset, info.key, piece) if is_merged(info.key) else {})
                entry = LoadedObject(
                    info if following is None else unfinished, sha256, total.rows, total.inserted, total.updated
                )
                write_ledger(cursor, dataset, [entry], batch_id, loaded_at)
                if following is None and parts:
                    write_parts(cursor, dataset, info.key, parts, batch_id, loaded_at)
        piece = following
    return total


def pending_objects(lake: Lake, connection: Connection, dataset: Dataset) -> list[ObjectInfo]:
    """Return the objects of any day whose present version is not in raw."""
    query = "select object_key, etag from ops.load_ledger where dataset = %s"
    loaded = dict(fetch(connection, query, (dataset.name,)))
    return [o for o in current(lake.list(f"{dataset.prefix}/")) if loaded.get(o.key) != o.etag]


def object_reader(lake: Lake, dataset: Dataset, damaged: dict[str, str]) -> Callable[[ObjectInfo], BronzeObject | None]:
    """Return a function that reads a bronze object; it adds a line to ``damaged`` for one that cannot be read."""

    def read(info: ObjectInfo) -> BronzeObject | None:
        try:
            found = lake.read(info.key)
        except DamagedObject as error:
            damaged[info.key] = f"{error}: {dataset.damaged_advice}"
            return None
        return BronzeObject(info, found[1], found[0]) if found else None

    return read


def load_pending(
    lake: Lake,
    connection: Connection,
    dataset: Dataset,
    batch_id: str,
    *,
    restating: bool = True,
    on_progress: Callable[[int, int, int], None] = lambda done, total, rows: None,
) -> tuple[Loaded, list[str]]:
    """Load every pending object; return what changed, and one line for each damaged object.

    ``Dataset.on_damaged`` gets the key of each damaged object, so that the next run fetches its records again.
    ``on_progress`` gets the objects loaded, the objects in all, and the rows loaded.
    """
    total = Loaded()
    damaged: dict[str, str] = {}

    read = object_reader(lake, dataset, damaged)
    # Locked from the listing on: of two concurrent loaders, the slower one would overwrite a newer version.
    with locked(connection, f"raw {dataset.name}"):
        pending = pending_objects(lake, connection, dataset)
        for is_large, infos in groupby(pending, lambda info: info.size > LARGE_BYTES):
            loads = (
                _load_large(lake, connection, dataset, infos, batch_id, damaged, restating=restating)
                if is_large
                else (
                    load(connection, dataset, batch, batch_id, restating=restating)
                    for batch in read_batches(read, list(infos), lambda item: len(item.table), LOAD_ROWS)
                )
            )
            for loaded in loads:
                total += loaded
                on_progress(total.objects, len(pending), total.rows)
    if dataset.on_damaged is not None:
        for key in damaged:
            dataset.on_damaged(connection, key)
    return total, [damaged[key] for key in sorted(damaged)]


def _load_large(
    lake: Lake,
    connection: Connection,
    dataset: Dataset,
    infos: Iterable[ObjectInfo],
    batch_id: str,
    damaged: dict[str, str],
    *,
    restating: bool,
) -> Iterator[Loaded]:
    """Load large objects one after the other; add a line to ``damaged`` for one that cannot be read."""
    for info in infos:
        body = lake.get(info.key)
        if body is None:
            continue
        try:
            yield load_in_pieces(connection, dataset, info, body, batch_id, restating=restating)
        except DamagedObject as error:
            damaged[info.key] = f"{error}: {dataset.damaged_advice}"


def empty(connection: Connection, dataset: Dataset) -> None:
    """Empty the raw tables of a dataset and its ledger, in one transaction: the next load reads all of its objects."""
    others = [name.removeprefix("raw/") for name in dataset.other_assets if name.startswith("raw/")]
    with connection, connection.cursor() as cursor:
        lock_table(cursor, dataset)
        for name in (dataset.name, *others):
            cursor.execute(sql.SQL("truncate raw.{}").format(sql.Identifier(name)))
        cursor.execute("delete from ops.load_ledger where dataset = %s", (dataset.name,))


def load_universe(connection: Connection, assets: Sequence[Asset], batch_id: str) -> Loaded:
    """Make ``raw.universe`` mirror the universe file; rows that are the same are not touched."""
    rows = [(*astuple(asset), batch_id) for asset in assets]
    columns = [f.name for f in fields(Asset)]
    with connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s, 100)", (LOCK_SPACE,))
        cursor.execute("create temp table wanted on commit drop as select * from raw.universe limit 0")
        cursor.execute("alter table wanted alter column loaded_at set default clock_timestamp()")
        execute_values(cursor, f"insert into wanted ({', '.join(columns)}, batch_id) values %s", rows)  # noqa: S608
        cursor.execute(
            """
            with removed as (
                delete from raw.universe as r
                where not exists (
                    select 1
                    from wanted as w
                    where (w.crypto_id, w.binance_symbol, w.name, w.category, w.valid_from, w.valid_to)
                        is not distinct from
                        (r.crypto_id, r.binance_symbol, r.name, r.category, r.valid_from, r.valid_to)
                )
                returning r.crypto_id, r.binance_symbol
            )
            select count(*) from removed inner join wanted using (crypto_id, binance_symbol)
            """
        )
        updated = cursor.fetchone()[0]  # type: ignore[index]
        cursor.execute(
            """
            insert into raw.universe
            select w.*
            from wanted as w
            where not exists (
                select 1 from raw.universe as r where (r.crypto_id, r.binance_symbol) = (w.crypto_id, w.binance_symbol)
            )
            """
        )
        added = cursor.rowcount
    return Loaded(1, len(rows), added - updated, updated, len(rows) - added)
