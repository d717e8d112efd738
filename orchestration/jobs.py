"""The jobs, which are selections of the asset graph, and the schedules of the refresh jobs."""

import os
from typing import Any

import dagster as dg

from ingestion.settings import load_settings
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.datasets import DATASETS
from ingestion.sources.news.dataset import GDELT_TONE, HEADLINES
from ingestion.sources.onchain.dataset import BLOCKCHAIN_DAILY, COINMETRICS_DAILY
from orchestration.job_names import BITCOIN_JOB, CHECK_JOB, JOB, MARKETS_JOB, NEWS_JOB, ONCHAIN_JOB, REBUILD_JOB
from orchestration.partitions import DAYS, range_tags, refresh_days
from orchestration.quality.checks import CHECKS
from orchestration.resources import Stores

REFRESH = {"ops": {"bronze__binance_klines": {"config": {"skip_covered": True}}}}
# The hourly run takes a market snapshot too: the schedule of snapshots skips its minute.
HOURLY_MINUTE = 5


def build_jobs(models: dg.AssetsDefinition) -> dict[str, Any]:
    """Return the jobs by name: one for the whole asset graph, the others for a part of it."""
    sources = dg.AssetSelection.groups("bronze", "sources")
    checks = dg.AssetSelection.checks(*models.check_keys, *(key for check in CHECKS for key in check.check_keys))
    onchain = dg.AssetSelection.assets(*(["bronze", d.name] for d in (COINMETRICS_DAILY, BLOCKCHAIN_DAILY)))
    bitcoin = dg.AssetSelection.assets(["bronze", BITCOIN_TRANSACTIONS.name])
    # All models: the build plan leaves out what is built, and a new warehouse lacks what others read.
    every_model = dg.AssetSelection.assets(["raw", "universe"], *models.keys)
    # A dataset that is off costs a run nothing; its backfill and a rebuild have jobs of their own.
    settings = load_settings()
    news = dg.AssetSelection.assets(*(["bronze", d.name] for d in (*HEADLINES, GDELT_TONE) if d.is_on(settings)))
    off = [dataset.name for dataset in DATASETS if not dataset.is_on(settings)]
    not_fetched = dg.AssetSelection.assets(*([layer, name] for layer in ("bronze", "raw") for name in off))
    selections: list[tuple[str, dg.AssetSelection, bool, str]] = [
        (
            JOB, dg.AssetSelection.all() - not_fetched, True,
            "Sources, bronze, raw, marts and every check, over a range of UTC days.",
        ),
        (
            REBUILD_JOB, dg.AssetSelection.all() - sources, True,
            "Empties raw and the marts, and rebuilds both from bronze; the config names the tables to empty.",
        ),
        (
            MARKETS_JOB, dg.AssetSelection.assets(["bronze", MARKETS.name]).downstream(), False,
            "A market snapshot and the marts that read it.",
        ),
        (
            ONCHAIN_JOB, onchain.downstream() | every_model, False,
            "The daily on-chain series and the marts that read them; the config requests the complete history.",
        ),
        (
            BITCOIN_JOB, bitcoin.downstream() | every_model, False,
            "Bitcoin's transactions of a range of days, by the config, and the marts that read them.",
        ),
        (
            NEWS_JOB, news.downstream() | every_model, False,
            "Headlines of a range of days, by the config, and the marts that read them.",
        ),
        (CHECK_JOB, checks, True, "The quality suites and every dbt test, without building anything."),
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
