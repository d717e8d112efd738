"""The Dagster definitions: one asset graph, the jobs that are parts of it, and their schedules.

Belongs here: putting together what the other modules declare. ``build_defs`` makes a fresh set, so that tests and tools
can swap resources; Dagster loads ``defs``.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ingestion import books
from ingestion.datasets import FEAR_GREED, KLINES, MARKETS
from ingestion.settings import load_settings
from orchestration import alerts, health, logs
from orchestration.assets import ASSETS, ONE_RUN, OWNERS, counted_runs
from orchestration.launch import command_pid
from orchestration.models import DBT, DbtCli, book_specs, build_models, project
from orchestration.partitions import DAYS, MARKETS_JOB, range_tags, refresh_days
from orchestration.quality.checks import CHECK_JOB, CHECKS
from orchestration.resources import Stores
from orchestration.sensors import (
    build_alert_sensor,
    build_dead_run_sensor,
    build_ended_sensor,
    build_failure_sensor,
    build_housekeeping_schedule,
    housekeeping,
)

SCHEDULE_TAG = "dagster/schedule_name"
JOB = "market_refresh"
REBUILD_JOB = "rebuild"
# The hourly run takes a market snapshot too; at its minute there is none to be taken besides.
HOURLY_MINUTE = 5
REBUILD = {f"raw__{dataset.name}": {"rebuild": True} for dataset in (KLINES, MARKETS, FEAR_GREED)}
REFRESH = {"ops": {"bronze__binance_klines": {"config": {"skip_covered": True}}}}


def build_verdict(upstream: list[dg.AssetKey]) -> dg.AssetsDefinition:
    """Return the last asset of a run, which closes it in the books and turns it red when a source had failed."""

    @dg.asset(
        key=["ops", "run_verdict"], group_name="ops", kinds={"postgres"}, owners=OWNERS, deps=upstream,
        backfill_policy=ONE_RUN, output_required=False,
        # The executor takes the ready step of the highest priority: checks come before the verdict.
        op_tags={"dagster/priority": "-10"},
        description="Closes the run in ops.runs: ok, partial (a symbol or coin failed alone) or failed.",
    )  # fmt: skip
    def run_verdict(context: dg.AssetExecutionContext, stores: Stores) -> Iterator[Any]:
        """Judge the run by its stages and checks."""
        with stores.connection("ingest") as connection:
            earlier = counted_runs(context)[1:]
            summary = books.summarise_run(connection, context.run_id, earlier)
            books.end_run(connection, context.run_id, summary["status"], summary)
        health.write_status(stores.settings)
        if command_pid(context.run) is None:  # a command logs the end of its run itself
            checks = {word: summary["checks"][word] for word in ("passed", "warned", "failed")}
            logs.unit("run ended", run=context.run_id, job=context.job_name, status=summary["status"], **checks)
        errors = [s["detail"]["error"] for s in summary["stages"] if s["detail"].get("error")]
        scheduled = SCHEDULE_TAG in context.run.tags
        if scheduled and summary["status"] != "failed" and (problem := alerts.ping_dead_man(stores.settings)):
            context.log.warning(problem)
        if errors:
            if earlier:
                errors.append("A failed source is requested again by a whole run alone: launch one, not a part of it")
            raise dg.Failure(description=" | ".join(errors), allow_retries=False)
        yield dg.MaterializeResult(metadata={"status": summary["status"], "checks": summary["checks"]})

    return run_verdict


def _schedules_status() -> dg.DefaultScheduleStatus:
    running = os.environ.get("TICKMART_SCHEDULE") == "running"
    return dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED


def build_schedule(job: Any) -> dg.ScheduleDefinition:
    """Return the hourly schedule: yesterday and today each time, more after days without a run."""

    @dg.schedule(
        job=job,
        cron_schedule=f"{HOURLY_MINUTE} * * * *",
        execution_timezone="UTC",
        name="hourly_refresh",
        default_status=_schedules_status(),
        description="Five minutes past each hour: the 23:00 bar, late corrections and missed ticks heal by themselves.",
    )
    def hourly_refresh(context: dg.ScheduleEvaluationContext, stores: Stores) -> dg.RunRequest:
        tick = context.scheduled_execution_time
        with stores.connection("ingest") as connection:
            days = refresh_days(connection, stores.universe(), tick.date())
        return dg.RunRequest(run_key=tick.isoformat(), run_config=REFRESH, tags=range_tags(*days))

    return hourly_refresh


def build_markets_schedule(job: Any, every_minutes: int) -> dg.ScheduleDefinition:
    """Return the schedule of market snapshots between the hourly runs."""

    @dg.schedule(
        job=job,
        cron_schedule=f"*/{every_minutes} * * * *",
        execution_timezone="UTC",
        name="markets_refresh_schedule",
        default_status=_schedules_status(),
        description=f"Every {every_minutes} minutes, as TICKMART_MARKETS_EVERY_MINUTES says: market snapshots alone.",
    )
    def markets_refresh_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time
        if tick.minute == HOURLY_MINUTE:
            return dg.SkipReason("The hourly run of this minute takes the snapshot.")
        return dg.RunRequest(run_key=f"markets {tick.isoformat()}")

    return markets_refresh_schedule


def build_jobs(models: dg.AssetsDefinition) -> dict[str, Any]:
    """Return the jobs by name: the whole graph, and the parts of it that run alone."""
    sources = dg.AssetSelection.groups("bronze", "sources")
    checks = dg.AssetSelection.checks(*models.check_keys, *(key for check in CHECKS for key in check.check_keys))
    selections: list[tuple[str, dg.AssetSelection, bool, str]] = [
        (
            JOB, dg.AssetSelection.all(), True,
            "Sources to bronze to raw to marts, with every check on the way, over a range of UTC days.",
        ),
        (
            REBUILD_JOB, dg.AssetSelection.all() - sources, True,
            "Raw and marts emptied and built anew from bronze alone; its config says which tables are emptied.",
        ),
        (
            MARKETS_JOB, dg.AssetSelection.assets(["bronze", MARKETS.name]).downstream(), False,
            "A market snapshot and the marts that show it.",
        ),
        (CHECK_JOB, checks, True, "The quality suites and the tests of every model, without building anything."),
    ]  # fmt: skip
    return {
        name: dg.define_asset_job(
            name,
            selection=selection,
            partitions_def=DAYS if by_day else None,
            executor_def=dg.in_process_executor,
            description=description,
        )
        for name, selection, by_day, description in selections
    }


def build_defs(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Assemble the definitions; ``resources`` replaces single ones."""
    dbt_project = project()
    models = build_models(dbt_project)
    verdict = build_verdict([*models.keys, dg.AssetKey(["raw", "universe"])])
    made = {key for asset in ASSETS if isinstance(asset, dg.AssetsDefinition) for key in asset.keys}
    jobs = build_jobs(models)
    schedules = [build_schedule(jobs[JOB]), build_housekeeping_schedule(_schedules_status())]
    every_minutes = load_settings().markets_every_minutes
    if every_minutes < 60:
        schedules.append(build_markets_schedule(jobs[MARKETS_JOB], every_minutes))
    return dg.Definitions(
        assets=[*ASSETS, *book_specs(dbt_project, made), models, verdict],  # type: ignore[list-item]
        asset_checks=CHECKS,
        jobs=[*jobs.values(), housekeeping],
        schedules=schedules,
        sensors=[
            build_failure_sensor(),
            build_ended_sensor(dg.DagsterRunStatus.SUCCESS),
            build_ended_sensor(dg.DagsterRunStatus.CANCELED),
            build_dead_run_sensor(),
            build_alert_sensor(),
        ],
        resources={
            "stores": Stores(),
            "dbt": DbtCli(project_dir=dbt_project, dbt_executable=DBT),  # type: ignore[arg-type]
            **(resources or {}),
        },
    )


defs = build_defs()
