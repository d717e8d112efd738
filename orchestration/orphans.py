"""Runs whose process exited without reporting: finding them and marking them as failed."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.database import connections
from ingestion.ops import runs as ops_runs

if TYPE_CHECKING:
    pass


# A run of a tickmart command carries its process id, and the host whose process ids these are: a container is one.
PID_TAG = "tickmart/pid"
HOST_TAG = "tickmart/host"
# Since when the code server lives, in its own environment: seconds of Unix time.
CODE_SERVER_SINCE = "TICKMART_CODE_SERVER_SINCE"
# Elsewhere only its beats tell that it lives. Longer than Postgres takes to come back, in which nobody can beat.
BEAT_EVERY_S, SILENCE_S = 20.0, 180.0


def close_orphans(
    instance: Any, connection: connections.Connection, launched_before: datetime | None = None
) -> list[str]:
    """Close the runs whose process has gone without a word; return their ids.

    Runs of a tickmart command carry its process id and host, and show that they live. Those of Dagster's own are
    children of its code server: what was launched before the one that lives now has died with an earlier one. A command
    may be killed before Dagster calls its run started, or has it at all: then the books alone know of it.
    """
    from dagster import DagsterRunStatus, RunsFilter

    in_progress = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING]
    records = [
        record
        for record in instance.get_run_records(RunsFilter(statuses=[*in_progress, DagsterRunStatus.NOT_STARTED]))
        if record.dagster_run.status in in_progress or command_pid(record.dagster_run) is not None
    ]
    runs = [record.dagster_run for record in records]
    launched = {
        record.dagster_run.run_id: datetime.fromtimestamp(record.start_time, UTC)
        if record.start_time
        else record.update_timestamp
        for record in records
    }
    here = socket.gethostname()
    elsewhere = {run.run_id for run in runs if command_pid(run) is not None and run.tags.get(HOST_TAG, here) != here}
    unknown = {run_id for run_id in ops_runs.open_runs(connection) if not instance.has_run(run_id)}
    silent = ops_runs.silent_runs(connection, [*elsewhere, *unknown], SILENCE_S)
    closed = sorted(silent & unknown)
    for run in runs:
        pid = command_pid(run)
        if pid is None:
            gone_here = launched_before is not None and launched[run.run_id] < launched_before
        else:
            gone_here = not _alive(pid)
        if run.run_id in silent or (run.run_id not in elsewhere and gone_here):
            instance.report_run_failed(run, "Its process ended without closing it (killed, or the machine went down).")
            # What it held of the pools is held for ever otherwise, and the next run waits for it.
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed.append(run.run_id)
    ops_runs.close_runs(connection, closed)
    return closed


def command_pid(run: Any) -> int | None:
    """Return the process id of the command that executes a run, None for a run of Dagster's own processes.

    A re-execution has the tags of the run that it repeats, but Dagster executes it.
    """
    pid = run.tags.get(PID_TAG)
    return int(pid) if pid is not None and run.parent_run_id is None else None


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return True
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        # A process id is given out again: where the system tells, the program must still be ours.
        line = command.read_bytes() if command.exists() else b"tickmart"
        return b"tickmart" in line or b"orchestration.cli" in line
    return False
