"""Where input rows came from: bronze objects, restatements and gaps, and the checks that cover them.

Belongs here: the look-up, and the comparison of raw with bronze. Does not: choosing the rows (``inputs``).
"""
# ruff: noqa: S608 - names of tables and columns are declared; values are bound

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.bronze.lake import DamagedObject, Lake
from ingestion.database.connections import Connection
from ingestion.database.one_state import fetch, fetch_dicts
from ingestion.datasets import Dataset, object_day
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.coingecko.dataset import MARKETS, markets_key
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from orchestration.explain.inputs import Series

# An object of one day and 50 symbols takes some 10 ms: a month of them is compared within the second.
OBJECTS_READ = 32
_READERS = 4
_URLS_SHOWN = 3
# The interval of the bars that metrics read.
_INTERVAL = "1h"
# Values of a row in the order of `_compared`.
Cells = tuple[Any, ...]
_TIME = {KLINES.name: "open_time", MARKETS.name: "snapshot_at", FEAR_GREED.name: "date"}


def bronze_objects(
    connection: Connection, lake: Lake, inputs: Sequence[Series], *, read_all: bool = False
) -> dict[str, Any]:
    """Return the bronze objects of input rows, and compare the rows of raw with the records of the newest ones."""
    dataset = inputs[0].dataset
    homes = {key: key for series in inputs for key in _keys(connection, series)}
    query = "select object_key, merged_into from ops.load_ledger where object_key = any(%s)"
    homes.update((key, merged) for key, merged in fetch(connection, query, (list(homes),)) if merged)
    newest_first = sorted(set(homes.values()), reverse=True)
    chosen = newest_first if read_all else newest_first[:OBJECTS_READ]
    ledger = dict(
        fetch(connection, "select object_key, sha256 from ops.load_ledger where object_key = any(%s)", (chosen,))
    )
    rows: dict[str, list[Cells]] = {key: [] for key in chosen}
    for row in _raw_rows(connection, inputs, homes, chosen):
        rows[_key(dataset, row, homes, chosen)].append(row)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="lake") as pool:
        tables = list(pool.map(lambda key: _read(lake, key), chosen))
    objects = []
    for key, (table, sha256, problem) in zip(chosen, tables, strict=True):
        if problem is None and sha256 != ledger.get(key):
            problem = "replaced since it was loaded" if key in ledger else "not loaded"
        compared = _compare(dataset, rows[key], table)
        objects.append({"object_key": key, "sha256": sha256, "problem": problem, **compared})
    return {
        "dataset": dataset.name,
        "objects": len(newest_first),
        "objects_read": len(chosen),
        "rows_compared": sum(entry["rows"] for entry in objects),
        "rows_different": sum(entry["rows_different"] for entry in objects),
        "read": objects,
    }


def _keys(connection: Connection, series: Series) -> list[str]:
    """Return the keys of the objects that have a series' rows; of the index, each object has the complete history."""
    times = pd.DatetimeIndex(series.rows.index)
    if series.dataset is KLINES:
        return [klines_key(_INTERVAL, day.date()) for day in times.floor("D").unique()]
    if series.dataset is MARKETS:
        return [markets_key(at.to_pydatetime()) for at in times.unique()]
    rows = fetch(connection, "select max(object_key) from ops.load_ledger where dataset = %s", (series.dataset.name,))
    return [key for (key,) in rows if key is not None and len(times)]


def _key(dataset: Dataset, row: Cells, homes: Mapping[str, str], chosen: Sequence[str]) -> str:
    """Return the key of the object that has a row; of the index, one object is read, which has all rows.

    ``homes`` has the object of each key: the key itself, or the object into which it was merged.
    """
    if dataset is FEAR_GREED:
        return chosen[0]
    key = dataset.object_key(dict(zip(dataset.key, row, strict=False)))
    return homes.get(key, key)


def _raw_rows(
    connection: Connection, inputs: Sequence[Series], homes: Mapping[str, str], chosen: Sequence[str]
) -> list[Cells]:
    """Return the rows of raw that belong to input rows and to the chosen objects."""
    dataset = inputs[0].dataset
    found: list[Cells] = []
    time = _TIME[dataset.name]
    conditions = {
        "open_time": "interval = '1h' and symbol = any(%(names)s)",
        "snapshot_at": "crypto_id = any(%(names)s)",
        "date": "true",
    }[time]
    first_day = min((day for key in chosen if (day := object_day(key))), default=None)
    for series in inputs:
        times = pd.DatetimeIndex(series.rows.index)
        if time != "date" and first_day is not None:
            times = times[times >= pd.Timestamp(first_day, tz="UTC")]
        if not len(times):
            continue
        known = set(times.date if time == "date" else times.to_pydatetime())
        names = series.symbols or ([] if "crypto_id" not in series.rows else list(series.rows["crypto_id"]))
        rows = fetch(
            connection,
            f"select {', '.join(_compared(dataset))} from raw.{dataset.name} "
            f"where {conditions} and {time} between %(first)s and %(last)s order by {time}",
            {"names": names, "first": times[0], "last": times[-1]},
        )
        at = dataset.key.index(time)
        found += [row for row in rows if row[at] in known and _key(dataset, row, homes, chosen) in chosen]
    return found


def _compared(dataset: Dataset) -> list[str]:
    """Return the columns that raw and bronze have in the same form, the key first."""
    values = [column.name for column in dataset.columns if column.postgres != "jsonb"]
    return [*dataset.key, *(name for name in values if name not in dataset.key)]


def _read(lake: Lake, key: str) -> tuple[pa.Table | None, str | None, str | None]:
    """Return an object's table, its SHA-256, and what is wrong with it."""
    try:
        found = lake.read(key)
    except DamagedObject as error:
        return None, None, str(error)
    return (*found, None) if found else (None, None, "missing")


def _compare(dataset: Dataset, rows: Sequence[Cells], table: pa.Table | None) -> dict[str, Any]:
    """Compare rows of raw with the records of their object; return source and fetch time of the records."""
    names, length = _compared(dataset), len(dataset.key)
    records: dict[Cells, Cells] = {}
    if table is not None and rows:
        first = table[dataset.key[0]]
        mine = table.filter(pc.is_in(first, pa.array({row[0] for row in rows}, first.type)))
        columns = [mine[name].to_pylist() for name in (*names, "source_url", "fetched_at", "batch_id")]
        # An object that was merged from several histories has a row of each; the newest fetch counts.
        cells_by_time = sorted(zip(*columns, strict=True), key=lambda cells: cells[len(names) + 1])
        records = {cells[:length]: cells for cells in cells_by_time}
    matched = [(row, records.get(row[:length])) for row in rows]
    sources = [record[len(names) :] for _, record in matched if record is not None]
    urls = sorted({url for url, _, _ in sources})
    return {
        "rows": len(rows),
        "rows_different": sum(record is None or record[: len(names)] != row for row, record in matched),
        "source_urls": urls[:_URLS_SHOWN],
        "source_url_count": len(urls),
        "fetched_at": max((fetched_at for _, fetched_at, _ in sources), default=None),
        "batch_ids": sorted({batch_id for _, _, batch_id in sources}),
    }


# -- ops --------------------------------------------------------------------------------------------------------------


def restatements(connection: Connection, inputs: Sequence[Series]) -> list[dict[str, Any]]:
    """Return the restatements of input rows, the oldest first, with the values that changed."""
    found = []
    for series in inputs:
        time = _TIME[series.dataset.name]
        rows = fetch_dicts(
            connection,
            "select record_key, old_record, new_record, restated_at, old_loaded_at, batch_id from ops.restatements "
            "where dataset = %s and coalesce(record_key ->> 'interval', '1h') = '1h' "
            "and (record_key ->> 'symbol' = any(%s) or record_key ->> 'symbol' is null) "
            "and (record_key ->> 'crypto_id' = %s or record_key ->> 'crypto_id' is null) "
            "order by restated_at, restatement_id",
            (series.dataset.name, series.symbols, series.coin),
        )
        for row in rows:
            at = pd.Timestamp(row["record_key"][time])
            at = at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")
            if at in series.rows.index:
                old, new = row.pop("old_record"), row.pop("new_record")
                changed = [name for name in series.dataset.values if name in new and old.get(name) != new[name]]
                values = {name: {"old": old.get(name), "new": new[name]} for name in changed}
                found.append({"at": at.isoformat(), "coin": series.coin, **row, "changed": values})
    return found


def gaps(connection: Connection, inputs: Sequence[Series]) -> list[dict[str, Any]]:
    """Return the recorded gaps that have an expected hour of the windows, with their reasons."""
    found = []
    for series in inputs:
        if series.dataset is not KLINES or not len(series.expected):
            continue
        rows = fetch_dicts(
            connection,
            "select symbol, gap_start, gap_end, bars, kind from ops.gaps where interval = '1h' and symbol in "
            "(select binance_symbol from raw.universe where crypto_id = %s) and gap_end > %s and gap_start <= %s "
            "order by gap_start",
            (series.coin, series.expected[0], series.expected[-1]),
        )
        found += [
            {"coin": series.coin, **row}
            for row in rows
            if ((series.missing >= row["gap_start"]) & (series.missing < row["gap_end"])).any()
        ]
    return found


def checks(connection: Connection, mart: str, dataset: Dataset) -> list[dict[str, Any]]:
    """Return the newest result of each check of a mart and of its dataset in the last 7 days, failed ones first."""
    return fetch_dicts(
        connection,
        "select asset, check_name, severity, status, observed, expected, checked_at from marts.fct_check_results "
        "where is_latest and asset = any(%s) order by (status = 'passed'), asset, check_name",
        ([f"marts/{mart}", *dataset.assets],),
    )
