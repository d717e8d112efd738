"""Run a suite over a frame or a query and return its verdicts in tickmart's own shape.

Belongs here: Great Expectations' API. A check that could not run is an error and never a pass: a missing table or
column, an empty batch and an exception are each reported as what they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite

SAMPLE_ROWS = 10


@dataclass(frozen=True)
class Verdict:
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


def validate_frame(make_suite: Callable[[], ExpectationSuite], frame: pd.DataFrame) -> list[Verdict]:
    """Judge a pandas frame in memory."""
    context = _context()
    source = context.data_sources.add_pandas("frame")
    definition = source.add_dataframe_asset("frame").add_batch_definition_whole_dataframe("whole")
    return _judge(make_suite, lambda: definition.get_batch({"dataframe": frame}))


def validate_query(make_suite: Callable[[], ExpectationSuite], query: str) -> list[Verdict]:
    """Judge what a query on Postgres returns; the statements run in the database, in the read-only role."""
    context = _context()

    def batch() -> Any:
        source = context.data_sources.add_postgres("warehouse", connection_string=_connection_string())
        return source.add_query_asset("range", query=query).add_batch_definition_whole_table("whole").get_batch()

    return _judge(make_suite, batch)


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
    return (
        f"postgresql+psycopg2://{quote(user, safe='')}:{quote(password, safe='')}@{env['PGHOST']}:{env['PGPORT']}"
        f"/{quote(env['PGDATABASE'], safe='')}?options={quote(options)}"
    )


def _judge(make_suite: Callable[[], ExpectationSuite], batch: Callable[[], Any]) -> list[Verdict]:
    try:
        result = batch().validate(
            make_suite(), result_format={"result_format": "SUMMARY", "partial_unexpected_count": SAMPLE_ROWS}
        )
    except Exception as error:  # whatever GX raises, the check could not run: that is the verdict
        return [Verdict("the suite could run", "error", "error", _line(error), "no exception", None, None)]
    return sorted((_verdict(r) for r in result.results), key=lambda v: v.name)


def _verdict(result: Any) -> Verdict:
    config = result.expectation_config
    meta = config.meta or {}
    name = str(meta.get("guards") or config.type)
    severity = "error" if str(getattr(config.severity, "value", config.severity)) == "critical" else "warn"
    wanted = {k: v for k, v in config.kwargs.items() if k not in ("batch_id", "value_set") and v is not None}
    expected = f"{config.type} {wanted}"
    problem = _exception(result.exception_info)
    if problem:
        return Verdict(name, severity, "error", problem, expected, None, None)
    found = result.result
    if "unexpected_count" in found:
        observed = f"{found['unexpected_count']} of {found.get('element_count')} rows break it"
    else:
        observed = str(found.get("observed_value"))[:300]
    return Verdict(
        name,
        severity,
        "passed" if result.success else "failed",
        observed,
        expected,
        found.get("unexpected_count"),
        found.get("partial_unexpected_list") or None,
    )


def _exception(info: Any) -> str | None:
    """Return the message of an exception inside a result: flat, or keyed by metric."""
    entries = [info] if isinstance(info, dict) and "raised_exception" in info else list((info or {}).values())
    for entry in entries:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            return _line(entry.get("exception_message"))
    return None


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:300]
