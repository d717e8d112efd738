"""Runs in the ``ops`` schema: their start, stages, heartbeat, end and summary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

import orjson
from psycopg2.extras import Json, RealDictCursor

from ingestion.database.connections import Connection, execute, fetch
from ingestion.text import plain


class StageResult(TypedDict):
    """What one stage of a run did, as ``ops.run_stages`` records it."""

    status: str
    rows: int
    files: int
    seconds: float
    detail: dict[str, Any]


def clock(connection: Connection) -> datetime:
    """Return the database's time, the clock of ``checked_at``."""
    [(now,)] = fetch(connection, "select clock_timestamp()")
    assert isinstance(now, datetime)
    return now


def record_stage(connection: Connection, run_id: str, stage: str, dataset: str, **result: Unpack[StageResult]) -> None:
    """Record what one stage of a run did; a retried stage replaces its row."""
    key = {"run_id": run_id, "stage": stage, "dataset": dataset}
    execute(
        connection,
        """
        insert into ops.run_stages (run_id, stage, dataset, status, rows, files, seconds, detail)
        values (%(run_id)s, %(stage)s, %(dataset)s, %(status)s, %(rows)s, %(files)s, %(seconds)s, %(detail)s)
        on conflict (run_id, stage, dataset) do update set
            status = excluded.status, rows = excluded.rows, files = excluded.files, seconds = excluded.seconds,
            detail = excluded.detail, ended_at = clock_timestamp()
        """,
        {**key, **result, "detail": Json(result["detail"], dumps=as_json)},
    )


def begin_run(connection: Connection, run_id: str, job: str) -> None:
    """Record the start of a run in ``ops.runs``, unless it is recorded already."""
    statement = """
        insert into ops.runs (run_id, job, started_at, status) values (%s, %s, clock_timestamp(), 'running')
        on conflict (run_id) do nothing
    """
    execute(connection, statement, (run_id, job))


def beat(connection: Connection, run_id: str) -> None:
    """Record that the run's process is alive."""
    execute(connection, "update ops.runs set beat_at = clock_timestamp() where run_id = %s", (run_id,))


def open_runs(connection: Connection) -> set[str]:
    """Return the runs that have started and not ended."""
    return {run_id for (run_id,) in fetch(connection, "select run_id from ops.runs where status = 'running'")}


def silent_runs(connection: Connection, run_ids: Sequence[str], silence_s: float) -> set[str]:
    """Return the runs among these whose last heartbeat is older than ``silence_s``."""
    query = "select run_id from ops.runs where run_id = any(%s) and beat_at < now() - make_interval(secs => %s)"
    return {run_id for (run_id,) in fetch(connection, query, (list(run_ids), silence_s))}


def end_run(connection: Connection, run_id: str, status: str, summary: dict[str, Any]) -> None:
    """Record the end of a run with its status and summary."""
    statement = "update ops.runs set status = %s, summary = %s, ended_at = clock_timestamp() where run_id = %s"
    execute(connection, statement, (status, Json(summary, dumps=as_json), run_id))


def summarize_run(connection: Connection, run_id: str, earlier: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a run did, from ``ops``: its stages, its checks, and its status ok, partial or failed.

    ``earlier`` are the runs of which this one repeats some steps, the newest first: steps that it did not repeat count
    as those runs recorded them.
    """
    runs = [run_id, *earlier]
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        stages = _stages(cursor, runs)
        checks, not_run = _checks(cursor, runs)
    connection.commit()
    failures = sorted((c for c in checks if c["status"] != "passed"), key=lambda c: c["severity"])
    errors = sum(c["severity"] == "error" for c in failures)
    # A fetch that the run does not need says so (`Dataset.optional`).
    statuses = {s["status"] for s in stages if not s["detail"].get("optional")}
    status = "failed" if errors or "failed" in statuses else "partial" if "partial" in statuses else "ok"
    return {
        "run_id": run_id,
        "status": status,
        "stages": stages,
        "checks": {
            "passed": len(checks) - len(failures),
            "failed": errors,
            "warned": len(failures) - errors,
            "failures": failures,
            # Checks of the last two days that this run did not repeat, by the tool that runs them.
            "not_run": not_run,
        },
    }


def _stages(cursor: Any, runs: Sequence[str]) -> list[dict[str, Any]]:
    """Return the stages of runs in the order in which they ended; of a repeated stage the first run's counts."""
    cursor.execute(
        """
        select stage, dataset, status, rows, files, seconds, rows_per_s, detail
        from (
            select distinct on (stage, dataset) *, rows / nullif(seconds, 0) as rows_per_s
            from ops.run_stages
            where run_id = any(%(runs)s)
            order by stage, dataset, array_position(%(runs)s, run_id)
        ) as newest
        order by ended_at
        """,
        {"runs": runs},
    )
    return [dict(row) for row in cursor.fetchall()]


def _checks(cursor: Any, runs: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the last result of each check of runs, and by tool how many checks of the last two days they lack."""
    cursor.execute(
        """
        select distinct on (asset, check_name)
            asset, check_name, source, severity, status, blocking, observed, expected, failed_rows
        from ops.check_results
        where run_id = any(%s)
        order by asset, check_name, check_id desc
        """,
        (runs,),
    )
    checks = [dict(row) for row in cursor.fetchall()]
    cursor.execute(
        """
        select source, count(distinct (asset, check_name)) as n
        from ops.check_results as known
        where
            checked_at >= now() - interval '48 hours'
            and status <> 'error'
            and not exists (
                select from ops.check_results as own
                where own.run_id = any(%s) and own.asset = known.asset and own.check_name = known.check_name
            )
        group by source order by source
        """,
        (runs,),
    )
    return checks, {row["source"]: row["n"] for row in cursor.fetchall()}


def as_json(value: Any) -> str:
    """Write JSON for Postgres: dates as text, decimals with all digits, NaN as null."""
    return orjson.dumps(value, default=plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def close_runs(connection: Connection, run_ids: Sequence[str]) -> None:
    """Mark running runs as failed: their process has ended."""
    statement = """
        update ops.runs set status = 'failed', ended_at = clock_timestamp()
        where status = 'running' and run_id = any(%s)
    """
    execute(connection, statement, (list(run_ids),))


def version(connection: Connection, name: str) -> str | None:
    """Return the recorded version of a component of this database, or None."""
    found = fetch(connection, "select version from ops.versions where name = %s", (name,))
    return found[0][0] if found else None


def set_version(connection: Connection, name: str, value: str) -> None:
    """Record the present version of a component of this database."""
    statement = """
        insert into ops.versions (name, version) values (%s, %s)
        on conflict (name) do update set version = excluded.version, set_at = clock_timestamp()
    """
    execute(connection, statement, (name, value))
