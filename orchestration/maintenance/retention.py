"""Removes old operational records; never data, but for days of live prices in raw, which bronze keeps.

Belongs here: how long and how many of each kind are retained, and their removal. Does not: bronze, raw and the marts,
which are else never removed; what another program limits (the work log by size; Dagster's ticks, see ``dagster.yaml``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.datasets import object_day
from ingestion.settings import Settings
from ingestion.sources.okx.dataset import OKX_TICKERS, OKX_TRADES
from ingestion.sources.okx.load import drop_partition, first_day, partition_days
from orchestration.local.client import LOG_FILE


@dataclass(frozen=True)
class Retention:
    """How many days a kind is retained, and at most how many of the newest."""

    days: int
    limit: int | None = None


# A rejected record is retained for a quarter, because it may be replayed. The limits are for schedules every five
# minutes, with which 30 days would be too many.
RETENTION = {
    "rejected records": Retention(90),
    "source requests": Retention(30),
    "check results": Retention(180),
    "run summaries": Retention(365),
    "alerts": Retention(180),
    "Dagster runs": Retention(30, 1000),
    "log files": Retention(30, 300),
    "dbt targets": Retention(7, 20),
    "Data Docs": Retention(30),
}
LIVE_DAYS = "days of live prices in raw"
_TABLES = {
    "rejected records": ["ops.rejected_records where rejected_at < %s"],
    "source requests": ["ops.source_requests where requested_at < %s"],
    "check results": [
        "ops.check_results where checked_at < %s",
        # Of loads that later loads have replaced.
        "ops.judged_batches as j where judged_at < %s"
        " and not exists (select 1 from ops.load_ledger as l where l.batch_id = j.batch_id)",
    ],
    "run summaries": ["ops.run_stages where ended_at < %s", "ops.runs where ended_at < %s"],
    # Open incidents and waiting alerts stay, however old; an incident is removed with its alerts.
    "alerts": [
        "ops.alerts where created_at < %s and incident_id is null and coalesce(sent_at, refused_at) is not null",
        "ops.incidents as i where recovered_at < %s and not exists (select 1 from ops.alerts as a"
        " where a.incident_id = i.incident_id and a.sent_at is null and a.refused_at is null)",
    ],
}
# Written as long as anything runs, and limited by size.
_LIVE = (LOG_FILE, "postgres.log", "s3.log", "nats.log", "stream.log", "tickmart.jsonl", "tickmart.lock")
# Folders of HOME with one file or folder per run; the dbt manifest is beside the runs' targets.
_FOLDERS: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "log files": ("logs", lambda path: path.is_file() and path.name not in _LIVE),
    "dbt targets": ("dbt", lambda path: path.is_dir()),
    "Data Docs": ("data_docs", lambda path: path.is_dir()),
}


def prune(settings: Settings, *, days: int | None = None, dry_run: bool = False) -> Iterator[tuple[str, int, int]]:
    """Remove old records, by ``days`` if given; yield each kind, the number removed, and its days."""
    now = datetime.now(UTC)
    for what, retention in RETENTION.items():
        keep_days = days or retention.days
        before = now - timedelta(days=keep_days)
        if what in _TABLES:
            count = _rows(settings, _TABLES[what], before, dry_run)
        elif what == "Dagster runs":
            count = _dagster_runs(settings, before, retention.limit, dry_run)
        else:
            folder, wanted = _FOLDERS[what]
            count = _old(settings.home / folder, before, retention.limit, dry_run, wanted)
        if what == "rejected records":
            count += _rejected_objects(settings, before, dry_run)
        yield what, count, keep_days
    yield LIVE_DAYS, _live_days(settings, now.date(), dry_run), settings.live_raw_days


def _live_days(settings: Settings, today: date, dry_run: bool) -> int:
    """Drop the partitions of live prices before the days that raw keeps; return their number."""
    count = 0
    with connections.connected(settings.postgres, "ingest") as connection:
        for dataset in (OKX_TRADES, OKX_TICKERS):
            days = partition_days(connection, dataset)
            old = [day for day in days if day < first_day(today, settings.live_raw_days)]
            for day in [] if dry_run else old:
                drop_partition(connection, dataset, day)
            count += len(old)
    return count


def _rows(settings: Settings, tables: list[str], before: datetime, dry_run: bool) -> int:
    count = 0
    with connections.connected(settings.postgres, "ingest") as connection, connection, connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"{'select 1' if dry_run else 'delete'} from {table}", (before,))  # noqa: S608 - see above
            count += cursor.rowcount
    return count


def _rejected_objects(settings: Settings, before: datetime, dry_run: bool) -> int:
    assert settings.object_store is not None
    lake = Lake(settings.object_store)
    old = [o.key for o in lake.list("_rejected/") if (object_day(o.key) or date.max) < before.date()]
    for key in [] if dry_run else old:
        lake.remove(key)
    return len(old)


def _dagster_runs(settings: Settings, before: datetime, limit: int | None, dry_run: bool) -> int:
    """Remove ended runs with their events and captured output, and output without a run."""
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        # By default each deletion opens connections of its own.
        instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=4)
        records = instance.get_run_records()  # the newest first
        old = [
            record.dagster_run.run_id
            for rank, record in enumerate(records)
            if record.dagster_run.is_finished and (record.create_timestamp < before or rank >= (limit or len(records)))
        ]
        for run_id in [] if dry_run else old:
            instance.delete_run(run_id)
    remaining = {record.dagster_run.run_id for record in records} - set(old)
    # Dagster does not remove a deleted run's captured output.
    _old(settings.home / "dagster" / "storage", before, None, dry_run, lambda path: path.name not in remaining)
    for run_id in [] if dry_run else old:
        shutil.rmtree(settings.home / "dagster" / "storage" / run_id, ignore_errors=True)
    return len(old)


def _old(folder: Path, before: datetime, limit: int | None, dry_run: bool, wanted: Callable[[Path], bool]) -> int:
    """Remove entries of a folder that were last changed before a moment, or are not among the newest."""
    if not folder.is_dir():
        return 0
    found = sorted((p for p in folder.iterdir() if wanted(p)), key=lambda p: p.stat().st_mtime, reverse=True)
    old = [
        path
        for rank, path in enumerate(found)
        if path.stat().st_mtime < before.timestamp() or rank >= (limit or len(found))
    ]
    for path in [] if dry_run else old:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(old)
