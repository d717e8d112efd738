"""The bronze assets, one for each declared source: source API to object storage."""

import time
from contextlib import ExitStack
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, get_type_hints

import dagster as dg
from dagster._core.storage.tags import SCHEDULE_NAME_TAG
from pydantic import create_model

from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context
from ingestion.bronze.write import Progress as FetchProgress
from ingestion.memory import release_memory
from ingestion.ops import checks, runs
from ingestion.sources.http import HttpClient, SourceError
from ingestion.sources.rate_limit import RateLimiter
from ingestion.sources.registry import SOURCES
from ingestion.sources.source import FetchRequest, Source
from orchestration.assets.metadata import ONE_RUN, OWNERS, bronze_columns, days
from orchestration.assets.source_checks import check_source, source_checks, to_asset_check_result
from orchestration.job_names import JOB
from orchestration.observability import logs
from orchestration.partitions import DAYS, run_days
from orchestration.progress import Progress, ProgressListener
from orchestration.quality import process
from orchestration.resources import Stores


def api_key(source: Source) -> dg.AssetKey:
    """Return the key of the asset that stands for a source's API."""
    return dg.AssetKey(["source", f"{source.name}_api"])


def build_bronze(source: Source) -> dg.AssetsDefinition:
    """Return the asset ``bronze/<dataset>`` of a source, with the checks of its fetch."""
    dataset = source.dataset
    config_class = _config_class(source)

    @dg.asset(
        key=["bronze", dataset.name],
        group_name="bronze",
        kinds={"python", "parquet", "s3"},
        owners=OWNERS,
        code_version="1",
        partitions_def=DAYS if source.by_day else None,
        backfill_policy=ONE_RUN,
        pool=f"{source.name}_api",
        deps=[api_key(source)],
        check_specs=source_checks(source),
        description=source.bronze_description,
        metadata=bronze_columns(dataset),
    )
    def bronze(
        context: dg.AssetExecutionContext,
        config: config_class,  # type: ignore[valid-type]
        stores: Stores,
        progress: dg.ResourceParam[ProgressListener],
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        if SCHEDULE_NAME_TAG in context.run.tags:
            process.start()  # the suites import while the sources answer
        request = FetchRequest(
            universe=stores.universe(),
            at=datetime.now(UTC),
            days=run_days(context.run) if source.by_day else None,
            options=source.options(**config.model_dump()) if source.options else None,  # type: ignore[attr-defined]
            settings=stores.settings,
        )
        return _fetch(context, stores, source, request, progress)

    return bronze


def _config_class(source: Source) -> type[dg.Config]:
    """Return the run configuration of a source: the fields of its options."""
    options: dict[str, Any] = {}
    if source.options is not None:
        hints = get_type_hints(source.options)
        options = {field.name: (hints[field.name], field.default) for field in fields(source.options)}
    return create_model("SourceConfig", __base__=dg.Config, **options)


def _fetch(
    context: dg.AssetExecutionContext,
    stores: Stores,
    source: Source,
    request: FetchRequest,
    progress: ProgressListener,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run one fetch, record its stage and checks, and report them as metadata."""
    started = time.monotonic()
    dataset = source.dataset
    with stores.connection("ingest") as connection, ExitStack() as clients_open:
        runs.begin_run(connection, context.run_id, context.job_name)
        # A refresh of all sources does not need an optional one; a run of this source alone does.
        optional = source.dataset.optional and context.job_name == JOB
        deadline_s = source.deadline_s if optional else None
        clients: list[HttpClient] = [
            clients_open.enter_context(stores.client(api, context.run_id, deadline_s)) for api in source.apis
        ]
        limiter = clients[0].limiter if clients else RateLimiter()

        def report(state: FetchProgress) -> None:
            rate = state.rows / max(time.monotonic() - started, 1e-9)
            detail = f"{state.rows:,} rows, {rate:,.0f}/s, weight {limiter.spent:,}"
            progress(Progress(f"fetch {dataset.name}", state.days_done, state.days_total, "days", detail))

        bronze = Context(stores.lake(), connection, context.run_id, on_progress=report)
        try:
            result = source.fetch(bronze, request, *clients)
        except SourceError as error:
            result = FetchResult(dataset.name, error=str(error))
        seconds = time.monotonic() - started
        status = "failed" if result.error else "partial" if result.failed else "ok"
        detail = _stage_detail(result, limiter.spent) | ({"optional": True} if optional else {})
        runs.record_stage(
            connection, context.run_id, "bronze", dataset.name,
            status=status, rows=result.rows, files=result.files, seconds=seconds, detail=detail,
        )  # fmt: skip
        results = check_source(source, result, required=not optional)
        checks.record_checks(connection, context.run_id, results)
    problems = [check["observed"] for check in results if check["status"] == "failed"]
    logs.unit(
        "fetched", run=context.run_id, asset=f"bronze/{dataset.name}", partition=days(context),
        source=source.apis[0].name if source.apis else source.name, batch=context.run_id, rows=result.rows,
        files=result.files, rejected=result.rejected, seconds=seconds,
        status="partial" if optional and result.error else status, problems=problems or None,
    )  # fmt: skip
    for problem in problems:
        context.log.warning(problem)
    release_memory(result.rows)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.rows,
            "files_written": result.files,
            "files_unchanged": len(result.written) - result.files,
            "bytes_written": detail["bytes"],
            "records_rejected": result.rejected,
            "records_repeated": result.repeated,
            "request_weight": limiter.spent,
            "seconds": round(seconds, 2),
        },
        check_results=[to_asset_check_result(check) for check in results],
    )


def _stage_detail(result: FetchResult, weight: int) -> dict[str, Any]:
    """Return what ``ops.run_stages`` records of a fetch beside its counts."""
    return {
        "error": result.error,
        "failed": dict(result.failed),
        "rejected": result.rejected,
        "repeated": result.repeated,
        "unchanged_files": len(result.written) - result.files,
        "bytes": sum(w.bytes for w in result.written),
        "weight": weight,
        "notes": list(result.notes),
    }


# By the name of the dataset.
BRONZE = {source.dataset.name: build_bronze(source) for source in SOURCES}
APIS = [
    dg.AssetSpec(api_key(source), group_name="sources", kinds={"api"}, description=source.description)
    for source in SOURCES
]
UNIVERSE_FILE = dg.AssetSpec(
    ["source", "universe_file"], group_name="sources", kinds={"csv"},
    description="The universe file: the tracked assets with their symbols and ids.",
)  # fmt: skip
