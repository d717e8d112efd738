"""The schedules of the refresh jobs."""

import os
from typing import Any

import dagster as dg

from orchestration.jobs import REFRESH
from orchestration.partitions import range_tags, refresh_days
from orchestration.resources import Stores

# The hourly run takes a market snapshot too: the schedule of snapshots skips its minute.
HOURLY_MINUTE = 5


def schedules_status() -> dg.DefaultScheduleStatus:
    """Return whether schedules start switched on: only under `tickmart up` and the services."""
    running = os.environ.get("TICKMART_SCHEDULE") == "running"
    return dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED


def build_schedule(job: Any) -> dg.ScheduleDefinition:
    """Return the hourly schedule; each run covers yesterday and today, or more after days without a run."""

    @dg.schedule(
        job=job,
        cron_schedule=f"{HOURLY_MINUTE} * * * *",
        execution_timezone="UTC",
        name="hourly_refresh",
        default_status=schedules_status(),
        description="Five minutes past each hour, for yesterday and today: includes late corrections and missed runs.",
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
        default_status=schedules_status(),
        description=f"Market snapshots every {every_minutes} minutes (TICKMART_MARKETS_EVERY_MINUTES).",
    )
    def markets_refresh_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time
        if tick.minute == HOURLY_MINUTE:
            return dg.SkipReason("The hourly run of this minute takes the snapshot.")
        return dg.RunRequest(run_key=f"markets {tick.isoformat()}")

    return markets_refresh_schedule
