"""Retries of Postgres connections that Dagster and Great Expectations open."""

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

# How often a step begins anew because its connection was lost: a server that keeps falling is not worked on for ever.
MOST_RETRIES = 3


# -- a server that goes and comes back ---------------------------------------------------------------------------------


class ConnectRetry:
    """Waits for Postgres while it restarts: so long from when it was first found missing, whoever asks, and once."""

    def __init__(self) -> None:
        self._missing_since: float | None = None
        self._lock = threading.Lock()

    def connect(self, connect: Callable[[], T], patience_s: float) -> T:
        """Return what ``connect`` does, which is tried again while the server may come back."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_come_back),
            stop=lambda _: self._missing_for() >= patience_s,
            wait=tenacity.wait_random_exponential(0.2, max=2),
            reraise=True,
        )
        made = retrying(connect)
        with self._lock:
            self._missing_since = None
        return made

    def _missing_for(self) -> float:
        with self._lock:
            if self._missing_since is None:
                self._missing_since = time.monotonic()
            return time.monotonic() - self._missing_since


SERVER = ConnectRetry()


def may_come_back(error: BaseException) -> bool:
    """Tell whether a refused connection is worth another attempt: nobody listens, or the server starts or is full."""
    text = str(error)
    return isinstance(error, (connections.WarehouseError, psycopg2.OperationalError)) and (
        "FATAL" not in text or any(word in text for word in ("the database system is", "too many", "terminating"))
    )


def is_lost(error: psycopg2.Error) -> bool:
    """Tell whether an error came of the connection or of a deadlock, and not of the statement: no SQLSTATE of its own.

    libpq has no code for a server that closed the connection; 57P are a server's last words, 40 a rolled back deadlock.
    """
    of_the_wire = isinstance(error, (psycopg2.InterfaceError, psycopg2.OperationalError))
    code = error.pgcode or ""
    return (of_the_wire or type(error) is psycopg2.DatabaseError) and (not code or code.startswith(("08", "57P", "40")))


# Dagster keeps its run log in the same server, through SQLAlchemy and without a word on restarts: a run would die of
# the log where its own work goes on.
@sqlalchemy.event.listens_for(sqlalchemy.pool.Pool, "checkout")
def _leave_what_is_dead(connection: Any, *_: Any) -> None:
    """Have a pool replace a connection on which the server has hung up: to an idle client a live one says nothing."""
    if isinstance(connection, psycopg2.extensions.connection) and (
        connection.closed or select.select([connection], [], [], 0)[0]
    ):
        raise sqlalchemy.exc.DisconnectionError


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "do_connect")
def _connect_patiently(dialect: Any, _: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Connect as the pools of Dagster and Great Expectations do, but outlast a restart."""
    if dialect.driver != "psycopg2":
        return None
    return SERVER.connect(lambda: psycopg2.connect(*arguments, **keywords), load_settings().postgres_patience_s)
