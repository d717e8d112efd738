"""The assets of bronze and raw: API to lake, lake to Postgres, and the books of each step.

Belongs here: partitions, dependencies, metadata, and what a failing source means for the rest of a run. Does not: the
work itself (``ingestion``), dbt (``models``), checks as evidence (``quality``).

History is partitioned by UTC day and always run as one range, all symbols together: fifty symbols of three years by
hour would be 1.3 million partitions where Dagster advises against more than 100,000. The market list has no history and
the sentiment index comes whole each time, so they have no partitions. A run launched without a range (the Launchpad's
default) takes the days that a refresh takes.

A source that cannot be used fails its own check and not its step: the rest of the graph goes on with what bronze holds,
and the run's verdict (``ops/run_verdict``) turns the run red in the end.
"""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import dagster as dg
import pyarrow as pa

from ingestion import bars, books, bronze, gaps, warehouse
from ingestion.datasets import FEAR_GREED, KLINES, MARKETS, Dataset, klines_day
from ingestion.http import HttpClient, SourceError
from ingestion.lake import DamagedObject, Lake, ObjectInfo, read_ahead
from orchestration import logs
from orchestration.partitions import DAYS, chosen_days, run_days
from orchestration.resources import Stores, release_memory

# BackfillPolicy and partitioned checks are marked beta in 1.13; their behaviour is pinned by tests instead.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

ONE_RUN = dg.BackfillPolicy.single_run()
OWNERS = ["team:market-data"]
# A batch of objects that is loaded in one transaction: some 60,000 rows, 15 MB; the next is read meanwhile.
LOAD_ROWS = 60_000


class KlinesConfig(dg.Config):
    """How a range of days is asked for."""

    interval: Literal["1m", "5m", "15m", "1h", "4h", "1d"] = "1h"
    source: Literal["rest", "archive", "auto"] = "rest"
    """Ask the REST API, read the bulk archives as far as they go, or take the cheaper of both for each month."""
    skip_covered: bool = False
    """Leave out days that are over and have been answered; a refresh sets it, a backfill requests everything again."""
    resume: bool = False
    """Book the range as a backfill, and take up one that was cut off."""


class RawConfig(dg.Config):
    """How a raw table is loaded."""

    rebuild: bool = False
    """Empty the table and its ledger first, so that all of bronze is loaded anew."""


FOUND = {
    "source_answered": "The API answered, for every symbol or coin of the universe. A failure stops no other source.",
    "records_kept": "No record broke its contract; an error when more were rejected than the dataset declares.",
    "top_list_complete": "Every one of the largest coins by market cap is in the sweep.",
}


def source_checks(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """Return the checks of what an ingestion reports of its source."""
    names = [n for n in FOUND if n != "top_list_complete" or dataset is MARKETS]
    return [dg.AssetCheckSpec(n, asset=["bronze", dataset.name], description=FOUND[n]) for n in names]


def judge_source(dataset: Dataset, report: bronze.Report) -> list[dict[str, Any]]:
    """Return the verdicts of ``source_checks`` as rows of the books."""
    problems = [report.error] if report.error else list(report.failed.values())
    came = report.rows + report.rejected
    too_many = dataset.too_many_rejected(report.rejected, came)
    refused = (
        f"{report.rejected:,} of {came:,} records ({report.rejected / came:.1%}) were refused, the first because "
        f"{report.refusal}; `tickmart rejected list` shows them"
        if report.rejected
        else ""
    )
    found = {
        "source_answered": ("; ".join(problems), bool(report.error), "an answer for everything asked", len(problems)),
        "records_kept": (refused, too_many, f"at most {dataset.rejected_share:.0%} rejected", report.rejected),
        "top_list_complete": (report.shortfall or "", False, "every coin of the top list", None),
    }
    return [
        {
            "asset": f"bronze/{dataset.name}",
            "check_name": spec.name,
            "source": "pipeline",
            "severity": "error" if found[spec.name][1] else "warn",
            "status": "failed" if found[spec.name][0] else "passed",
            "observed": found[spec.name][0] or "as expected",
            "expected": found[spec.name][2],
            "failed_rows": found[spec.name][3],
        }
        for spec in source_checks(dataset)
    ]


def as_check_result(verdict: dict[str, Any]) -> dg.AssetCheckResult:
    """Return a verdict of the books as Dagster shows it."""
    return dg.AssetCheckResult(
        check_name=verdict["check_name"],
        passed=verdict["status"] == "passed",
        severity=dg.AssetCheckSeverity.ERROR if verdict["severity"] == "error" else dg.AssetCheckSeverity.WARN,
        description=verdict["observed"],
    )


def days(context: dg.AssetExecutionContext) -> str | None:
    """Return the run's chosen range of days as it is logged, or None when it has none."""
    chosen = chosen_days(context.run.tags)
    if chosen is None:
        return None
    first, last = chosen[0], chosen[1] - timedelta(days=1)
    return str(first) if first == last else f"{first}...{last}"


def counted_runs(context: Any) -> list[str]:
    """Return the runs whose records count as this run's: itself and, if it repeats only some steps, those it repeats.

    Dagster repeats the failed steps of a run (re-execution from failure, and its own retry after a crash) under a new
    run id: what the other steps recorded stands under the old one.
    """
    run, counted = context.run, [context.run.run_id]
    while run is not None and run.parent_run_id is not None and run.step_keys_to_execute is not None:
        counted.append(run.parent_run_id)
        run = context.instance.get_run_by_id(run.parent_run_id)
    return counted


def _bronze(
    context: dg.AssetExecutionContext, stores: Stores, source: str, dataset: Dataset,
    ingest: Callable[[bronze.Context, HttpClient, Any], bronze.Report],
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # fmt: skip
    """Run one ingestion, book its stage, and report as metadata and check what it did."""
    started = time.monotonic()
    with stores.connection("ingest") as connection:
        books.begin_run(connection, context.run_id, context.job_name)
        ingestion = bronze.Context(stores.lake(), connection, context.run_id)
        with stores.client(source, context.run_id) as (client, budget):
            try:
                report = ingest(ingestion, client, budget)
            except SourceError as error:
                report = bronze.Report(dataset.name, error=str(error))
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
        books.record_stage(
            connection, context.run_id, "bronze", dataset.name,
            status=status, rows=report.rows, files=report.files, seconds=seconds, detail=detail,
        )  # fmt: skip
        verdicts = judge_source(dataset, report)
        books.record_checks(connection, context.run_id, verdicts)
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
def bronze_klines(context: dg.AssetExecutionContext, config: KlinesConfig, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Fetch the run's range of days."""
    start, end = run_days(context.run)
    universe = stores.universe()

    def ingest(run: bronze.Context, client: HttpClient, budget: Any) -> bronze.Report:
        run.on_progress = lambda p: PROGRESS(p, budget.spent)
        with stores.archive(context.run_id) as archive:
            return bars.bring(
                run, client, archive, budget.set_limit, universe, start, end, interval=config.interval,
                source=config.source, skip_covered=config.skip_covered, resume=config.resume,
            )  # fmt: skip

    return _bronze(context, stores, "Binance", KLINES, ingest)


def _no_progress(progress: bronze.Progress, weight: int) -> None:
    """Show nothing."""


# Set by the command line for the run in its own process; a progress bar has no place in a Dagster worker.
PROGRESS: Callable[[bronze.Progress, int], None] = _no_progress


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
        lambda run, client, _: bronze.ingest_markets(run, client, universe, snapshot_at),
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
        lambda run, client, _: bronze.ingest_fear_greed(run, client, today),
    )  # fmt: skip


# -- raw ---------------------------------------------------------------------------------------------------------------


def pending(lake: Lake, connection: warehouse.Connection, dataset: Dataset) -> list[ObjectInfo]:
    """Return the objects whose present version does not stand in raw, whichever day they are of."""
    loaded = warehouse.ledger_etags(connection, dataset)
    return [o for o in lake.list(f"{dataset.prefix}/") if loaded.get(o.key) != o.etag]


def load_pending(
    lake: Lake, connection: warehouse.Connection, dataset: Dataset, batch_id: str, *, restating: bool = True
) -> tuple[warehouse.Loaded, list[str]]:
    """Load every pending object, some 60,000 rows to a transaction; return what changed, and what was damaged.

    The day of a damaged object of bars is asked for again by the next run of its interval.
    """
    total = warehouse.Loaded()
    damaged: dict[str, str] = {}

    def fetch(info: ObjectInfo) -> warehouse.BronzeObject | None:
        try:
            held = lake.read(info.key)
        except DamagedObject as error:
            damaged[info.key] = f"{error}: {DAMAGED[dataset.name]}"
            return None
        return warehouse.BronzeObject(info, held[1], held[0]) if held else None

    def batches() -> Iterator[list[warehouse.BronzeObject]]:
        held: list[warehouse.BronzeObject] = []
        for item in read_ahead(fetch, pending(lake, connection, dataset)):
            held.append(item)
            if sum(len(item.table) for item in held) >= LOAD_ROWS:
                yield held
                held = []
        if held:
            yield held

    # Locked from the listing on: of two loaders at once the slower would put an older version over a newer one.
    with warehouse.locked(connection, f"raw {dataset.name}"):
        for held in batches():
            total += warehouse.load(connection, dataset, held, batch_id, restating=restating)
    for interval, day in filter(None, map(klines_day, damaged)):
        books.forget_coverage(connection, KLINES, interval, day)
    return total, [damaged[key] for key in sorted(damaged)]


DAMAGED = {
    KLINES.name: "the next run of its interval asks for its day again",
    MARKETS.name: "no source can be asked for a past snapshot; restore the object from a backup, or remove it",
    FEAR_GREED.name: "a newer object holds the whole history; remove this one",
}


def _raw(
    context: dg.AssetExecutionContext, stores: Stores, dataset: Dataset, config: RawConfig
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    started = time.monotonic()
    with stores.connection("ingest") as connection:
        books.begin_run(connection, context.run_id, context.job_name)
        refused = books.refusals(connection, counted_runs(context), f"bronze/{dataset.name}")
        if config.rebuild and not refused:
            warehouse.empty(connection, dataset)
            # No version is the present one's: dbt then builds the marts anew.
            books.set_version(connection, "dbt_project", "to be rebuilt")
        damaged: list[str] = []
        if not refused:
            _, damaged = load_pending(stores.lake(), connection, dataset, context.run_id, restating=not config.rebuild)
        loaded = warehouse.booked(connection, dataset, context.run_id)
        seconds = time.monotonic() - started
        detail: dict[str, Any] = {
            "inserted": loaded.inserted, "updated": loaded.updated, "unchanged": loaded.unchanged, "damaged": damaged,
        }  # fmt: skip
        if refused:
            # The step goes on: models of the other datasets are built, and the verdict turns the run red.
            detail["error"] = f"bronze/{dataset.name} is not loaded, its checks refuse it: {'; '.join(refused[:5])}"
            context.log.error(detail["error"])
        books.record_stage(
            connection, context.run_id, "raw", dataset.name,
            status="failed" if refused else "partial" if damaged else "ok",
            rows=loaded.rows, files=loaded.objects, seconds=seconds, detail=detail,
        )  # fmt: skip
        logs.unit(
            "loaded", run=context.run_id, asset=f"raw/{dataset.name}", partition=days(context), batch=context.run_id,
            rows=loaded.rows, files=loaded.objects, seconds=seconds, status="partial" if damaged else "ok", **detail,
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(f"select count(*) from raw.{dataset.name}")  # noqa: S608
            count = cursor.fetchone()[0]  # type: ignore[index]
    release_memory()
    return dg.MaterializeResult(
        asset_key=["raw", dataset.name],
        metadata={
            "dagster/row_count": count,
            "dagster/column_schema": table_schema(pa.schema([f for f in dataset.schema if f.name != "source_url"])),
            "objects_loaded": loaded.objects,
            "rows_inserted": loaded.inserted,
            "rows_updated": loaded.updated,
            "rows_unchanged": loaded.unchanged,
            "objects_damaged": damaged,
            "seconds": round(seconds, 2),
        },
    )


GAPS = dg.AssetKey(["ops", "gaps"])


@dg.multi_asset(
    name="raw__binance_klines",
    specs=[
        dg.AssetSpec(
            ["raw", KLINES.name], group_name="raw", kinds={"postgres"}, owners=OWNERS, code_version="1",
            deps=[bronze_klines], description="Hourly (and other) bars, one row per symbol, interval and open time.",
        ),
        # Not an asset of its own: dbt's tests of raw would have to run before it and its models after it, so that
        # Dagster would cut the one dbt build into several.
        dg.AssetSpec(
            GAPS, group_name="ops", kinds={"postgres"}, owners=OWNERS, code_version="1", deps=[["raw", KLINES.name]],
            description="Each gap in a series of bars, and why: exchange_halt, symbol_halt, not_listed, delisted, "
            "missing_locally.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "holes_are_explained", asset=GAPS,
            description="No bar is missing here alone after Binance has been asked for it again.",
        )
    ],
    partitions_def=DAYS, backfill_policy=ONE_RUN, pool="raw_klines",
)  # fmt: skip
def raw_klines(context: dg.AssetExecutionContext, config: RawConfig, stores: Stores) -> Iterator[Any]:
    """Load the bars that bronze has and raw has not, then look for holes."""
    yield _raw(context, stores, KLINES, config)
    yield _gaps(context, stores)


def _gaps(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Look for holes on the run's days, and on the days that loads have touched since holes were last looked for."""
    run_range = run_days(context.run)
    with stores.connection("ingest") as connection:
        news = books.unjudged_objects(connection, GAPS.to_user_string(), KLINES, context.run_id)
        ranges: dict[str, list[date]] = {"1h": []}
        for interval, day in filter(None, (klines_day(key) for key, _ in news)):
            ranges.setdefault(interval, []).append(day)
        # A second answer that lacks a gap's bars too loads nothing and explains it all the same.
        answered: dict[str, list[tuple[date, date]]] = {}
        for interval, first, end in gaps.answered_twice(connection):
            answered.setdefault(interval, []).append((first, end))
            ranges.setdefault(interval, [])
        kinds: Counter[str] = Counter()
        for interval, days in ranges.items():
            touched = [run_range, *((day, day + timedelta(days=1)) for day in days), *answered.get(interval, [])]
            kinds.update(gaps.classify(connection, interval, touched, stores.universe()))
        books.mark_judged(connection, GAPS.to_user_string(), (batch for _, batch in news))
        open_holes = gaps.unexplained(connection)
        shown = "; ".join(f"{s} {i} {start} UTC ({n} bars)" for s, i, start, n in open_holes[:5])
        verdict = {
            "asset": "ops/gaps",
            "check_name": "holes_are_explained",
            "source": "pipeline",
            "severity": "warn",
            "status": "failed" if open_holes else "passed",
            "observed": shown or "none",
            "expected": "no bar missing here alone after asking again",
            "failed_rows": sum(n for *_, n in open_holes),
        }
        books.record_checks(connection, context.run_id, [verdict])
    return dg.MaterializeResult(
        asset_key=GAPS,
        metadata={"dagster/row_count": sum(kinds.values()), **kinds},
        check_results=[as_check_result(verdict)],
    )


@dg.asset(
    key=["raw", MARKETS.name], group_name="raw", kinds={"postgres"}, owners=OWNERS, code_version="1",
    backfill_policy=ONE_RUN, pool="raw_markets", deps=[bronze_markets],
    description="Market snapshots, one row per coin and snapshot, the whole object kept as JSON.",
)  # fmt: skip
def raw_markets(context: dg.AssetExecutionContext, config: RawConfig, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Load the snapshots that bronze has and raw has not."""
    return _raw(context, stores, MARKETS, config)


@dg.asset(
    key=["raw", FEAR_GREED.name], group_name="raw", kinds={"postgres"}, owners=OWNERS, code_version="1",
    backfill_policy=ONE_RUN, pool="raw_fear_greed", deps=[bronze_fear_greed],
    check_specs=[
        dg.AssetCheckSpec(
            "past_values_stand", asset=["raw", FEAR_GREED.name],
            description="The source has restated no day that was over. Today's value may still change.",
        )
    ],
    description="The Fear & Greed index, one row per day.",
)  # fmt: skip
def raw_fear_greed(context: dg.AssetExecutionContext, config: RawConfig, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Load the days that bronze has and raw has not; say which past ones are told otherwise now."""
    done = _raw(context, stores, FEAR_GREED, config)
    with stores.connection("ingest") as connection:
        verdict = judge_past(books.restated_days(connection, context.run_id))
        books.record_checks(connection, context.run_id, [verdict])
    return done._replace(check_results=[as_check_result(verdict)])


def judge_past(changed: Sequence[tuple[str, Any, Any]]) -> dict[str, Any]:
    """Return the verdict on the past days whose value is another now than it was."""
    told = [
        f"{day}: {old['value']} ({old['classification']}) is now {new['value']} ({new['classification']})"
        for day, old, new in changed
    ]
    return {
        "asset": f"raw/{FEAR_GREED.name}",
        "check_name": "past_values_stand",
        "source": "pipeline",
        "severity": "warn",
        "status": "failed" if told else "passed",
        "observed": "; ".join(told[:5]) + (f"; and {len(told) - 5} more days" if len(told) > 5 else "") or "they stand",
        "expected": "no value of a past day changed by the source",
        "failed_rows": len(told),
    }


@dg.asset(
    key=["raw", "universe"], group_name="raw", kinds={"postgres", "csv"}, owners=OWNERS, code_version="1",
    backfill_policy=ONE_RUN, deps=[dg.AssetKey(["source", "universe_file"])],
    description="The tracked assets, a mirror of the universe file.",
)  # fmt: skip
def raw_universe(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Make the table equal to the file."""
    started = time.monotonic()
    assets = stores.universe()
    with stores.connection("ingest") as connection:
        loaded = warehouse.load_universe(connection, assets, context.run_id)
        detail = {"inserted": loaded.inserted, "updated": loaded.updated, "unchanged": loaded.unchanged}
        books.record_stage(
            connection, context.run_id, "raw", "universe", status="ok", rows=loaded.rows, files=1,
            seconds=time.monotonic() - started, detail=detail,
        )  # fmt: skip
        logs.unit(
            "loaded", run=context.run_id, asset="raw/universe", batch=context.run_id, rows=loaded.rows,
            seconds=time.monotonic() - started, status="ok", **detail,
        )  # fmt: skip
    return dg.MaterializeResult(metadata={"dagster/row_count": loaded.rows})


SOURCES = [
    dg.AssetSpec(["source", "binance_api"], group_name="sources", kinds={"api"}, description="Binance Spot REST"),
    dg.AssetSpec(["source", "coingecko_api"], group_name="sources", kinds={"api"}, description="CoinGecko v3"),
    dg.AssetSpec(
        ["source", "alternative_me_api"], group_name="sources", kinds={"api"}, description="alternative.me Fear & Greed"
    ),
    dg.AssetSpec(["source", "universe_file"], group_name="sources", kinds={"csv"}, description="universe.csv"),
]
ASSETS = [
    *SOURCES, bronze_klines, bronze_markets, bronze_fear_greed, raw_klines, raw_markets, raw_fear_greed, raw_universe,
]  # fmt: skip


def table_schema(schema: pa.Schema) -> dg.TableSchema:
    """Return an Arrow schema as Dagster shows it."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(f.name, str(f.type), constraints=dg.TableColumnConstraints(nullable=f.nullable))
            for f in schema
        ]
    )
