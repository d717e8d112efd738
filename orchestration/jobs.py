"""The jobs: selections of the asset graph."""

from typing import Any

import dagster as dg

from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.registry import DATASETS
from orchestration.partitions import DAYS, MARKETS_JOB
from orchestration.quality.checks import CHECK_JOB, CHECKS

JOB = "market_refresh"
REBUILD_JOB = "rebuild"
REBUILD = {f"raw__{dataset.name}": {"rebuild": True} for dataset in DATASETS}
REFRESH = {"ops": {"bronze__binance_klines": {"config": {"skip_covered": True}}}}


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
