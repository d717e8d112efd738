"""What is thrown away when it is old: records of what happened, never data.

Belongs here: how long each kind is kept, and removing it. Does not: bronze, raw and the marts, which are kept whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingestion import warehouse
from ingestion.lake import Lake
from ingestion.settings import Settings

# Days. Requests are many and soon dull; a rejected record is worth a quarter, because it may be replayed.
KEEP_DAYS = {
    "rejected records": 90,
    "source requests": 30,
    "check results": 180,
    "run summaries": 365,
    "Dagster runs": 30,
    "log files": 30,
    "dbt targets": 7,
}
_TABLES = {
    "rejected records": ["ops.rejected_records where rejected_at < %s"],
    "source requests": ["ops.source_requests where requested_at < %s"],
    "check results": ["ops.check_results where checked_at < %s"],
    "run summaries": ["ops.run_stages where ended_at < %s", "ops.runs where ended_at < %s"],
}


def prune(settings: Settings, *, days: int | None = None, dry_run: bool = False) -> Iterator[tuple[str, int, int]]:
    """Remove what is older than its days (or ``days``); yield each kind, how many of it there were, and the days."""
    now = datetime.now(UTC)
    for what, usual in KEEP_DAYS.items():
        kept = days or usual
        before = now - timedelta(days=kept)
        if what in _TABLES:
            count = _rows(settings, _TABLES[what], before, dry_run)
        elif what == "Dagster runs":
            count = _dagster_runs(before, dry_run)
        elif what == "log files":
            count = _old(settings.home / "logs", before, dry_run, lambda path: path.is_file())
        else:
            # The manifest lies in the folder itself; each run has a folder of its own beside it.
            count = _old(settings.home / "dbt", before, dry_run, lambda path: path.is_dir())
        if what == "rejected records":
            count += _rejected_objects(settings, before, dry_run)
        yield what, count, kept


def _rows(settings: Settings, tables: list[str], before: datetime, dry_run: bool) -> int:
    assert settings.postgres is not None
    count = 0
    with (
        warehouse.closing(warehouse.connect(settings.postgres, "ingest")) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        for table in tables:
            cursor.execute(f"select count(*) from {table}", (before,))  # noqa: S608 - names from the table above
            found = cursor.fetchone()
            count += found[0] if found else 0
            if not dry_run:
                cursor.execute(f"delete from {table}", (before,))  # noqa: S608
    return count


def _rejected_objects(settings: Settings, before: datetime, dry_run: bool) -> int:
    assert settings.object_store is not None
    lake = Lake(settings.object_store)
    old = [o.key for o in lake.list("_rejected/") if o.key.partition("date=")[2][:10] < before.date().isoformat()]
    for key in [] if dry_run else old:
        lake.remove(key)
    return len(old)


def _dagster_runs(before: datetime, dry_run: bool) -> int:
    from dagster import DagsterInstance, RunsFilter

    with DagsterInstance.get() as instance:
        old = [r for r in instance.get_run_records(RunsFilter(created_before=before)) if r.dagster_run.is_finished]
        for record in [] if dry_run else old:
            instance.delete_run(record.dagster_run.run_id)
    return len(old)


def _old(folder: Path, before: datetime, dry_run: bool, wanted: Callable[[Path], bool]) -> int:
    """Remove what lies directly in a folder and was last changed before a moment."""
    if not folder.is_dir():
        return 0
    old = [p for p in folder.iterdir() if wanted(p) and p.stat().st_mtime < before.timestamp()]
    for path in [] if dry_run else old:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(old)
