"""The status of the datasets, read from raw, ops and marts: for ``tickmart status`` and ``status.json``.

Belongs here: reading. Does not: the rules of health, which are in the mart ``fct_dataset_health`` for all readers, and
printing (``cli``). An SLA is about the age of the data, not of the last run: a run without new data does not make data
fresh.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from psycopg2.extras import RealDictCursor

from ingestion.database import connections
from ingestion.settings import Settings
from ingestion.sources.datasets import DATASETS, OPTIONAL
from ingestion.text import plain
from orchestration.observability.attempts import newest_failure

# The query for the newest moment that each dataset's data describes.
NEWEST = {dataset.name: dataset.newest_sql for dataset in DATASETS}
ORDER = ["healthy", "unknown", "warning", "degraded"]
PARTS = ("load", "freshness", "checks")
# Exit codes of `tickmart status`: 0 healthy, 1 degraded, 3 a warning or unknown.
EXIT = {"healthy": 0, "unknown": 3, "warning": 3, "degraded": 1}
# A message that has waited this long is not merely in transit.
OVERDUE_S = 900


@dataclass(frozen=True)
class Limits:
    """Ages of a dataset's newest data, in seconds, past which it is late and past which it is degraded."""

    sla_seconds: int
    degraded_after_seconds: int


def declared_limits(settings: Settings) -> dict[str, Limits]:
    """Return the limits of each dataset that is on from the settings of this process."""
    return {
        d.name: Limits(d.sla_seconds(settings), d.degraded_after_seconds(settings))
        for d in DATASETS
        if d.is_on(settings)
    }


def limits(cursor: Any, settings: Settings) -> dict[str, Limits]:
    """Return the limits of each dataset as the newest run recorded them, else as declared.

    The cursor returns dicts.
    """
    cursor.execute("select dataset, sla_seconds, degraded_after_seconds from ops.datasets")
    recorded = {row.pop("dataset"): Limits(**row) for row in map(dict, cursor.fetchall())}
    return {name: recorded.get(name, declared) for name, declared in declared_limits(settings).items()}


def freshness(age_seconds: float | None, allowed: Limits) -> str:
    """Return the status of an age by the rule of ``fct_dataset_health``: for alerts, and when Postgres is down."""
    if age_seconds is None:
        return "unknown"
    if age_seconds > allowed.degraded_after_seconds:
        return "degraded"
    return "warning" if age_seconds > allowed.sla_seconds else "healthy"


def newest_data(cursor: Any, names: Collection[str] = tuple(NEWEST)) -> dict[str, datetime | None]:
    """Return the time of the newest data of these datasets, None for one that was never loaded."""
    if not names:
        return {}
    cursor.execute(f"select {', '.join(f'({NEWEST[name]}) as {name}' for name in names)}")
    row = cursor.fetchone()
    return dict(zip(names, row.values() if isinstance(row, dict) else row, strict=True))


def awaited_since(cursor: Any) -> dict[str, datetime]:
    """Return for each optional dataset when it was first requested: it may stay without data until its SLA."""
    cursor.execute(
        "select dataset, min(ended_at) as since from ops.run_stages where dataset = any(%s) group by dataset",
        (sorted(OPTIONAL),),
    )
    return dict(tuple(row.values()) if isinstance(row, dict) else row for row in cursor.fetchall())


def mart_rows(cursor: Any) -> dict[str, dict[str, Any]]:
    """Return the rows of ``fct_dataset_health`` by dataset, none before it is built; the cursor returns dicts."""
    cursor.execute("select to_regclass('marts.fct_dataset_health') is not null as built")
    if not cursor.fetchone()["built"]:
        return {}
    cursor.execute("select * from marts.fct_dataset_health")
    return {row["dataset"]: dict(row) for row in cursor.fetchall()}


def links() -> dict[str, str]:
    """Return the URLs of the user interfaces that are running."""
    served = {
        "Dagster": "TICKMART_DAGSTER_URL", "Data Docs": "TICKMART_DATA_DOCS_URL", "dbt docs": "TICKMART_DBT_DOCS_URL",
    }  # fmt: skip
    return {name: os.environ[variable] for name, variable in served.items() if os.environ.get(variable)}


def status(settings: Settings) -> dict[str, Any]:
    """Return the status of each dataset, the newest run, and undelivered alerts."""
    now = datetime.now(UTC)
    with (
        connections.connected(settings.postgres, "quality_ro") as connection,
        connection.cursor(cursor_factory=RealDictCursor) as cursor,
    ):
        datasets = _dataset_rows(cursor, settings, now)
        failed_symbols = _failed_symbols(cursor)
        cursor.execute(
            "select run_id, job, status, started_at, ended_at from ops.runs order by started_at desc limit 1"
        )
        last = newest_run(cursor.fetchone(), settings)
        alerts = undelivered(cursor)
    late = alerts["waiting"] and (now - alerts["oldest_at"]).total_seconds() > OVERDUE_S
    return {
        "generated_at": now,
        "status": worst(
            # A dataset that no run needs may be without data until its SLA; then its health is worse than unknown.
            [d["health"] for d in datasets if (d["dataset"], d["health"]) not in {(n, "unknown") for n in OPTIONAL}]
            + ["warning"] * bool(alerts["refused"] or late)
            + ["degraded"] * bool(last and last.get("error"))
        ),
        "database_error": None,
        "datasets": datasets,
        "failed_symbols": failed_symbols,
        "last_run": last,
        "alerts": alerts,
        "home": str(settings.home),
        "links": links(),
    }


def _dataset_rows(cursor: Any, settings: Settings, now: datetime) -> list[dict[str, Any]]:
    """Return one row per dataset: rows, age, limits, last run, and its status from the mart."""
    allowed = limits(cursor, settings)
    marts = mart_rows(cursor)
    newest = newest_data(cursor, [name for name in allowed if name not in marts])
    last_runs = _last_runs(cursor)
    counts = _counts(cursor, allowed)
    rows = []
    for name in allowed:
        mart = marts.get(name, {})
        newest_at = mart["last_data_at"] if mart else newest[name]
        rows.append(
            {
                **counts[name], "newest": newest_at, "last_run": last_runs.get(name), **asdict(allowed[name]),
                "age_seconds": (now - newest_at).total_seconds() if newest_at else None,
                "parts": {part: mart.get(f"{part}_health", "Unknown").lower() for part in PARTS},
                "health": mart.get("health", "Unknown").lower(),
            }
        )  # fmt: skip
    return rows


def _counts(cursor: Any, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return by dataset: rows in raw, last load, rejected records and open gaps."""
    if not names:
        return {}
    declared = " union all ".join(
        f"select '{dataset.name}' as dataset, ({dataset.rows_sql}) as rows"
        for dataset in DATASETS
        if dataset.name in names
    )
    cursor.execute(
        f"""
        with declared as ({declared}),
        loads as (select dataset, max(loaded_at) as last_load from ops.load_ledger group by dataset),
        rejected as (
            select dataset, count(*) as rejected from ops.rejected_records where replayed_at is null group by dataset
        )
        select
            declared.dataset, declared.rows, loads.last_load,
            coalesce(rejected.rejected, 0) as rejected,
            (
                select count(*) from ops.gaps
                where kind = 'missing_locally' and declared.dataset = 'binance_klines'
            ) as open_gaps
        from declared
        left join loads on loads.dataset = declared.dataset
        left join rejected on rejected.dataset = declared.dataset
        """  # noqa: S608 - the names and queries of declared datasets
    )
    return {row["dataset"]: dict(row) for row in cursor.fetchall()}


def _failed_symbols(cursor: Any) -> dict[str, str]:
    """Return the tracked symbols that the exchange does not know or that failed, each with the reason."""
    cursor.execute(
        """
        select symbol, detail
        from ops.symbol_status
        where status in ('UNKNOWN', 'FAILED') and symbol in (select binance_symbol from raw.universe)
        order by symbol
        """
    )
    return {row["symbol"]: row["detail"] for row in cursor.fetchall()}


def newest_run(recorded: Mapping[str, Any] | None, settings: Settings) -> dict[str, Any] | None:
    """Return the recorded run, or a later one that failed because it could not use the database."""
    failure = newest_failure(settings.home, "run")
    started = recorded["started_at"] if recorded else None
    started = datetime.fromisoformat(started) if isinstance(started, str) else started
    if failure is None or (started and started >= failure["failed_at"]):
        return dict(recorded) if recorded else None
    at = failure["failed_at"]
    return {
        "run_id": failure["run_id"], "job": failure["job"], "status": "failed", "started_at": at, "ended_at": at,
        "error": failure["error"],
    }  # fmt: skip


def _last_runs(cursor: Any) -> dict[str, dict[str, Any]]:
    """Return the newest run of each dataset, with the worst status of its stages."""
    cursor.execute(
        """
        select distinct on (s.dataset, s.run_id) s.dataset, s.run_id, s.status, s.ended_at
        from ops.run_stages as s
        inner join (
            select distinct on (dataset) dataset, run_id
            from ops.run_stages where stage in ('bronze', 'raw') order by dataset, ended_at desc
        ) as newest using (dataset, run_id)
        order by s.dataset, s.run_id, array_position(array['failed', 'partial', 'ok'], s.status)
        """
    )
    return {row.pop("dataset"): row for row in map(dict, cursor.fetchall())}


def undelivered(cursor: Any) -> dict[str, Any]:
    """Return how many alerts wait or failed permanently, since when, and the newest error; the cursor returns dicts."""
    cursor.execute(
        """
        select
            count(*) filter (where refused_at is null) as waiting,
            count(*) filter (where refused_at is not null) as refused,
            min(created_at) filter (where refused_at is null) as oldest_at,
            (array_agg(channel || ': ' || last_error order by alert_id desc) filter (where last_error is not null))[1]
                as last_error,
            (select count(*) from ops.incidents where recovered_at is null) as open_incidents
        from ops.alerts where sent_at is null
        """
    )
    return dict(cursor.fetchone())


def worst(statuses: Sequence[str]) -> str:
    """Return the worst status, "unknown" for none."""
    return max(statuses, key=ORDER.index, default="unknown")


def without_database(settings: Settings, error: str) -> dict[str, Any]:
    """Return the status in ``status.json`` with its ages updated to now, and the database error."""
    now = datetime.now(UTC)
    try:
        last = orjson.loads((settings.home / "status.json").read_bytes())
        last["datasets"] = [_aged(row, now) for row in last["datasets"]]
    except (OSError, ValueError, KeyError, TypeError):
        # There is no file yet, or one of another version.
        empty = dict.fromkeys(("rows", "newest", "last_load", "rejected", "open_gaps", "last_run"))
        unknown = {"age_seconds": None, "parts": dict.fromkeys(PARTS, "unknown"), "health": "unknown"}
        rows = [{"dataset": n, **empty, **asdict(a), **unknown} for n, a in declared_limits(settings).items()]
        last = {
            "generated_at": now, "datasets": rows, "failed_symbols": {},
            "last_run": None, "alerts": None, "home": str(settings.home), "links": {},
        }  # fmt: skip
    newest = newest_run(last["last_run"], settings)
    return {**last, "last_run": newest, "status": "degraded", "database_error": error}


def _aged(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return a dataset of the last status as of now: without new data it only gets older, and its status worse."""
    newest = datetime.fromisoformat(row["newest"]) if row["newest"] else None
    age = (now - newest).total_seconds() if newest else None
    fresh = freshness(age, Limits(row["sla_seconds"], row["degraded_after_seconds"]))
    parts = {**row["parts"], "freshness": fresh}
    return {**row, "newest": newest, "age_seconds": age, "parts": parts, "health": worst([row["health"], fresh])}


def write_status(settings: Settings, found: dict[str, Any] | None = None) -> None:
    """Write ``status.json``, which the dashboard reads when Postgres is down."""
    path = settings.home / "status.json"
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_bytes(orjson.dumps(found or status(settings), default=plain))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
