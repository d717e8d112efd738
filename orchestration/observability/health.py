"""How the datasets stand, read from raw, ops and marts: for ``tickmart status`` and its JSON file.

Belongs here: reading. Does not: evaluating health, which the mart ``fct_dataset_health`` does for everybody. The SLAs
are on the age of the data, not of the last run: a run that brings nothing new does not make data fresh.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from psycopg2.extras import RealDictCursor

from ingestion.database import connections
from ingestion.settings import Settings
from ingestion.sources.registry import DATASETS
from ingestion.text import plain
from orchestration.observability.attempts import newest_failure

# The query for the newest moment that each dataset's data describes.
NEWEST = {dataset.name: dataset.newest_sql for dataset in DATASETS}
ORDER = ["healthy", "unknown", "warning", "degraded"]
PARTS = ("load", "freshness", "checks")
# What the words mean to whoever started the command: 0 all is well, 1 something is broken, 3 something is not as it
# should be (late, warned, not known yet).
EXIT = {"healthy": 0, "unknown": 3, "warning": 3, "degraded": 1}
# A message that has waited this long is not merely on its way.
OVERDUE_S = 900


@dataclass(frozen=True)
class Limits:
    """Ages of a dataset's newest data, in seconds, past which it is late and past which it is degraded."""

    sla_seconds: int
    degraded_after_seconds: int


def declared_limits(settings: Settings) -> dict[str, Limits]:
    """Return the limits of each dataset as this process' settings give them."""
    return {d.name: Limits(d.sla_seconds(settings), d.degraded_after_seconds(settings)) for d in DATASETS}


def limits(cursor: Any, settings: Settings) -> dict[str, Limits]:
    """Return the limits of each dataset as the newest run wrote them; as declared for one that no run has written.

    The cursor returns dicts.
    """
    cursor.execute("select dataset, sla_seconds, degraded_after_seconds from ops.datasets")
    written = {row.pop("dataset"): Limits(**row) for row in map(dict, cursor.fetchall())}
    return {name: written.get(name, declared) for name, declared in declared_limits(settings).items()}


def freshness(age_seconds: float | None, allowed: Limits) -> str:
    """Return the status of an age, as the mart ``fct_dataset_health`` does: for alerts, and when Postgres is away."""
    if age_seconds is None:
        return "unknown"
    if age_seconds > allowed.degraded_after_seconds:
        return "degraded"
    return "warning" if age_seconds > allowed.sla_seconds else "healthy"


def newest_data(cursor: Any) -> dict[str, datetime | None]:
    """Return for each dataset the newest moment that its data speaks of, None when it was never loaded."""
    columns = ", ".join(f"({query}) as {name}" for name, query in NEWEST.items())
    cursor.execute(f"select {columns}")
    row = cursor.fetchone()
    return dict(zip(NEWEST, row.values() if isinstance(row, dict) else row, strict=True))


def mart_rows(cursor: Any) -> dict[str, dict[str, Any]]:
    """Return the rows of the mart ``fct_dataset_health`` by dataset, none before it is built; the cursor returns dicts.

    The mart evaluates health, and only there: the dashboard reads it too.
    """
    cursor.execute("select to_regclass('marts.fct_dataset_health') is not null as built")
    if not cursor.fetchone()["built"]:
        return {}
    cursor.execute("select * from marts.fct_dataset_health")
    return {row["dataset"]: dict(row) for row in cursor.fetchall()}


def links() -> dict[str, str]:
    """Return where more is to be seen, as far as it is up."""
    served = {
        "Dagster": "TICKMART_DAGSTER_URL", "Data Docs": "TICKMART_DATA_DOCS_URL", "dbt docs": "TICKMART_DBT_DOCS_URL",
    }  # fmt: skip
    return {name: os.environ[variable] for name, variable in served.items() if os.environ.get(variable)}


def status(settings: Settings) -> dict[str, Any]:
    """Return how each dataset stands, and whether alerts reach anybody."""
    assert settings.postgres is not None
    now = datetime.now(UTC)
    with (
        connections.closing(connections.connect(settings.postgres, "quality_ro")) as connection,
        connection.cursor(cursor_factory=RealDictCursor) as cursor,
    ):
        newest = newest_data(cursor)
        loads = _last_runs(cursor)
        marts = mart_rows(cursor)
        datasets = []
        for name, allowed in limits(cursor, settings).items():
            cursor.execute(
                f"""
                select
                    (select count(*) from raw.{name}) as rows,
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
            mart = marts.get(name, {})
            moment = mart.get("last_data_at", newest[name])
            datasets.append(
                {
                    "dataset": name, **(cursor.fetchone() or {}), "newest": moment, "last_run": loads.get(name),
                    **asdict(allowed), "age_seconds": (now - moment).total_seconds() if moment else None,
                    "parts": {part: mart.get(f"{part}_health", "Unknown").lower() for part in PARTS},
                    "health": mart.get("health", "Unknown").lower(),
                }
            )  # fmt: skip
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
        last = newest_run(cursor.fetchone(), settings)
        alerts = undelivered(cursor)
    late = alerts["waiting"] and (now - alerts["oldest_at"]).total_seconds() > OVERDUE_S
    return {
        "generated_at": now,
        "status": worst(
            [d["health"] for d in datasets]
            + ["warning"] * bool(alerts["refused"] or late)
            + ["degraded"] * bool(last and last.get("error"))
        ),
        "database_error": None,
        "datasets": datasets,
        "failed_symbols": failed,
        "last_run": last,
        "alerts": alerts,
        "home": str(settings.home),
        "links": links(),
    }


def newest_run(recorded: Mapping[str, Any] | None, settings: Settings) -> dict[str, Any] | None:
    """Return the newest run: the recorded one, or a later one that failed because it could not use the database."""
    failure = newest_failure(settings.home, "run")
    if failure is None or (recorded and _moment(recorded["started_at"]) >= failure["failed_at"]):
        return dict(recorded) if recorded else None
    at = failure["failed_at"]
    return {
        "run_id": failure["run_id"], "job": failure["job"], "status": "failed", "started_at": at, "ended_at": at,
        "error": failure["error"],
    }  # fmt: skip


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _last_runs(cursor: Any) -> dict[str, dict[str, Any]]:
    """Return for each dataset the newest run that worked on it, with the worst of its stages."""
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
    """Return how many alerts wait or were refused, since when, and the newest reason; the cursor gives dicts."""
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


def worst(words: Sequence[str]) -> str:
    """Return the worst of the words of health."""
    return max(words, key=ORDER.index, default="unknown")


def without_database(settings: Settings, error: str) -> dict[str, Any]:
    """Return the last status that was written, aged to this moment, and why there is no newer one."""
    now = datetime.now(UTC)
    try:
        last = orjson.loads((settings.home / "status.json").read_bytes())
        last["datasets"] = [_aged(row, now) for row in last["datasets"]]
    except (OSError, ValueError, KeyError, TypeError):
        # None was written yet, or by another version.
        nothing = dict.fromkeys(("rows", "newest", "last_load", "rejected", "open_gaps", "last_run"))
        unknown = {"age_seconds": None, "parts": dict.fromkeys(PARTS, "unknown"), "health": "unknown"}
        rows = [{"dataset": n, **nothing, **asdict(a), **unknown} for n, a in declared_limits(settings).items()]
        last = {
            "generated_at": now, "datasets": rows, "failed_symbols": {},
            "last_run": None, "alerts": None, "home": str(settings.home), "links": {},
        }  # fmt: skip
    newest = newest_run(last["last_run"], settings)
    return {**last, "last_run": newest, "status": "degraded", "database_error": error}


def _aged(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return a dataset of the last status as it is now: without news its data only gets older, and its health worse."""
    newest = datetime.fromisoformat(row["newest"]) if row["newest"] else None
    age = (now - newest).total_seconds() if newest else None
    fresh = freshness(age, Limits(row["sla_seconds"], row["degraded_after_seconds"]))
    parts = {**row["parts"], "freshness": fresh}
    return {**row, "newest": newest, "age_seconds": age, "parts": parts, "health": worst([row["health"], fresh])}


def write_status(settings: Settings, found: dict[str, Any] | None = None) -> None:
    """Leave the status as a JSON file, so that the dashboard can tell even when Postgres is down."""
    path = settings.home / "status.json"
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_bytes(orjson.dumps(found or status(settings), default=plain))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
