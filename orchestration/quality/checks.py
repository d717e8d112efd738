"""Suites as Dagster asset checks: bronze before the load, blocking; the hourly mart after dbt.

Belongs here: which rows a check judges, and turning verdicts into asset-check results and rows of the books.
The bronze checks judge exactly what the load would take next (objects whose present version does not stand in raw):
a refused object stays refused until it is mended, and a refresh without news costs nothing.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ingestion import books
from ingestion.datasets import FEAR_GREED, KLINES, MARKETS, Dataset, align_decimals
from ingestion.lake import DamagedObject, Lake, ObjectInfo
from orchestration.assets import DAYS, pending
from orchestration.quality import suites
from orchestration.quality.validate import Verdict, validate_frame, validate_query
from orchestration.resources import Stores

# The job that runs the checks alone: it judges what stands, not what a run has brought.
CHECK_JOB = "quality_checks"
RECENT_DAYS = 31
# Rows judged in one frame: bounds memory whatever the range, and GX costs as much per frame as per row.
ROWS_PER_FRAME = 200_000
READERS = 8


def frames(lake: Lake, objects: list[ObjectInfo]) -> Iterator[pd.DataFrame]:
    """Yield the objects' rows as frames of numbers that GX can compare, with the columns that its suites derive."""

    def read(info: ObjectInfo) -> pa.Table | None:
        try:
            held = lake.read(info.key)
        except DamagedObject:
            return None  # the load names it; there are no rows to judge
        if held is None:
            return None
        return held[0].append_column("object_key", pa.repeat(info.key, len(held[0])))

    with ThreadPoolExecutor(READERS, thread_name_prefix="lake") as pool:
        tables: list[pa.Table] = []
        for at in range(0, len(objects), 64):
            tables += [t for t in pool.map(read, objects[at : at + 64]) if t is not None]
            if sum(map(len, tables)) >= ROWS_PER_FRAME:
                yield _judged(tables)
                tables = []
        if tables:
            yield _judged(tables)


def _judged(tables: list[pa.Table]) -> pd.DataFrame:
    table = pa.concat_tables(align_decimals(tables), promote_options="default")
    for at, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(at, field.name, pc.cast(table[field.name], pa.float64()))
    if "open_time" in table.schema.names:
        day = pc.extract_regex(table["object_key"], r"date=(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})")
        named = pc.cast(pc.struct_field(day, "day"), pa.date32())
        table = table.append_column("on_its_day", pc.equal(pc.cast(table["open_time"], pa.date32()), named))
        traded = pc.or_(pc.equal(table["volume"], 0.0), pc.greater(table["trade_count"], 0))
        table = table.append_column("volume_has_trades", traded)
    kept = [n for n in table.schema.names if n not in ("extra", "source_url", "batch_id", "image")]
    judged: pd.DataFrame = table.select(kept).to_pandas()
    return judged


def worst(verdicts: list[Verdict]) -> list[Verdict]:
    """Join the verdicts that one expectation got over several frames: the worst stands, failed rows add up."""
    order = {"passed": 0, "failed": 1, "error": 2}
    joined: dict[str, Verdict] = {}
    for verdict in verdicts:
        known = joined.get(verdict.name)
        if known is None:
            joined[verdict.name] = verdict
            continue
        worse = verdict if order[verdict.status] > order[known.status] else known
        total = None if worse.failed_rows is None else (verdict.failed_rows or 0) + (known.failed_rows or 0)
        joined[verdict.name] = replace(worse, failed_rows=total)
    return sorted(joined.values(), key=lambda v: v.name)


def as_check(
    context: dg.AssetCheckExecutionContext, stores: Stores, asset: str, verdicts: list[Verdict], *, blocking: bool
) -> dg.AssetCheckResult:
    """Book the verdicts and return them as one asset-check result: error before warning, samples as metadata."""
    with stores.connection("ingest") as connection:
        books.record_checks(connection, context.run.run_id, [v.as_row(asset, blocking=blocking) for v in verdicts])
    broken = [v for v in verdicts if v.status != "passed"]
    severe = any(v.severity == "error" for v in broken)
    return dg.AssetCheckResult(
        passed=not broken,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{v.name}: {v.observed}" for v in broken)[:500] or f"{len(verdicts)} expectations hold",
        metadata={
            "expectations": len(verdicts),
            "broken": [
                {
                    "guards": v.name,
                    "severity": v.severity,
                    "status": v.status,
                    "observed": v.observed,
                    "sample": str(v.sample),
                }
                for v in broken
            ],
        },
    )


def _bronze_check(
    context: dg.AssetCheckExecutionContext, stores: Stores, dataset: Dataset, make_suite: Callable[[], Any]
) -> dg.AssetCheckResult:
    lake = stores.lake()
    if context.run.job_name == CHECK_JOB:
        first = (datetime.now(UTC).date() - timedelta(days=RECENT_DAYS)).isoformat()
        objects = [o for o in lake.list(f"{dataset.prefix}/") if o.key.rpartition("date=")[2] >= first]
    else:
        with stores.connection("ingest") as connection:
            objects = pending(lake, connection, dataset)
    verdicts = [v for frame in frames(lake, objects) for v in validate_frame(make_suite, frame)]
    return as_check(context, stores, f"bronze/{dataset.name}", worst(verdicts), blocking=True)


@dg.asset_check(
    asset=["bronze", KLINES.name], name="expectations", blocking=True, partitions_def=DAYS,
    description="Great Expectations over the bars that are about to be loaded; nothing is loaded when one is broken.",
)  # fmt: skip
def klines_expectations(context: dg.AssetCheckExecutionContext, stores: Stores) -> dg.AssetCheckResult:
    """Judge the pending bars."""
    symbols = sorted({a.binance_symbol for a in stores.universe() if a.binance_symbol})
    return _bronze_check(context, stores, KLINES, lambda: suites.bronze_klines(symbols))


@dg.asset_check(
    asset=["bronze", MARKETS.name], name="expectations", blocking=True,
    description="Great Expectations over the snapshots that are about to be loaded.",
)  # fmt: skip
def markets_expectations(context: dg.AssetCheckExecutionContext, stores: Stores) -> dg.AssetCheckResult:
    """Judge the pending snapshots."""
    coins = sorted({a.crypto_id for a in stores.universe()})
    return _bronze_check(context, stores, MARKETS, lambda: suites.bronze_markets(coins))


@dg.asset_check(
    asset=["bronze", FEAR_GREED.name], name="expectations", blocking=True,
    description="Great Expectations over the sentiment history that is about to be loaded.",
)  # fmt: skip
def fear_greed_expectations(context: dg.AssetCheckExecutionContext, stores: Stores) -> dg.AssetCheckResult:
    """Judge the pending history."""
    return _bronze_check(context, stores, FEAR_GREED, suites.bronze_fear_greed)


@dg.asset_check(
    # Not blocking: it marks what is public already, and blocking here would split the dbt build in two.
    asset=["marts", "fct_prices"], name="expectations",
    description="Great Expectations over the hours that were rebuilt lately, judged inside Postgres.",
)  # fmt: skip
def prices_expectations(context: dg.AssetCheckExecutionContext, stores: Stores) -> dg.AssetCheckResult:
    """Judge the hours from the first day whose bars this run has written; all of them when the checks run alone."""
    alone = context.run.job_name == CHECK_JOB
    start = datetime(1970, 1, 1, tzinfo=UTC) if alone else touched_since(stores, context.run.run_id)
    verdicts = [] if start is None else validate_query(suites.fct_prices, prices_query(start))
    return as_check(context, stores, "marts/fct_prices", verdicts, blocking=False)


def touched_since(stores: Stores, run_id: str) -> datetime | None:
    """Return the first open time among the bars that the run's load wrote, or None when it wrote none."""
    with stores.connection("quality_ro") as connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select min(substring(object_key from 'date=([0-9-]{10})')::date)
            from ops.load_ledger
            where dataset = %s and inserted + updated > 0
                and loaded_at >= (select started_at from ops.runs where run_id = %s)
            """,
            (KLINES.name, run_id),
        )
        day = cursor.fetchone()[0]  # type: ignore[index]
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None


def prices_query(start: datetime) -> str:
    """Return the query of the range that is judged, with the columns that the suite derives."""
    # The bound is a datetime made here, so there is nothing to inject.
    return f"""
        select
            crypto_id,
            opened_at,
            close::float8 as close,
            return_1h_pct,
            volatility_30d,
            coalesce(
                vwap_1h::float8 between low::float8 * (1 - 1e-6) and high::float8 * (1 + 1e-6), true
            ) as vwap_in_bar
        from marts.fct_prices
        where opened_at >= '{start.isoformat()}'
    """  # noqa: S608


CHECKS = [klines_expectations, markets_expectations, fear_greed_expectations, prices_expectations]
