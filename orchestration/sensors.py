"""The sensors and the jobs of housekeeping: recording the end of runs, alerts, retention, compaction.

Does not belong here: the jobs of the asset graph and their schedules (``jobs``), alerts (``alerting``),
the retention rules (``maintenance.retention``).
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg
import psycopg2

from ingestion.bronze.compaction import Compacted
from ingestion.database import connections
from ingestion.database.connections import Connection
from ingestion.ops import runs
from orchestration.alerting import outbox
from orchestration.maintenance import compaction, retention
from orchestration.observability import logs
from orchestration.observability.attempts import record_failure
from orchestration.orphans import CODE_SERVER_SINCE, close_orphans
from orchestration.resources import Stores


@dg.run_failure_sensor(
    name="close_failed_runs", default_status=dg.DefaultSensorStatus.RUNNING,
    description="Records the end of failed runs in ops.runs.",
)  # fmt: skip
def close_failed_runs(context: dg.RunFailureSensorContext) -> None:
    """Record the end of a failed run in schema ops."""
    stores = Stores()
    run = context.dagster_run
    try:
        connection = stores.connect("ingest")
    except connections.WarehouseError as error:
        record_failure(stores.settings.home, "run", run.job_name, error, run.run_id)
        raise
    with connections.closing(connection):
        # It may have failed before its first step recorded it.
        runs.begin_run(connection, run.run_id, run.job_name)
        summary = runs.summarize_run(connection, run.run_id)
        runs.end_run(connection, run.run_id, "failed", {**summary, "status": "failed"})
    logs.unit("run ended", run=run.run_id, job=run.job_name, status="failed")


def build_ended_sensor(status: dg.DagsterRunStatus) -> dg.SensorDefinition:
    """Return the sensor that records the end of canceled runs and of runs without the step ops/run_verdict."""

    @dg.run_status_sensor(
        run_status=status, name=f"close_{status.value.lower()}_runs", default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Records the end of runs with the status {status.value} in ops.runs, if the run itself did not.",
    )  # fmt: skip
    def close_ended_runs(context: dg.RunStatusSensorContext) -> None:
        run = context.dagster_run
        with connections.closing(Stores().connect("ingest")) as connection:
            if run.run_id not in runs.open_runs(connection):
                return
            summary = runs.summarize_run(connection, run.run_id)
            if status is dg.DagsterRunStatus.CANCELED:
                summary |= {"status": "failed", "error": "The run was canceled in Dagster."}
            runs.end_run(connection, run.run_id, summary["status"], summary)
        logs.unit("run ended", run=run.run_id, job=run.job_name, status=summary["status"])

    return close_ended_runs


@dg.sensor(
    name="close_dead_runs", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process was killed, so that none is shown as started forever.",
)  # fmt: skip
def close_dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Close the runs of killed commands and of earlier code servers."""
    since = os.environ.get(CODE_SERVER_SINCE)
    with connections.closing(Stores().connect("ingest")) as connection:
        closed = close_orphans(
            context.instance, connection, datetime.fromtimestamp(float(since), UTC) if since else None
        )
    return dg.SkipReason(f"closed: {', '.join(closed)}" if closed else "no orphaned run")


@dg.sensor(
    name="alerts", minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Opens and resolves incidents, and sends their alerts.",
)  # fmt: skip
def alert_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Detect incidents and send alerts; the ticks are the daemon's heartbeat."""
    settings = Stores().settings
    try:
        sent = outbox.evaluate_and_send(settings, from_scheduler=True)
    except (connections.WarehouseError, psycopg2.Error) as error:
        record_failure(settings.home, "scheduler", "alerts", error)
        raise
    return dg.SkipReason(f"sent: {sent}" if any(sent.values()) else "nothing to send")


@dg.op(description="Removes old runs, logs, build folders, alerts and other operational records; never data.")
def prune(context: dg.OpExecutionContext) -> None:
    """Do what `tickmart prune` does, and record the run."""
    stores = Stores()
    began = time.monotonic()
    with stores.connection("ingest") as connection:
        runs.begin_run(connection, context.run_id, context.job_name)
        removed = {what: count for what, count, _ in retention.prune(stores.settings) if count}
        runs.end_run(connection, context.run_id, "ok", {"removed": removed})
    logs.unit("pruned", run=context.run_id, seconds=time.monotonic() - began, status="ok", removed=removed)


@dg.job(executor_def=dg.in_process_executor, description="Removes old operational records, once a day.")
def housekeeping() -> None:
    """Run the retention."""
    prune()


def _compact(context: dg.OpExecutionContext, compact: Callable[[Stores, Connection], Compacted]) -> None:
    """Compact, and record the run; problems make it partial."""
    stores = Stores()
    began = time.monotonic()
    with stores.connection("ingest") as connection:
        runs.begin_run(connection, context.run_id, context.job_name)
        done = compact(stores, connection)
        status = "partial" if done.problems else "ok"
        runs.end_run(connection, context.run_id, status, asdict(done))
    for problem in done.problems:
        context.log.warning(problem)
    logs.unit("compacted", run=context.run_id, seconds=time.monotonic() - began, status=status, **asdict(done))


@dg.op(description="Merges the small objects of live prices into one per dataset and hour.")
def compact_hours(context: dg.OpExecutionContext) -> None:
    """Merge what `tickmart compact` merges of the last hours."""
    _compact(context, lambda stores, connection: compaction.compact_hours(stores.lake(), connection))


@dg.op(description="Merges the objects of closed days and months.")
def compact_months(context: dg.OpExecutionContext) -> None:
    """Merge what `tickmart compact` merges of closed days and months."""
    _compact(context, lambda stores, connection: compaction.compact_months(stores.lake(), connection, context.run_id))


@dg.job(executor_def=dg.in_process_executor, description="Merges the small objects of live prices, once an hour.")
def live_compaction() -> None:
    """Run the compaction of hours."""
    compact_hours()


@dg.job(executor_def=dg.in_process_executor, description="Merges the objects of closed days and months, once a week.")
def lake_compaction() -> None:
    """Run the compaction of days and months."""
    compact_months()


def build_compaction_schedule(status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    """Return the hourly schedule of the compaction, after the messages and fills of the hour before."""
    return dg.ScheduleDefinition(
        name="hourly_compaction", cron_schedule="20 * * * *", job=live_compaction, execution_timezone="UTC",
        default_status=status, description="Merges the small objects of live prices into one per dataset and hour.",
    )  # fmt: skip


def build_lake_compaction_schedule(status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    """Return the weekly schedule of the compaction; its second run removes what the first has merged."""
    return dg.ScheduleDefinition(
        name="weekly_compaction", cron_schedule=["25 4 * * 0", "40 5 * * 0"], job=lake_compaction,
        execution_timezone="UTC", default_status=status,
        description="Merges the objects of closed days and months on Sundays, and removes them in a second run.",
    )  # fmt: skip


def build_housekeeping_schedule(status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    """Return the daily schedule of the housekeeping, between two hourly runs."""
    return dg.ScheduleDefinition(
        name="daily_housekeeping", cron_schedule="40 3 * * *", job=housekeeping, execution_timezone="UTC",
        default_status=status, description="Removes old operational records once a day, between two hourly runs.",
    )  # fmt: skip
