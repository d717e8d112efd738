"""The Dagster definitions: assets, checks, jobs, schedules, sensors and resources, assembled."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ingestion.settings import load_settings
from orchestration.assets.dbt import DBT, DbtCli, book_specs, build_models, project
from orchestration.assets.raw import ASSETS
from orchestration.assets.run_status import build_run_status
from orchestration.jobs import JOB, build_jobs
from orchestration.partitions import MARKETS_JOB
from orchestration.quality.checks import CHECKS
from orchestration.resources import Stores
from orchestration.schedules import _schedules_status, build_markets_schedule, build_schedule
from orchestration.sensors import (
    build_alert_sensor,
    build_dead_run_sensor,
    build_ended_sensor,
    build_failure_sensor,
    build_housekeeping_schedule,
    housekeeping,
)


def build_defs(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Assemble the definitions; ``resources`` replaces single ones."""
    dbt_project = project()
    models = build_models(dbt_project)
    verdict = build_run_status([*models.keys, dg.AssetKey(["raw", "universe"])])
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
