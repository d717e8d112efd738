"""The raw assets, one for each declared source and the universe: bronze objects to Postgres."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from ingestion.memory import is_large, release_memory
from ingestion.ops import checks, runs
from ingestion.raw import loader
from ingestion.sources.registry import SOURCES
from ingestion.sources.source import LoadCheck, LoadedRun, Source
from orchestration.assets.bronze import APIS, BRONZE, UNIVERSE_FILE
from orchestration.assets.metadata import ONE_RUN, OWNERS, counted_runs, days, raw_columns, request_full_refresh
from orchestration.assets.source_checks import load_check_asset, load_check_row, to_asset_check_result
from orchestration.observability import logs
from orchestration.partitions import DAYS, run_days
from orchestration.progress import Progress, ProgressListener
from orchestration.quality import process
from orchestration.resources import Stores


class RawConfig(dg.Config):
    """How a raw table is loaded."""

    rebuild: bool = False
    """Empty the table and its ledger first, so that all of bronze is loaded again."""


def build_raw(source: Source) -> dg.AssetsDefinition:
    """Return the asset ``raw/<dataset>`` of a source, with its checks after a load and the tables these maintain.

    A maintained table is no asset of its own: dbt's tests of raw would run before it and its models after it, so that
    Dagster would split the single dbt build.
    """
    dataset = source.dataset
    raw_key = dg.AssetKey(["raw", dataset.name])

    @dg.multi_asset(
        name=f"raw__{dataset.name}",
        specs=[
            dg.AssetSpec(
                raw_key, group_name="raw", kinds={"postgres"}, owners=OWNERS, code_version="1",
                deps=[["bronze", dataset.name]], description=source.raw_description,
                metadata=raw_columns(dataset),
            ),
            *(
                dg.AssetSpec(
                    load_check_asset(source, check), group_name="ops", kinds={"postgres"}, owners=OWNERS,
                    code_version="1", deps=[raw_key], description=check.maintains[1],
                )
                for check in source.load_checks if check.maintains
            ),
        ],
        check_specs=[
            dg.AssetCheckSpec(check.name, asset=load_check_asset(source, check), description=check.description)
            for check in source.load_checks
        ],
        partitions_def=DAYS if source.by_day else None,
        backfill_policy=ONE_RUN,
        pool=f"raw_{dataset.name}",
    )  # fmt: skip
    def raw(
        context: dg.AssetExecutionContext,
        config: RawConfig,
        stores: Stores,
        progress: dg.ResourceParam[ProgressListener],
    ) -> Iterator[Any]:
        loaded = _load(context, stores, source, config, progress)
        of_raw = [check for check in source.load_checks if not check.maintains]
        yield loaded._replace(check_results=[_after_load(context, stores, source, check)[0] for check in of_raw])
        for check in source.load_checks:
            if check.maintains:
                result, counts = _after_load(context, stores, source, check)
                yield dg.MaterializeResult(
                    asset_key=load_check_asset(source, check),
                    metadata={"dagster/row_count": sum(counts.values()), **counts},
                    check_results=[result],
                )

    return raw


def _load(
    context: dg.AssetExecutionContext,
    stores: Stores,
    source: Source,
    config: RawConfig,
    progress: ProgressListener,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Load what is pending, unless blocking checks of bronze failed, and record the stage."""
    started = time.monotonic()
    dataset = source.dataset
    if is_large():  # the load of many rows takes as much memory as the process, which the next suite starts again
        process.stop()
    with stores.connection("ingest") as connection:
        runs.begin_run(connection, context.run_id, context.job_name)
        failed = checks.failed_blocking_checks(connection, counted_runs(context), f"bronze/{dataset.name}")
        damaged: list[str] = []
        if not failed:
            if config.rebuild:
                loader.empty(connection, dataset)
                request_full_refresh(connection)

            def report(done: int, total: int, rows: int) -> None:
                detail = f"{rows:,} rows, {rows / max(time.monotonic() - started, 1e-9):,.0f}/s"
                progress(Progress(f"load {dataset.name}", done, total, "objects", detail))

            _, damaged = source.load(
                stores.lake(), connection, dataset, context.run_id, restating=not config.rebuild, on_progress=report
            )
        loaded = loader.load_totals(connection, dataset, context.run_id)
        seconds = time.monotonic() - started
        detail: dict[str, Any] = {
            "inserted": loaded.inserted, "updated": loaded.updated, "unchanged": loaded.unchanged, "damaged": damaged,
        }  # fmt: skip
        if failed:
            # The step succeeds, so that the models of other datasets are built; the run fails at its end.
            detail["error"] = f"bronze/{dataset.name} is not loaded, blocking checks failed: {'; '.join(failed[:5])}"
            context.log.error(detail["error"])
        runs.record_stage(
            connection, context.run_id, "raw", dataset.name,
            status="failed" if failed else "partial" if damaged else "ok",
            rows=loaded.rows, files=loaded.objects, seconds=seconds, detail=detail,
        )  # fmt: skip
        logs.unit(
            "loaded", run=context.run_id, asset=f"raw/{dataset.name}", partition=days(context), batch=context.run_id,
            rows=loaded.rows, files=loaded.objects, seconds=seconds, status="partial" if damaged else "ok", **detail,
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(dataset.rows_sql)
            count = cursor.fetchone()[0]  # type: ignore[index]
    release_memory(loaded.rows)
    return dg.MaterializeResult(
        asset_key=["raw", dataset.name],
        metadata={
            "dagster/row_count": count,
            "objects_loaded": loaded.objects,
            "rows_inserted": loaded.inserted,
            "rows_updated": loaded.updated,
            "rows_unchanged": loaded.unchanged,
            "objects_damaged": damaged,
            "seconds": round(seconds, 2),
        },
    )


def _after_load(
    context: dg.AssetExecutionContext, stores: Stores, source: Source, check: LoadCheck
) -> tuple[dg.AssetCheckResult, dict[str, int]]:
    """Run a check after a load and record its result; return it with the counts that the check observed."""
    run_range = run_days(context.run) if source.by_day else None
    with stores.connection("ingest") as connection:
        found = check.run(LoadedRun(connection, context.run_id, run_range, stores.universe))
        row = load_check_row(source, check, found)
        checks.record_checks(connection, context.run_id, [row])
    return to_asset_check_result(row), dict(found.counts)


@dg.asset(
    key=["raw", "universe"], group_name="raw", kinds={"postgres", "csv"}, owners=OWNERS, code_version="1",
    backfill_policy=ONE_RUN, deps=[UNIVERSE_FILE],
    description="The tracked assets, a mirror of the universe file.",
)  # fmt: skip
def raw_universe(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Make the table equal to the file."""
    started = time.monotonic()
    assets = stores.universe()
    with stores.connection("ingest") as connection:
        loaded = loader.load_universe(connection, assets, context.run_id)
        detail = {"inserted": loaded.inserted, "updated": loaded.updated, "unchanged": loaded.unchanged}
        runs.record_stage(
            connection, context.run_id, "raw", "universe", status="ok", rows=loaded.rows, files=1,
            seconds=time.monotonic() - started, detail=detail,
        )  # fmt: skip
        logs.unit(
            "loaded", run=context.run_id, asset="raw/universe", batch=context.run_id, rows=loaded.rows,
            seconds=time.monotonic() - started, status="ok", **detail,
        )  # fmt: skip
    return dg.MaterializeResult(metadata={"dagster/row_count": loaded.rows})


# By the name of the dataset.
RAW = {source.dataset.name: build_raw(source) for source in SOURCES}
ASSETS = [*APIS, UNIVERSE_FILE, *BRONZE.values(), *RAW.values(), raw_universe]
