"""What the commands print: JSON, run summary, status, incidents, rejected records."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

from ingestion.text import plain
from orchestration.cli import terminal
from orchestration.cli.errors import print_error
from orchestration.local.demo import hint
from orchestration.observability.text import problems, span
from orchestration.quality import data_docs

if TYPE_CHECKING:
    from orchestration.alerting.price_crossings import Crossing
    from orchestration.alerting.price_rules import Rule

# Why checks of other runs are not part of this one, by their source.
NOT_RUN = {
    "dbt": "tests of models that were not part of this run",
    "great_expectations": "expectations not validated (nothing new was loaded)",
    "pipeline": "checks not run (only a run that fetches and loads runs them)",
}
QUERY = 'sql "select * from marts.v_top_gainers limit 5"'
MARK = {"ok": "ok", "partial": "partial", "failed": "FAILED"}


def print_json(value: Any) -> None:
    """Print a value as one JSON document on stdout."""
    sys.stdout.write(orjson.dumps(value, default=plain, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_problems(summary: dict[str, Any]) -> None:
    """Print the errors of a run on stderr, one line each, in addition to its JSON."""
    for stage in summary["stages"]:
        for problem in filter(None, [stage["detail"].get("error"), *(stage["detail"].get("failed") or {}).values()]):
            print_error(problem)


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print what each stage did, the result of the checks, and the next commands."""
    terminal.table(
        console,
        ("stage", "dataset", "rows", "files", "seconds", "rows/s", "", "what changed"),
        [
            (
                stage["stage"],
                stage["dataset"],
                f"{stage['rows']:,}",
                f"{stage['files']:,}",
                f"{stage['seconds']:.2f}",
                f"{stage['rows_per_s'] or 0:,.0f}",
                _mark(stage),
                _changed(stage),
            )
            for stage in summary["stages"]
        ],
        right=("rows", "files", "seconds", "rows/s"),
    )
    checks = summary["checks"]
    counted = f"checks: {checks['passed']} passed, {checks['warned']} warned, {checks['failed']} failed"
    omitted = [f"{n} {NOT_RUN[source]}" for source, n in checks.get("not_run", {}).items()]
    terminal.line(console, "; ".join([counted, *omitted]))
    # Failures of sources and symbols are printed below.
    shown = [c for c in checks["failures"] if c["check_name"] != "source_answered"]
    for check in shown[:20]:
        word = "warning" if check["severity"] == "warn" else "FAILED"
        terminal.line(console, f"  {word} {check['asset']} {check['check_name']}: {check['observed']}")
    if shown and (home := os.environ.get("TICKMART_HOME")):
        terminal.line(console, f"  row by row: {data_docs.address(Path(home))}")
    for line in problems(summary):
        terminal.line(console, f"  {line}")
    terminal.line(
        console,
        f"{MARK[summary['status']]} in {summary['seconds']:.1f} s. Next: {hint('status')}, "
        f"{hint(QUERY)}, {hint('up')} for Dagster and the dashboard.",
    )
    if summary["status"] == "failed":
        terminal.line(console, f"log: {summary['log']}")


def _mark(stage: dict[str, Any]) -> str:
    """Return the status of a stage; the run does not need an optional source, so its failure is no capital one."""
    unneeded = stage["detail"].get("optional") and stage["status"] == "failed"
    return "no answer" if unneeded else MARK[stage["status"]]


def _changed(stage: dict[str, Any]) -> str:
    detail = stage["detail"]
    if stage["stage"] == "raw":
        changed = [f"{detail[k]:,} {k}" for k in ("inserted", "updated") if detail.get(k)]
        return ", ".join(changed) or "nothing new"
    if stage["stage"] == "bronze":
        parts = [f"{stage['files']:,} written"] if stage["files"] else []
        parts += [f"{detail['unchanged_files']:,} unchanged"] if detail.get("unchanged_files") else []
        parts += [f"{detail['rejected']:,} rejected"] if detail.get("rejected") else []
        parts += [f"{detail['repeated']:,} came twice"] if detail.get("repeated") else []
        return ", ".join(parts) or "nothing"
    if stage["stage"] == "dbt" and detail.get("unchanged"):
        return f"{len(detail['unchanged'])} unchanged, skipped"
    return ""


def print_status(found: dict[str, Any], console: Console) -> None:
    """Print one line per dataset, its health first."""
    right = ("rows", "age", "SLA", "gaps", "rejected")
    terminal.table(
        console,
        ("health", "dataset", *right[:1], "newest data (UTC)", *right[1:], "last run (UTC)", "why"),
        [
            (
                row["health"],
                row["dataset"],
                _count(row["rows"]),
                _minute(row["newest"]),
                span(row["age_seconds"]),
                span(row["sla_seconds"]),
                _count(row["open_gaps"]),
                _count(row["rejected"]),
                f"{_minute(row['last_run']['ended_at'])} {row['last_run']['status']}" if row["last_run"] else "-",
                ", ".join(f"{part} {word}" for part, word in row["parts"].items() if word != "healthy"),
            )
            for row in found["datasets"]
        ],
        right=right,
    )
    for symbol, why in found["failed_symbols"].items():
        terminal.line(console, f"  {symbol}: {why}")
    last = found["last_run"]
    terminal.line(
        console,
        f"last run: {last['job']} {last['status']} at {_minute(last['ended_at'])}"
        if last
        else f"no run yet: start one with {hint('run')}",
    )
    if last and last.get("error"):
        console.print(f"  {last['error']}", highlight=False, soft_wrap=True, markup=False)
    if found["database_error"]:
        terminal.line(
            console,
            f"as of {_minute(found['generated_at'])} UTC, the newest status: {found['database_error']}",
        )
    if (alerts := found["alerts"]) is None:
        return
    parts = [f"{alerts['open_incidents']:,} open incident(s)"] * bool(alerts["open_incidents"])
    if alerts["waiting"]:
        parts.append(f"{alerts['waiting']:,} alert(s) not sent yet, the oldest of {_minute(alerts['oldest_at'])} UTC")
    if alerts["refused"]:
        parts.append(f"{alerts['refused']:,} alert(s) rejected: fix the channel, then run {hint('alert retry')}")
    if alerts["last_error"] and len(parts) > bool(alerts["open_incidents"]):
        parts.append(alerts["last_error"])
    if parts:
        terminal.line(console, "; ".join(parts))


def print_incidents(found: list[dict[str, Any]], console: Console) -> None:
    """Print one line per incident and one per message that has not been sent."""
    for row in found:
        state = f"recovered {_minute(row['recovered_at'])}" if row["recovered_at"] else "OPEN"
        opened = _minute(row["opened_at"])
        terminal.line(console, f"{opened} UTC {state} {row['severity']} {row['kind']}: {row['title']}")
        for message in row["messages"]:
            delivery = f"sent {_minute(message['sent_at'])}" if message["sent_at"] else "waiting"
            delivery = f"rejected {_minute(message['refused_at'])}" if message["refused_at"] else delivery
            why = f" ({message['last_error']})" if message["last_error"] else ""
            terminal.line(console, f"    {message['channel']} {message['event']}: {delivery}{why}")
    if not found:
        terminal.line(console, "no incident so far")


def print_crossings(rules: Sequence[Rule], found: Sequence[Crossing], console: Console) -> None:
    """Print one line per crossing of a price rule, and how often each rule fired."""
    names = ("known (UTC)", "rule", "asset", "metric", "value", "threshold")
    rows = [
        (
            _minute(crossing.at),
            crossing.rule.name,
            crossing.crypto_id,
            crossing.rule.metric,
            f"{crossing.value:.10g}",
            f"{crossing.rule.comparison} {crossing.rule.threshold:.10g}",
        )
        for crossing in found
    ]
    if rows:
        terminal.table(console, names, rows, right=("value",))
    counts = Counter(crossing.rule.name for crossing in found)
    for rule in rules:
        terminal.line(console, f"{rule.name}: {counts[rule.name]:,} notification(s)")


def print_rejected(found: list[dict[str, Any]], console: Console) -> None:
    """Print one line per rejected record."""
    names = ("rejected (UTC)", "dataset", "reason", "record", "replayed (UTC)")
    terminal.table(
        console,
        names,
        [
            (
                _minute(row["rejected_at"]),
                row["dataset"],
                row["reason"],
                row["record"] if len(row["record"]) <= 120 else f"{row['record'][:117]}...",
                _minute(row["replayed_at"]),
            )
            for row in found
        ],
    )


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _minute(moment: Any) -> str:
    return str(moment)[:16].replace("T", " ") if moment else "-"
