"""Suites as Dagster asset checks: bronze before the load, raw after it, layers and marts after dbt.

Belongs here: which rows a run's checks judge, and turning verdicts into asset-check results, rows of the books and Data
Docs. The bronze checks judge exactly what the load would take next (objects whose present version does not stand in
raw): a refused object stays refused until it is mended, and a refresh without news costs nothing. The suites behind the
load judge what was loaded since each of them last judged: a run that dies before its checks leaves its objects to the
next.

Two checks stand before each load. ``expectations`` tells what broke, as grave as it is. ``load_gate`` is the one that
blocks: Dagster waits for it, and a run in which it is closed loads nothing of that dataset. It never fails its step,
because Dagster would then skip everything behind it, the models of all other datasets included.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from ingestion.bronze.lake import ObjectInfo
from ingestion.datasets import HOUR_S, Dataset, keys_of_newest_days
from ingestion.ops import checks, runs
from ingestion.raw.pending import pending_objects
from ingestion.sources.binance.dataset import KLINES, klines_day
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.registry import DATASETS
from orchestration.partitions import DAYS, run_days
from orchestration.quality import data_docs, queries, suites
from orchestration.quality.runner import CheckResult, SuiteResult, error_result, validate_frame, validate_query
from orchestration.quality.suites import Suite
from orchestration.resources import Stores, release_memory

# The job that runs the checks alone: it judges the newest month of what stands, not what a run has brought.
CHECK_JOB = "quality_checks"
RECENT_DAYS = 31
GATE = "load_gate"
_ORDER = {"passed": 0, "failed": 1, "error": 2}


def joined(parts: Sequence[SuiteResult]) -> SuiteResult:
    """Join what one suite said of several frames: the worst verdict stands, failed rows add up."""
    if not parts:
        return SuiteResult([])
    verdicts: dict[str, CheckResult] = {}
    for verdict in (v for part in parts for v in part.verdicts):
        known = verdicts.setdefault(verdict.name, verdict)
        if known is verdict:
            continue
        worse = verdict if _ORDER[verdict.status] > _ORDER[known.status] else known
        total = None if worse.failed_rows is None else (verdict.failed_rows or 0) + (known.failed_rows or 0)
        verdicts[verdict.name] = replace(worse, failed_rows=total)
    # Data Docs show one frame: the first that broke something, or the last.
    shown = next((p for p in parts if any(v.status != "passed" for v in p.verdicts)), parts[-1])
    return SuiteResult(
        sorted(verdicts.values(), key=lambda v: v.name), sum(p.rows for p in parts), shown.result,
        sum(p.seconds for p in parts),
    )  # fmt: skip


def as_check(
    context: dg.AssetCheckExecutionContext, stores: Stores, suite: Suite, judge: Callable[[], SuiteResult]
) -> tuple[dg.AssetCheckResult, SuiteResult]:
    """Judge, book the verdicts, publish them, and return them as one asset-check result.

    Whatever ``judge`` raises is a verdict too: the check could not run.
    """
    try:
        judged = judge()
    except Exception as error:
        context.log.exception("The check could not run.")
        judged = error_result(error)
    run_id = context.run.run_id
    with stores.connection("ingest") as connection:
        rows = [v.as_row(suite.asset_path, blocking=suite.blocking) for v in judged.verdicts]
        checks.record_checks(connection, run_id, rows)
    home = stores.settings.home
    page = data_docs.publish(home, run_id, suite, judged, datetime.now(UTC))
    broken = [v for v in judged.verdicts if v.status != "passed"]
    severe = any(v.severity == "error" for v in broken)
    metadata: dict[str, Any] = {
        "rows": judged.rows,
        "seconds": round(judged.seconds, 2),
        "expectations": table(judged.verdicts),
        "broken": [
            {"check": v.name, "severity": v.severity, "status": v.status, "observed": v.observed,
             "expected": v.expected, "sample": runs.as_json(v.sample)}
            for v in broken
        ],
    }  # fmt: skip
    if page:
        metadata["data_docs"] = dg.MetadataValue.url(data_docs.address(home, page))
    held = f"{len(judged.verdicts)} expectations hold" if judged.verdicts else "nothing new to judge"
    result = dg.AssetCheckResult(
        asset_key=list(suite.asset),
        check_name=suite.check,
        passed=not broken,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{v.name}: {v.observed}" for v in broken)[:500] or held,
        metadata=metadata,
    )
    return result, judged


def table(verdicts: Sequence[CheckResult]) -> dg.TableMetadataValue:
    """Return verdicts as Dagster shows a table."""
    columns = ("check", "severity", "status", "observed", "expected")
    return dg.MetadataValue.table(
        [dg.TableRecord({"check": v.name, **{c: getattr(v, c) for c in columns[1:]}}) for v in verdicts],
        dg.TableSchema([dg.TableColumn(c, "string") for c in columns]),
    )


# -- bronze ------------------------------------------------------------------------------------------------------------


def bronze_check(suite: Suite, dataset: Dataset, tracked: Callable[[Stores], Sequence[str]]) -> Any:
    """Return the two checks before a dataset's load."""
    partitions = DAYS if dataset is KLINES else None
    key = ["bronze", dataset.name]

    @dg.multi_asset_check(
        name=f"bronze__{dataset.name}__checks",
        specs=[
            dg.AssetCheckSpec(suite.check, asset=key, description=suite.describes, partitions_def=partitions),
            dg.AssetCheckSpec(
                GATE, asset=key, blocking=True, partitions_def=partitions,
                description="Open, or closed: then this run loads nothing of this dataset, and all of the others.",
            ),
        ],
    )  # fmt: skip
    def judge_bronze(context: dg.AssetCheckExecutionContext, stores: Stores) -> Iterator[dg.AssetCheckResult]:
        objects: list[ObjectInfo] = []

        def judge() -> SuiteResult:
            lake = stores.lake()
            if context.run.job_name == CHECK_JOB:
                objects.extend(_newest(lake.list(f"{dataset.prefix}/")))
            else:
                with stores.connection("ingest") as connection:
                    objects.extend(pending_objects(lake, connection, dataset))
            judged = []
            for frame in queries.frames(lake, objects, tracked(stores)):
                judged.append(validate_frame(suite, frame))
                del frame
                release_memory()  # Great Expectations keeps a frame in cycles until they are collected
            return joined(judged)

        result, judged = as_check(context, stores, suite, judge)
        yield result
        refused = [v.name for v in judged.verdicts if v.status != "passed" and v.severity == "error"]
        yield dg.AssetCheckResult(
            asset_key=key, check_name=GATE, passed=not refused, severity=dg.AssetCheckSeverity.WARN,
            description=f"closed: {'; '.join(refused)}"[:500] if refused else "open",
            metadata={"objects": len(objects)},
        )  # fmt: skip

    return judge_bronze


def _newest(objects: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    """Return the objects of the newest days, as many as a check alone judges."""
    newest = set(keys_of_newest_days((o.key for o in objects), RECENT_DAYS))
    return [o for o in objects if o.key in newest]


# -- raw, layers and marts ---------------------------------------------------------------------------------------------


def objects_to_validate(
    stores: Stores, context: dg.AssetCheckExecutionContext, suite: Suite, dataset: Dataset
) -> tuple[list[str], list[str]]:
    """Return the keys of the objects that were loaded since the suite last judged, and the batches that brought them.

    When the checks run alone, the keys of the newest days' and no batch.
    """
    with stores.connection("quality_ro") as connection:
        if context.run.job_name == CHECK_JOB:
            return checks.newest_objects(connection, dataset, RECENT_DAYS), []
        found = checks.unvalidated_objects(connection, suite.name, dataset, context.run.run_id)
    return [key for key, _ in found], [batch for _, batch in found]


def loaded_spans(keys: Sequence[str]) -> list[queries.Span]:
    """Return the spans of days of the objects with hourly bars."""
    parts = filter(None, map(klines_day, keys))
    return queries.spans_of([day for interval, day in parts if interval == "1h"])


def asked_spans(context: dg.AssetCheckExecutionContext, keys: Sequence[str]) -> list[queries.Span]:
    """Return the loaded spans and the range that the run was to bring: nothing came of a day that is all missing."""
    spans = loaded_spans(keys)
    steps: dict[str, Any] = dict(context.run.run_config).get("ops", {})  # type: ignore[assignment]
    of_hours = all(step.get("config", {}).get("interval", "1h") == "1h" for step in steps.values())
    if context.run.job_name == CHECK_JOB or not of_hours:
        return spans
    start, end = run_days(context.run)
    days = [start + timedelta(days=n) for n in range((end - start).days)]
    return queries.spans_of([*days, *(s + timedelta(days=n) for s, e in spans for n in range((e - s).days))])


def query_check(
    suite: Suite,
    query: Callable[[Stores, dg.AssetCheckExecutionContext, Sequence[str]], str | None],
    dataset: Dataset | None = None,
) -> Any:
    """Return the check of a suite over a query; no query means that there is nothing new to judge.

    The query is made of the keys of ``dataset``'s objects that the suite has yet to judge.
    """

    @dg.asset_check(asset=list(suite.asset), name=suite.check, description=suite.describes)
    def judge_rows(context: dg.AssetCheckExecutionContext, stores: Stores) -> dg.AssetCheckResult:
        batches: list[str] = []

        def judge() -> SuiteResult:
            keys: list[str] = []
            if dataset:
                keys, found = objects_to_validate(stores, context, suite, dataset)
                batches.extend(found)
            rows = query(stores, context, keys)
            return validate_query(suite, rows) if rows else SuiteResult([])

        result, judged = as_check(context, stores, suite, judge)
        if batches and all(v.status != "error" for v in judged.verdicts):
            with stores.connection("ingest") as connection:
                checks.mark_validated(connection, suite.name, batches)
        return result

    return judge_rows


def _completeness(stores: Stores, context: dg.AssetCheckExecutionContext, keys: Sequence[str]) -> str | None:
    spans = asked_spans(context, keys)
    return queries.klines_completeness(spans) if spans else None


def _over(narrow: Callable[[Sequence[str]], Sequence[Any]], query: Callable[[Any], str]) -> Any:
    """Return what makes a query of the keys to judge, as ``narrow`` reads them, if there are any."""

    def made(stores: Stores, context: dg.AssetCheckExecutionContext, keys: Sequence[str]) -> str | None:
        found = narrow(keys)
        return query(found) if found else None

    return made


def _divergence(stores: Stores, context: dg.AssetCheckExecutionContext, keys: Sequence[str]) -> str | None:
    """Nothing to compare (sources that speak of other hours) is not judged: freshness tells which of them is late."""
    with stores.connection("quality_ro") as connection, connection.cursor() as cursor:
        cursor.execute("select exists (select 1 from marts.v_price_divergence)")
        found = cursor.fetchone()
    return queries.DIVERGENCE if found and found[0] else None


def _freshness_check(suite: Suite) -> Any:
    [dataset] = (d for d in DATASETS if d.name == suite.asset[1])
    return query_check(
        suite, lambda stores, *_: queries.freshness(dataset.name, dataset.sla_seconds(stores.settings) / HOUR_S)
    )


BRONZE_CHECKS = [
    bronze_check(
        suites.BRONZE_KLINES, KLINES, lambda stores: [a.binance_symbol for a in stores.universe() if a.binance_symbol]
    ),
    bronze_check(suites.BRONZE_MARKETS, MARKETS, lambda stores: [a.crypto_id for a in stores.universe()]),
    bronze_check(suites.BRONZE_FEAR_GREED, FEAR_GREED, lambda _: ()),
]
CHECKS = [
    *BRONZE_CHECKS,
    query_check(suites.KLINES_COMPLETENESS, _completeness, KLINES),
    *map(_freshness_check, suites.FRESHNESS),
    query_check(suites.KLINES_RECONCILIATION, _over(loaded_spans, queries.klines_reconciliation), KLINES),
    query_check(suites.MARKETS_RECONCILIATION, _over(list, queries.markets_reconciliation), MARKETS),
    query_check(
        suites.FEAR_GREED_RECONCILIATION,
        _over(list, lambda keys: queries.fear_greed_reconciliation(max(keys))),
        FEAR_GREED,
    ),
    query_check(suites.FCT_PRICES, _over(loaded_spans, queries.fct_prices), KLINES),
    query_check(suites.DIVERGENCE, _divergence),
]
