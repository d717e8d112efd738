"""The Dagster definitions: one asset graph, one job, one schedule.

Belongs here: putting together what the other modules declare. ``build_defs`` makes a fresh set, so that tests and tools
can swap resources; Dagster loads ``defs``.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource

from ingestion import books, warehouse
from ingestion.symbols import tracked_now
from orchestration.assets import ASSETS, DAYS, ONE_RUN, OWNERS
from orchestration.models import DBT, build_models, project
from orchestration.quality.checks import CHECKS
from orchestration.resources import Stores

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
JOB = "market_refresh"
FIRST_LOAD_DAYS = 30
REFRESH = {"ops": {"bronze__binance_klines": {"config": {"skip_covered": True}}}}


def range_tags(start: Any, end: Any) -> dict[str, str]:
    """Return the run tags of the half-open range of UTC days [start, end)."""
    return {RANGE_START: start.isoformat(), RANGE_END: (end - timedelta(days=1)).isoformat()}


def build_verdict(upstream: list[dg.AssetKey]) -> dg.AssetsDefinition:
    """Return the last asset of a run, which closes it in the books and turns it red when a source had failed."""

    @dg.asset(
        key=["ops", "run_verdict"], group_name="ops", kinds={"postgres"}, owners=OWNERS, deps=upstream,
        backfill_policy=ONE_RUN, output_required=False,
        description="Closes the run in ops.runs: ok, partial (a symbol or coin failed alone) or failed.",
    )  # fmt: skip
    def run_verdict(context: dg.AssetExecutionContext, stores: Stores) -> Iterator[Any]:
        """Judge the run by its stages and checks."""
        with stores.connection("ingest") as connection:
            summary = books.summarise_run(connection, context.run_id)
            books.end_run(connection, context.run_id, summary["status"], summary)
        errors = [s["detail"]["error"] for s in summary["stages"] if s["detail"].get("error")]
        if errors:
            raise dg.Failure(description=" | ".join(errors), allow_retries=False)
        yield dg.MaterializeResult(metadata={"status": summary["status"], "checks": summary["checks"]})

    return run_verdict


def build_schedule(job: Any) -> dg.ScheduleDefinition:
    """Return the hourly schedule: yesterday and today each time, more after days without a run."""

    @dg.schedule(
        job=job,
        cron_schedule="5 * * * *",
        execution_timezone="UTC",
        name="hourly_refresh",
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if os.environ.get("TICKMART_SCHEDULE") == "running"
            else dg.DefaultScheduleStatus.STOPPED
        ),
        description="Five minutes past each hour: the 23:00 bar, late corrections and missed ticks heal by themselves.",
    )
    def hourly_refresh(context: dg.ScheduleEvaluationContext, stores: Stores) -> dg.RunRequest:
        tick = context.scheduled_execution_time
        today = tick.date()
        symbols = tracked_now(stores.universe(), today)
        with stores.connection("ingest") as connection:
            start = books.refresh_start(connection, symbols, today, FIRST_LOAD_DAYS)
        return dg.RunRequest(
            run_key=tick.isoformat(), run_config=REFRESH, tags=range_tags(start, today + timedelta(days=1))
        )

    return hourly_refresh


def build_failure_sensor() -> dg.SensorDefinition:
    """Return the sensor that closes a run in the books when it could not do so itself."""

    @dg.run_failure_sensor(name="close_failed_runs", default_status=dg.DefaultSensorStatus.RUNNING)
    def close_failed_runs(context: dg.RunFailureSensorContext) -> None:
        stores = Stores()
        with warehouse.closing(stores.connect("ingest")) as connection:
            summary = books.summarise_run(connection, context.dagster_run.run_id)
            books.end_run(connection, context.dagster_run.run_id, "failed", {**summary, "status": "failed"})

    return close_failed_runs


def build_defs(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Assemble the definitions; ``resources`` replaces single ones."""
    dbt_project = project()
    models = build_models(dbt_project)
    verdict = build_verdict([*models.keys, dg.AssetKey(["raw", "universe"])])
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        partitions_def=DAYS,
        executor_def=dg.in_process_executor,
        description="Sources to bronze to raw to marts, with every check on the way, over a range of UTC days.",
    )
    return dg.Definitions(
        assets=[*ASSETS, models, verdict],  # type: ignore[list-item]
        asset_checks=CHECKS,
        jobs=[job],
        schedules=[build_schedule(job)],
        sensors=[build_failure_sensor()],
        resources={
            "stores": Stores(),
            "dbt": DbtCliResource(project_dir=dbt_project, dbt_executable=DBT),
            **(resources or {}),
        },
    )


defs = build_defs()
