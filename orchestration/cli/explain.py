"""The command explain: where one value of the marts comes from."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.text import plain
from orchestration.cli import terminal
from orchestration.cli.errors import clear_errors
from orchestration.cli.output import print_json
from orchestration.cli.queries import json_option
from orchestration.explain.explanation import explain as explain_value
from orchestration.explain.explanation import is_confirmed
from orchestration.explain.target import Request
from orchestration.session import session

_OBJECTS_SHOWN = 5
_LISTED = 5


@click.command()
@click.argument("coin")
@click.argument("metric")
@click.argument("time")
@click.option(
    "--timeframe", default="week", show_default=True, type=click.Choice(["week", "month"]), help="Of fct_candles."
)
@click.option(
    "--window-days", default="90", show_default=True, type=click.Choice(["30", "90", "365"]), help="Of a correlation."
)
@click.option("--all-objects", is_flag=True, help="Compare all bronze objects of the window, not the newest 32 alone.")
@json_option
@clear_errors
def explain(
    coin: str, metric: str, time: str, timeframe: str, window_days: str, all_objects: bool, as_json: bool
) -> None:
    """Show where one value of the marts comes from, and recalculate it.

    COIN is an id or a ticker (two as bitcoin/ethereum for a correlation), METRIC a column or mart.column, TIME a date
    or an hour in UTC, such as 2026-01-31 or 2026-01-31T10:00, or latest. With an hour, hourly marts are looked up
    first, with a date daily ones.

    Exit code: 0 the value is equal to its recalculation and raw to bronze, 1 one of them differs.
    """
    request = Request(coin, metric, time, timeframe, int(window_days))
    with session() as settings, connections.connected(settings.postgres, "quality_ro") as connection:
        assert settings.object_store is not None
        found = explain_value(connection, Lake(settings.object_store), request, read_all=all_objects)
    if as_json:
        print_json(found)
    else:
        print_explanation(found, terminal.console())
    sys.exit(0 if is_confirmed(found) else 1)


def print_explanation(found: dict[str, Any], out: Console) -> None:
    """Print an explanation as text."""
    key = ", ".join(f"{name} {value}" for name, value in found["key"].items())
    unit = f" ({found['unit']})" if found["unit"] and found["value"] is not None else ""
    terminal.line(out, f"marts.{found['mart']}.{found['metric']} of {key}")
    terminal.line(out, f"  value         {_shown(found['value'])}{unit}")
    result = "equal" if found["is_equal"] else "DIFFERENT"
    terminal.line(out, f"  recalculated  {_shown(found['recalculated'])} ({result})")
    if found["null_reason"]:
        terminal.line(out, f"  null because  {found['null_reason']}")
    terminal.line(out, f"  definition    {found['definition']}")
    if found["formula"]:
        terminal.line(out, f"  formula       {found['formula']}")
    for note in found["notes"]:
        terminal.line(out, f"  note          {note}")
    for window in found["inputs"]:
        _print_window(window, out)
    _print_gaps(found["gaps"], out)
    _print_bronze(found["bronze"], out)
    _print_restatements(found["restatements"], out)
    _print_checks(found["checks"], out)


def _print_window(window: dict[str, Any], out: Console) -> None:
    of = " ".join(filter(None, [window["coin"], f"({', '.join(window['symbols'])})" if window["symbols"] else None]))
    terminal.line(out, "")
    terminal.line(
        out,
        f"Input rows: {window['dataset']} {of}, from {window['window_start']} to {window['window_end']}: "
        f"{window['present']:,} of {window['expected']:,} expected, {window['missing']:,} missing"
        + (f", {window['before_first']:,} before the first row" if window["before_first"] else ""),
    )
    for row in window["invalid"][:_LISTED]:
        terminal.line(out, f"  not used: {row['at']} {row['reason']}")
    if window["rows"]:
        names = [name for name in window["rows"][0] if name != "binance_symbol"]
        rows = [[row[name] for name in names] for row in window["rows"]]
        if window["present"] > len(rows):
            rows.insert(len(rows) // 2, ["…"] * len(names))
        terminal.table(out, names, rows, right=names[1:])


def _print_gaps(gaps: list[dict[str, Any]], out: Console) -> None:
    for gap in gaps[:_LISTED]:
        start, end = gap["gap_start"].isoformat(), gap["gap_end"].isoformat()
        terminal.line(out, f"  gap: {gap['symbol']} {start} to {end}, bars missing {gap['bars']}, {gap['kind']}")
    if len(gaps) > _LISTED:
        terminal.line(out, f"  and {len(gaps) - _LISTED:,} more gaps (--json lists all)")


def _print_bronze(bronze: dict[str, Any], out: Console) -> None:
    terminal.line(out, "")
    terminal.line(
        out,
        f"Bronze: {bronze['objects']:,} objects, {bronze['objects_read']:,} read; {bronze['rows_compared']:,} rows of "
        f"raw compared with their records, {bronze['rows_different']:,} different",
    )
    for entry in bronze["read"][:_OBJECTS_SHOWN]:
        problem = f"  ({entry['problem']})" if entry["problem"] else ""
        terminal.line(out, f"  {entry['object_key']}{problem}")
        fetched = f"{entry['fetched_at']:%Y-%m-%d %H:%M:%S} UTC" if entry["fetched_at"] else "-"
        terminal.line(out, f"    sha256 {entry['sha256'] or '-'}, rows {entry['rows']}, fetched {fetched}")
        terminal.line(out, f"    batch {', '.join(entry['batch_ids']) or '-'}")
        for url in entry["source_urls"]:
            terminal.line(out, f"    {url}")
    if bronze["objects_read"] > _OBJECTS_SHOWN:
        terminal.line(out, f"  and {bronze['objects_read'] - _OBJECTS_SHOWN:,} more (--json lists them)")


def _print_restatements(restatements: list[dict[str, Any]], out: Console) -> None:
    terminal.line(out, "")
    terminal.line(out, f"Restatements of these rows: {len(restatements):,}")
    for row in restatements[-_LISTED:]:
        changes = ", ".join(
            f"{name} {_shown(value['old'])} to {_shown(value['new'])}" for name, value in row["changed"].items()
        )
        terminal.line(out, f"  {row['at']}: {changes}, restated {row['restated_at']:%Y-%m-%d %H:%M} UTC")


def _print_checks(checks: list[dict[str, Any]], out: Console) -> None:
    failed = [check for check in checks if check["status"] != "passed"]
    terminal.line(out, "")
    terminal.line(out, f"Checks of mart and dataset, last 7 days: {len(checks):,}, failed {len(failed):,}")
    for check in failed[:_LISTED]:
        word = "warning" if check["severity"] == "warn" else "FAILED"
        terminal.line(out, f"  {word} {check['asset']} {check['check_name']}: {check['observed']}")


def _shown(value: Any) -> str:
    return "null" if value is None else plain(value)
