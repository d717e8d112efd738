"""Commands that run a job: run, backfill, up, demo, check, rebuild; and the build of the marts after a restore.

Belongs here: the range of days, the progress bar and the exit code. Does not: the run itself, which is Dagster's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import click
import rich.progress
from rich.console import Console

from ingestion.bronze.lake import Lake, LakeError
from ingestion.datasets import object_days
from ingestion.settings import Settings, SettingsError
from ingestion.sources.binance.contract import BINANCE_OPENED, INTERVAL_MS
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS
from ingestion.sources.bitcoin.ingest import GENESIS
from ingestion.sources.datasets import DATASETS
from ingestion.sources.news.dataset import EARLIEST, GDELT_TONE, HEADLINES
from ingestion.sources.onchain.dataset import BLOCKCHAIN_DAILY, COINMETRICS_DAILY
from ingestion.sources.onchain.dataset import FIRST_DAY as ONCHAIN_SINCE
from orchestration.cli.demo_home import use_demo_home
from orchestration.cli.errors import EXIT_CODES, clear_errors, print_error
from orchestration.cli.output import print_json, print_problems, print_summary
from orchestration.cli.terminal import console, line
from orchestration.cli.up import run_services
from orchestration.job_names import BITCOIN_JOB, CHECK_JOB, FIRST_LOAD_DAYS, JOB, NEWS_JOB, ONCHAIN_JOB, REBUILD_JOB
from orchestration.observability import health, logs
from orchestration.progress import Progress, ProgressListener
from orchestration.runner import quiet, refresh_window, run_job
from orchestration.session import run_session

ONE_DAY = timedelta(days=1)
# The datasets of both providers.
ONCHAIN = "onchain_daily"
# The datasets of all providers of headlines.
NEWS = "headlines"
# How often a run that is not on a terminal says how far it is.
LINE_EVERY_S = 10


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def run(as_json: bool) -> None:
    """Refresh once: fetch, load, build and check.

    An empty warehouse gets the last 30 days.
    """
    with run_session("run") as settings:
        _finish(refresh(settings, "run"), as_json)


@click.command()
@click.option(
    "--dataset",
    type=click.Choice([KLINES.name, ONCHAIN, BITCOIN_TRANSACTIONS.name, NEWS]),
    default=KLINES.name,
    show_default=True,
    help="Bars, Bitcoin transactions or headlines of a range of days, or the daily on-chain series since 2009.",
)
@click.option("--start", help="First UTC day, YYYY-MM-DD.")
@click.option("--end", help="UTC day after the last, YYYY-MM-DD; default: today is the last.")
@click.option("--interval", type=click.Choice(list(INTERVAL_MS)), default="1h", show_default=True)
@click.option(
    "--source",
    type=click.Choice(["rest", "archive", "auto"]),
    default="auto",
    show_default=True,
    help="Fetch from REST, from the bulk archives, or per month from the cheaper of the two.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def backfill(dataset: str, start: str | None, end: str | None, interval: str, source: str, as_json: bool) -> None:
    """Load the history of [start, end) in one run.

    Interrupt and restart it at any time; running it twice changes nothing.
    """
    if dataset == ONCHAIN:
        _backfill_onchain(start or end, as_json)
        return
    if start is None:
        raise SettingsError("--start: name the first UTC day, YYYY-MM-DD")
    if dataset == BITCOIN_TRANSACTIONS.name:
        _backfill_bitcoin(*_backfill_range(start, end, GENESIS, "Bitcoin has no block"), as_json)
        return
    if dataset == NEWS:
        _backfill_headlines(*_backfill_range(start, end, EARLIEST.date(), "there are no headlines"), as_json)
        return
    first, last = _backfill_range(start, end, BINANCE_OPENED, "Binance has no bars")
    with run_session("backfill") as settings:
        config = {"bronze__binance_klines": {"resume": True, "interval": interval, "source": source}}
        _finish(_run(settings, JOB, (first, last), config, "backfill"), as_json)


def _backfill_bitcoin(first: date, last: date, as_json: bool) -> None:
    """Load Bitcoin's transactions of [first, last), whether runs refresh them or not."""
    with run_session("backfill") as settings:
        config = {f"bronze__{BITCOIN_TRANSACTIONS.name}": {"start": first.isoformat(), "end": last.isoformat()}}
        _finish(_run(settings, BITCOIN_JOB, (first, last), config, "backfill"), as_json)


def _backfill_headlines(first: date, last: date, as_json: bool) -> None:
    """Load the headlines of [first, last): GDELT sends the last three months, Hacker News all, feeds and X none."""
    with run_session("backfill") as settings:
        days = {"start": first.isoformat(), "end": last.isoformat()}
        config = {f"bronze__{d.name}": days for d in (*HEADLINES, GDELT_TONE) if d.is_on(settings)}
        _finish(_run(settings, NEWS_JOB, (first, last), config, "backfill"), as_json)


def _backfill_onchain(day: str | None, as_json: bool) -> None:
    """Load the complete history of every on-chain series: it is one request per series, whatever the range."""
    if day:
        raise SettingsError(f"--dataset {ONCHAIN} loads the complete history: leave --start and --end out")
    with run_session("backfill") as settings:
        today = datetime.now(UTC).date()
        config = {f"bronze__{d.name}": {"complete": True} for d in (COINMETRICS_DAILY, BLOCKCHAIN_DAILY)}
        _finish(_run(settings, ONCHAIN_JOB, (ONCHAIN_SINCE, today + ONE_DAY), config, "backfill"), as_json)


@click.command()
@clear_errors
def up() -> None:
    """Run once, then keep everything running until Ctrl-C.

    That is Postgres, the bronze lake, Dagster with its hourly schedule, and the dashboard.
    """
    with run_session("up") as settings:
        run_services(settings, lambda: _print_to_stderr(refresh(settings, "up")))


@click.command()
@click.option("--seed", default=3, show_default=True, help="Seed of the simulated market.")
@click.option("--days", default=240, show_default=True, help="Days of history to simulate.")
@clear_errors
def demo(seed: int, days: int) -> None:
    """Do what `up` does, offline, with simulated markets."""
    use_demo_home(seed)
    with run_session("demo") as settings:
        today = datetime.now(UTC).date()
        window = (today - timedelta(days=days), today + ONE_DAY)
        config = {"bronze__binance_klines": {"skip_covered": True}}
        run_services(settings, lambda: _print_to_stderr(_run(settings, JOB, window, config, "demo")))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def check(as_json: bool) -> None:
    """Run the quality suites and the dbt tests alone."""
    with run_session("check") as settings:
        today = datetime.now(UTC).date()
        _finish(_run(settings, CHECK_JOB, (today, today + ONE_DAY), {}, "check"), as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def rebuild(as_json: bool) -> None:
    """Empty raw and the marts, and rebuild both from bronze."""
    with run_session("rebuild") as settings:
        store = settings.object_store
        assert store is not None
        days = [found for o in Lake(store).list(f"{KLINES.prefix}/") if (found := object_days(o.key))]
        if not days:
            raise LakeError(f"bucket {store.bucket} has no bars to rebuild raw from: run `tickmart backfill` first")
        config = {f"raw__{dataset.name}": {"rebuild": True} for dataset in DATASETS}
        _finish(_run(settings, REBUILD_JOB, (min(days)[0], max(end for _, end in days)), config, "rebuild"), as_json)


def refresh(settings: Settings, command: str) -> dict[str, Any]:
    """Run the whole job over the days of a refresh; return the run's summary."""
    window = refresh_window(settings, FIRST_LOAD_DAYS)
    return _run(settings, JOB, window, {"bronze__binance_klines": {"skip_covered": True}}, command)


def build_on_postgres(as_json: bool) -> None:
    """Load what is pending and build the models that changed, on Postgres."""
    today = datetime.now(UTC).date()
    with run_session("build") as settings:
        _finish(_run(settings, REBUILD_JOB, (today, today + ONE_DAY), {}, "build"), as_json)


def build_marts() -> str:
    """Build the marts from raw, without any source; return "partial" if some could not be built."""
    print_error("restored; building the marts (if interrupted, `tickmart run` builds them)")
    today = datetime.now(UTC).date()
    with run_session("restore") as settings:
        summary = _run(settings, REBUILD_JOB, (today, today + ONE_DAY), {}, "restore")
    if all(s["status"] == "ok" for s in summary["stages"] if s["stage"] == "dbt") and not summary["error"]:
        return "ok"  # a failed check is about the data, not about the restore
    _print_to_stderr(summary)
    return "partial"


def _backfill_range(start: str, end: str | None, since: date, nothing: str) -> tuple[date, date]:
    """Return the half-open range of days from ``since`` on that can be loaded; SettingsError if there are none.

    ``nothing`` says what there is not before.
    """
    today = datetime.now(UTC).date()
    first = _day("--start", start)
    last = _day("--end", end) if end else today + ONE_DAY
    if first >= last:
        raise SettingsError(f"--start {first} is not before --end {last}; the range is half-open, [start, end)")
    if first > today:
        raise SettingsError(f"--start {first} is in the future; today is {today} (UTC)")
    first, last = max(first, since), min(last, today + ONE_DAY)
    if first >= last:
        raise SettingsError(f"--end {end}: {nothing} before {since}; choose a later day")
    return first, last


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option}: {text!r} is not a day (YYYY-MM-DD)") from None


def _run(
    settings: Settings,
    job: str,
    window: tuple[date, date],
    config: dict[str, dict[str, Any]],
    command: str,
) -> dict[str, Any]:
    """Run a job with its output in a log file and its progress on the terminal; return the run's summary."""
    log = settings.home / "logs" / f"{command}-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
    began = time.monotonic()
    with quiet(log) as terminal:
        out = console(terminal)
        line(out, f"tickmart {command}: {window[0]} to {window[1]} (UTC, half-open); log: {log}")
        with _shown_progress(out) as progress, logs.shown(partial(line, out)):
            summary = run_job(job, *window, config, progress=progress)
    summary.update(command=command, seconds=round(time.monotonic() - began, 2), log=str(log))
    health.write_status(settings)
    return summary


@contextmanager
def _shown_progress(out: Console) -> Iterator[ProgressListener]:
    """Show reports as a bar on a terminal, elsewhere as a line every ten seconds."""
    bar = rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TextColumn("{task.completed}/{task.total} {task.fields[unit]} {task.fields[detail]}"),
        rich.progress.TimeRemainingColumn(),
        console=out,
        disable=not out.is_terminal,
        transient=True,
    )
    task = bar.add_task("start", total=None, unit="", detail="")
    phase, reported = "", time.monotonic()

    def show(state: Progress) -> None:
        nonlocal phase, reported
        if state.phase != phase:
            phase = state.phase
            bar.reset(task)
        bar.update(
            task, description=phase, completed=state.done, total=state.total, unit=state.unit, detail=state.detail
        )
        if not out.is_terminal and time.monotonic() - reported > LINE_EVERY_S:
            reported = time.monotonic()
            line(out, " ".join(filter(None, (phase, f"{state.done}/{state.total}", state.unit, state.detail))))

    with bar:
        yield show


def _print_to_stderr(summary: dict[str, Any]) -> None:
    print_summary(summary, console(sys.stderr))


def _finish(summary: dict[str, Any], as_json: bool) -> None:
    """Print the summary and exit with the code of its status."""
    if as_json:
        print_json(summary)
        print_problems(summary)
    else:
        print_summary(summary, console())
    sys.exit(EXIT_CODES[summary["status"]])
