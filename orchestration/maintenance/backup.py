"""Makes a backup: one folder with a dump of the database, every object of the bucket, and a manifest.

Belongs here: making one, and removing old ones. Does not: restoring (``restore``), verifying (``verify``), the files'
format (``backup_files``).

A backup has schemas raw and ops (pg_dump) and every object of the bucket. It has neither marts, staging nor
intermediate: dbt builds them from raw. Nor has it Dagster's schema: coverage, ledger, unfinished backfills and what
`tickmart status` shows are in ops, and Dagster's run list would tie a backup to one version of Dagster.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingestion.bronze.compaction import LOCK
from ingestion.bronze.lake import Lake
from ingestion.database.connections import Connection, connected, fetch, locked
from ingestion.settings import ROLES, Postgres, Settings
from orchestration.local import demo
from orchestration.maintenance import disk
from orchestration.maintenance.backup_files import (
    BRONZE,
    DUMP,
    FORMAT,
    MANIFEST,
    NAME,
    Manifest,
    exclusive,
    file_errors,
    in_parallel,
    object_path,
    sha256,
    write_manifest,
)
from orchestration.maintenance.errors import BackupError
from orchestration.maintenance.postgres_client import running
from orchestration.maintenance.restore import SCHEMAS, row_counts, tables_of, verify_restore

# How long a rebuild, which empties a table, may keep it locked.
_LOCK_WAIT = "120s"


def make(
    settings: Settings,
    into: Path,
    *,
    embedded: bool,
    check: bool = True,
    keep: int | None = None,
    report: Callable[[str], None],
) -> Manifest:
    """Write a backup to a new folder in ``into`` and return its manifest, with ``path`` added.

    The folder has a temporary name until the backup is complete and, with ``check``, verified by a restore. Runs may
    go on: the dump and the row counts are of one snapshot, and the bucket is read after it, so that it has every object
    that the ledger names.
    """
    assert settings.postgres is not None
    assert settings.object_store is not None
    lake = Lake(settings.object_store)
    lake.ensure_bucket()  # before the first run there is none
    with file_errors(into, "cannot be written"):
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        file_errors(into, "cannot be written"),
        exclusive(into / ".lock", f"another backup is being written to {into}"),
    ):
        for leftover in [*into.glob(".partial-*"), *into.glob(".old-*")]:
            shutil.rmtree(leftover)
        made_at = datetime.now(UTC)
        folder = into / f"tickmart-{made_at:%Y%m%dT%H%M%SZ}"
        draft = into / f".partial-{folder.name}"
        (draft / BRONZE).mkdir(parents=True, mode=0o700)
        try:
            manifest = {"format": FORMAT, "tickmart": version("tickmart"), "made_at": f"{made_at:%Y-%m-%dT%H:%M:%SZ}"}
            if (seed := demo.seed_of(settings.home)) is not None:
                manifest["simulated_seed"] = seed
            # A compaction between the two would remove objects that the dumped ledger names.
            with connected(settings.postgres) as connection, locked(connection, LOCK):
                ledger = _dump(settings.postgres, draft, manifest, report)
                _copy_objects(lake, draft, ledger, manifest, report)
            write_manifest(draft, manifest)
            if check:
                verify_restore(settings, draft, embedded=embedded, report=report)
                manifest["checked_at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
                write_manifest(draft, manifest)
            os.sync()  # one call for thousands of files
            draft.rename(folder)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if disk.is_full(error, settings.home):
                # The verification restores beside the home, everything else is written to the target.
                fuller = min((into, settings.home), key=lambda folder: shutil.disk_usage(folder).free)
                raise BackupError(disk.full_line(fuller, _needed_bytes(settings.postgres, lake))) from error
            raise
        if keep is not None:
            _remove_older(into, keep, report)
    return {**manifest, "path": str(folder)}


def _needed_bytes(postgres: Postgres, lake: Lake) -> int:
    """Return the maximum size of a backup: every object, and the tables' size in the database."""
    query = "select coalesce(sum(pg_total_relation_size(t::regclass)), 0) from unnest(%s) as t"
    with connected(postgres) as connection:
        [(rows,)] = fetch(connection, query, (tables_of(connection),))
    return int(rows) + sum(info.size for info in lake.list(""))


def _dump(postgres: Postgres, draft: Path, manifest: Manifest, report: Callable[[str], None]) -> set[str]:
    """Dump raw and ops and count the rows of the same snapshot; return the keys in the load ledger."""
    # The lock keeps migrations out: they wait for this dump instead of giving up on its table locks.
    with connected(postgres) as connection, locked(connection, "set-up"):
        tables = _begin_snapshot(connection)
        with connection.cursor() as cursor:
            cursor.execute("select pg_export_snapshot(), current_setting('server_version')")
            snapshot, manifest["postgres"] = cursor.fetchone() or ("", "")
            manifest["postgres_major"] = connection.info.server_version // 10_000
            cursor.execute("select max(number) from ops.migrations" if "ops.migrations" in tables else "select 0")
            manifest["migration"] = (cursor.fetchone() or (0,))[0]
            manifest["roles"] = _other_roles(connection)
            # The bundled pg_dump supports gzip alone; level 6 takes twice as long and saves a tenth.
            arguments = ["--format=custom", "--compress=gzip:1", f"--snapshot={snapshot}", f"--file={draft / DUMP}"]
            arguments += [f"--lock-wait-timeout={_LOCK_WAIT}", *(f"--schema={name}" for name in SCHEMAS)]
            report(f"dumping {len(tables)} tables")
            with running("pg_dump", manifest["postgres_major"], postgres, arguments):
                manifest["tables"] = {name: {"rows": rows} for name, rows in row_counts(connection, tables).items()}
            # An object that is merged is no longer there by itself; before migration 15 there is no such column.
            cursor.execute("select object_key from ops.load_ledger as l where to_jsonb(l) ->> 'merged_into' is null")
            ledger = {key for (key,) in cursor.fetchall()}
    manifest["dump"] = {"size": (draft / DUMP).stat().st_size, "sha256": sha256(draft / DUMP)}
    return ledger


def _begin_snapshot(connection: Connection) -> list[str]:
    """Begin the transaction whose snapshot the backup shows; return the tables."""
    with connection:
        tables = tables_of(connection)
    if "ops.load_ledger" not in tables:
        raise BackupError(
            f"database {connection.info.dbname} on {connection.info.host}:{connection.info.port} has nothing to back "
            "up: run `tickmart run` first, or check TICKMART_HOME, PGHOST and PGDATABASE"
        )
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with connection.cursor() as cursor:
        cursor.execute("set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0")
        cursor.execute(f"set local lock_timeout = '{_LOCK_WAIT}'")
        # Locked before the snapshot, which the first query takes: a table truncated between the two would look empty.
        cursor.execute(f"lock table {', '.join(tables)} in access share mode")
    return tables


def _other_roles(connection: Connection) -> list[str]:
    """Return the user's own roles that own something in the database or have privileges there."""
    with connection.cursor() as cursor:  # in the transaction of the snapshot
        cursor.execute(
            "select distinct r.rolname::text from pg_shdepend as d inner join pg_roles as r on r.oid = d.refobjid"
            " where d.refclassid = 'pg_authid'::regclass and r.rolname <> all(%s) and r.rolname <> current_user"
            " and d.dbid = (select oid from pg_database where datname = current_database()) order by 1",
            (list(ROLES),),
        )
        return [name for (name,) in cursor.fetchall()]


def _copy_objects(
    lake: Lake, draft: Path, ledger: set[str], manifest: Manifest, report: Callable[[str], None]
) -> None:  # fmt: skip
    """Copy every object of the bucket, and list the keys of the ledger that the bucket does not have."""
    keys = [info.key for info in lake.list("")]
    report(f"copying {len(keys):,} objects")

    def copy(key: str) -> dict[str, Any] | None:
        body = lake.get(key)
        if body is None:
            return None  # a rejected record, pruned since the listing
        path = object_path(draft, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return {"key": key, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    manifest["objects"] = [entry for entry in in_parallel(copy, keys) if entry]
    manifest["missing_objects"] = sorted(ledger - {entry["key"] for entry in manifest["objects"]})


def _remove_older(into: Path, keep: int, report: Callable[[str], None]) -> None:
    complete = sorted(path for path in into.iterdir() if NAME.fullmatch(path.name) and (path / MANIFEST).exists())
    for path in complete[:-keep]:
        old = path.rename(into / f".old-{path.name}")  # half removed, it must not look complete
        shutil.rmtree(old)
        report(f"removed {path}")
