"""Run a suite over a frame or a query with Great Expectations, and return its results in tickmart's own shape.

Belongs here: Great Expectations' API. A check that could not run has the status ``error`` and never ``passed``: missing
tables and columns and exceptions are each reported as such, and an empty batch fails the rule that there are rows.

Lazy import: running a suite imports ``gx``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ingestion import proxies
from ingestion.settings import without_secrets
from ingestion.text import plain
from orchestration.quality.suites import Suite

if TYPE_CHECKING:
    import pandas as pd


SAMPLE_ROWS = 10


@dataclass(frozen=True)
class CheckResult:
    """The result of one rule: ``passed``, ``failed`` or ``error`` (it could not be evaluated)."""

    id: str
    description: str
    severity: str
    status: str
    observed: str
    expected: str
    failed_rows: int | None = None
    sample: list[Any] | None = None

    def as_row(self, asset: str, *, blocking: bool) -> dict[str, Any]:
        """Return the result as a row of ``ops.check_results``."""
        return {
            "asset": asset,
            "check_name": self.id,
            "description": self.description,
            "source": "great_expectations",
            "severity": self.severity,
            "status": self.status,
            "blocking": blocking and self.severity == "error",
            "observed": self.observed,
            "expected": self.expected,
            "failed_rows": self.failed_rows,
            "sample": self.sample,
        }


@dataclass(frozen=True)
class SuiteResult:
    """The results of a suite over one batch, the number of rows, and Great Expectations' own result for Data Docs."""

    checks: list[CheckResult]
    rows: int = 0
    result: Any = field(default=None, compare=False)
    seconds: float = 0.0

    @property
    def failures(self) -> list[CheckResult]:
        """The checks that failed or could not be evaluated."""
        return [check for check in self.checks if check.status != "passed"]


def validate_frame(suite: Suite, frame: pd.DataFrame) -> SuiteResult:
    """Validate a pandas frame in memory."""

    def batch() -> tuple[Any, int]:
        # In a context of its own, which keeps the frame no longer than this.
        source = _context().data_sources.add_or_update_pandas("frame")
        definition = source.add_dataframe_asset("frame").add_batch_definition_whole_dataframe("all_rows")
        return definition.get_batch({"dataframe": frame}), len(frame)

    return _validate(suite, batch)


def validate_query(suite: Suite, query: str) -> SuiteResult:
    """Validate the rows of a query on Postgres; the statements run in the database, in the read-only role."""

    def batch() -> tuple[Any, int]:
        source, engine, selections = _warehouse(_connection_string())
        # Great Expectations takes a text for a query when it begins with "select".
        selected = f"select * from ({query}) as batch_rows"  # noqa: S608 - ours
        asset = source.add_query_asset(f"{suite.name}_{len(source.assets)}", query=selected)
        selections.add(selected)
        return asset.add_batch_definition_whole_table("all_rows").get_batch(), _count(engine, selected)

    return _validate(suite, batch)


@cache
def _warehouse(connection_string: str) -> tuple[Any, Any, set[str]]:
    """Return the data source of a database, its SQLAlchemy engine, and the queries of its assets.

    All suites of a process share them and their two connections: setting them up takes a third as long as a suite.
    """
    import sqlalchemy.event

    source = _context().data_sources.add_or_update_postgres("warehouse", connection_string=connection_string)
    selections: set[str] = set()

    def limit_column_lookup(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        # GX runs the query itself to learn its columns, and would receive all rows (300 MB for three years).
        is_lookup = statement.replace("%%", "%") in selections
        return f"{statement} limit 0" if is_lookup else statement, parameters

    engine = source.get_execution_engine().engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", limit_column_lookup, retval=True)
    return source, engine, selections


def _count(engine: Any, selected: str) -> int:
    """Return the number of rows of a query, 0 if it cannot be read: the expectations then report why."""
    import sqlalchemy

    try:
        with engine.connect() as connection:
            counted = connection.exec_driver_sql(f"select count(*) from ({selected}) as counted".replace("%", "%%"))  # noqa: S608 - ours
            return int(counted.scalar_one())
    except sqlalchemy.exc.SQLAlchemyError:
        return 0


def suite_runs(suite: Suite, error: Exception | None = None) -> CheckResult:
    """Return whether a suite could run; an error is one line without secrets."""
    status, observed = ("error", _line(error)) if error else ("passed", "as expected")
    return CheckResult(suite.runs_id, "The suite could run", "error", status, observed, "no exception")


def _validate(suite: Suite, batch: Callable[[], tuple[Any, int]]) -> SuiteResult:
    """Validate a batch; ``batch`` returns it with the number of its rows."""
    began = time.perf_counter()
    try:
        opened, rows = batch()
        result = _run_expectations(suite, opened, rows)
    except Exception as error:  # whatever GX raises, the suite could not run: that is its result
        return SuiteResult([suite_runs(suite, error)])
    checks = sorted((_to_check_result(r, rows) for r in result.results), key=lambda check: check.id)
    return SuiteResult(checks, rows, result, time.perf_counter() - began)


def _run_expectations(suite: Suite, batch: Any, rows: int) -> Any:
    """Evaluate all rules, which GX does in one query; then fetch failed rows for the failed rules alone."""
    from orchestration.quality import gx

    expectations = suite.expectations()
    result = batch.validate(expectations, result_format="BOOLEAN_ONLY")
    failed = {r.expectation_config.meta["id"] for r in result.results if not r.success}
    details: dict[str, Any] = {}
    if failed:
        repeated = [e.copy(update={"id": None}) for e in expectations.expectations if e.meta["id"] in failed]
        with_rows = {
            "result_format": "SUMMARY",
            "partial_unexpected_count": SAMPLE_ROWS,
            "unexpected_index_column_names": list(suite.sample_columns),
            "return_unexpected_index_query": False,
        }
        second = batch.validate(gx.ExpectationSuite(name=suite.name, expectations=repeated), result_format=with_rows)
        # The second pass only adds rows: a rule that failed in the first pass stays failed even if it passes now.
        details = {r.expectation_config.meta["id"]: r for r in second.results if not r.success}
    result.results = [details.get(r.expectation_config.meta["id"], r) for r in result.results]
    for passed in result.results:
        if passed.success and not passed.result:
            passed.result = {"element_count": rows, "unexpected_count": 0, "unexpected_percent": 0.0}
    return result


def _context() -> Any:
    from orchestration.quality import gx

    context = gx.get_context(mode="ephemeral")
    # It writes all of its configuration as YAML with each change, to memory.
    context.variables.save = lambda: None
    context.variables.progress_bars = gx.ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


def _connection_string() -> str:
    env = os.environ
    user = env.get("TICKMART_PG_QUALITY_RO_USER", env.get("PGUSER", ""))
    password = env.get("TICKMART_PG_QUALITY_RO_PASSWORD", env.get("PGPASSWORD", ""))
    role = env.get("TICKMART_PG_QUALITY_RO_ROLE", "")
    options = "-c timezone=UTC" + (f" -c role={role}" if role else "")
    address = proxies.join(env["PGHOST"], int(env["PGPORT"]))
    return (
        f"postgresql+psycopg2://{quote(user, safe='')}:{quote(password, safe='')}@{address}"
        f"/{quote(env['PGDATABASE'], safe='')}?options={quote(options)}"
    )


def _to_check_result(result: Any, rows: int) -> CheckResult:
    config = result.expectation_config
    rule = str(config.meta["id"]), str(config.description), str(config.meta["severity"])
    limits = {k: v for k, v in config.kwargs.items() if k not in ("batch_id", "value_set") and v is not None}
    expected = f"{config.type} {limits}"
    problem = _exception(result.exception_info)
    if problem:
        return CheckResult(*rule, "error", problem, expected)
    found = result.result
    if config.type == "expect_table_row_count_to_be_between":
        observed = f"{rows:,} rows"
    elif "unexpected_count" in found:
        observed = f"{found['unexpected_count']:,} of {rows:,} rows failed"
        if config.type == "expect_column_values_to_be_null" and found.get("partial_unexpected_list"):
            observed += f", for example: {plain(found['partial_unexpected_list'][0])[:200]}"
    else:
        observed = plain(found.get("observed_value"))[:300]
    return CheckResult(
        *rule,
        "passed" if result.success else "failed",
        observed,
        expected,
        found.get("unexpected_count"),
        found.get("partial_unexpected_index_list") or found.get("partial_unexpected_list") or None,
    )


def _exception(info: Any) -> str | None:
    """Return the message of an exception in a result, where it is flat or keyed by metric."""
    entries = [info] if isinstance(info, dict) and "raised_exception" in info else list((info or {}).values())
    for entry in entries:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            return _line(entry.get("exception_message"))
    return None


def _line(error: Any) -> str:
    return without_secrets(" ".join(str(error).split()))[:300]
