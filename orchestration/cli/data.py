"""Commands about stored data: rejected, prune, compact, backup, restore."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import orjson

from ingestion.bronze import rejected as bronze_rejected
from ingestion.bronze.compaction import REMOVE_AFTER
from ingestion.bronze.lake import Lake
from ingestion.bronze.write import Context
from ingestion.database import connections
from ingestion.settings import Settings, load_settings
from ingestion.sources.datasets import DATASETS
from ingestion.sources.news.deletions import delete_gone_posts
from ingestion.sources.news.source import X
from orchestration.cli.errors import EXIT_CODES, clear_errors, print_error
from orchestration.cli.output import print_json, print_rejected
from orchestration.cli.queries import json_option, warehouse
from orchestration.cli.run import build_marts
from orchestration.cli.terminal import console, line
from orchestration.local import demo
from orchestration.maintenance import backup as maintenance_backup
from orchestration.maintenance import backup_files, compaction, retention
from orchestration.maintenance import restore as maintenance_restore
from orchestration.session import logins, session


@click.group()
def rejected() -> None:
    """List or replay records that broke their contract."""


@rejected.command("list")
@click.option("--limit", default=50, show_default=True, help="Maximum number of records, newest first.")
@json_option
@clear_errors
def rejected_list(limit: int, as_json: bool) -> None:
    """List the rejected records with their reasons and when they were replayed."""
    with warehouse("quality_ro") as (_, connection):
        found = bronze_rejected.list_rejected(connection, limit)
    if as_json:
        print_json([{**row, "record": orjson.Fragment(row["record"])} for row in found])
    else:
        print_rejected(found, console())


@rejected.command("replay")
@clear_errors
def rejected_replay() -> None:
    """Validate the rejected records again; write those that pass to bronze for the next run."""
    with session() as settings:
        assert settings.object_store is not None
        lake = Lake(settings.object_store)
        lake.ensure_bucket()
        with connections.connected(settings.postgres, "ingest") as connection:
            batch_id = f"replay {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            replayed = bronze_rejected.replay(Context(lake, connection, batch_id), DATASETS)
    for name, (passed, validated) in replayed.items():
        click.echo(f"{name}: {passed:,} of {validated:,} records passed and were written to bronze")
    click.echo("`tickmart run` loads them." if any(passed for passed, _ in replayed.values()) else "Nothing to load.")


@click.command()
@click.option("--days", type=click.IntRange(1), help="Keep this many days of everything instead of the defaults.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@clear_errors
def prune(days: int | None, dry_run: bool) -> None:
    """Remove old logs, runs and rejected records, and the posts that are gone at X; no other data."""
    with session() as settings:
        for what, count, keep_days in retention.prune(settings, days=days, dry_run=dry_run):
            word = "would be removed" if dry_run else "removed"
            line(console(), f"{what} older than {keep_days} days: {count:,} {word}")
        if settings.x_bearer_token:
            _prune_posts(settings, dry_run)


def _prune_posts(settings: Settings, dry_run: bool) -> None:
    """Delete the posts that are gone at X."""
    assert settings.object_store is not None
    with (
        connections.connected(settings.postgres, "ingest") as connection,
        contextlib.closing(X.client(settings)) as client,
    ):
        now = datetime.now(UTC)
        asked, gone = delete_gone_posts(Lake(settings.object_store), connection, client, now, dry_run=dry_run)
    word = "would be deleted" if dry_run else "deleted"
    line(console(), f"posts at X: {asked:,} asked for, {gone:,} are gone and {word}")


@click.command()
@click.option("--remove-now", is_flag=True, help="Remove merged objects at once: nothing else reads the lake now.")
@json_option
@clear_errors
def compact(remove_now: bool, as_json: bool) -> None:
    """Merge the small objects of bronze: hours of live prices, closed days and months.

    Merged objects are removed by the next compaction after an hour, so that running queries can still read them. The
    schedules do both. Interrupt it at any time: nothing is lost.
    """
    with session() as settings, connections.connected(settings.postgres, "ingest") as connection:
        assert settings.object_store is not None
        lake = Lake(settings.object_store)
        lake.ensure_bucket()
        batch_id = f"compact {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        wait = timedelta() if remove_now else REMOVE_AFTER
        done = compaction.compact_hours(lake, connection)
        done += compaction.compact_months(lake, connection, batch_id, remove_after=wait)
    if as_json:
        print_json(asdict(done))
    else:
        click.echo(f"{done.objects:,} objects merged into {done.merged:,} of {done.rows:,} rows")
        click.echo(f"{done.removed:,} merged objects removed, {done.waiting:,} wait for a compaction after an hour")
    for problem in done.problems:
        print_error(problem)
    sys.exit(EXIT_CODES["partial" if done.problems else "ok"])


@click.command()
@click.argument("target", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--check/--no-check", default=True, help="Verify the backup by a restore into an empty database.")
@click.option("--keep", type=click.IntRange(1), help="Keep this many backups in TARGET and remove older ones.")
@json_option
@clear_errors
def backup(target: Path | None, check: bool, keep: int | None, as_json: bool) -> None:
    """Write a verified backup to a new folder in TARGET.

    It has the database, every bronze object and checksums. TARGET defaults to TICKMART_BACKUPS, else
    .tickmart/backups. Runs may go on meanwhile.
    """
    embedded = load_settings().postgres is None
    with session(set_up=False) as settings:
        into = (target or settings.backups).absolute()
        made = maintenance_backup.make(settings, into, embedded=embedded, check=check, keep=keep, report=print_error)
    missing = made["missing_objects"]
    if as_json:
        print_json(backup_files.summary(made))
    else:
        click.echo(f"backup {made['path']}: {backup_files.describe(made)}")
    for key in missing[:10]:
        print_error(f"the load ledger names {key}, but the bucket does not have it: the backup lacks it")
    sys.exit(EXIT_CODES["partial" if missing else "ok"])


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Only verify: restore into an empty scratch database, compare, drop it.")
@json_option
@clear_errors
def restore(source: Path, check: bool, as_json: bool) -> None:
    """Restore the backup in the folder SOURCE.

    The database and the bucket must be empty; the marts are built at the end. An interrupted restore resumes when it is
    started again.
    """
    source = source.absolute()
    embedded = load_settings().postgres is None
    built = "ok"
    with session(postgres=not check, s3=not check, set_up=False) as settings:
        if check:
            done = maintenance_restore.verify_restore(settings, source, embedded=embedded, report=print_error)
        else:
            done = maintenance_restore.restore(settings, source, logins(os.environ), report=print_error)
            if (seed := done.get("simulated_seed")) is not None:
                demo.mark_restored(settings, seed, embedded=embedded)
            if not done["differences"]:
                built = build_marts()  # inside this session: its environment names the servers
    differences = done.setdefault("differences", [])
    if as_json:
        print_json(backup_files.summary(done))
    elif not differences:
        click.echo(f"{'checked' if check else 'restored'} {source}: {backup_files.describe(done)}, no differences")
    for difference in differences:
        print_error(difference)
    sys.exit(EXIT_CODES["failed" if differences else built])
