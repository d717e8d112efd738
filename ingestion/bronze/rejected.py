"""Records that broke their dataset's contract: listing them, and judging them again by today's rules.

Belongs here: reading ``ops.rejected_records`` and turning a kept record back into a row. Does not: the rules
(``datasets``) nor keeping a record in the first place (``bronze``, ``books``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2.extras import RealDictCursor

from ingestion.arrow import DECIMAL, UTC_US, align_decimals, decimals, last_wins
from ingestion.bronze import write
from ingestion.bronze.write import Context
from ingestion.database import connections
from ingestion.database.connections import Connection
from ingestion.datasets import Dataset
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import read_bars
from ingestion.sources.coingecko import parse
from ingestion.sources.coingecko.dataset import MARKETS, markets_key
from ingestion.sources.fear_greed import client
from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key
from ingestion.sources.registry import DATASETS
from ingestion.validation import judge


def listed(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the newest rejected records (as JSON text, with their digits), why, and when they were replayed."""
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(
            """
            select rejected_id, rejected_at, dataset, reason, record::text as record, object_key, replayed_at
            from ops.rejected_records order by rejected_at desc, rejected_id desc limit %s
            """,
            (limit,),
        )
        return [dict(row) for row in cursor.fetchall()]


def replay(context: Context) -> dict[str, tuple[int, int]]:
    """Judge the records that were not replayed yet; merge those that pass into bronze.

    Returns for each dataset how many passed and how many were judged. A coin takes its place in the snapshot of the
    sweep that refused it.
    """
    done: dict[str, tuple[int, int]] = {}
    for dataset in DATASETS:
        kept = _kept(context.connection, dataset)
        passed: list[int] = []
        tables: list[pa.Table] = []
        for number, record, text, rejected_at, snapshot_at in kept:
            try:
                row = _row(dataset, record, text, rejected_at, snapshot_at)
            except (ValueError, TypeError, KeyError, OverflowError, pa.ArrowException):
                continue
            if len(row) == 1 and judge(row, write.rules(dataset, datetime.now(UTC))) == [None]:
                passed.append(number)
                tables.append(row.append_column("batch_id", pa.array([context.batch_id])))
        if tables:
            rows = last_wins(pa.concat_tables(align_decimals(tables)).combine_chunks(), dataset.key)
            with connections.locked(context.connection, f"bronze {dataset.name}"):
                for key, part in _by_object(dataset, rows):
                    context.lake.merge(dataset, key, part)
            _mark(context.connection, passed)
        if kept:
            done[dataset.name] = (len(passed), len(kept))
    return done


def _kept(connection: Connection, dataset: Dataset) -> list[tuple[int, Any, str, datetime, datetime]]:
    """Return number, record, its exact text, and when it was refused, itself and as part of which market snapshot.

    A sweep of which nothing could be kept is a snapshot of the second in which its first record was refused.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select
                rejected_id,
                record,
                record::text,
                rejected_at,
                coalesce(
                    (select max(m.snapshot_at) from raw.coingecko_markets as m where m.batch_id = r.batch_id),
                    date_trunc('second', min(rejected_at) over (partition by batch_id))
                )
            from ops.rejected_records as r
            where dataset = %s and replayed_at is null
            order by rejected_id
            """,
            (dataset.name,),
        )
        found = cursor.fetchall()
    connection.commit()
    return found


def _mark(connection: Connection, numbers: Iterable[int]) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "update ops.rejected_records set replayed_at = clock_timestamp() where rejected_id = any(%s)",
            (list(numbers),),
        )


def _row(dataset: Dataset, record: Any, text: str, rejected_at: datetime, snapshot_at: datetime) -> pa.Table:
    """Turn a kept record into a table of one row: it is a whole row, or what the source sent."""
    if not isinstance(record, dict):
        raise ValueError("not an object")
    if {c.name for c in dataset.columns} <= record.keys():
        columns = {f.name: _cell(record.get(f.name), f.type) for f in dataset.schema if f.name != "batch_id"}
        columns |= {"source_url": pa.array(["replayed"]), "fetched_at": pa.array([rejected_at], UTC_US)}
        return pa.table(columns)
    if dataset is KLINES:
        return read_bars([record["bar"]], record["symbol"], record["interval"], "replayed", rejected_at).rows
    if dataset is FEAR_GREED:
        return client.parse_history(orjson.dumps({"data": [record]}), "replayed", rejected_at).rows
    # From the text: a number of many digits is no float.
    return parse.read_coins(f"[{text}]".encode(), "replayed", snapshot_at, rejected_at).rows


def _cell(value: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if value is None:
        return pa.array([None], kind)
    if kind == DECIMAL:
        return decimals(pa.array([str(value)], pa.string()))
    if kind == UTC_US:
        return pa.array([datetime.fromisoformat(value)], kind)
    if kind == pa.date32():
        return pa.array([datetime.fromisoformat(value).date()], kind)
    if kind == pa.string() and not isinstance(value, str):
        return pa.array([json.dumps(value)])
    return pa.array([value], kind)


def _by_object(dataset: Dataset, rows: pa.Table) -> Iterable[tuple[str, pa.Table]]:
    """Part rows by the object that they belong to."""
    makers: dict[str, Callable[[dict[str, Any]], str]] = {
        KLINES.name: lambda row: klines_key(row["interval"], row["open_time"].date()),
        MARKETS.name: lambda row: markets_key(row["snapshot_at"]),
        FEAR_GREED.name: lambda row: fear_greed_key(row["fetched_at"].date()),
    }
    keys = pa.array([makers[dataset.name](row) for row in rows.to_pylist()])
    for key in keys.unique().to_pylist():
        yield key, rows.filter(pc.equal(keys, key)).combine_chunks()
