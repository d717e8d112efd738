"""Restores a backup into an empty database and an empty bucket, and verifies one by restoring its dump elsewhere.

Belongs here: restoring, and comparing row counts with the manifest. Does not: the marts, which dbt builds afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from ingestion.bronze.lake import Lake
from ingestion.database import migrate
from ingestion.database.connections import Connection, connected, execute, locked
from ingestion.settings import Postgres, Role, Settings
from orchestration.local.client import local_services
from orchestration.maintenance.backup_files import DUMP, Manifest, exclusive, in_parallel, object_path, verify_files
from orchestration.maintenance.errors import BackupError
from orchestration.maintenance.postgres_client import running

SCHEMAS = ("raw", "ops")


def restore(
    settings: Settings, folder: Path, passwords: dict[Role, str] | None, *, report: Callable[[str], None]
) -> Manifest:
    """Restore a backup; return its manifest with ``differences``, which is empty on success.

    Nothing is written before every file of the backup is verified, and database and bucket are found empty. An
    interrupted restore resumes: objects that are there already are compared, and the tables are restored in one
    transaction.
    """
    assert settings.postgres is not None
    assert settings.object_store is not None
    owner, lake = settings.postgres, Lake(settings.object_store)
    report(f"verifying {folder}")
    manifest = verify_files(folder)
    known = len(migrate.read_migrations())
    if manifest["migration"] > known:
        raise BackupError(
            f"{folder} was made by tickmart {manifest['tickmart']} at migration {manifest['migration']}, tickmart "
            f"{version('tickmart')} knows {known}: use that version or a newer one"
        )
    tables_restored = _is_restored(owner, manifest)
    lake.ensure_bucket()
    missing = _missing_objects(lake, manifest)
    report(f"writing {len(missing):,} of {len(manifest['objects']):,} objects")
    differences = [problem for problem in in_parallel(lambda entry: _put(lake, folder, entry), missing) if problem]
    if not tables_restored:
        report(f"restoring {len(manifest['tables'])} tables")
        restore_database(owner, passwords, folder, manifest)
    differences += row_differences(owner, manifest)
    if not differences:
        _finish(owner)
        migrate.bootstrap(owner, passwords)
    return {**manifest, "path": str(folder), "differences": differences}


def restore_database(
    owner: Postgres, passwords: dict[Role, str] | None, folder: Path, manifest: Manifest
) -> None:  # fmt: skip
    """Create roles, schemas and grants, and replace the empty raw and ops by those of the dump."""
    migrate.bootstrap(owner, passwords)
    with connected(owner) as connection, connection, connection.cursor() as cursor:
        cursor.execute("select rolname from pg_roles where rolname = any(%s)", (manifest["roles"],))
        for role in set(manifest["roles"]) - {name for (name,) in cursor.fetchall()}:
            cursor.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
        cursor.execute(f"lock table {', '.join(tables_of(connection))} in access exclusive mode")
        if table := _first_with_rows(connection):
            raise BackupError(f"{table} got rows during the restore: stop whatever else writes to this database")
        cursor.execute("drop schema raw, ops cascade")
    arguments = ["--single-transaction", f"--dbname={owner.database}", str(folder / DUMP)]
    with running("pg_restore", manifest["postgres_major"], owner, arguments):
        pass


def row_differences(owner: Postgres, manifest: Manifest) -> list[str]:
    """Return one line per table whose row count is not that of the manifest."""
    with connected(owner) as connection:
        found = row_counts(connection, tables_of(connection))
    expected = {name: table["rows"] for name, table in manifest["tables"].items()}
    lines = [f"{name} is not in the backup" for name in found.keys() - expected.keys()]
    for name, rows in expected.items():
        if name not in found:
            lines.append(f"{name} was not restored")
        elif found[name] != rows:
            lines.append(f"{name} has {found[name]:,} rows instead of {rows:,}")
    return sorted(lines)


def tables_of(connection: Connection) -> list[str]:
    """Return the tables of raw and ops that store rows: partitions instead of partitioned tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select format('%%I.%%I', n.nspname, c.relname) from pg_class as c"
            " inner join pg_namespace as n on n.oid = c.relnamespace"
            " where n.nspname = any(%s) and c.relkind = 'r' order by 1",
            (list(SCHEMAS),),
        )
        return [name for (name,) in cursor.fetchall()]


def row_counts(connection: Connection, tables: Iterable[str]) -> dict[str, int]:
    """Return the number of rows of each table."""
    counts = {}
    with connection.cursor() as cursor:
        cursor.execute("set local statement_timeout = 0")
        for table in tables:
            cursor.execute(f"select count(*) from {table}")  # noqa: S608 - a name from the catalog
            counts[table] = int((cursor.fetchone() or (0,))[0])
    return counts


def _is_restored(owner: Postgres, manifest: Manifest) -> bool:
    """Return whether the tables are restored already; BackupError if the database has anything else."""
    with connected(owner) as connection:
        major = connection.info.server_version // 10_000
        occupied = _occupied_by(connection)
    if major < manifest["postgres_major"]:
        raise BackupError(
            f"Postgres {owner.address} is {major}, the backup is of {manifest['postgres_major']}: "
            "restore into that version or a newer one"
        )
    if occupied and row_differences(owner, manifest):
        raise BackupError(
            f"database {owner.database} on {owner.address} is not empty ({occupied}): restore into a new one "
            "(another TICKMART_HOME or PGDATABASE), or drop it first if nothing in it is needed"
        )
    return occupied is not None


def _occupied_by(connection: Connection) -> str | None:
    """Return the name of a relation that makes a database not empty: a model of dbt's, or a table with rows."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select n.nspname || '.' || c.relname from pg_class as c"
            " inner join pg_namespace as n on n.oid = c.relnamespace"
            " where n.nspname in ('staging', 'intermediate', 'marts') order by 1 limit 1"
        )
        model = cursor.fetchone()
        return model[0] if model else _first_with_rows(connection)


def _first_with_rows(connection: Connection) -> str | None:
    """Return the first table that has rows; ops.migrations, which every set-up fills, does not count."""
    counts = row_counts(connection, tables_of(connection))
    return next((name for name, rows in counts.items() if rows and name != "ops.migrations"), None)


def _missing_objects(lake: Lake, manifest: Manifest) -> list[dict[str, Any]]:
    """Return the objects that the bucket does not have yet; BackupError if it has any that are not the backup's."""
    expected = {entry["key"]: entry for entry in manifest["objects"]}
    present = [info.key for info in lake.list("")]
    same = in_parallel(lambda key: key in expected and _is_stored(lake, expected[key]), present)
    if foreign := [key for key, is_same in zip(present, same, strict=True) if not is_same]:
        raise BackupError(
            f"bucket {lake.store.bucket} at {lake.store.endpoint} is not empty ({len(foreign):,} objects that are not "
            f"the backup's, such as {foreign[0]}): restore into a new one (another TICKMART_HOME or MINIO_BUCKET), or "
            "empty it"
        )
    return [entry for key, entry in expected.items() if key not in set(present)]


def _is_stored(lake: Lake, entry: Mapping[str, Any]) -> bool:
    body = lake.get(entry["key"])
    return body is not None and hashlib.sha256(body).hexdigest() == entry["sha256"]


def _put(lake: Lake, folder: Path, entry: Mapping[str, Any]) -> str | None:
    """Write one object and read it back; return the problem if it has other bytes."""
    lake.put(entry["key"], object_path(folder, entry["key"]).read_bytes())
    return None if _is_stored(lake, entry) else f"object {entry['key']} reads back with other bytes"


def _finish(owner: Postgres) -> None:
    """Mark the runs that were in progress during the backup as failed, and collect planner statistics."""
    with connected(owner) as connection:
        execute(
            connection, "update ops.runs set status = 'failed', ended_at = clock_timestamp() where status = 'running'"
        )
        execute(connection, f"analyze {', '.join(tables_of(connection))}")


# -- verification ------------------------------------------------------------------------------------------------------


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
    with connected(owner) as lock, locked(lock, "backup check"), connected(owner) as connection:
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
