"""The numbered migrations that create and change tables."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg2

from ingestion.database.connections import Connection, WarehouseError, closing, connect, locked
from ingestion.database.roles import _FUNCTIONS, _READS, _SCHEMAS, _set_access_up
from ingestion.settings import ROLES, Postgres, Role

MIGRATIONS = Path(__file__).with_name("migrations")
# A migration that waits for a table keeps everybody else waiting behind it.
_LOCK_TIMEOUT = "60s"
_LEDGER = """
create table if not exists ops.migrations (
    number integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default clock_timestamp()
);
comment on table ops.migrations is
'The migrations that this database has gone through, each with the SHA-256 of the file as it was applied.'
"""


@dataclass(frozen=True)
class Migration:
    """One step of the database's form; what was applied somewhere never changes."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Return the migrations of a folder in their order; WarehouseError when the numbers are not 1, 2, 3, ..."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        named = re.fullmatch(r"(\d{4})_(\w+)\.sql", path.name)
        if named is None or int(named[1]) != len(found) + 1:
            raise WarehouseError(f"{path}: the next migration is called {len(found) + 1:04}_<name>.sql; rename it")
        found.append(Migration(int(named[1]), named[2], path.read_text(encoding="utf-8")))
    return found


def bootstrap(postgres: Postgres, passwords: dict[Role, str] | None = None, migrations: Path = MIGRATIONS) -> bool:
    """Bring roles, schemas, grants and tables to this version's form; return whether anything had to be done.

    ``passwords`` gives the roles logins of their own (the embedded server); without it they are roles without a login,
    which the owner's sessions take on. Running it again costs one query and changes nothing; of processes that start
    together one does the work and the others wait for it. WarehouseError for a database that a newer version has been
    at, for a migration that was changed after it was applied, and for one that fails, of which nothing stays.
    """
    known = read_migrations(migrations)
    stamp = hashlib.sha256(f"{_SCHEMAS}{_READS}{_FUNCTIONS}{sorted(passwords or {})}".encode()).hexdigest()
    with closing(connect(postgres)) as connection:
        if _stands(connection, stamp) and not _missing(connection, postgres, known):
            return False
        with locked(connection, "set-up"):
            missing = _missing(connection, postgres, known)
            if not _stands(connection, stamp):
                _set_access_up(connection, postgres, passwords or {}, stamp)
            for migration in missing:
                _apply(connection, postgres, migration)
    return True


def applied(connection: Connection) -> dict[int, tuple[str, str]]:
    """Return name and checksum of each migration that the database has gone through, by number."""
    with connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass('ops.migrations') is not null")
        if cursor.fetchone() != (True,):
            return {}
        cursor.execute("select number, name, checksum from ops.migrations order by number")
        return {number: (name, checksum) for number, name, checksum in cursor.fetchall()}


def _missing(connection: Connection, postgres: Postgres, known: Sequence[Migration]) -> list[Migration]:
    """Return what the database has yet to go through; WarehouseError when it has been another way."""
    done = applied(connection)
    where = f"database {postgres.database} on {postgres.address}"
    if done and max(done) > len(known):
        raise WarehouseError(
            f"{where} is at migration {max(done)} ({done[max(done)][0]}), tickmart {version('tickmart')} knows "
            f"{len(known)}: use the version that brought it there or a newer one, or restore a backup from before"
        )
    for migration in known:
        if migration.number in done and done[migration.number] != (migration.name, migration.checksum):
            raise WarehouseError(
                f"{where}: migration {migration.number} ({migration.name}) is not the one that was applied to it: put "
                "the released file back, and make the change in a migration of its own"
            )
    return [m for m in known if m.number not in done]


def _stands(connection: Connection, stamp: str) -> bool:
    """Tell whether roles, schemas and grants were made as declared; roles are the server's, and may be gone."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select
                (select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = 'ops'),
                (select count(*) from pg_roles where rolname = any(%s)),
                (select count(*) from pg_namespace where nspname = any(%s))
            """,
            (list(ROLES), list(_SCHEMAS)),
        )
        return bool(cursor.fetchone() == (f"tickmart {stamp}", len(ROLES), len(_SCHEMAS)))


def _apply(connection: Connection, postgres: Postgres, migration: Migration) -> None:
    """Run a migration as the owner of raw and ops, with its row in the ledger, in one transaction."""
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
            cursor.execute("set local role ingest")
            cursor.execute(_LEDGER)
            cursor.execute(migration.text)
            cursor.execute("set local role ingest")
            cursor.execute(
                "insert into ops.migrations (number, name, checksum) values (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
    except psycopg2.Error as error:
        reason = " ".join(str(error).split())[:200]
        mend = "mend what it names and start again"
        if isinstance(error, psycopg2.errors.LockNotAvailable):
            mend = "stop what else works on this database, and start again"
        raise WarehouseError(
            f"database {postgres.database} on {postgres.address}: migration {migration.number} "
            f"({migration.name}) failed, and nothing of it stays: {reason}: {mend}"
        ) from None
