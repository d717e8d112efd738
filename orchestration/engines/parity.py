"""Compares the marts of an engine with Postgres' row for row, in the style of dbt-audit-helper.

Keys, nulls, texts, integers, times and decimals must be equal; numbers in double precision may differ by 1e-9 of
themselves. Belongs here: the comparison. Does not: the build.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from ingestion.database.connections import Connection, fetch
from orchestration.engines.ranges import PARTITION, Range, files_of

RELATIVE = 1e-9
# A difference of two nearly equal numbers has the error of these numbers: of the largest value of its asset.
OF_LARGEST = 1e-12
# When the database or the engine loaded a row; every build has its own.
LOAD_TIMES = ("loaded_at", "known_at", "market_loaded_at", "intraday_loaded_at")
SAMPLES = 5


@dataclass
class Comparison:
    """How one mart compares: rows by outcome, the columns that differ, and a few of the differences."""

    mart: str
    problem: str = ""
    identical: int = 0
    modified: int = 0
    missing: int = 0
    added: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    rounded: dict[str, int] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Return whether both sides have the mart, and the same rows."""
        return not (self.problem or self.modified or self.missing or self.added)

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        return {**asdict(self), "equal": self.is_equal}


def compare(
    connection: Connection, tables: Path, marts: Sequence[Mapping[str, Any]], days: Range | None = None
) -> list[Comparison]:
    """Compare each mart that was built, a node of dbt's manifest, with the table of its name in Postgres' marts.

    With ``days``, the rows of these days.
    """
    return [_compare(connection, tables / node["schema"] / node["name"], node, days) for node in marts]


def _compare(connection: Connection, folder: Path, node: Mapping[str, Any], days: Range | None) -> Comparison:
    result = Comparison(node["name"])
    [(in_postgres,)] = fetch(connection, "select to_regclass(%s) is not null", (f"marts.{node['name']}",))
    if not in_postgres:
        result.problem = "is missing on Postgres; build it there first"
        return result
    [key] = [c["columns"] for c in node["constraints"] if c["type"] == "primary_key"]
    names = [name for name in node["columns"] if name not in LOAD_TIMES]
    types = {name: node["columns"][name]["data_type"] for name in names}
    ours = _read_postgres(connection, node["name"], types, days)
    theirs = read_mart(folder, names, days)
    if theirs is None:
        # Sail writes no file for a table without rows.
        result.missing = len(ours)
        return result
    theirs = _plain(theirs, types)
    if len(theirs.select(key).group_by(key).aggregate([])) != len(theirs):
        result.problem = f"has several rows of one {', '.join(key)} on the engine"
        return result
    ours, theirs = _matched(ours, theirs, key, result)
    is_modified = np.zeros(len(ours), dtype=bool)
    assets = ours[next((k for k in key if k.startswith("crypto_id")), key[0])]
    for name in names:
        if name not in key:
            different = _different(ours[name], theirs[name], types[name], assets, result)
            if different.any():
                result.columns[name] = int(different.sum())
                _add_samples(result, ours, theirs, key, name, different)
            is_modified |= different
    result.modified = int(is_modified.sum())
    result.identical = len(ours) - result.modified
    return result


def read_mart(folder: Path, names: Sequence[str], days: Range | None = None) -> pa.Table | None:
    """Read a mart of an engine, of all or some days; None without a file."""
    chosen = [("date", ">=", days.first), ("date", "<", days.end)] if days else None
    parts = []
    for path, month in files_of(folder):
        own = [name for name in names if month is None or name != PARTITION]
        part = pq.read_table(path, columns=own, filters=chosen, partitioning=None)
        if month is not None:
            part = part.append_column(PARTITION, pa.repeat(pa.scalar(month, pa.date32()), len(part)))
        part = part.select(names)
        # Sail declares a column without nulls or not, from build to build.
        parts.append(part.cast(pa.schema([column.with_nullable(True) for column in part.schema])))
    return pa.concat_tables(parts) if parts else None


def _read_postgres(connection: Connection, mart: str, types: Mapping[str, str], days: Range | None) -> pa.Table:
    """Read a mart: instants as microseconds, days as numbers, decimals as text."""
    sql = {
        "timestamptz": "(extract(epoch from {0}) * 1000000)::bigint",
        "date": "{0} - '1970-01-01'::date",
        "boolean": "{0}::integer",
    }
    chosen = f"date >= '{days.first}' and date < '{days.end}'" if days else "true"
    listed = ", ".join(f"{sql.get(kind, '{0}').format(name)} as {name}" for name, kind in types.items())
    body = io.BytesIO()
    with connection.cursor() as cursor:
        query = f"select {listed} from marts.{mart} where {chosen}"  # noqa: S608
        cursor.copy_expert(f"copy ({query}) to stdout (format csv, header)", body)
    connection.rollback()
    body.seek(0)
    kinds = {"text": pa.string(), "numeric": pa.string(), "double precision": pa.float64()}
    options = pyarrow.csv.ConvertOptions(
        column_types={name: kinds.get(kind, pa.int64()) for name, kind in types.items()},
        null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
    )  # fmt: skip
    return pyarrow.csv.read_csv(
        body, convert_options=options, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
    )


def _plain(table: pa.Table, types: Mapping[str, str]) -> pa.Table:
    """Return the engine's table with instants, days and booleans as numbers."""
    columns = {}
    for name, kind in types.items():
        column = table[name]
        if kind == "timestamptz":
            column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
        elif kind in ("date", "boolean"):
            column = column.cast(pa.int32())
        if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
            column = column.cast(pa.string())
        columns[name] = column.cast(pa.int64()) if pa.types.is_integer(column.type) else column
    return pa.table(columns)


def _matched(ours: pa.Table, theirs: pa.Table, key: Sequence[str], result: Comparison) -> tuple[pa.Table, pa.Table]:
    """Return the rows of both sides that have the same key, in the same order; count the others."""
    left = ours.select(key).append_column("ours", pa.array(np.arange(len(ours))))
    right = theirs.select(key).append_column("theirs", pa.array(np.arange(len(theirs))))
    both = left.join(right, keys=list(key), join_type="full outer")
    missing, added = pc.is_null(both["theirs"]), pc.is_null(both["ours"])
    result.missing, result.added = pc.sum(missing).as_py() or 0, pc.sum(added).as_py() or 0
    for side, rows in (("missing", missing), ("added", added)):
        for row in both.filter(rows).slice(0, SAMPLES).select(list(key)).to_pylist():
            result.samples.append(f"{side}: {row}")
    both = both.filter(pc.invert(pc.or_(missing, added)))
    return ours.take(both["ours"]), theirs.take(both["theirs"])


def _different(ours: Any, theirs: Any, kind: str, assets: Any, result: Comparison) -> np.ndarray[Any, Any]:
    """Return which rows of a column differ."""
    null = np.asarray(pc.is_null(ours)), np.asarray(pc.is_null(theirs))
    if kind == "double precision":
        a = np.asarray(pc.fill_null(ours, 0.0), dtype=float)
        b = np.asarray(pc.fill_null(theirs.cast(pa.float64()), 0.0), dtype=float)
        size = np.maximum(np.abs(a), np.abs(b))
        codes = np.asarray(assets.combine_chunks().dictionary_encode().indices)
        largest = np.zeros(codes.max(initial=0) + 1)
        np.maximum.at(largest, codes, size)
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= np.maximum(RELATIVE * size, OF_LARGEST * largest[codes])
        return np.asarray((null[0] != null[1]) | ~(near | (a == b) | null[0]))
    if kind == "numeric":
        ours, theirs = _decimals(ours, theirs, result)
    same = np.asarray(pc.fill_null(pc.equal(ours, theirs), False))
    return np.asarray((null[0] != null[1]) | ~(same | null[0]))


def _decimals(ours: Any, theirs: Any, result: Comparison) -> tuple[Any, Any]:
    """Return both columns as decimals of the engine's places."""
    wide = pa.decimal256(76, 38)
    exact = ours.cast(wide)
    places = theirs.type.scale if pa.types.is_decimal(theirs.type) else 0
    rounded = pc.round(exact, places)
    changed = pc.sum(pc.not_equal(exact, rounded)).as_py() or 0
    if changed:
        result.rounded[f"to {places} places"] = result.rounded.get(f"to {places} places", 0) + changed
    return rounded, theirs.cast(wide)


def _add_samples(
    result: Comparison, ours: pa.Table, theirs: pa.Table, key: Sequence[str], name: str, different: Any
) -> None:
    for at in np.flatnonzero(different)[: max(1, SAMPLES - len(result.samples))]:
        row = {k: ours[k][int(at)].as_py() for k in key}
        result.samples.append(
            f"{name}: {row}: {ours[name][int(at)].as_py()} in Postgres, {theirs[name][int(at)].as_py()}"
        )
