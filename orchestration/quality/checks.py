"""Suites as Dagster asset checks: bronze before the load, raw after it, layers and marts after dbt.

Belongs here: which rows a run validates, and turning results into asset-check results and rows of
``ops.check_results``. Validating is done in a process of its own (``process``, ``validation``). The bronze checks
validate exactly what the load would take next (objects whose present version is not in raw): a blocked object stays
blocked until it is fixed, and a refresh without new data costs nothing. The suites behind the load validate what was
loaded since each last ran: a run that dies before its checks leaves its objects to the next.

Two checks precede each load. ``expectations`` reports failures with their severity. ``load_gate`` blocks: Dagster waits
for it, and a run in which it is blocked loads nothing of that dataset. It never fails its step, because Dagster would
then skip everything behind it, including the models of all other datasets.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from ingestion.bronze.lake import ObjectInfo
from ingestion.bronze.merged import current
from ingestion.database.connections import Connection, fetch
from ingestion.datasets import HOUR_S, Dataset, days_between, join_days, keys_of_newest_days
from ingestion.ops import checks, runs
from ingestion.raw.loader import pending_objects
from ingestion.sources.binance.dataset import klines_day
from ingestion.sources.datasets import DATASETS
from ingestion.sources.registry import SOURCES
from ingestion.universe import Asset
from orchestration.job_names import CHECK_JOB
from orchestration.partitions import DAYS, run_days
from orchestration.quality import (
    data_docs,
    mart_queries,
    news_queries,
    onchain_queries,
    process,
    queries,
    suites,
    validation,
)
from orchestration.quality.runner import SuiteResult, suite_runs
from orchestration.quality.suites import Suite
from orchestration.quality.validation import Validated
from orchestration.resources import Stores

RECENT_DAYS = 31
GATE = "load_gate"
NOTHING = Validated(SuiteResult([]))
# From the keys of the objects to validate to the query of the rows; None when there is nothing to validate.
BuildQuery = Callable[[Stores, dg.AssetCheckExecutionContext, Sequence[str]], str | None]


def run_suite(
    context: dg.AssetCheckExecutionContext, stores: Stores, suite: Suite, validate: Callable[[], Validated]
) -> tuple[dg.AssetCheckResult, SuiteResult]:
    """Validate and record the results, and return them as one asset-check result.

    Whatever ``validate`` raises is a result too: the suite could not run.
    """
    try:
        validated = validate()
    except Exception as error:
        validated = Validated(SuiteResult([suite_runs(suite, error)]), trace=traceback.format_exc())
    result = validated.result
    if validated.trace:
        context.log.error(f"The suite could not run.\n{validated.trace}")
    run_id = context.run.run_id
    with stores.connection("ingest") as connection:
        recorded = list(result.checks)
        # That a suite runs again is recorded once: it resolves the incident of the run in which it could not.
        could_run = recorded and all(check.id != suite.runs_id for check in recorded)
        if could_run and checks.last_status(connection, suite.asset_path, suite.runs_id) == "error":
            recorded.append(suite_runs(suite))
        rows = [check.as_row(suite.asset_path, blocking=suite.blocking) for check in recorded]
        checks.record_checks(connection, run_id, rows)
    if validated.page_error:
        raise dg.Failure(validated.page_error)
    columns = ("id", "description", "severity", "status", "observed", "expected")
    records = [dg.TableRecord({name: getattr(check, name) for name in columns}) for check in result.checks]
    schema = dg.TableSchema([dg.TableColumn(name, "string") for name in columns])
    metadata: dict[str, Any] = {
        "rows": result.rows,
        "seconds": round(result.seconds, 2),
        "expectations": dg.MetadataValue.table(records, schema),
        "failures": [
            {"check": check.id, "severity": check.severity, "status": check.status, "observed": check.observed,
             "expected": check.expected, "sample": runs.as_json(check.sample)}
            for check in result.failures
        ],
    }  # fmt: skip
    if validated.page:
        metadata["data_docs"] = dg.MetadataValue.url(data_docs.address(stores.settings.home, validated.page))
    summary = "; ".join(f"{check.id}: {check.observed}" for check in result.failures)[:500]
    severe = any(check.severity == "error" for check in result.failures)
    return dg.AssetCheckResult(
        asset_key=list(suite.asset),
        check_name=suite.check,
        passed=not result.failures,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=summary or (f"{len(result.checks)} checks passed" if result.checks else "nothing new to validate"),
        metadata=metadata,
    ), result


# -- bronze ------------------------------------------------------------------------------------------------------------


def bronze_check(suite: Suite, tracked: Callable[[Asset], str] = lambda asset: "") -> Any:
    """Return the two checks before a dataset's load. ``tracked`` gives the symbol or coin that an asset should have."""
    [source] = (source for source in SOURCES if source.dataset.name == suite.asset[1])
    dataset = source.dataset
    partitions = DAYS if source.by_day else None
    key = list(suite.asset)

    @dg.multi_asset_check(
        name=f"bronze__{dataset.name}__checks",
        specs=[
            dg.AssetCheckSpec(suite.check, asset=key, description=suite.description, partitions_def=partitions),
            dg.AssetCheckSpec(
                GATE, asset=key, blocking=True, partitions_def=partitions,
                description="A failure blocks the load of this dataset in this run. Other datasets are loaded.",
            ),
        ],
    )  # fmt: skip
    def validate_bronze(context: dg.AssetCheckExecutionContext, stores: Stores) -> Iterator[dg.AssetCheckResult]:
        objects: list[ObjectInfo] = []

        def validate() -> Validated:
            objects.extend(_objects_before_load(context, stores, dataset))
            expected = [name for asset in stores.universe() if (name := tracked(asset))]
            if not objects:
                return NOTHING
            return process.call(validation.validate_objects, suite.name, context.run.run_id, objects, expected)

        check, result = run_suite(context, stores, suite, validate)
        yield check
        blocking = [failure.id for failure in result.failures if failure.severity == "error"]
        yield dg.AssetCheckResult(
            asset_key=key, check_name=GATE, passed=not blocking, severity=dg.AssetCheckSeverity.WARN,
            description=f"blocked by {'; '.join(blocking)}"[:500] if blocking else "passed",
            metadata={"objects": len(objects)},
        )  # fmt: skip

    return validate_bronze


def _objects_before_load(
    context: dg.AssetCheckExecutionContext, stores: Stores, dataset: Dataset
) -> Sequence[ObjectInfo]:
    """Return the objects that the load would take next; when the checks run alone, those of the newest days."""
    lake = stores.lake()
    if context.run.job_name == CHECK_JOB:
        objects = current(lake.list(f"{dataset.prefix}/"))
        newest = set(keys_of_newest_days((o.key for o in objects), RECENT_DAYS))
        return [o for o in objects if o.key in newest]
    with stores.connection("ingest") as connection:
        return pending_objects(lake, connection, dataset)


# -- raw, layers and marts ---------------------------------------------------------------------------------------------


def objects_to_validate(
    stores: Stores, context: dg.AssetCheckExecutionContext, suite: Suite, dataset: Dataset
) -> tuple[list[str], list[str]]:
    """Return the keys of the objects that were loaded since the suite last ran, and the batches that loaded them.

    When the checks run alone: the keys of the newest days, and no batch.
    """
    with stores.connection("quality_ro") as connection:
        if context.run.job_name == CHECK_JOB:
            return checks.newest_objects(connection, dataset, RECENT_DAYS), []
        found = checks.unvalidated_objects(connection, suite.name, dataset, context.run.run_id)
    return [key for key, _ in found], [batch for _, batch in found]


def _loaded_days(keys: Sequence[str]) -> list[date]:
    """Return the days of the objects with hourly bars."""
    return [day for interval, day in filter(None, map(klines_day, keys)) if interval == "1h"]


def loaded_spans(keys: Sequence[str]) -> list[queries.Span]:
    """Return the spans of days of the objects with hourly bars."""
    return join_days(_loaded_days(keys))


def requested_spans(context: dg.AssetCheckExecutionContext, keys: Sequence[str]) -> list[queries.Span]:
    """Return the loaded spans and the run's own range: a day that is missing entirely has no object."""
    days = _loaded_days(keys)
    steps: dict[str, Any] = dict(context.run.run_config).get("ops", {})  # type: ignore[assignment]
    hourly = all(step.get("config", {}).get("interval", "1h") == "1h" for step in steps.values())
    if context.run.job_name != CHECK_JOB and hourly:
        days += days_between(*run_days(context.run))
    return join_days(days)


def query_check(suite: Suite, query: BuildQuery) -> Any:
    """Return the check of a suite over a query.

    The query is built from the keys of the dataset's objects that the suite has yet to validate.
    """
    dataset = next((dataset for dataset in DATASETS if dataset.name == suite.loads), None)

    @dg.asset_check(asset=list(suite.asset), name=suite.check, description=suite.description)
    def validate_rows(context: dg.AssetCheckExecutionContext, stores: Stores) -> dg.AssetCheckResult:
        batches: list[str] = []

        def validate() -> Validated:
            keys: list[str] = []
            if dataset:
                keys, found = objects_to_validate(stores, context, suite, dataset)
                batches.extend(found)
            rows = query(stores, context, keys)
            if not rows:
                return NOTHING
            return process.call(validation.validate_rows, suite.name, context.run.run_id, rows)

        check, result = run_suite(context, stores, suite, validate)
        if batches and all(c.status != "error" for c in result.checks):
            with stores.connection("ingest") as connection:
                checks.mark_validated(connection, suite.name, batches)
        return check

    return validate_rows


def _completeness(stores: Stores, context: dg.AssetCheckExecutionContext, keys: Sequence[str]) -> str | None:
    spans = requested_spans(context, keys)
    return queries.klines_completeness(spans) if spans else None


def _over(select: Callable[[Sequence[str]], Sequence[Any]], query: Callable[[Any], str]) -> BuildQuery:
    """Return a builder that passes ``query`` what ``select`` reads from the keys, if that is anything."""

    def build(stores: Stores, context: dg.AssetCheckExecutionContext, keys: Sequence[str]) -> str | None:
        found = select(keys)
        return query(found) if found else None

    return build


def _divergence(stores: Stores, context: dg.AssetCheckExecutionContext, keys: Sequence[str]) -> str | None:
    """Skip the check while the sources' newest hours differ, and no coin can be compared: freshness reports it."""
    with stores.connection("quality_ro") as connection:
        comparable = fetch(connection, "select 1 from marts.v_price_divergence limit 1")
    return mart_queries.DIVERGENCE if comparable else None


def _onchain(*_: object) -> str:
    """Return the months that both providers count; without one nothing is compared, and freshness reports it."""
    return onchain_queries.ONCHAIN_RECONCILIATION


def _freshness_check(suite: Suite) -> Any:
    [dataset] = (dataset for dataset in DATASETS if dataset.name == suite.asset[1])
    return query_check(
        suite, lambda stores, *_: queries.freshness(dataset.name, dataset.sla_seconds(stores.settings) / HOUR_S)
    )


# The suites that run after the models, over the objects that they have yet to validate.
_AFTER_MODELS: tuple[tuple[Suite, BuildQuery], ...] = (
    (suites.KLINES_RECONCILIATION, _over(loaded_spans, queries.klines_reconciliation)),
    (suites.MARKETS_RECONCILIATION, _over(list, queries.markets_reconciliation)),
    (suites.FEAR_GREED_RECONCILIATION, _over(list, queries.fear_greed_reconciliation)),
    (suites.FCT_PRICES, _over(loaded_spans, mart_queries.fct_prices)),
)


def unvalidated_assets(connection: Connection, run_id: str) -> set[str]:
    """Return the models ("schema.name") with rows that their suite has yet to validate."""
    return {
        ".".join(suite.asset)
        for suite, _ in _AFTER_MODELS
        for dataset in DATASETS
        if dataset.name == suite.loads and checks.unvalidated_objects(connection, suite.name, dataset, run_id)
    }


BRONZE_CHECKS = [
    bronze_check(suites.BRONZE_KLINES, lambda asset: asset.binance_symbol),
    bronze_check(suites.BRONZE_MARKETS, lambda asset: asset.crypto_id),
    bronze_check(suites.BRONZE_FEAR_GREED),
    *map(bronze_check, (*suites.BRONZE_ONCHAIN, *suites.BRONZE_HEADLINES, suites.BRONZE_TONE)),
]
CHECKS = [
    *BRONZE_CHECKS,
    query_check(suites.KLINES_COMPLETENESS, _completeness),
    *map(_freshness_check, suites.FRESHNESS),
    *(query_check(*suite) for suite in _AFTER_MODELS),
    query_check(suites.DIVERGENCE, _divergence),
    query_check(suites.ONCHAIN_RECONCILIATION, _onchain),
    query_check(suites.HEADLINES_RECENT, lambda *_: news_queries.HEADLINES),
]
