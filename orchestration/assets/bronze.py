"""The bronze assets: source API to object storage."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import dagster as dg

from ingestion.bronze import write
from ingestion.datasets import Dataset
from ingestion.ops import checks, runs
from ingestion.sources.binance import plan
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko import ingest as coingecko_ingest
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed import ingest as fear_greed_ingest
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.http import HttpClient, SourceError
from orchestration.assets.metadata import ONE_RUN, OWNERS, days, table_schema
from orchestration.assets.source_checks import as_check_result, check_source, source_checks
from orchestration.observability import logs
from orchestration.partitions import DAYS, run_days
from orchestration.progress import ProgressListener
from orchestration.resources import Stores, release_memory


class KlinesConfig(dg.Config):
    """How a range of days is asked for."""

    interval: Literal["1m", "5m", "15m", "1h", "4h", "1d"] = "1h"
    source: Literal["rest", "archive", "auto"] = "rest"
    """Ask the REST API, read the bulk archives as far as they go, or take the cheaper of both for each month."""
    skip_covered: bool = False
    """Leave out days that are over and have been answered; a refresh sets it, a backfill requests everything again."""
    resume: bool = False
    """Book the range as a backfill, and take up one that was cut off."""


def _bronze(
    context: dg.AssetExecutionContext, stores: Stores, source: str, dataset: Dataset,
    ingest: Callable[[write.Context, HttpClient, Any], write.Report],
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # fmt: skip
    """Run one ingestion, book its stage, and report as metadata and check what it did."""
    started = time.monotonic()
    with stores.connection("ingest") as connection:
        runs.begin_run(connection, context.run_id, context.job_name)
        ingestion = write.Context(stores.lake(), connection, context.run_id)
        with stores.client(source, context.run_id) as (client, budget):
            try:
                report = ingest(ingestion, client, budget)
            except SourceError as error:
                report = write.Report(dataset.name, error=str(error))
        seconds = time.monotonic() - started
        status = "failed" if report.error else "partial" if report.failed else "ok"
        detail = {
            "error": report.error,
            "failed": report.failed,
            "rejected": report.rejected,
            "repeated": report.repeated,
            "unchanged_files": len(report.written) - report.files,
            "bytes": sum(w.bytes for w in report.written),
            "weight": budget.spent,
            "notes": report.notes,
        }
        runs.record_stage(
            connection, context.run_id, "bronze", dataset.name,
            status=status, rows=report.rows, files=report.files, seconds=seconds, detail=detail,
        )  # fmt: skip
        verdicts = check_source(dataset, report)
        checks.record_checks(connection, context.run_id, verdicts)
    told = [verdict for verdict in verdicts if verdict["status"] == "failed"]
    logs.unit(
        "fetched", run=context.run_id, asset=f"bronze/{dataset.name}", partition=days(context), source=source,
        batch=ingestion.batch_id, rows=report.rows, files=report.files, rejected=report.rejected, seconds=seconds,
        status=status, problems=[v["observed"] for v in told] or None,
    )  # fmt: skip
    for verdict in told:
        context.log.warning(verdict["observed"])
    release_memory()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.rows,
            "dagster/column_schema": table_schema(dataset.schema),
            "files_written": report.files,
            "files_unchanged": len(report.written) - report.files,
            "bytes_written": detail["bytes"],
            "records_rejected": report.rejected,
            "records_repeated": report.repeated,
            "request_weight": budget.spent,
            "seconds": round(seconds, 2),
        },
        check_results=[as_check_result(verdict) for verdict in verdicts],
    )


@dg.asset(
    key=["bronze", KLINES.name],
    group_name="bronze",
    kinds={"python", "parquet", "s3"},
    owners=OWNERS,
    code_version="1",
    partitions_def=DAYS,
    backfill_policy=ONE_RUN,
    pool="binance_api",
    deps=[dg.AssetKey(["source", "binance_api"])],
    check_specs=source_checks(KLINES),
    description="Closed bars of every tracked symbol as Binance sends them, one Parquet object per interval and day.",
)
def bronze_klines(
    context: dg.AssetExecutionContext,
    config: KlinesConfig,
    stores: Stores,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Fetch the run's range of days."""
    start, end = run_days(context.run)
    universe = stores.universe()

    def ingest(run: write.Context, client: HttpClient, budget: Any) -> write.Report:
        run.on_progress = lambda state: progress(state, budget.spent)
        with stores.archive(context.run_id) as archive:
            return plan.bring(
                run, client, archive, budget.set_limit, universe, start, end, interval=config.interval,
                source=config.source, skip_covered=config.skip_covered, resume=config.resume,
            )  # fmt: skip

    return _bronze(context, stores, "Binance", KLINES, ingest)


@dg.asset(
    key=["bronze", MARKETS.name],
    group_name="bronze",
    kinds={"python", "parquet", "s3"},
    owners=OWNERS,
    code_version="1",
    backfill_policy=ONE_RUN,
    pool="coingecko_api",
    deps=[dg.AssetKey(["source", "coingecko_api"])],
    check_specs=source_checks(MARKETS),
    description="The market list of this moment: the universe and the top 250, each coin as CoinGecko sent it.",
)
def bronze_markets(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Take one snapshot."""
    universe = stores.universe()
    snapshot_at = datetime.now(UTC).replace(microsecond=0)
    return _bronze(
        context, stores, "CoinGecko", MARKETS,
        lambda run, client, _: coingecko_ingest.ingest_markets(run, client, universe, snapshot_at),
    )  # fmt: skip


@dg.asset(
    key=["bronze", FEAR_GREED.name],
    group_name="bronze",
    kinds={"python", "parquet", "s3"},
    owners=OWNERS,
    code_version="1",
    backfill_policy=ONE_RUN,
    pool="fear_greed_api",
    deps=[dg.AssetKey(["source", "alternative_me_api"])],
    check_specs=source_checks(FEAR_GREED),
    description="The whole history of the Crypto Fear & Greed index, written when a value has changed.",
)
def bronze_fear_greed(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Fetch the index's history."""
    today = datetime.now(UTC).date()
    return _bronze(
        context, stores, "Fear & Greed", FEAR_GREED,
        lambda run, client, _: fear_greed_ingest.ingest_fear_greed(run, client, today),
    )  # fmt: skip


SOURCES = [
    dg.AssetSpec(["source", "binance_api"], group_name="sources", kinds={"api"}, description="Binance Spot REST"),
    dg.AssetSpec(["source", "coingecko_api"], group_name="sources", kinds={"api"}, description="CoinGecko v3"),
    dg.AssetSpec(
        ["source", "alternative_me_api"], group_name="sources", kinds={"api"}, description="alternative.me Fear & Greed"
    ),
    dg.AssetSpec(["source", "universe_file"], group_name="sources", kinds={"csv"}, description="universe.csv"),
]
