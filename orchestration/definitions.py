"""The Dagster definitions: assets, checks, jobs, schedules, sensors and resources, assembled.

Loading this module prepares the process for runs: retries of Postgres connections, and glibc's memory settings.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import orjson

from ingestion.memory import limit_malloc_arenas
from ingestion.settings import load_settings
from orchestration.assets.dagster_dbt import DbtProject
from orchestration.assets.dbt import DBT, DbtCli, build_models, other_table_specs, project
from orchestration.assets.raw import ASSETS, RAW, raw_universe
from orchestration.assets.run_status import build_run_status
from orchestration.engines.assets import engine_assets
from orchestration.job_names import JOB, MARKETS_JOB
from orchestration.jobs import build_jobs, build_markets_schedule, build_schedule, schedules_status
from orchestration.progress import ignore_progress
from orchestration.quality.checks import CHECKS
from orchestration.reconnect import install_connection_retries
from orchestration.resources import Stores
from orchestration.sensors import (
    alert_sensor,
    build_compaction_schedule,
    build_ended_sensor,
    build_housekeeping_schedule,
    build_lake_compaction_schedule,
    close_dead_runs,
    close_failed_runs,
    housekeeping,
    lake_compaction,
    live_compaction,
)


def _engines(dbt_project: DbtProject) -> list[tuple[dg.AssetsDefinition, Any]]:
    """Return assets and job of each engine in TICKMART_ENGINES; none by default."""
    if not (engines := load_settings().engines):
        return []
    manifest = orjson.loads(dbt_project.manifest_path.read_bytes())
    return [engine_assets(engine, manifest) for engine in dict.fromkeys(engines)]


def build_defs(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Assemble the definitions; ``resources`` replaces some of the resources."""
    dbt_project = project()
    models = build_models(dbt_project)
    run_status = build_run_status([key for asset in (*RAW.values(), raw_universe) for key in asset.keys])
    defined = {key for asset in ASSETS if isinstance(asset, dg.AssetsDefinition) for key in asset.keys}
    jobs = build_jobs(models)
    schedules = [build_schedule(jobs[JOB]), build_housekeeping_schedule(schedules_status())]
    schedules.append(build_lake_compaction_schedule(schedules_status()))
    if load_settings().live:
        schedules.append(build_compaction_schedule(schedules_status()))
    engines = _engines(dbt_project)
    every_minutes = load_settings().markets_every_minutes
    if every_minutes < 60:
        schedules.append(build_markets_schedule(jobs[MARKETS_JOB], every_minutes))
    return dg.Definitions(
        assets=[*ASSETS, *other_table_specs(dbt_project, defined), models, run_status, *(a for a, _ in engines)],  # type: ignore[list-item]
        asset_checks=CHECKS,
        jobs=[*jobs.values(), housekeeping, live_compaction, lake_compaction, *(job for _, job in engines)],
        schedules=schedules,
        sensors=[
            close_failed_runs,
            build_ended_sensor(dg.DagsterRunStatus.SUCCESS),
            build_ended_sensor(dg.DagsterRunStatus.CANCELED),
            close_dead_runs,
            alert_sensor,
        ],
        # One step after another: the asset of the run's status, with the lowest priority, is the last one.
        executor=dg.in_process_executor,
        resources={
            "stores": Stores(),
            "progress": ignore_progress,
            "dbt": DbtCli(project_dir=dbt_project, dbt_executable=DBT),  # type: ignore[arg-type]
            **(resources or {}),
        },
    )


install_connection_retries()
limit_malloc_arenas()
defs = build_defs()
