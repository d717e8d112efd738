"""Asset checks that each bronze asset yields about its source."""

from typing import Any

import dagster as dg

from ingestion.bronze import write
from ingestion.datasets import Dataset
from ingestion.sources.coingecko.dataset import MARKETS

FOUND = {
    "source_answered": "The API answered, for every symbol or coin of the universe. A failure stops no other source.",
    "records_kept": "No record broke its contract; an error when more were rejected than the dataset declares.",
    "top_list_complete": "Every one of the largest coins by market cap is in the sweep.",
}


def source_checks(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """Return the checks of what an ingestion reports of its source."""
    names = [n for n in FOUND if n != "top_list_complete" or dataset is MARKETS]
    return [dg.AssetCheckSpec(n, asset=["bronze", dataset.name], description=FOUND[n]) for n in names]


def check_source(dataset: Dataset, report: write.Report) -> list[dict[str, Any]]:
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
            "description": spec.description,
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
