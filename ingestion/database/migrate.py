"""Applies the numbered migrations that create and change tables, once per database."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from ingestion.database.connections import Connection, WarehouseError, closing, connect, locked
from ingestion.database.roles import access_digest, create_access, has_access
from ingestion.settings import Postgres, Role

MIGRATIONS = Path(__file__).with_name("migrations")
# A migration that waits for a table lock blocks all later statements on that table.
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
    """One step of the schema; a released migration never changes."""

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
    """Create or upgrade roles, schemas, grants and tables; return whether anything changed.

    ``passwords`` gives the roles logins of their own (the embedded server); without it they have no login, and the
    owner's sessions assume them. Running it again costs one query and changes nothing; of processes that start together
    one does the work and the others wait. WarehouseError for a database of a newer version, for a migration that was
    changed after it was applied, and for a migration that fails, which is rolled back.
    """
    known = read_migrations(migrations)
    digest = access_digest(passwords or {})
    with closing(connect(postgres)) as connection:
        if has_access(connection, digest) and not _missing(connection, postgres, known):
            return False
        with locked(connection, "set-up"):
            missing = _missing(connection, postgres, known)
            if not has_access(connection, digest):
                create_access(connection, postgres, passwords or {}, digest)
            for migration in missing:
                _apply(connection, postgres, migration)
    return True


def applied(connection: Connection) -> dict[int, tuple[str, str]]:
    """Return name and checksum of each applied migration, by number."""
    with connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass('ops.migrations') is not null")
        if cursor.fetchone() != (True,):
            return {}
        cursor.execute("select number, name, checksum from ops.migrations order by number")
        return {number: (name, checksum) for number, name, checksum in cursor.fetchall()}


def _missing(connection: Connection, postgres: Postgres, known: Sequence[Migration]) -> list[Migration]:
    """Return the migrations that are not applied yet; WarehouseError when an applied one differs or is unknown."""
    done = applied(connection)
    where = f"database {postgres.database} on {postgres.address}"
    if done and max(done) > len(known):
        from importlib.metadata import version  # it takes 20 ms, of each command with a database

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
        fix = "correct what it names and start again"
        if isinstance(error, psycopg2.errors.LockNotAvailable):
            fix = "stop other programs that use this database, and start again"
        raise WarehouseError(
            f"database {postgres.database} on {postgres.address}: migration {migration.number} "
            f"({migration.name}) failed and was rolled back: {reason}: {fix}"
        ) from None
