"""Writes rows to a raw table in the caller's transaction: COPY, or an upsert of what is new or differs.

Belongs here: rows and statements. Does not: objects of bronze and the ledger (``loader``, ``ledger``).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from psycopg2 import sql

from ingestion.arrow import UTC_US, align_decimals, last_wins
from ingestion.bronze.merge import without_repeats
from ingestion.database.connections import WarehouseError, lock_key
from ingestion.datasets import Dataset
from ingestion.raw import binary_copy


def write_rows(
    cursor: Any, dataset: Dataset, tables: Sequence[pa.Table], restated_by: str | None
) -> tuple[datetime, dict[int, tuple[int, int]]]:
    """Write the rows of tables to raw; return the time, and (inserted, updated) by the number of the table."""
    batch = pa.concat_tables(align_decimals([_numbered(table, dataset, at) for at, table in enumerate(tables)]))
    order = ("fetched_at", "object_no")
    distinct = last_wins(batch, dataset.key, by=order)
    # Without the first of equal values, which may be older than a value between them.
    if len(distinct) < len(batch) and "fetched_at" not in dataset.raw_provenance:
        distinct = last_wins(without_repeats(dataset, batch, order), dataset.key, by=order)
    lock_table(cursor, dataset)
    cursor.execute("select clock_timestamp()")
    loaded_at = cursor.fetchone()[0]
    existing = (f"select * from raw.{dataset.name}", ())  # noqa: S608 - a declared name
    if dataset.existing_rows is not None:
        existing = dataset.existing_rows(distinct)
    cursor.execute(f"select exists ({existing[0]})", existing[1])
    if len(distinct) and cursor.fetchone()[0]:
        return loaded_at, _upsert(cursor, dataset, distinct, existing, loaded_at, restated_by)
    _copy(cursor, f"raw.{dataset.name}", dataset, _for_copy(distinct, dataset, loaded_at))
    return loaded_at, {at: (int(n), 0) for at, n in enumerate(np.bincount(np.asarray(distinct["object_no"])))}


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
