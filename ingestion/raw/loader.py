"""The loader of the raw tables: COPY, deduplication, upsert of what changed and the ledger, in one transaction.

Every bronze object whose present version is not in raw is loaded, in batches of one transaction each.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from psycopg2 import sql
from psycopg2.extras import execute_values

from ingestion.arrow import UTC_US, align_decimals, last_wins
from ingestion.bronze.merge import without_repeats
from ingestion.bronze.objects import DamagedObject, ObjectInfo
from ingestion.bronze.read_ahead import read_batches
from ingestion.database.connections import LOCK_SPACE, Connection, WarehouseError, fetch, lock_key, locked
from ingestion.datasets import Dataset
from ingestion.raw import binary_copy
from ingestion.universe import Asset

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

# Rows of the objects that one transaction loads: some 15 MB. The next batch is read meanwhile.
LOAD_ROWS = 60_000


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


@dataclass(frozen=True)
class LoadedObject:
    """An object as the ledger records it: its listing, the hash of its bytes, and how many rows it changed."""

    info: ObjectInfo
    sha256: str
    rows: int
    inserted: int
    updated: int


def load_totals(connection: Connection, dataset: Dataset, batch_id: str) -> Loaded:
    """Return what the loads of a batch changed by the ledger, including interrupted steps."""
    query = """
        select count(*), sum(rows), sum(inserted), sum(updated), sum(unchanged)
        from ops.load_ledger where dataset = %s and batch_id = %s
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
    batch = pa.concat_tables(align_decimals([_numbered(o.table, dataset, at) for at, o in enumerate(objects)]))
    order = ("fetched_at", "object_no")
    distinct = last_wins(batch, dataset.key, by=order)
    # Without the first of equal values, which may be older than a value between them.
    if len(distinct) < len(batch) and "fetched_at" not in dataset.raw_provenance:
        distinct = last_wins(without_repeats(dataset, batch, order), dataset.key, by=order)
    with connection, connection.cursor() as cursor:
        lock_table(cursor, dataset)
        cursor.execute("select clock_timestamp()")
        loaded_at = cursor.fetchone()[0]  # type: ignore[index]
        existing = (f"select * from raw.{dataset.name}", ())  # noqa: S608 - a declared name
        if dataset.existing_rows is not None:
            existing = dataset.existing_rows(distinct)
        cursor.execute(f"select exists ({existing[0]})", existing[1])
        if len(distinct) and cursor.fetchone()[0]:  # type: ignore[index]
            changes = _upsert(cursor, dataset, distinct, existing, loaded_at, batch_id if restating else None)
        else:
            _copy(cursor, f"raw.{dataset.name}", dataset, _for_copy(distinct, dataset, loaded_at))
            changes = {at: (int(n), 0) for at, n in enumerate(np.bincount(np.asarray(distinct["object_no"])))}
        by_object = [
            LoadedObject(o.info, o.sha256, len(o.table), *changes.get(at, (0, 0))) for at, o in enumerate(objects)
        ]
        write_ledger(cursor, dataset, by_object, batch_id, loaded_at)
    rows, inserted, updated = (sum(n) for n in zip(*((o.rows, o.inserted, o.updated) for o in by_object), strict=True))
    return Loaded(len(objects), rows, inserted, updated, rows - inserted - updated)


def _numbered(table: pa.Table, dataset: Dataset, at: int) -> pa.Table:
    names = [c.name for c in dataset.columns]
    missing = [n for n in names if n not in table.schema.names]
    if missing:
        raise WarehouseError(f"raw.{dataset.name}: an object has no column {missing[0]}; fetch its day again")
    columns = table.select([*names, *dict.fromkeys([*dataset.raw_provenance, "fetched_at"]), "batch_id"])
    return columns.append_column("object_no", pa.array(np.full(len(columns), at, dtype="int64")))


def lock_table(cursor: Any, dataset: Dataset) -> None:
    """Wait for other loads of a dataset's raw table, until the end of the transaction."""
    cursor.execute("set local lock_timeout = '120s'")
    cursor.execute("select pg_advisory_xact_lock(%s, %s)", lock_key(f"table raw.{dataset.name}"))


def _for_copy(batch: pa.Table, dataset: Dataset, loaded_at: datetime) -> pa.Table:
    table = batch.select([*(c.name for c in dataset.columns), *dataset.raw_provenance, "batch_id"])
    return table.append_column("loaded_at", pa.repeat(pa.scalar(loaded_at, UTC_US), len(table)))


def _copy(cursor: Any, target: str, dataset: Dataset, table: pa.Table) -> None:
    """COPY a table, its columns by name: in binary if the dataset's types allow it, else as CSV."""
    columns = ", ".join(table.schema.names)
    if {c.postgres for c in dataset.columns} <= binary_copy.TYPES and binary_copy.fits(table):
        stream = binary_copy.Stream(binary_copy.ahead(binary_copy.binary_copy(table)))
        cursor.copy_expert(f"copy {target} ({columns}) from stdin with (format binary)", stream, size=1 << 20)
        return
    sink = io.BytesIO()
    # Text is quoted, so that an empty string is not null.
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False))
    sink.seek(0)
    cursor.copy_expert(f"copy {target} ({columns}) from stdin with (format csv)", sink)


def _upsert(
    cursor: Any,
    dataset: Dataset,
    rows: pa.Table,
    existing: tuple[str, tuple[Any, ...]],
    loaded_at: datetime,
    restated_by: str | None,
) -> dict[int, tuple[int, int]]:
    """Insert new rows and update rows that differ; return (inserted, updated) by the number of the object.

    The join that finds these is the only read of the existing rows. ``restated_by`` is the batch that restates.
    """
    parts = _statement_parts(dataset, existing[0])

    def run(statement: str, values: tuple[Any, ...] = ()) -> None:
        cursor.execute(sql.SQL(statement).format(**parts), values)

    run("create temp table batch on commit drop as select {columns}, 0::bigint as object_no from raw.{raw} limit 0")
    ready = _for_copy(rows, dataset, loaded_at).append_column("object_no", rows["object_no"])
    _copy(cursor, "batch", dataset, ready)
    run(
        """
        create temp table changes on commit drop as
        with existing as ({existing})
        select b.*, {first_key} is null as is_new
        from batch as b
        left join existing as r on {same_key}
        where {first_key} is null or ({differs} and {is_newest})
        """,
        existing[1],
    )
    changed = cursor.rowcount
    if "fetched_at" in dataset.raw_provenance:
        # So that a version fetched between the two does not replace this value when it is loaded later.
        run(
            """
            update raw.{raw} as r set fetched_at = b.fetched_at
            from batch as b
            where {same_key} and not {differs} and b.fetched_at > r.fetched_at
            """
        )
    if changed == 0:
        return {}
    run("analyze changes ({key}, is_new)")
    if restated_by is not None:
        run(
            """
            insert into ops.restatements
                (dataset, record_key, old_record, new_record, batch_id, restated_at, old_loaded_at)
            select
                {name},
                jsonb_build_object({key_pairs}),
                to_jsonb(r) - 'loaded_at' - 'payload',
                to_jsonb(b) - 'loaded_at' - 'payload' - 'object_no' - 'is_new',
                %s,
                b.loaded_at,
                r.loaded_at
            from changes as b
            inner join raw.{raw} as r on {same_key}
            order by {key_of_batch}
            """,
            (restated_by,),
        )
    run("update raw.{raw} as r set {sets} from changes as b where not b.is_new and {same_key}")
    run("insert into raw.{raw} ({columns}) select {columns} from changes where is_new order by {key}")
    run("select object_no, count(*) filter (where is_new), count(*) filter (where not is_new) from changes group by 1")
    return {number: (inserted, updated) for number, inserted, updated in cursor.fetchall()}


def _statement_parts(dataset: Dataset, existing: str) -> dict[str, sql.Composable]:
    """Return the names and literals of the statements of ``_upsert``."""
    names = [*(c.name for c in dataset.columns), *dataset.raw_provenance]
    is_newest = "b.fetched_at >= r.fetched_at" if "fetched_at" in dataset.raw_provenance else "true"

    def listed(parts: Iterable[sql.Composable], separator: str = ", ") -> sql.Composable:
        return sql.SQL(separator).join(parts)

    def of(alias: str, columns: Sequence[str]) -> sql.Composable:
        return listed(sql.Identifier(alias, n) for n in columns)

    return {
        "raw": sql.Identifier(dataset.name),
        "existing": sql.SQL(existing),
        "columns": listed(map(sql.Identifier, [*names, "batch_id", "loaded_at"])),
        "key": listed(map(sql.Identifier, dataset.key)),
        "key_of_batch": of("b", dataset.key),
        "first_key": sql.Identifier("r", dataset.key[0]),
        "same_key": listed((sql.SQL("r.{0} = b.{0}").format(sql.Identifier(n)) for n in dataset.key), " and "),
        "differs": sql.SQL("({}) is distinct from ({})").format(of("r", dataset.values), of("b", dataset.values)),
        "is_newest": sql.SQL(is_newest),
        "sets": listed(
            sql.SQL("{0} = b.{0}").format(sql.Identifier(n))
            for n in [*dataset.values, *dataset.raw_provenance, "batch_id", "loaded_at"]
        ),
        "key_pairs": listed(sql.SQL("{}, {}").format(sql.Literal(n), sql.Identifier("b", n)) for n in dataset.key),
        "name": sql.Literal(dataset.name),
    }


def write_ledger(
    cursor: Any, dataset: Dataset, objects: Sequence[LoadedObject], batch_id: str, loaded_at: datetime
) -> None:
    """Record loaded objects in ``ops.load_ledger``, in the transaction that loads them."""
    execute_values(
        cursor,
        """
        insert into ops.load_ledger as known
            (object_key, sha256, etag, rows, inserted, updated, unchanged, dataset, batch_id, loaded_at, changed_at)
        values %s
        on conflict (object_key) do update set
            sha256 = excluded.sha256, etag = excluded.etag, rows = excluded.rows, inserted = excluded.inserted,
            updated = excluded.updated, unchanged = excluded.unchanged, batch_id = excluded.batch_id,
            loaded_at = excluded.loaded_at, changed_at = coalesce(excluded.changed_at, known.changed_at)
        """,
        [
            (
                o.info.key,
                o.sha256,
                o.info.etag,
                o.rows,
                o.inserted,
                o.updated,
                o.rows - o.inserted - o.updated,
                dataset.name,
                batch_id,
                loaded_at,
                loaded_at if o.inserted + o.updated else None,
            )
            for o in objects
        ],
        page_size=1000,
    )


def pending_objects(lake: Lake, connection: Connection, dataset: Dataset) -> list[ObjectInfo]:
    """Return the objects of any day whose present version is not in raw."""
    query = "select object_key, etag from ops.load_ledger where dataset = %s"
    loaded = dict(fetch(connection, query, (dataset.name,)))
    return [o for o in lake.list(f"{dataset.prefix}/") if loaded.get(o.key) != o.etag]


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
        for batch in read_batches(read, pending, lambda item: len(item.table), LOAD_ROWS):
            total += load(connection, dataset, batch, batch_id, restating=restating)
            on_progress(total.objects, len(pending), total.rows)
    if dataset.on_damaged is not None:
        for key in damaged:
            dataset.on_damaged(connection, key)
    return total, [damaged[key] for key in sorted(damaged)]


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
