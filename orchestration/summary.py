"""What a person reads after a run and of the datasets: tables for the terminal.

Belongs here: wording and layout. Does not: what is in them (``ingestion.books``, ``health``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestration.quality import docs

MARK = {"ok": "ok", "partial": "partial", "failed": "FAILED"}


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print per stage what was done, what the checks said, and where to look next."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in (("stage", "left"), ("dataset", "left"), ("rows", "right"), ("files", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for name, side in (("seconds", "right"), ("rows/s", "right"), ("", "left"), ("what changed", "left")):
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for stage in summary["stages"]:
        table.add_row(
            stage["stage"],
            stage["dataset"],
            f"{stage['rows']:,}",
            f"{stage['files']:,}",
            f"{stage['seconds']:.2f}",
            f"{stage['rows_per_s'] or 0:,.0f}",
            MARK[stage["status"]],
            _changed(stage),
        )
    console.print(table)
    checks = summary["checks"]
    console.print(
        f"checks: {checks['passed']} passed, {checks['warned']} warned, {checks['failed']} failed", highlight=False
    )
    # What a source or a symbol failed of stands below, once.
    shown = [c for c in checks["failures"] if c["check_name"] != "source_answered"]
    for check in shown[:20]:
        word = "warning" if check["severity"] == "warn" else "FAILED"
        console.print(
            f"  {word} {check['asset']} {check['check_name']}: {check['observed']}", highlight=False, soft_wrap=True
        )
    if shown and (home := os.environ.get("TICKMART_HOME")):
        console.print(f"  row by row: {docs.address(Path(home))}", highlight=False, soft_wrap=True)
    for line in problems(summary):
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"{MARK[summary['status']]} in {summary['seconds']:.1f} s. Next: `tickmart status`, "  # noqa: S608 - words
        f'`tickmart sql "select * from marts.v_top_gainers limit 5"`, `tickmart up` for Dagster and the dashboard.',
        highlight=False,
        soft_wrap=True,
    )
    if summary["status"] == "failed":
        console.print(f"log: {summary['log']}", highlight=False, soft_wrap=True)


def problems(summary: dict[str, Any]) -> list[str]:
    """Return the lines that name what failed and the mend, each once."""
    lines: list[str] = []
    for stage in summary["stages"]:
        detail = stage["detail"]
        lines += [detail["error"]] if detail.get("error") else []
        lines += list((detail.get("failed") or {}).values())
        lines += detail.get("damaged") or []
        lines += detail.get("notes") or []
    error = summary.get("error")
    if error and not any(line in error for line in lines):
        lines.append(error)
    return list(dict.fromkeys(lines))


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
    return ""


def print_status(found: dict[str, Any], console: Console) -> None:
    """Print one line per dataset, its health first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    right = ("rows", "age", "SLA", "gaps", "rejected")
    for name in ("health", "dataset", *right[:1], "newest data (UTC)", *right[1:], "last run (UTC)", "why"):
        table.add_column(name, justify="right" if name in right else "left")
    for row in found["datasets"]:
        table.add_row(
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
    console.print(table)
    for symbol, why in found["failed_symbols"].items():
        console.print(f"  {symbol}: {why}", highlight=False, soft_wrap=True)
    last = found["last_run"]
    console.print(
        f"last run: {last['job']} {last['status']} at {_minute(last['ended_at'])}"
        if last
        else "no run yet: `tickmart run` makes one",
        highlight=False,
    )
    if last and last.get("error"):
        console.print(f"  {last['error']}", highlight=False, soft_wrap=True, markup=False)
    if found["database_error"]:
        console.print(
            f"as of {_minute(found['generated_at'])} UTC, for there is no newer: {found['database_error']}",
            highlight=False, soft_wrap=True, markup=False,
        )  # fmt: skip
    print_undelivered(found["alerts"], console)


def print_undelivered(alerts: dict[str, Any] | None, console: Console) -> None:
    """Say how many incidents are open, and what of it nobody has been told."""
    if alerts is None:
        return
    parts = [f"{alerts['open_incidents']:,} open incident(s)"] * bool(alerts["open_incidents"])
    if alerts["waiting"]:
        parts.append(f"{alerts['waiting']:,} alert(s) not sent yet, the oldest of {_minute(alerts['oldest_at'])} UTC")
    if alerts["refused"]:
        parts.append(f"{alerts['refused']:,} alert(s) refused: mend it, then `tickmart alert retry`")
    if alerts["last_error"] and len(parts) > bool(alerts["open_incidents"]):
        parts.append(alerts["last_error"])
    if parts:
        console.print("; ".join(parts), highlight=False, soft_wrap=True, markup=False)


def print_incidents(found: list[dict[str, Any]], console: Console) -> None:
    """Print one line per incident and one per message that has not been sent."""
    for row in found:
        state = f"recovered {_minute(row['recovered_at'])}" if row["recovered_at"] else "OPEN"
        console.print(
            f"{_minute(row['opened_at'])} UTC {state} {row['severity']} {row['kind']}: {row['title']}",
            highlight=False, soft_wrap=True, markup=False,
        )  # fmt: skip
        for message in row["messages"]:
            fate = f"sent {_minute(message['sent_at'])}" if message["sent_at"] else "waiting"
            fate = f"refused {_minute(message['refused_at'])}" if message["refused_at"] else fate
            why = f" ({message['last_error']})" if message["last_error"] else ""
            console.print(
                f"    {message['channel']} {message['event']}: {fate}{why}",
                highlight=False, soft_wrap=True, markup=False,
            )  # fmt: skip
    if not found:
        console.print("no incident so far")


def print_rejected(found: list[dict[str, Any]], console: Console) -> None:
    """Print one line per rejected record."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("rejected (UTC)", "dataset", "reason", "record", "replayed (UTC)"):
        table.add_column(name)
    for row in found:
        record = str(row["record"])
        shown = record if len(record) <= 120 else f"{record[:117]}..."
        table.add_row(_minute(row["rejected_at"]), row["dataset"], row["reason"], shown, _minute(row["replayed_at"]))
    console.print(table)


def span(seconds: float | None) -> str:
    """Return a time span in its two largest units, or a dash."""
    if seconds is None:
        return "-"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _minute(moment: Any) -> str:
    return str(moment)[:16].replace("T", " ") if moment else "-"
