"""`tickmart publish`: an immutable release of the marts, and the switch from the release before to it."""
# ruff: noqa: S608 - names of marts and columns are our own; values are bound

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.database.connections import Connection
from ingestion.database.one_state import fetch, fetch_dicts, one_state
from ingestion.settings import SettingsError
from ingestion.sources.datasets import DATASETS
from orchestration.exports.folder import (
    MANIFEST,
    STAGING,
    as_export_error,
    file_sha256,
    locked_folder,
    staging,
    write_json,
)
from orchestration.exports.marts import mart_columns, mart_key
from orchestration.exports.reading import query_schema, read_batches

MODELS = Path(__file__).resolve().parents[2] / "dbt_project" / "models" / "marts"
# Areas of marts that a release leaves out: they describe this installation, or the moment of the query; live prices are
# newer each minute. The health of the datasets is kept as it was at publication.
_LEFT_OUT = {"operations", "views", "live"}
_AT_PUBLICATION = ("fct_dataset_health",)
# About a hundred row groups, so that a reader of one coin and month reads a small part; within these limits the footer
# stays small (a group of 26 columns takes 2 KB there).
_GROUPS, _LEAST_ROWS, _MOST_ROWS = 100, 720, 65_536
CATALOG = "tickmart.duckdb"


def publish(connection: Connection, target: Path, *, keep: int | None = None) -> tuple[dict[str, Any], bool]:
    """Write a release to DIR/releases/<version> and point DIR/latest to it; return its manifest and whether it is new.

    The version is the watermark and a digest of the content, so that equal content has an equal version and is not
    written twice. Raises ExportError if the folder cannot be written, SettingsError if there are no marts.
    """
    with one_state(connection):
        marts = _published_marts(connection)
        if not marts:
            raise SettingsError("there are no marts yet: `tickmart run` builds them")
        with locked_folder(target), staging(target) as files:
            manifest = _write_release(connection, marts, files)
            released = target / "releases" / manifest["version"]
            if is_new := not released.exists():
                released.parent.mkdir(exist_ok=True)
                files.rename(released)
            _switch(target, released)
            _remove_older(target, released, keep)
            return json.loads((released / MANIFEST).read_text()), is_new


def _published_marts(connection: Connection) -> list[str]:
    """Return the marts of the published areas that exist, by name."""
    known = {path.stem for path in MODELS.glob("*/*.sql") if path.parent.name not in _LEFT_OUT}
    tables = fetch(connection, "select tablename from pg_tables where schemaname = 'marts'")
    return sorted(known & {name for (name,) in tables})


def _write_release(connection: Connection, marts: list[str], files: Path) -> dict[str, Any]:
    (files / "marts").mkdir()
    content: dict[str, Any] = {
        "watermark": _watermark(connection),
        "marts": {name: _write_mart(connection, name, files) for name in marts},
        "failed_checks": fetch_dicts(
            connection,
            "select asset, check_name, severity, observed, expected from marts.fct_check_results "
            "where is_latest and status <> 'passed' order by asset, check_name",
        ),
        "gaps": [
            {**gap, "gap_start": gap["gap_start"].isoformat(), "gap_end": gap["gap_end"].isoformat()}
            for gap in fetch_dicts(
                connection,
                "select symbol, interval, gap_start, gap_end, bars, kind as reason from ops.gaps order by 1, 2, 3",
            )
        ],
        "sources": [{"dataset": dataset.name, "source": dataset.source} for dataset in DATASETS],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    moment = datetime.fromisoformat(content["watermark"])
    # Ages and counts of the moment: they are no content that makes a new release.
    content["marts"] |= {name: _write_mart(connection, name, files) for name in _AT_PUBLICATION}
    manifest = {
        "format": 1,
        "version": f"{moment:%Y%m%dT%H%MZ}-{digest}",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **content,
    }
    _write_catalog(files, list(content["marts"]))
    (files / "README.md").write_text(_readme(manifest))
    write_json(files / MANIFEST, manifest)
    return manifest


def _watermark(connection: Connection) -> str:
    """Return when the newest bar opened; SettingsError if there is none."""
    ((newest,),) = fetch(connection, "select max(opened_at) from marts.fct_prices")
    if newest is None:
        raise SettingsError("there are no bars yet: `tickmart run` loads them")
    return str(newest.astimezone(UTC).isoformat())


def _write_mart(connection: Connection, name: str, files: Path) -> dict[str, Any]:
    """Write one mart as Parquet, sorted by its key, and return its entry in the manifest."""
    key = mart_key(connection, name)
    query = f"select * from marts.{name} order by {', '.join(key) if key else 1}"
    schema = query_schema(connection, query, "decimal")
    ((rows,),) = fetch(connection, f"select count(*) from marts.{name}")
    path = files / "marts" / f"{name}.parquet"
    _write_groups(connection, query, schema, path, min(max(rows // _GROUPS, _LEAST_ROWS), _MOST_ROWS))
    return {
        "file": f"marts/{name}.parquet",
        "rows": rows,
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "sorted_by": key,
        "columns": {
            column.name: {"type": column.type, "description": column.description}
            for column in mart_columns(connection, name)
        },
    }


def _write_groups(connection: Connection, query: str, schema: pa.Schema, path: Path, rows_per_group: int) -> None:
    """Write a query's rows in row groups of equal length; a few batches are in memory at a time."""
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_index=True) as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in read_batches(connection, query, schema):
            waiting.append(batch)
            total = sum(each.num_rows for each in waiting)
            if whole := total // rows_per_group * rows_per_group:
                table = pa.Table.from_batches(waiting, schema)
                writer.write_table(table.slice(0, whole), row_group_size=rows_per_group)
                waiting = table.slice(whole).to_batches()
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=rows_per_group)


def _write_catalog(files: Path, marts: list[str]) -> None:
    """Write a DuckDB file with a view for each mart, whose paths are relative to the release."""
    with duckdb.connect(str(files / CATALOG)) as catalog:
        catalog.execute(f"set file_search_path = '{str(files).replace(chr(39), chr(39) * 2)}'")
        for name in marts:
            catalog.execute(f"create view {name} as select * from read_parquet('marts/{name}.parquet')")


def _switch(target: Path, released: Path) -> None:
    """Point DIR/latest to a release, in one step."""
    draft = target / f"{STAGING}latest"
    draft.symlink_to(Path("releases") / released.name)
    draft.replace(target / "latest")


def _remove_older(target: Path, current: Path, keep: int | None) -> None:
    """Remove all but the newest releases; never the current one."""
    if keep is None:
        return
    with as_export_error(target):
        others = [path for path in (target / "releases").iterdir() if path != current]
        others.sort(key=lambda path: json.loads((path / MANIFEST).read_text())["created_at"], reverse=True)
        for path in others[keep - 1 :]:
            shutil.rmtree(path)


def _readme(manifest: dict[str, Any]) -> str:
    sizes = "\n".join(
        f"| {name} | {mart['rows']:,} | {', '.join(mart['sorted_by'])} |" for name, mart in manifest["marts"].items()
    )
    return f"""# tickmart release {manifest["version"]}

The marts of one tickmart installation as of the bar that opened at {manifest["watermark"]}. `manifest.json` has each
file's rows, SHA-256 and column definitions, the checks that failed, and every gap with its reason.

| mart | rows | sorted by |
|---|---|---|
{sizes}

Read it with the client: `import tickmart as tm; tm.open("<this folder>").bars("bitcoin")`.

Read it with DuckDB: change to this folder and run `duckdb {CATALOG}`; or read `marts/<name>.parquet` with any tool.

## Terms

The data belongs to its sources: Binance (market data for personal use), CoinGecko (attribution "Data provided by
CoinGecko"; redistribution needs their license), alternative.me (name the source next to the data), Coin Metrics
(community data, CC BY-NC 4.0: name the source, not for commercial use), blockchain.com (name the source). A release
for yourself or your team is what this is made for. Before you publish one, read the terms of each source.
"""
