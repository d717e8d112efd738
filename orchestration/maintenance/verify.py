"""Verifies a backup by restoring its dump into a scratch database, which is removed again."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg2
from psycopg2 import sql

from ingestion.database.connections import closing, connect, locked
from ingestion.settings import Postgres, Settings
from orchestration.local.client import local_services
from orchestration.maintenance.backup_files import Manifest, exclusive, verify_files
from orchestration.maintenance.errors import BackupError
from orchestration.maintenance.restore import restore_database, row_differences


def verify_restore(settings: Settings, folder: Path, *, embedded: bool, report: Callable[[str], None]) -> Manifest:
    """Return the manifest of a backup that restores completely; BackupError otherwise.

    With the embedded servers a second server is started; on the user's server a scratch database is created.
    """
    manifest = verify_files(folder)
    with _scratch_server(settings) if embedded else _scratch_database(settings) as scratch:
        report(f"restoring into an empty {'server' if embedded else 'database'} to compare")
        restore_database(scratch, None, folder, manifest)
        differences = row_differences(scratch, manifest)
    if differences:
        raise BackupError(f"{folder} does not restore as it was made: {'; '.join(differences[:3])}: make another")
    return manifest


@contextlib.contextmanager
def _scratch_server(settings: Settings) -> Iterator[Postgres]:
    home = settings.home / "check"
    with exclusive(settings.home / "check.lock", f"another verification uses {home}"):
        shutil.rmtree(home, ignore_errors=True)  # left by a killed process
        try:
            with local_services(home, postgres=True, s3=False) as env:
                yield Postgres(
                    env["PGHOST"], int(env["PGPORT"]), env["PGDATABASE"], env["PGUSER"], env["PGPASSWORD"]
                )  # fmt: skip
        finally:
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _scratch_database(settings: Settings) -> Iterator[Postgres]:
    owner = settings.postgres
    assert owner is not None
    scratch = replace(owner, database=f"{owner.database}_backup_check")
    name = sql.Identifier(scratch.database)
    drop = sql.SQL("drop database if exists {} with (force)").format(name)
    with closing(connect(owner)) as lock, locked(lock, "backup check"), closing(connect(owner)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            try:
                cursor.execute(drop)
                cursor.execute(sql.SQL("create database {} template template0").format(name))
            except psycopg2.errors.InsufficientPrivilege as error:
                raise BackupError(
                    f"{owner.user} may not create the database {scratch.database} that verifies the backup: "
                    "grant CREATEDB, or run with --no-check"
                ) from error
            try:
                yield scratch
            finally:
                cursor.execute(drop)
