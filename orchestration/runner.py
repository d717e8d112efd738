"""Runs a command's job in this process, with the Dagster instance that it needs.

Does not belong here: the command line (``cli``), its servers and environment (``session``), the job (``definitions``).

Lazy imports: Dagster, and our modules that import it, are imported inside functions. That takes two seconds, which
`tickmart sql` and other commands without a run must not pay.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

import psycopg2

from ingestion.database import connections
from ingestion.database.connections import WarehouseError
from ingestion.ops import coverage, runs
from ingestion.settings import Settings
from ingestion.sources.binance import rest
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.source import REST_API
from ingestion.sources.binance.symbols import tracked_now
from ingestion.sources.http import SourceError
from ingestion.universe import read_universe
from orchestration.alerting import outbox
from orchestration.local.processes import LocalServicesError
from orchestration.maintenance import disk
from orchestration.observability import logs
from orchestration.observability.attempts import record_failure
from orchestration.orphans import HEARTBEAT_EVERY_S, HOST_TAG, PID_TAG, close_orphans
from orchestration.progress import Progress, ProgressListener, ignore_progress
from orchestration.quality import process

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from orchestration.resources import Stores


@contextmanager
def quiet(log: Path) -> Iterator[IO[str]]:
    """Redirect stdout and stderr of this process and its children to ``log``; yield the terminal's stderr."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved_out, saved_err = os.dup(1), os.dup(2)
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    with log.open("a") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield terminal
        finally:
            with suppress(OSError):  # a full disk must not prevent restoring the terminal
                sys.stdout.flush()
            with suppress(OSError):
                sys.stderr.flush()
            os.dup2(saved_out, 1)
            os.dup2(saved_err, 2)
            os.close(saved_out)
            os.close(saved_err)
            terminal.close()


@contextmanager
def dagster_instance() -> Iterator[DagsterInstance]:
    """Yield Dagster's instance, with its tables migrated to the installed version of Dagster.

    Dagster creates its tables but does not migrate them: this does what `dagster instance migrate` does, once per
    version. LocalServicesError if a newer version has migrated them.
    """
    import dagster as dg

    from orchestration.reconnect import install_connection_retries

    install_connection_retries()
    with dg.DagsterInstance.get() as instance:
        _migrate_dagster(instance, dg.__version__)
        yield instance


def _migrate_dagster(instance: DagsterInstance, version: str) -> None:
    from orchestration.resources import Stores

    with connections.closing(Stores().connect("ingest")) as connection:
        if runs.version(connection, "dagster") == version:
            return
        from alembic.util import CommandError

        with connections.locked(connection, "dagster"):
            try:
                instance.upgrade()
            except CommandError as error:
                raise LocalServicesError(
                    f"schema dagster is of a newer Dagster than {version} ({error}): use a newer tickmart, or drop the "
                    "schema, which loses only Dagster's list of runs"
                ) from error
        runs.set_version(connection, "dagster", version)


def market_clock(settings: Settings) -> datetime:
    """Return the exchange's time, or this host's if the exchange does not answer."""
    client = REST_API.client(settings, deadline_s=10)
    try:
        return rest.exchange_clock(client)
    except SourceError:
        # The run itself reports the error; only a date is needed here.
        return datetime.now(UTC)
    finally:
        client.close()


def refresh_window(settings: Settings, first_load_days: int) -> tuple[date, date]:
    """Return the half-open range of UTC days of a refresh: two days, or more after days without a run."""
    assert settings.postgres is not None
    # Dagster's partitions end with this host's day, whatever the exchange's clock says.
    today = min(market_clock(settings), datetime.now(UTC)).date()
    symbols = tracked_now(read_universe(settings.universe_path), today)
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        return coverage.refresh_start(connection, KLINES, symbols, today, first_load_days), today + timedelta(days=1)


def run_job(
    job_name: str,
    start: date,
    end: date,
    config: Mapping[str, Mapping[str, Any]],
    *,
    progress: ProgressListener = ignore_progress,
) -> dict[str, Any]:
    """Run a job over the UTC days [start, end) in this process and return its summary from schema ops.

    ``config`` is the config of the steps by name. The run appears in Dagster's list as any other. A failed step raises
    nothing: the summary has the status.
    """
    from orchestration.definitions import defs
    from orchestration.partitions import range_tags
    from orchestration.resources import Stores

    stores = Stores()
    # Imported objects live until the end: without this the garbage collector visits them for every page that is parsed
    # (a tenth of a backfill's CPU).
    gc.freeze()
    run_id = str(uuid4())
    began = time.monotonic()
    job = defs.resolve_job_def(job_name)
    run_config = {
        "ops": {step: {"config": dict(values)} for step, values in config.items()},
        "loggers": {"console": {"config": {"log_level": "INFO"}}},
    }
    tags = {**range_tags(start, end), PID_TAG: str(os.getpid()), HOST_TAG: socket.gethostname()}
    # The user who stopped a command decides whether it runs again, not the daemon.
    tags["dagster/max_retries"] = "0"
    previous = signal.signal(signal.SIGTERM, _interrupt)
    with kept_interrupts(), dagster_instance() as instance:
        # By default each of a range's thousands of events opens a connection of its own, 12 ms each.
        instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=4)
        with connections.closing(stores.connect("ingest")) as connection:
            close_orphans(instance, connection)
            runs.begin_run(connection, run_id, job_name)
            runs.beat(connection, run_id)
        problem: str | None = None
        ended = start_heartbeat(stores, run_id)
        instance.add_event_listener(run_id, step_reports(len(job.graph.node_names()), progress))
        try:
            result = job.execute_in_process(
                instance=instance, run_id=run_id, run_config=run_config, tags=tags, resources={"progress": progress},
                raise_on_error=False,
            )  # fmt: skip
            problem = first_failure(result)
            if problem:
                problem = disk.explained(LocalServicesError(problem), stores.settings.home) or problem
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
            traceback.print_exc()
            raise
        finally:
            signal.signal(signal.SIGTERM, previous)
            ended.set()
            process.stop()
            window = {"start": start.isoformat(), "end": end.isoformat()}
            summary = _end_run(stores, run_id, job_name, window, problem, time.monotonic() - began)
    return summary


def step_reports(steps: int, progress: ProgressListener) -> Callable[[Any], None]:
    """Return a listener of Dagster's events that reports each step when it starts."""
    started: list[str] = []

    def report(entry: Any) -> None:
        event = entry.dagster_event
        if event is not None and event.event_type_value == "STEP_START":
            started.append(event.step_key)
            progress(Progress("step", len(started), steps, detail=event.step_key))

    return report


def _end_run(
    stores: Stores, run_id: str, job_name: str, window: dict[str, str], problem: str | None, seconds: float
) -> dict[str, Any]:
    """Record the end of a run in schema ops and in the work log, send alerts, and return the run's summary."""
    # A new connection: the server may have restarted since the run began.
    with _recorded_if_lost(stores, job_name, run_id), connections.closing(stores.connect("ingest")) as connection:
        summary = runs.summarize_run(connection, run_id)
        if problem and summary["status"] != "failed":
            summary["status"] = "failed"
        summary["error"] = problem
        summary["window"] = window
        runs.end_run(connection, run_id, summary["status"], summary)
    logs.unit(
        "run ended", run=run_id, job=job_name, partition=f"{window['start']}/{window['end']}",
        status=summary["status"], seconds=seconds, problem=problem,
        **{word: summary["checks"][word] for word in ("passed", "warned", "failed")},
    )  # fmt: skip
    if unsent := outbox.evaluate_and_send_best_effort(stores.settings):
        logs.unit("alerts", run=run_id, status="failed", problem=unsent)
    return summary


@contextmanager
def _recorded_if_lost(stores: Stores, job_name: str, run_id: str) -> Iterator[None]:
    """Record a run as failed in the home if the database cannot record its end."""
    try:
        yield
    except (WarehouseError, psycopg2.Error) as error:
        home = stores.settings.home
        record_failure(home, "run", job_name, disk.explained(error, home) or error, run_id)
        raise


def start_heartbeat(stores: Stores, run_id: str) -> threading.Event:
    """Record a heartbeat of the run every few seconds until the returned event is set."""
    ended = threading.Event()
    postgres = stores.settings.postgres
    assert postgres is not None

    def beat() -> None:
        while not ended.wait(HEARTBEAT_EVERY_S):
            # Without the database no run has a heartbeat: nothing to report here.
            with (
                suppress(WarehouseError, psycopg2.Error),
                connections.closing(connections.connect(postgres, "ingest")) as connection,
            ):
                runs.beat(connection, run_id)

    threading.Thread(target=beat, daemon=True).start()
    return ended


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block if a SIGINT or SIGTERM within it raised nothing.

    Dagster captures both between its steps, and ignores one that arrives after its last check.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    # Python writes the number of each signal here, whatever handler is installed at that moment.
    previous = signal.set_wakeup_fd(writer)
    received = b""
    try:
        yield
        with suppress(BlockingIOError):
            received = os.read(reader, 1024)
    finally:
        signal.set_wakeup_fd(previous)
        os.close(reader)
        os.close(writer)
    if {signal.SIGINT, signal.SIGTERM}.intersection(received):
        raise KeyboardInterrupt


def _interrupt(number: int, frame: object) -> None:
    """Turn SIGTERM into the exception of Ctrl-C, so that the end of the run is recorded either way."""
    raise KeyboardInterrupt


def first_failure(result: Any) -> str | None:
    """Return the error of the first failed step in one line, None if no step failed."""
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            described = getattr(event.step_failure_data.user_failure_data, "description", None)
            text = described or (error.message if error is not None else "")
            return f"{event.step_key}: {' '.join(text.split())[:500]}"
    return None if result.success else "the run failed; see its log"
