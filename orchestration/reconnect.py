"""Retries of Postgres connections: those of tickmart, and those that Dagster and Great Expectations open.

Importing this module changes nothing: ``install_connection_retries`` extends SQLAlchemy for the whole process.
"""

import select
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions
import sqlalchemy.engine
import sqlalchemy.event
import sqlalchemy.exc
import sqlalchemy.pool
import tenacity

from ingestion.database import connections
from ingestion.settings import load_settings

T = TypeVar("T")

# How often a step is retried because it lost its connection: a server that crashes again and again fails the step.
MOST_RETRIES = 3


class ConnectRetry:
    """Retries connecting while Postgres restarts; all callers share one deadline, counted from the first failure."""

    def __init__(self) -> None:
        self._missing_since: float | None = None
        self._lock = threading.Lock()

    def connect(self, connect: Callable[[], T], deadline_s: float) -> T:
        """Return the result of ``connect``, called again on errors that a restart of the server can end."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_come_back),
            stop=lambda _: self._missing_for() >= deadline_s,
            wait=tenacity.wait_random_exponential(0.2, max=2),
            reraise=True,
        )
        connection = retrying(connect)
        with self._lock:
            self._missing_since = None
        return connection

    def _missing_for(self) -> float:
        with self._lock:
            if self._missing_since is None:
                self._missing_since = time.monotonic()
            return time.monotonic() - self._missing_since


SERVER = ConnectRetry()


def may_come_back(error: BaseException) -> bool:
    """Return whether a failed attempt to connect is worth a retry: the server is down, starting or full."""
    text = str(error)
    return isinstance(error, (connections.WarehouseError, psycopg2.OperationalError)) and (
        "FATAL" not in text or any(word in text for word in ("the database system is", "too many", "terminating"))
    )


def is_lost(error: psycopg2.Error) -> bool:
    """Return whether a lost connection or a deadlock caused an error, and not its statement.

    libpq reports no code when the server closed the connection; 57P is a shutdown, 40 a deadlock that was rolled back.
    """
    from_connection = isinstance(error, (psycopg2.InterfaceError, psycopg2.OperationalError))
    code = error.pgcode or ""
    return (from_connection or type(error) is psycopg2.DatabaseError) and (
        not code or code.startswith(("08", "57P", "40"))
    )


def install_connection_retries() -> None:
    """Make every SQLAlchemy pool of this process survive a restart of Postgres; calling it again changes nothing.

    Dagster keeps its run log in the same server through SQLAlchemy, which does not retry: without this a run fails on
    its log although its own work goes on.
    """
    for target, name, listener in (
        (sqlalchemy.pool.Pool, "checkout", _discard_dead_connection),
        (sqlalchemy.engine.Engine, "do_connect", _connect_with_retry),
    ):
        if not sqlalchemy.event.contains(target, name, listener):
            sqlalchemy.event.listen(target, name, listener)


def _discard_dead_connection(connection: Any, *_: Any) -> None:
    """Make the pool replace a connection that the server closed: a live server sends nothing to an idle client."""
    if isinstance(connection, psycopg2.extensions.connection) and (
        connection.closed or select.select([connection], [], [], 0)[0]
    ):
        raise sqlalchemy.exc.DisconnectionError


def _connect_with_retry(dialect: Any, _: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Connect as SQLAlchemy would, with retries while the server restarts."""
    if dialect.driver != "psycopg2":
        return None
    return SERVER.connect(lambda: psycopg2.connect(*arguments, **keywords), load_settings().postgres_wait_s)
