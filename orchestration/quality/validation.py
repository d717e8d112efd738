"""Validate objects or rows against a suite and publish the page of Data Docs, in the process of the suites.

Belongs here: what that process runs (``process.call``), from the name of a suite to a result that can be sent. Does
not: Great Expectations' API (``runner``), which rows a run validates (``checks``).
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ingestion.bronze.lake import Lake, ObjectInfo
from ingestion.memory import limit_malloc_arenas, release_memory
from ingestion.ops.runs import as_json
from ingestion.settings import load_settings
from ingestion.sources.datasets import DATASETS
from orchestration.quality import data_docs
from orchestration.quality.frames import read_frames
from orchestration.quality.runner import CheckResult, SuiteResult, suite_runs, validate_frame, validate_query
from orchestration.quality.suites import SUITES, Suite
from orchestration.reconnect import install_connection_retries

_SEVERITY_OF_STATUS = {"passed": 0, "failed": 1, "error": 2}


@dataclass(frozen=True)
class Validated:
    """The results of a suite, its page of Data Docs, and why it could not run or its page could not be written."""

    result: SuiteResult
    page: Path | None = None
    trace: str | None = None
    page_error: str | None = None


def prepare() -> None:
    """Do what every suite needs and no run changes."""
    install_connection_retries()
    limit_malloc_arenas()
    data_docs.template()


def validate_objects(suite_name: str, run_id: str, objects: Sequence[ObjectInfo], tracked: Sequence[str]) -> Validated:
    """Validate the rows of bronze objects, about 50,000 at a time. ``tracked`` are the symbols or coins expected."""

    def validate(suite: Suite) -> SuiteResult:
        [dataset] = (dataset for dataset in DATASETS if dataset.name == suite.asset[1])
        store = load_settings().object_store
        assert store is not None
        results = []
        for frame in read_frames(Lake(store), objects, dataset, tracked):
            results.append(validate_frame(suite, frame))
            del frame
            release_memory(results[-1].rows)  # Great Expectations keeps a frame in cycles until they are collected
        return merge_results(results)

    return _published(suite_name, run_id, validate)


def validate_rows(suite_name: str, run_id: str, query: str) -> Validated:
    """Validate the rows of a query on Postgres."""
    return _published(suite_name, run_id, lambda suite: validate_query(suite, query))


def merge_results(parts: Sequence[SuiteResult]) -> SuiteResult:
    """Merge the results of one suite over several frames: the worst status counts, failed rows add up."""
    if not parts:
        return SuiteResult([])
    merged: dict[str, CheckResult] = {}
    for check in (check for part in parts for check in part.checks):
        known = merged.setdefault(check.id, check)
        if known is check:
            continue
        worse = check if _SEVERITY_OF_STATUS[check.status] > _SEVERITY_OF_STATUS[known.status] else known
        total = None if worse.failed_rows is None else (check.failed_rows or 0) + (known.failed_rows or 0)
        merged[check.id] = replace(worse, failed_rows=total)
    # Data Docs show one frame: the first with a failure, or the last.
    shown = next((part for part in parts if part.failures), parts[-1])
    return SuiteResult(
        sorted(merged.values(), key=lambda check: check.id), sum(p.rows for p in parts), shown.result,
        sum(p.seconds for p in parts),
    )  # fmt: skip


def _published(suite_name: str, run_id: str, validate: Callable[[Suite], SuiteResult]) -> Validated:
    """Run a suite and publish its page. Whatever it raises is a result too: the suite could not run."""
    [suite] = (suite for suite in SUITES if suite.name == suite_name)
    try:
        result = validate(suite)
    except Exception as error:
        return Validated(SuiteResult([suite_runs(suite, error)]), trace=traceback.format_exc())
    page = page_error = None
    try:
        page = data_docs.publish(load_settings().home, run_id, suite, result, datetime.now(UTC))
    except Exception as error:  # the results are recorded all the same
        page_error = f"the page of Data Docs of {suite_name} could not be written: {error}"
    # Great Expectations' own result has been rendered. The run reads the rest without the library.
    checks = [replace(check, sample=json.loads(as_json(check.sample))) for check in result.checks]
    return Validated(replace(result, checks=checks, result=None), page, page_error=page_error)
