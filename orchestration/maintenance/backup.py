"""Backups: one folder with what the database and the bucket held, and a manifest by which either can be checked.

Belongs here: making, checking, keeping and restoring one. Does not: servers (``stack``), the database's form
(``ingestion.database.migrate``).

A backup holds schemas raw and ops (pg_dump) and every object of the bucket. Marts, staging and intermediate are not in
it: dbt makes them from raw. Dagster's schema is not either: what a refresh goes by (coverage, ledger, unfinished
backfills) and what `tickmart status` tells stand in ops, and its list of runs would tie a backup to its version.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
from psycopg2 import sql

from ingestion.bronze.lake import Lake
from ingestion.database import migrate
from ingestion.database.connections import Connection, closing, connect, locked
from ingestion.settings import ROLES, Postgres, Role, Settings
from orchestration import environment
from orchestration.cli.external_tools import postgres_client
from orchestration.local import demo
from orchestration.local.client import stack
from orchestration.local.processes import die_with_parent
from orchestration.maintenance import disk

T = TypeVar("T")
R = TypeVar("R")
Tell = Callable[[str], None]
Manifest = dict[str, Any]
FORMAT = 1
MANIFEST, MANIFEST_SUM, DUMP, BRONZE = "manifest.json", "manifest.json.sha256", "database.dump", "bronze"
NAME = re.compile(r"tickmart-\d{8}T\d{6}Z")
SCHEMAS = ("raw", "ops")
# Each holds one object (a day of minutes of fifty symbols is 5 MB).
COPIERS = 8
# A table may be locked for so long by a rebuild that empties it.
_LOCK_WAIT = "120s"
_CHUNK = 1 << 20


class BackupError(Exception):
    """No backup can be made of this, or this one cannot be restored; one line: what, value, mend."""


# -- making one --------------------------------------------------------------------------------------------------------


def make(
    settings: Settings, into: Path, *, embedded: bool, check: bool = True, keep: int | None = None, tell: Tell
) -> Manifest:
    """Write a backup below the folder ``into`` and return its manifest, with ``path`` added.

    It has a passing name until it is whole and, with ``check``, was restored into an empty database and compared. The
    stack may run and load meanwhile: rows, counts and checksums are those of one snapshot, and the bucket is read
    after it, so that it holds whatever the ledger names.
    """
    assert settings.postgres is not None
    assert settings.object_store is not None
    lake = Lake(settings.object_store)
    with _files(into, "cannot be written"):
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _files(into, "cannot be written"), _alone(into / ".lock", f"another backup is being written to {into}"):
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
            ledger = _dump(settings.postgres, draft, manifest, tell)
            _copy_objects(lake, draft, ledger, manifest, tell)
            _write_manifest(draft, manifest)
            if check:
                verify_restore(settings, draft, embedded=embedded, tell=tell)
                manifest["checked_at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
                _write_manifest(draft, manifest)
            os.sync()  # one call for the thousands of files
            draft.rename(folder)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if disk.is_full(error, settings.home):
                # The check restores beside the home, the rest is written to the target.
                fuller = min((into, settings.home), key=lambda folder: shutil.disk_usage(folder).free)
                raise BackupError(disk.full_line(fuller, _needed_bytes(settings.postgres, lake))) from error
            raise
        if keep is not None:
            _remove_older(into, keep, tell)
    return {**manifest, "path": str(folder)}


def _needed_bytes(postgres: Postgres, lake: Lake) -> int:
    """Return what a backup takes at most: every object, and the rows as they lie in the database."""
    with closing(connect(postgres)) as connection, connection, connection.cursor() as cursor:
        tables = _tables(connection)
        cursor.execute("select coalesce(sum(pg_total_relation_size(t::regclass)), 0) from unnest(%s) as t", (tables,))
        rows = int((cursor.fetchone() or (0,))[0])
    return rows + sum(info.size for info in lake.list(""))


def _dump(postgres: Postgres, draft: Path, manifest: Manifest, tell: Tell) -> set[str]:
    """Dump raw and ops, with the counts and checksums of the very rows; return the keys that the ledger names."""
    # Nobody changes the tables' form meanwhile, or waits for their locks and gives up: they wait for this one.
    with closing(connect(postgres)) as connection, locked(connection, "set-up"):
        tables = _lock_tables(connection)
        with connection.cursor() as cursor:
            cursor.execute("select pg_export_snapshot(), current_setting('server_version')")
            snapshot, manifest["postgres"] = cursor.fetchone() or ("", "")
            manifest["postgres_major"] = connection.info.server_version // 10_000
            cursor.execute("select max(number) from ops.migrations" if "ops.migrations" in tables else "select 0")
            manifest["migration"] = (cursor.fetchone() or (0,))[0]
            manifest["roles"] = _roles_named(connection)
            # gzip because the wheel's pg_dump has nothing else; at level 6 it takes twice as long for a tenth less.
            arguments = ["--format=custom", "--compress=gzip:1", f"--snapshot={snapshot}", f"--file={draft / DUMP}"]
            arguments += [f"--lock-wait-timeout={_LOCK_WAIT}", *(f"--schema={name}" for name in SCHEMAS)]
            tell(f"dumping {len(tables)} tables")
            with _program("pg_dump", manifest["postgres_major"], postgres, arguments):
                manifest["tables"] = _sums(connection, tables)
            cursor.execute("select object_key from ops.load_ledger")
            ledger = {key for (key,) in cursor.fetchall()}
    manifest["dump"] = {"size": (draft / DUMP).stat().st_size, "sha256": _sha256(draft / DUMP)}
    return ledger


def _lock_tables(connection: Connection) -> list[str]:
    """Begin the transaction whose snapshot is the backup's, and return the tables."""
    with connection:
        tables = _tables(connection)
    if "ops.load_ledger" not in tables:
        raise BackupError(
            f"database {connection.info.dbname} on {connection.info.host}:{connection.info.port} holds nothing of "
            "tickmart's: check PGHOST, PGDATABASE and TICKMART_HOME"
        )
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with connection.cursor() as cursor:
        cursor.execute("set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0")
        cursor.execute(f"set local lock_timeout = '{_LOCK_WAIT}'")
        # Before the snapshot, which the first query takes: a table truncated between the two would look empty in it.
        cursor.execute(f"lock table {', '.join(tables)} in access share mode")
    return tables


def _roles_named(connection: Connection) -> list[str]:
    """Return the roles beyond tickmart's that own something in raw and ops or were granted something: the user's."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            with named as (
                select c.relowner, c.relacl
                from pg_class as c
                inner join pg_namespace as n on n.oid = c.relnamespace
                where n.nspname = any(%(schemas)s)
                union all
                select nspowner, nspacl
                from pg_namespace
                where nspname = any(%(schemas)s)
                union all
                select d.defaclrole, d.defaclacl
                from pg_default_acl as d
                inner join pg_namespace as n on n.oid = d.defaclnamespace
                where n.nspname = any(%(schemas)s)
            )
            select distinct r.rolname::text
            from named
            cross join lateral (select relowner union all select grantee from aclexplode(relacl)) as one (role)
            inner join pg_roles as r on r.oid = one.role
            where r.rolname <> all(%(ours)s) and r.rolname <> current_user
            order by 1
            """,
            {"schemas": list(SCHEMAS), "ours": list(ROLES)},
        )
        return [name for (name,) in cursor.fetchall()]


def _copy_objects(lake: Lake, draft: Path, ledger: set[str], manifest: Manifest, tell: Tell) -> None:
    """Copy every object of the bucket, and name those that the ledger knows and the bucket does not hold."""
    listed = [info.key for info in lake.list("")]
    tell(f"copying {len(listed):,} objects")

    def copy(key: str) -> dict[str, Any] | None:
        body = lake.get(key)
        if body is None:
            return None  # a refused record that was pruned since
        path = _object_path(draft, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return {"key": key, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    manifest["objects"] = [held for held in _side_by_side(copy, listed) if held]
    manifest["missing_objects"] = sorted(ledger - {held["key"] for held in manifest["objects"]})


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    body = (json.dumps(manifest, indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(body)
    # As sha256sum writes it.
    (folder / MANIFEST_SUM).write_text(f"{hashlib.sha256(body).hexdigest()}  {MANIFEST}\n")


def _remove_older(into: Path, keep: int, tell: Tell) -> None:
    whole = sorted(path for path in into.iterdir() if NAME.fullmatch(path.name) and (path / MANIFEST).exists())
    for path in whole[:-keep]:
        away = path.rename(into / f".old-{path.name}")  # half removed it must not look whole
        shutil.rmtree(away)
        tell(f"removed {path}")


def summary(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest for a machine to read, without the list of objects."""
    return {**manifest, "objects": len(manifest["objects"]), "bytes": _bytes(manifest)}


def in_words(manifest: Manifest) -> str:
    """Say what a backup holds."""
    rows = sum(table["rows"] for table in manifest["tables"].values())
    size = f"{_bytes(manifest) / 1e6:,.1f} MB"
    return f"{rows:,} rows in {len(manifest['tables'])} tables, {len(manifest['objects']):,} objects, {size}"


def _bytes(manifest: Manifest) -> int:
    return int(manifest["dump"]["size"] + sum(held["size"] for held in manifest["objects"]))


# -- judging one -------------------------------------------------------------------------------------------------------


def verify(folder: Path) -> Manifest:
    """Return the manifest of a backup whose every byte is as it was written; else BackupError, naming what is not."""
    if not (folder / MANIFEST).exists():
        newest = max((p.name for p in folder.glob("tickmart-*") if (p / MANIFEST).exists()), default=None)
        mend = f"name one of those in it, the newest is {folder / newest}" if newest else "name a backup's folder"
        raise BackupError(f"{folder} is no backup (no {MANIFEST}): {mend}")
    with _files(folder, "cannot be read"):
        body = (folder / MANIFEST).read_bytes()
        told = (folder / MANIFEST_SUM).read_text().split()[:1] if (folder / MANIFEST_SUM).exists() else []
        if told != [hashlib.sha256(body).hexdigest()]:
            raise BackupError(f"{folder / MANIFEST} is damaged (not what {MANIFEST_SUM} says): use another backup")
        manifest: Manifest = json.loads(body)
        if manifest["format"] != FORMAT:
            raise BackupError(
                f"{folder} has format {manifest['format']}, tickmart {version('tickmart')} reads {FORMAT}: "
                f"use tickmart {manifest['tickmart']} or newer"
            )
        files = [(folder / DUMP, manifest["dump"])]
        files += [(_object_path(folder, held["key"]), held) for held in manifest["objects"]]
        bad = [problem for problem in _side_by_side(_damage, files) if problem]
    if bad:
        raise BackupError(f"{len(bad)} files of {folder} are damaged: {'; '.join(bad[:3])}: use another backup")
    return manifest


def _damage(file: tuple[Path, Mapping[str, Any]]) -> str | None:
    path, told = file
    if not path.is_file():
        return f"{path} is missing"
    if path.stat().st_size != told["size"]:
        return f"{path} has {path.stat().st_size:,} bytes instead of {told['size']:,}"
    return None if _sha256(path) == told["sha256"] else f"{path} has other bytes than were written"


def verify_restore(settings: Settings, folder: Path, *, embedded: bool, tell: Tell) -> Manifest:
    """Restore a backup's dump into an empty database, compare every table, and take the database away again.

    With the embedded servers it is a second server's; on a server of the user's a scratch database.
    """
    manifest = verify(folder)
    with _scratch_server(settings) if embedded else _scratch_database(settings) as scratch:
        tell(f"restoring into an empty {'server' if embedded else 'database'} to compare")
        _restore_database(scratch, None, folder, manifest)
        differences = _differences(scratch, manifest)
    if differences:
        raise BackupError(f"{folder} does not restore as it was made: {'; '.join(differences[:3])}: make another")
    return manifest


@contextlib.contextmanager
def _scratch_server(settings: Settings) -> Iterator[Postgres]:
    home = settings.home / "check"
    with _alone(settings.home / "check.lock", f"another check works in {home}"):
        shutil.rmtree(home, ignore_errors=True)  # of one that was killed
        try:
            with stack(home, postgres=True, s3=False) as env:
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
                    f"{owner.user} may not create the database {scratch.database}, in which the backup is checked: "
                    "grant CREATEDB, or make it with --no-check"
                ) from error
            try:
                yield scratch
            finally:
                cursor.execute(drop)


# -- restoring one -----------------------------------------------------------------------------------------------------


def restore(settings: Settings, folder: Path, passwords: dict[Role, str] | None, *, tell: Tell) -> Manifest:
    """Bring an empty database and an empty bucket to what a backup holds, and compare: ``differences``.

    Nothing is touched before every file of the backup is found whole and both are found empty. One that was cut off is
    started again: objects that lie there already are the same or refused, and the database is restored in one go.
    """
    assert settings.postgres is not None
    assert settings.object_store is not None
    owner, lake = settings.postgres, Lake(settings.object_store)
    tell(f"verifying {folder}")
    manifest = verify(folder)
    known = len(migrate.read_migrations())
    if manifest["migration"] > known:
        raise BackupError(
            f"{folder} was made by tickmart {manifest['tickmart']} at migration {manifest['migration']}, tickmart "
            f"{version('tickmart')} knows {known}: use that version or a newer one"
        )
    stands = _stands_already(owner, manifest)
    lake.ensure_bucket()
    missing = _missing_objects(lake, manifest)
    tell(f"writing {len(missing):,} of {len(manifest['objects']):,} objects")
    differences = [told for told in _side_by_side(lambda held: _put(lake, folder, held), missing) if told]
    if not stands:
        tell(f"restoring {len(manifest['tables'])} tables")
        _restore_database(owner, passwords, folder, manifest)
    differences += _differences(owner, manifest)
    if not differences:
        _settle(owner)
        migrate.bootstrap(owner, passwords)
    return {**manifest, "path": str(folder), "differences": differences}


def _stands_already(owner: Postgres, manifest: Manifest) -> bool:
    """Tell whether the database holds the backup's rows already; BackupError when it holds any others."""
    with closing(connect(owner)) as connection:
        major = connection.info.server_version // 10_000
        found = _occupied(connection)
    if major < manifest["postgres_major"]:
        raise BackupError(
            f"Postgres {owner.address} is {major}, the backup is of {manifest['postgres_major']}: "
            "restore into that version or a newer one"
        )
    if found and _differences(owner, manifest):
        raise BackupError(
            f"database {owner.database} on {owner.address} is not empty ({found}): restore into a new one "
            "(another TICKMART_HOME or PGDATABASE), or drop it first if nothing in it is needed"
        )
    return found is not None


def _occupied(connection: Connection) -> str | None:
    """Name something that a database holds beyond the empty tables of raw and ops."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select n.nspname || '.' || c.relname
            from pg_class as c
            inner join pg_namespace as n on n.oid = c.relnamespace
            where n.nspname in ('staging', 'intermediate', 'marts')
            order by 1
            limit 1
            """
        )
        built = cursor.fetchone()
        return built[0] if built else _with_rows(connection, _tables(connection))


def _with_rows(connection: Connection, tables: Iterable[str]) -> str | None:
    """Return the first table that has rows, but for the one that says how the tables were made."""
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"select exists (select from {table})")  # noqa: S608 - the catalogue's own name
            if table != "ops.migrations" and cursor.fetchone() == (True,):
                return table
    return None


def _missing_objects(lake: Lake, manifest: Manifest) -> list[dict[str, Any]]:
    """Return the backup's objects that the bucket lacks; BackupError when it holds anything else."""
    told = {held["key"]: held for held in manifest["objects"]}
    there = [info.key for info in lake.list("")]
    same = _side_by_side(lambda key: key in told and _is(lake, told[key]), there)
    if strange := [key for key, is_same in zip(there, same, strict=True) if not is_same]:
        raise BackupError(
            f"bucket {lake.store.bucket} at {lake.store.endpoint} is not empty ({len(strange):,} objects that are not "
            f"the backup's, such as {strange[0]}): restore into a new one (another TICKMART_HOME or MINIO_BUCKET), or "
            "empty it"
        )
    present = set(there)
    return [held for key, held in told.items() if key not in present]


def _is(lake: Lake, held: Mapping[str, Any]) -> bool:
    body = lake.get(held["key"])
    return body is not None and hashlib.sha256(body).hexdigest() == held["sha256"]


def _put(lake: Lake, folder: Path, held: Mapping[str, Any]) -> str | None:
    lake.put(held["key"], _object_path(folder, held["key"]).read_bytes())
    return None if _is(lake, held) else f"object {held['key']} reads back with other bytes"


def _restore_database(
    owner: Postgres, passwords: dict[Role, str] | None, folder: Path, manifest: Manifest
) -> None:  # fmt: skip
    """Set up roles, schemas and grants, and put the dump's raw and ops in the place of the empty ones."""
    migrate.bootstrap(owner, passwords)
    with closing(connect(owner)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("select rolname from pg_roles where rolname = any(%s)", (manifest["roles"],))
        for role in set(manifest["roles"]) - {name for (name,) in cursor.fetchall()}:
            cursor.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
        tables = _tables(connection)
        cursor.execute(f"lock table {', '.join(tables)} in access exclusive mode")
        if table := _with_rows(connection, tables):
            raise BackupError(f"{table} got rows while it was to be restored: stop what else works on this database")
        cursor.execute("drop schema raw, ops cascade")
    arguments = ["--single-transaction", f"--dbname={owner.database}", str(folder / DUMP)]
    with _program("pg_restore", manifest["postgres_major"], owner, arguments):
        pass


def _differences(owner: Postgres, manifest: Manifest) -> list[str]:
    """Say which tables are not what the manifest says."""
    with closing(connect(owner)) as connection:
        found = _sums(connection, _tables(connection))
    told = manifest["tables"]
    lines = [f"{name} is not in the backup" for name in found.keys() - told.keys()]
    for name, held in told.items():
        if name not in found:
            lines.append(f"{name} was not restored")
        elif found[name]["rows"] != held["rows"]:
            lines.append(f"{name} has {found[name]['rows']:,} rows instead of {held['rows']:,}")
        elif found[name]["checksum"] != held["checksum"]:
            lines.append(f"{name} has other values in its {held['rows']:,} rows")
    return sorted(lines)


def _settle(owner: Postgres) -> None:
    """Close the runs that were under way when the backup was made, and let the planner know the tables."""
    with closing(connect(owner)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "update ops.runs set status = 'failed', ended_at = clock_timestamp() where status = 'running'"
            )
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"analyze {', '.join(_tables(connection))}")


# -- tables, files and programs ----------------------------------------------------------------------------------------


def _tables(connection: Connection) -> list[str]:
    """Return the tables of raw and ops that hold rows themselves: parts, not the table that they are parts of."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select format('%%I.%%I', n.nspname, c.relname) from pg_class as c"
            " inner join pg_namespace as n on n.oid = c.relnamespace"
            " where n.nspname = any(%s) and c.relkind = 'r' order by 1",
            (list(SCHEMAS),),
        )
        return [name for (name,) in cursor.fetchall()]


def _sums(connection: Connection, tables: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the number of rows of each table, and a sum over their texts that does not depend on their order.

    64 bits of each row's SHA-256, added up: 2.5 seconds for 1.3 million bars.
    """
    sums = {}
    with connection.cursor() as cursor:
        # What a value's text depends on.
        cursor.execute(
            "set local timezone = 'UTC'; set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres';"
            "set local extra_float_digits = 1; set local bytea_output = 'hex'; set local statement_timeout = 0"
        )
        for table in tables:
            cursor.execute(
                "select count(*), coalesce(sum(('x' || left(encode(sha256(convert_to(t::text, 'UTF8')), 'hex'), 16))"  # noqa: S608
                f"::bit(64)::bigint), 0)::text from {table} as t"
            )
            rows, checksum = cursor.fetchone() or (0, "0")
            sums[table] = {"rows": rows, "checksum": checksum}
    return sums


def _object_path(folder: Path, key: str) -> Path:
    """Return where an object lies in a backup; BackupError for a key that would lead out of it."""
    parts = key.split("/")
    if not key or "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise BackupError(f"object {key!r} cannot be kept as a file: remove it, or rename it in the bucket")
    return folder.joinpath(BRONZE, *parts)


def _side_by_side(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(COPIERS, thread_name_prefix="backup") as pool:
        return list(pool.map(work, items))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _files(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(
            f"{error.filename or folder} {what} ({error.strerror or error}): see to its owner (this is user "
            f"{os.geteuid()}) and the room on its disk, or name another folder"
        ) from error


@contextlib.contextmanager
def _alone(lock: Path, otherwise: str) -> Iterator[None]:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"{otherwise}: wait for its end") from None
        yield


@contextlib.contextmanager
def _program(name: str, major: int, postgres: Postgres, arguments: list[str]) -> Iterator[None]:
    """Run a client program beside the block and wait for its end; BackupError with its last words when it fails."""
    program = postgres_client(name, major)
    env = environment.database(os.environ)
    env |= {"PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGDATABASE": postgres.database}
    env |= {"PGUSER": postgres.user, "PGPASSWORD": postgres.password}
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            [program, "--no-password", *arguments],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        try:
            yield
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if code:
            told.seek(0)
            words = " ".join(told.read().decode(errors="replace").split())
            raise BackupError(f"{name} ended with exit code {code}: {words[-400:] or 'it said nothing'}")
