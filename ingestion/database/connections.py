"""Connections to Postgres, single statements, and advisory locks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2.extras import RealDictCursor, execute_values

from ingestion.connection_errors import postgres_problem
from ingestion.settings import Postgres, Role

Connection = psycopg2.extensions.connection
# The first key of all advisory locks of tickmart; the second one names what is locked.
LOCK_SPACE = 7_421


class WarehouseError(Exception):
    """The database cannot be used; the message is one line: server, what was tried, fix."""


def connect(postgres: Postgres, role: Role | None = None) -> Connection:
    """Connect as the owner or as one of tickmart's roles, in UTC; WarehouseError names server, cause and fix."""
    parameters = postgres.connect_kwargs(role)
    try:
        return psycopg2.connect(**parameters)  # type: ignore[call-overload, no-any-return]
    except psycopg2.Error as error:
        login = str(parameters["user"])
        problem = postgres_problem(error, role, own_login=login != postgres.user)
        as_role = f" in role {role}" if role and login != role else ""
        raise WarehouseError(
            f"Postgres {postgres.address}/{postgres.database} as {login}{as_role}: {problem}"
        ) from None


@contextmanager
def closing(connection: Connection) -> Iterator[Connection]:
    """Close the connection at the end of the block (psycopg2's own context manager only ends the transaction)."""
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def connected(postgres: Postgres | None, role: Role | None = None) -> Iterator[Connection]:
    """Connect for the block; within a session of the command the server is always known."""
    assert postgres is not None
    with closing(connect(postgres, role)) as connection:
        yield connection


def execute(connection: Connection, statement: str, values: Any = None) -> int:
    """Execute one statement in a transaction of its own; return the number of its rows."""
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def fetch(connection: Connection, query: str, values: Any = None) -> list[tuple[Any, ...]]:
    """Return the rows of one query in a transaction of its own."""
    with connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def fetch_dicts(connection: Connection, query: str, values: Any = None) -> list[dict[str, Any]]:
    """Return the rows of one query as dicts, in a transaction of its own."""
    with connection, connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query, values)
        return [dict(row) for row in cursor.fetchall()]


def write_rows(
    connection: Connection, statement: str, rows: Sequence[Sequence[Any]], *, returning: bool = False
) -> list[tuple[Any, ...]]:
    """Execute one statement with ``values %s`` for all rows in a transaction; return what it returns."""
    with connection, connection.cursor() as cursor:
        return execute_values(cursor, statement, rows, page_size=1000, fetch=returning) or []


def lock_key(name: str) -> tuple[int, int]:
    """Return the keys of the advisory lock of that name."""
    return LOCK_SPACE, int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)


@contextmanager
def locked(connection: Connection, name: str) -> Iterator[None]:
    """Hold the session's advisory lock of that name: one writer at a time, across processes."""
    key = lock_key(name)
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(%s, %s)", key)
    connection.commit()
    try:
        yield
    finally:
        if not connection.closed:
            connection.rollback()
            with connection.cursor() as cursor:
                cursor.execute("select pg_advisory_unlock(%s, %s)", key)
            connection.commit()
