"""Run a suite over a frame or a query and return its verdicts in tickmart's own shape.

Belongs here: Great Expectations' API. A check that could not run is an error and never a pass: a missing table or
column and an exception are each reported as what they are; an empty batch fails the rule that rows be there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy.event

from ingestion import proxies
from ingestion.text import plain
from orchestration.quality.suites import Suite

if TYPE_CHECKING:
    import pandas as pd


SAMPLE_ROWS = 10


@dataclass(frozen=True)
class CheckResult:
    """One expectation's outcome: ``passed``, ``failed`` or ``error`` (it could not be judged)."""

    name: str
    severity: str
    status: str
    observed: str
    expected: str
    failed_rows: int | None
    sample: list[Any] | None

    def as_row(self, asset: str, *, blocking: bool) -> dict[str, Any]:
        """Return the verdict as a row of ``ops.check_results``."""
        return {
            "asset": asset,
            "check_name": self.name,
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
    """The verdicts of a suite over one batch, the rows judged, and Great Expectations' own result for Data Docs."""

    verdicts: list[CheckResult]
    rows: int = 0
    result: Any = field(default=None, compare=False)
    seconds: float = 0.0


def validate_frame(suite: Suite, frame: pd.DataFrame) -> SuiteResult:
    """Judge a pandas frame in memory."""

    def batch(context: Any) -> tuple[Any, Callable[[], None]]:
        source = context.data_sources.add_or_update_pandas("frame")
        definition = source.add_dataframe_asset("frame").add_batch_definition_whole_dataframe("whole")
        return definition.get_batch({"dataframe": frame}), lambda: None

    return _judge(suite, batch)


def validate_query(suite: Suite, query: str) -> SuiteResult:
    """Judge what a query on Postgres returns; the statements run in the database, in the read-only role."""

    def batch(context: Any) -> tuple[Any, Callable[[], None]]:
        source = context.data_sources.add_or_update_postgres("warehouse", connection_string=_connection_string())
        # GX takes a query for one when it begins so.
        bare = f"select * from ({query}) as evidence"  # noqa: S608 - ours
        asset = source.add_query_asset("range", query=bare)

        def only_columns(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
            # GX runs the bare query to see its columns, and would be sent all of its rows (300 MB for three years).
            return f"{statement} limit 1" if statement.replace("%%", "%") == bare else statement, parameters

        sqlalchemy.event.listen(
            source.get_execution_engine().engine, "before_cursor_execute", only_columns, retval=True
        )

        def close() -> None:
            # GX would leave both to the garbage collector; the role may have thirty connections.
            source.get_execution_engine().close()
            source.get_engine().dispose()

        return asset.add_batch_definition_whole_table("whole").get_batch(), close

    return _judge(suite, batch)


def error_result(error: Exception) -> SuiteResult:
    """Return the verdict on a check that raised: an error, in one line, without secrets."""
    return SuiteResult([CheckResult("the suite could run", "error", "error", _line(error), "no exception", None, None)])


def _judge(suite: Suite, batch: Callable[[Any], tuple[Any, Callable[[], None]]]) -> SuiteResult:
    began = time.perf_counter()
    try:
        found, close = batch(_context())
        try:
            result, rows = _validated(suite, found)
        finally:
            close()
    except Exception as error:  # whatever GX raises, the check could not run: that is the verdict
        return error_result(error)
    verdicts = sorted((_verdict(r, rows) for r in result.results), key=lambda v: v.name)
    return SuiteResult(verdicts, rows, result, time.perf_counter() - began)


def _validated(suite: Suite, batch: Any) -> tuple[Any, int]:
    """Ask of everything whether it holds, which GX does in one query; then of what does not, which rows break it."""
    import great_expectations.expectations as gxe
    from great_expectations.core import ExpectationSuite

    wanted = suite.expectations()
    count = batch.validate(gxe.ExpectTableRowCountToBeBetween(min_value=0), result_format="BASIC")
    # Where not even that can be told, the expectations themselves tell why.
    rows = int((count.result or {}).get("observed_value") or 0)
    result = batch.validate(wanted, result_format="BOOLEAN_ONLY")
    broken = {r.expectation_config.meta["check"] for r in result.results if not r.success}
    details: dict[str, Any] = {}
    if broken:
        doubtful = [e.copy(update={"id": None}) for e in wanted.expectations if e.meta["check"] in broken]
        shown = {
            "result_format": "SUMMARY",
            "partial_unexpected_count": SAMPLE_ROWS,
            "unexpected_index_column_names": list(suite.shown),
            "return_unexpected_index_query": False,
        }
        again = batch.validate(ExpectationSuite(name=suite.name, expectations=doubtful), result_format=shown)
        # The second look only adds rows: what broke in the first and was mended since is still told as broken.
        details = {r.expectation_config.meta["check"]: r for r in again.results if not r.success}
    result.results = [details.get(r.expectation_config.meta["check"], r) for r in result.results]
    for kept in result.results:
        if kept.success and not kept.result:
            kept.result = {"element_count": rows, "unexpected_count": 0, "unexpected_percent": 0.0}
    return result, rows


def _context() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


def _connection_string() -> str:
    env = os.environ
    user = env.get("TICKMART_PG_QUALITY_RO_USER", env.get("PGUSER", ""))
    password = env.get("TICKMART_PG_QUALITY_RO_PASSWORD", env.get("PGPASSWORD", ""))
    role = env.get("TICKMART_PG_QUALITY_RO_ROLE", "")
    options = "-c timezone=UTC" + (f" -c role={role}" if role else "")
    where = proxies.join(env["PGHOST"], int(env["PGPORT"]))
    return (
        f"postgresql+psycopg2://{quote(user, safe='')}:{quote(password, safe='')}@{where}"
        f"/{quote(env['PGDATABASE'], safe='')}?options={quote(options)}"
    )


def _verdict(result: Any, rows: int) -> CheckResult:
    config = result.expectation_config
    name, severity = str(config.meta["check"]), str(config.meta["severity"])
    wanted = {k: v for k, v in config.kwargs.items() if k not in ("batch_id", "value_set") and v is not None}
    expected = f"{config.type} {wanted}"
    problem = _exception(result.exception_info)
    if problem:
        return CheckResult(name, severity, "error", problem, expected, None, None)
    found = result.result
    if config.type == "expect_table_row_count_to_be_between":
        observed = f"{rows:,} rows"
    elif "unexpected_count" in found:
        observed = f"{found['unexpected_count']:,} of {rows:,} rows break it"
    else:
        observed = plain(found.get("observed_value"))[:300]
    return CheckResult(
        name,
        severity,
        "passed" if result.success else "failed",
        observed,
        expected,
        found.get("unexpected_count"),
        found.get("partial_unexpected_index_list") or found.get("partial_unexpected_list") or None,
    )


def _exception(info: Any) -> str | None:
    """Return the message of an exception inside a result: flat, or keyed by metric."""
    entries = [info] if isinstance(info, dict) and "raised_exception" in info else list((info or {}).values())
    for entry in entries:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            return _line(entry.get("exception_message"))
    return None


_IN_URL = re.compile(r"(?<=://)[^\s/@]+@")


def without_secrets(text: str) -> str:
    """Take what could be a password out of a text: whatever the environment calls one, and the login of any URL."""
    for name, value in os.environ.items():
        if value and re.search(r"PASSWORD|SECRET|API_KEY|PG_URL", name):
            text = text.replace(value, "***").replace(quote(value, safe=""), "***")
    return _IN_URL.sub("***@", text)


def _line(error: Any) -> str:
    return without_secrets(" ".join(str(error).split()))[:300]
