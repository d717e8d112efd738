"""Creates roles, schemas and grants."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import psycopg2
from psycopg2 import sql

from ingestion.database.connections import Connection, WarehouseError, closing, connect, locked
from ingestion.settings import ROLES, Postgres, Role

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
    "reader": ("marts",),
}
# Statement timeout and connection limit of logins that only read.
_LIMITS: dict[Role, tuple[str, int]] = {"dashboard_ro": ("5s", 30), "quality_ro": ("10min", 30), "reader": ("5min", 10)}
# Functions that PUBLIC may call by default and that write to the server or block others, with the logins that need
# them. They belong to the superuser: another owner cannot revoke them (SECURITY.md).
_FUNCTIONS: dict[str, tuple[Role, ...]] = {
    "^(lo_.+|loread|lowrite)$": (),
    "^pg_(notify|logical_emit_message)$": (),
    "^pg_(try_)?advisory_": ("ingest", "transform"),
    "^pg_(cancel|terminate)_backend$": ("transform",),  # dbt cancels its queries with it
}


def access_digest(logins: Iterable[Role]) -> str:
    """Return a digest of the declared schemas and grants, and of the roles with a login."""
    return hashlib.sha256(f"{_SCHEMAS}{_READS}{_FUNCTIONS}{sorted(logins)}".encode()).hexdigest()


def has_access(connection: Connection, digest: str) -> bool:
    """Return whether roles, schemas and grants are as declared; roles belong to the server and may be missing."""
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
        return bool(cursor.fetchone() == (f"tickmart {digest}", len(ROLES), len(_SCHEMAS)))


def create_access(connection: Connection, postgres: Postgres, passwords: dict[Role, str], digest: str) -> None:
    """Create roles, schemas and grants, and record their digest as the comment of schema ops."""
    try:
        with connection, connection.cursor() as cursor:
            _create_roles(cursor, passwords)
            _create_schemas(cursor, postgres.database)
            _restrict_functions(cursor)
            cursor.execute("comment on schema ops is %s", (f"tickmart {digest}",))
    except psycopg2.errors.InsufficientPrivilege as error:
        reason = str(error).splitlines()[0]
        raise WarehouseError(
            f"Postgres {postgres.address}: {postgres.user} may not set up tickmart ({reason}). Grant "
            f"CREATEROLE and CREATE on database {postgres.database}, or have an administrator run this once."
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
    # A precaution; the grants are the boundary, because a session can change these settings.
    for role, (timeout, connections) in _LIMITS.items():
        if role not in known:
            name = sql.Identifier(role)
            cursor.execute(sql.SQL("alter role {} set default_transaction_read_only = on").format(name))
            cursor.execute(sql.SQL("alter role {} set statement_timeout = {}").format(name, sql.Literal(timeout)))
            cursor.execute(sql.SQL("alter role {} connection limit {}").format(name, sql.Literal(connections)))


def set_passwords(postgres: Postgres, passwords: dict[Role, str]) -> None:
    """Set the passwords of the roles' logins, so that a changed .env applies from the next start on."""
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
    """Revoke _FUNCTIONS from PUBLIC and grant them to the logins that need them, as far as allowed."""
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
