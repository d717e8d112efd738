"""Reads a published release: a folder with a manifest and one Parquet file per mart.

DuckDB is imported by `sql()` alone, which no other method needs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from tickmart.errors import ArgumentError, TickmartError
from tickmart.result import Result
from tickmart.source import Parameters, Read, Source

_FORMAT = 1
_INSTANT = pa.timestamp("us", "UTC")


class ReleaseSource(Source):
    """One release; a newer one in the same folder does not change what an open source reads."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        given = Path(folder)
        found = next((path for path in (given / "latest", given) if (path / "manifest.json").is_file()), None)
        if found is None:
            raise ArgumentError(f"{given} has no release: neither manifest.json nor latest/manifest.json")
        self.folder = found.resolve()
        try:
            self.manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_bytes())
            release_format, self._marts = self.manifest["format"], self.manifest["marts"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TickmartError(f"{self.folder / 'manifest.json'} is not a manifest: {error}") from None
        if release_format != _FORMAT:
            raise TickmartError(
                f"{self.folder} has format {release_format}, not {_FORMAT}: this needs another version of the client"
            )

    def __repr__(self) -> str:
        return f"<tickmart: release {self.manifest.get('version')} in {self.folder}>"

    def sql(self, text: str, params: Parameters = None, *, decimals: bool = False) -> Result:
        """Run one query with DuckDB on the marts of the release. `params` fill `%s`, or `%(name)s` from a dict."""
        try:
            import duckdb
        except ModuleNotFoundError:
            raise TickmartError("sql() on a release needs DuckDB: pip install duckdb") from None
        connection = duckdb.connect(":memory:", config={"threads": os.cpu_count() or 1})
        try:
            self._create_views(connection)
            filled = _duckdb_query(text, params)
            statements = connection.extract_statements(filled)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise ArgumentError("sql() runs one select")
            table = connection.sql(filled, params=params).to_arrow_table()
            return Result(_as_client_types(table, decimals=decimals))
        except duckdb.Error as error:
            raise TickmartError(str(error).splitlines()[0]) from None
        finally:
            connection.close()

    def _create_views(self, connection: Any) -> None:
        """Create the marts as views, then close off all files: a query reads the release and nothing else."""
        connection.execute("set TimeZone = 'UTC'; create schema marts")
        for number, mart in enumerate(self._marts):
            connection.register(f"__mart_{number}", ds.dataset(self._file(mart)))
            name = '"' + mart.replace('"', '""') + '"'
            connection.execute(f"create view marts.{name} as select * from __mart_{number}")  # noqa: S608 - quoted
        connection.execute("set schema = 'marts'; set enable_external_access = false; set lock_configuration = true")

    def _column_types(self, mart: str) -> dict[str, str]:
        return {name: column["type"] for name, column in self._mart(mart)["columns"].items()}

    def _comments(self) -> Iterable[tuple[str, str, str, str | None]]:
        for mart in sorted(self._marts):
            for name, column in self._mart(mart)["columns"].items():
                yield mart, name, column["type"], column.get("description")

    def _read(self, wanted: Read) -> pa.Table:
        if wanted.as_of is not None:
            raise ArgumentError("as_of= is not available for a release; open the release that was current then")
        path = self._file(wanted.mart)
        filters = pq.filters_to_expression(wanted.filters) if any(wanted.filters) else None
        try:
            # The filters skip row groups by their statistics, so one coin's month reads a small part of the file.
            table = pq.read_table(path, columns=[*wanted.columns], filters=filters, partitioning=None)
        except (OSError, pa.ArrowInvalid) as error:
            raise TickmartError(f"{path}: {str(error).splitlines()[0]}") from None
        order = [*wanted.order_by]
        if self._mart(wanted.mart).get("sorted_by", [])[: len(order)] != order:
            table = table.sort_by([(name, "ascending") for name in order])
        return _as_client_types(table, decimals=wanted.decimals)

    def _mart(self, mart: str) -> Mapping[str, Any]:
        if mart not in self._marts:
            raise TickmartError(f"The release {self.manifest.get('version')} has no {mart}")
        found: Mapping[str, Any] = self._marts[mart]
        return found

    def _file(self, mart: str) -> Path:
        path = self.folder / str(self._mart(mart)["file"])
        if not path.is_file():
            raise TickmartError(f"{path} is missing: the release is not complete")
        return path


def _as_client_types(table: pa.Table, *, decimals: bool) -> pa.Table:
    """Return the types that Postgres gives: times in microseconds of UTC, and decimals only if they are asked for."""
    for position, field in enumerate(table.schema):
        column = table.column(position)
        if pa.types.is_decimal(field.type) and not decimals:
            # By way of text: Arrow's own cast misses the nearest double in one of ten numbers of many digits.
            column = column.cast(pa.string()).cast(pa.float64())
        elif pa.types.is_timestamp(field.type) and field.type.tz is not None:
            column = column.cast(_INSTANT)
        table = table.set_column(position, field.name, column)
    return table.replace_schema_metadata(None)


def _duckdb_query(text: str, params: Parameters) -> str:
    """Return the query with DuckDB's placeholders; without parameters a % is a %, as in Postgres."""
    if params is None:
        return text
    named = re.sub(r"%\((\w+)\)s", r"$\1", text)
    return re.sub(r"%([s%])", lambda found: "?" if found[1] == "s" else "%", named)
