"""The raw assets: bronze objects to Postgres."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from ingestion.bronze.lake import DamagedObject, Lake, ObjectInfo, read_ahead
from ingestion.database import connections
from ingestion.datasets import Dataset
from ingestion.ops import checks, coverage, rejected, runs
from ingestion.raw import gaps, loader
from ingestion.sources.binance.dataset import KLINES, klines_day
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from orchestration.assets.bronze import SOURCES, bronze_fear_greed, bronze_klines, bronze_markets
from orchestration.assets.metadata import ONE_RUN, OWNERS, counted_runs, days, request_full_refresh, table_schema
from orchestration.assets.source_checks import as_check_result
from orchestration.observability import logs
from orchestration.partitions import DAYS, run_days
from orchestration.resources import Stores, release_memory

# A batch of objects that is loaded in one transaction: some 60,000 rows, 15 MB; the next is read meanwhile.
LOAD_ROWS = 60_000


class RawConfig(dg.Config):
    """How a raw table is loaded."""

    rebuild: bool = False
    """Empty the table and its ledger first, so that all of bronze is loaded anew."""


# -- raw ---------------------------------------------------------------------------------------------------------------


def pending(lake: Lake, connection: connections.Connection, dataset: Dataset) -> list[ObjectInfo]:
    """Return the objects whose present version does not stand in raw, whichever day they are of."""
    loaded = loader.ledger_etags(connection, dataset)
    return [o for o in lake.list(f"{dataset.prefix}/") if loaded.get(o.key) != o.etag]


def load_pending(
    lake: Lake, connection: connections.Connection, dataset: Dataset, batch_id: str, *, restating: bool = True
) -> tuple[loader.Loaded, list[str]]:
    """Load every pending object, some 60,000 rows to a transaction; return what changed, and what was damaged.

    The day of a damaged object of bars is asked for again by the next run of its interval.
    """
    total = loader.Loaded()
    damaged: dict[str, str] = {}

    def fetch(info: ObjectInfo) -> loader.BronzeObject | None:
        try:
            held = lake.read(info.key)
        except DamagedObject as error:
            damaged[info.key] = f"{error}: {DAMAGED[dataset.name]}"
            return None
        return loader.BronzeObject(info, held[1], held[0]) if held else None

    def batches() -> Iterator[list[loader.BronzeObject]]:
        held: list[loader.BronzeObject] = []
        for item in read_ahead(fetch, pending(lake, connection, dataset)):
            held.append(item)
            if sum(len(item.table) for item in held) >= LOAD_ROWS:
                yield held
                held = []
        if held:
            yield held

    # Locked from the listing on: of two loaders at once the slower would put an older version over a newer one.
    with connections.locked(connection, f"raw {dataset.name}"):
        for held in batches():
            total += loader.load(connection, dataset, held, batch_id, restating=restating)
    for interval, day in filter(None, map(klines_day, damaged)):
        coverage.invalidate_coverage(connection, KLINES, interval, day)
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
        runs.begin_run(connection, context.run_id, context.job_name)
        refused = rejected.refusals(connection, counted_runs(context), f"bronze/{dataset.name}")
        if config.rebuild and not refused:
            loader.empty(connection, dataset)
            # No version is the present one's: dbt then builds the marts anew.
            request_full_refresh(connection)
        damaged: list[str] = []
        if not refused:
            _, damaged = load_pending(stores.lake(), connection, dataset, context.run_id, restating=not config.rebuild)
        loaded = loader.load_totals(connection, dataset, context.run_id)
        seconds = time.monotonic() - started
        detail: dict[str, Any] = {
            "inserted": loaded.inserted, "updated": loaded.updated, "unchanged": loaded.unchanged, "damaged": damaged,
        }  # fmt: skip
        if refused:
            # The step goes on: models of the other datasets are built, and the verdict turns the run red.
            detail["error"] = f"bronze/{dataset.name} is not loaded, its checks refuse it: {'; '.join(refused[:5])}"
            context.log.error(detail["error"])
        runs.record_stage(
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
        news = checks.unvalidated_objects(connection, GAPS.to_user_string(), KLINES, context.run_id)
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
        checks.mark_validated(connection, GAPS.to_user_string(), (batch for _, batch in news))
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
        checks.record_checks(connection, context.run_id, [verdict])
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
        verdict = judge_past(coverage.restated_days(connection, context.run_id))
        checks.record_checks(connection, context.run_id, [verdict])
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


ASSETS = [
    *SOURCES, bronze_klines, bronze_markets, bronze_fear_greed, raw_klines, raw_markets, raw_fear_greed, raw_universe,
]  # fmt: skip
