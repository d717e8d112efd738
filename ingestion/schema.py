"""The database's form: roles, schemas and grants, and the numbered migrations that make and change its tables.

Belongs here: bringing a database, new or of any released version, to what this version works on. Does not: rows
(``warehouse``, ``books``), the tables that dbt and Dagster make for themselves.

Roles, schemas and grants are declared below and made true again when the declaration changes. Tables change by
``migrations/NNNN_name.sql`` alone, forward only: each runs once, in the order of its number and in one transaction with
its row in ``ops.migrations``. A new database goes the same way as an old one, so that both end with the same catalogue.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from ingestion.settings import ROLES, Postgres, Role
from ingestion.warehouse import Connection, WarehouseError, closing, connect, locked

MIGRATIONS = Path(__file__).with_name("migrations")
# A migration that waits for a table keeps everybody else waiting behind it.
_LOCK_TIMEOUT = "60s"

_SCHEMAS: dict[str, Role] = {
    "raw": "ingest",
    "ops": "ingest",
    "staging": "transform",
    "intermediate": "transform",
    "marts": "transform",
    "dagster": "dagster",
}
_READS: dict[Role, tuple[str, ...]] = {
    "transform": ("raw", "ops"),
    "quality_ro": ("raw", "ops", "staging", "intermediate", "marts"),
    "dashboard_ro": ("marts",),
}

# Functions that PUBLIC may call by default and that write to the server or hold others up, with the logins that need
# them.
# They belong to the superuser: an owner who is none cannot revoke them (SECURITY.md).
_FUNCTIONS: dict[str, tuple[Role, ...]] = {
    "^(lo_.+|loread|lowrite)$": (),
    "^pg_(notify|logical_emit_message)$": (),
    "^pg_(try_)?advisory_": ("ingest", "transform"),
    "^pg_(cancel|terminate)_backend$": ("transform",),  # dbt cancels its queries so
}

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


def _set_access_up(connection: Connection, postgres: Postgres, passwords: dict[Role, str], stamp: str) -> None:
    try:
        with connection, connection.cursor() as cursor:
            _create_roles(cursor, passwords)
            _create_schemas(cursor, postgres.database)
            _restrict_functions(cursor)
            cursor.execute("comment on schema ops is %s", (f"tickmart {stamp}",))
    except psycopg2.errors.InsufficientPrivilege as error:
        reason = str(error).splitlines()[0]
        raise WarehouseError(
            f"Postgres {postgres.address}: {postgres.user} may not set tickmart up ({reason}). Grant "
            f"CREATEROLE and CREATE on database {postgres.database}, or have an administrator run this once."
        ) from None


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


def _create_roles(cursor: Any, passwords: dict[Role, str]) -> None:
    cursor.execute("select rolname from pg_roles where rolname = any(%s)", (list(ROLES),))
    known = {row[0] for row in cursor.fetchall()}
    role: Role
    for role in ROLES:
        name = sql.Identifier(role)
        if role not in known:
            cursor.execute(sql.SQL("create role {} nologin").format(name))
        if role in passwords:
            cursor.execute(sql.SQL("alter role {} login password %s").format(name), (passwords[role],))
        cursor.execute("select rolsuper or pg_has_role(current_user, %s, 'member') from pg_roles "
                       "where rolname = current_user", (role,))  # fmt: skip
        if not cursor.fetchone()[0]:
            cursor.execute(sql.SQL("grant {} to current_user").format(name))
        if role not in known:
            cursor.execute(sql.SQL("alter role {} set timezone = 'UTC'").format(name))
    # The seat belt of the readers; their grants are the boundary, because a session can switch these off.
    for reader, timeout in (("dashboard_ro", "5s"), ("quality_ro", "10min")):
        if reader not in known:
            name = sql.Identifier(reader)
            cursor.execute(sql.SQL("alter role {} set default_transaction_read_only = on").format(name))
            cursor.execute(sql.SQL("alter role {} set statement_timeout = {}").format(name, sql.Literal(timeout)))
            cursor.execute(sql.SQL("alter role {} connection limit 30").format(name))


def set_passwords(postgres: Postgres, passwords: dict[Role, str]) -> None:
    """Give the roles' logins these passwords, whatever they were: a new .env holds from the next start on."""
    with closing(connect(postgres)) as connection, locked(connection, "set-up"), connection.cursor() as cursor:
        for role, password in passwords.items():
            cursor.execute(sql.SQL("alter role {} login password %s").format(sql.Identifier(role)), (password,))
        connection.commit()


def _create_schemas(cursor: Any, database: str) -> None:
    db = sql.Identifier(database)
    cursor.execute(sql.SQL("revoke temp on database {} from public").format(db))
    cursor.execute(sql.SQL("grant temp on database {} to ingest, transform").format(db))
    cursor.execute("revoke create on schema public from public")
    for schema, owner in _SCHEMAS.items():
        cursor.execute(
            sql.SQL("create schema if not exists {} authorization {}").format(
                sql.Identifier(schema), sql.Identifier(owner)
            )
        )
    for reader, schemas in _READS.items():
        for schema in schemas:
            names = {
                "schema": sql.Identifier(schema),
                "reader": sql.Identifier(reader),
                "owner": sql.Identifier(_SCHEMAS[schema]),
            }
            for statement in (
                "grant usage on schema {schema} to {reader}",
                "grant select on all tables in schema {schema} to {reader}",
                "alter default privileges for role {owner} in schema {schema} grant select on tables to {reader}",
            ):
                cursor.execute(sql.SQL(statement).format(**names))


def _restrict_functions(cursor: Any) -> None:
    """Take the functions of _FUNCTIONS from PUBLIC and give them to the logins that need them, as far as allowed."""
    cursor.execute("select rolsuper from pg_roles where rolname = current_user")
    if cursor.fetchone() != (True,):
        return
    for pattern, roles in _FUNCTIONS.items():
        cursor.execute(
            "select oid::regprocedure::text from pg_proc"
            " where pronamespace = 'pg_catalog'::regnamespace and proname ~ %s",
            (pattern,),
        )
        functions = sql.SQL(", ").join(sql.SQL(name) for (name,) in cursor.fetchall())
        cursor.execute(sql.SQL("revoke execute on function {} from public").format(functions))
        for role in roles:
            cursor.execute(sql.SQL("grant execute on function {} to {}").format(functions, sql.Identifier(role)))
