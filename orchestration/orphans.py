"""Runs whose process exited without reporting: finding them and marking them as failed."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingestion.database import connections
from ingestion.ops import runs as ops_runs

# A run of a tickmart command has its process id and host (a container is a host) as tags.
PID_TAG = "tickmart/pid"
HOST_TAG = "tickmart/host"
# When the code server started, in its own environment: seconds of Unix time.
CODE_SERVER_SINCE = "TICKMART_CODE_SERVER_SINCE"
# A process on another host is known only by its heartbeats. No heartbeat can be recorded while Postgres restarts.
HEARTBEAT_EVERY_S, MAX_SILENCE_S = 20.0, 180.0


def close_orphans(
    instance: Any, connection: connections.Connection, launched_before: datetime | None = None
) -> list[str]:
    """Mark runs as failed whose process exited without reporting; return their ids.

    Runs of a tickmart command have its process id and host as tags, and heartbeats. Dagster's own runs are children of
    its code server: those launched before the present one started (``launched_before``) ended with an earlier one. A
    command may be killed before Dagster has its run as started, or at all: then only schema ops has it.
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
    silent = ops_runs.silent_runs(connection, [*elsewhere, *unknown], MAX_SILENCE_S)
    closed = sorted(silent & unknown)
    for run in runs:
        pid = command_pid(run)
        if pid is None:
            exited_here = launched_before is not None and launched[run.run_id] < launched_before
        else:
            exited_here = not _alive(pid)
        if run.run_id in silent or (run.run_id not in elsewhere and exited_here):
            instance.report_run_failed(run, "Its process exited without reporting (killed, or the machine went down).")
            # Otherwise its pool slots are never released, and the next run waits for them.
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
        # Process ids are reused: where /proc exists, the program must be tickmart.
        line = command.read_bytes() if command.exists() else b"tickmart"
        return b"tickmart" in line or b"orchestration.cli" in line
    return False
