"""The jobs: selections of the asset graph."""

from typing import Any

import dagster as dg

from ingestion.sources.coingecko.dataset import MARKETS
from orchestration.job_names import CHECK_JOB, JOB, MARKETS_JOB, REBUILD_JOB
from orchestration.partitions import DAYS
from orchestration.quality.checks import CHECKS

REFRESH = {"ops": {"bronze__binance_klines": {"config": {"skip_covered": True}}}}


def build_jobs(models: dg.AssetsDefinition) -> dict[str, Any]:
    """Return the jobs by name: one for the whole asset graph, the others for a part of it."""
    sources = dg.AssetSelection.groups("bronze", "sources")
    checks = dg.AssetSelection.checks(*models.check_keys, *(key for check in CHECKS for key in check.check_keys))
    selections: list[tuple[str, dg.AssetSelection, bool, str]] = [
        (
            JOB, dg.AssetSelection.all(), True,
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
