"""What the daemon does between runs: closing runs that could not close themselves, and alerts.

Belongs here: the sensors. Does not: schedules and jobs (``definitions``), what an alert is (``incidents``, ``alerts``).
"""

import dagster as dg

from ingestion import books, warehouse
from orchestration import alerts
from orchestration.resources import Stores


def build_failure_sensor() -> dg.SensorDefinition:
    """Return the sensor that closes a run in the books when it could not do so itself."""

    @dg.run_failure_sensor(name="close_failed_runs", default_status=dg.DefaultSensorStatus.RUNNING)
    def close_failed_runs(context: dg.RunFailureSensorContext) -> None:
        stores = Stores()
        with warehouse.closing(stores.connect("ingest")) as connection:
            # It may have failed before its first step could open it.
            books.begin_run(connection, context.dagster_run.run_id, context.dagster_run.job_name)
            summary = books.summarise_run(connection, context.dagster_run.run_id)
            books.end_run(connection, context.dagster_run.run_id, "failed", {**summary, "status": "failed"})

    return close_failed_runs


def build_alert_sensor() -> dg.SensorDefinition:
    """Return the sensor that looks for incidents and serves the outbox; its ticks are the daemon's sign of life."""

    @dg.sensor(name="alerts", minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
    def alert_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        sent = alerts.tick(Stores().settings, beat=True)
        return dg.SkipReason(f"sent: {sent}" if any(sent.values()) else "nothing to send")

    return alert_sensor
