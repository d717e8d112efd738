"""Checks that the bronze and raw assets report themselves: on what a fetch did and on what a load found."""

from typing import Any

import dagster as dg

from ingestion.bronze.results import FetchResult
from ingestion.sources.source import LoadCheck, Observation, Source

SOURCE_ANSWERED = "The API answered, for every symbol or coin of the universe. A failure stops no other source."
RECORDS_KEPT = "No record violated its contract; an error when more were rejected than the dataset declares."


def source_checks(source: Source) -> list[dg.AssetCheckSpec]:
    """Return the checks of a source's fetch."""
    described = {"source_answered": SOURCE_ANSWERED, "records_kept": RECORDS_KEPT}
    if source.completeness_check is not None:
        name, description, _ = source.completeness_check
        described[name] = description
    asset = ["bronze", source.dataset.name]
    return [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in described.items()]


def check_source(source: Source, result: FetchResult, *, required: bool = True) -> list[dict[str, Any]]:
    """Return the results of ``source_checks`` as rows of ``ops.check_results``; unless ``required``, they warn."""
    dataset = source.dataset
    problems = [result.error] if result.error else list(result.failed.values())
    records = result.rows + result.rejected
    rejected = (
        f"{result.rejected:,} of {records:,} records ({result.rejected / records:.1%}) were rejected, the first "
        f"because {result.first_rejection}; `tickmart rejected list` shows them"
        if result.rejected
        else ""
    )
    asset, allowed = f"bronze/{dataset.name}", f"at most {dataset.rejected_share:.0%} rejected"
    answered, requested = "; ".join(problems), "an answer for every request"
    too_many = dataset.too_many_rejected(result.rejected, records)
    rows = [
        _row(
            asset,
            "source_answered",
            SOURCE_ANSWERED,
            answered,
            requested,
            len(problems),
            required and bool(result.error),
        ),
        _row(asset, "records_kept", RECORDS_KEPT, rejected, allowed, result.rejected, required and too_many),
    ]
    if source.completeness_check is not None:
        name, description, expected = source.completeness_check
        rows.append(_row(asset, name, description, result.shortfall or "", expected, None))
    return rows


def load_check_asset(source: Source, check: LoadCheck) -> dg.AssetKey:
    """Return the asset that a check after a load belongs to."""
    return dg.AssetKey(["ops", check.maintains[0]] if check.maintains else ["raw", source.dataset.name])


def load_check_row(source: Source, check: LoadCheck, found: Observation) -> dict[str, Any]:
    """Return the result of a check after a load as a row of ``ops.check_results``."""
    more = f"; and {len(found.problems) - 5} more" if len(found.problems) > 5 else ""
    asset = load_check_asset(source, check).to_user_string()
    problem = "; ".join(found.problems[:5]) + more
    return _row(asset, check.name, check.description, problem, check.expected, found.failed_rows)


def _row(
    asset: str, check_id: str, description: str, problem: str, expected: str, failed_rows: int | None,
    is_error: bool = False,
) -> dict[str, Any]:  # fmt: skip
    return {
        "asset": asset,
        "check_name": check_id,
        "description": description,
        "source": "pipeline",
        "severity": "error" if is_error else "warn",
        "status": "failed" if problem else "passed",
        "observed": problem or "as expected",
        "expected": expected,
        "failed_rows": failed_rows,
    }


def to_asset_check_result(row: dict[str, Any]) -> dg.AssetCheckResult:
    """Return a row of ``ops.check_results`` as Dagster shows it."""
    return dg.AssetCheckResult(
        check_name=row["check_name"],
        asset_key=dg.AssetKey(row["asset"].split("/")),
        passed=row["status"] == "passed",
        severity=dg.AssetCheckSeverity.ERROR if row["severity"] == "error" else dg.AssetCheckSeverity.WARN,
        description=row["observed"],
    )
