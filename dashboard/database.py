"""Reading from Postgres: a small pool of read-only connections, rows as DataFrames, and failures in plain words.

Belongs here: connecting by libpq's own variables, reconnecting after a restart of the server, types of columns. Does
not: any SQL (`queries`), caching, what a page does about a failure (`shell`). Where the role may read is decided by the
database's grants; nothing here relies on the client's good will.
"""

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd
import psycopg2
import psycopg2.errors
import psycopg2.extensions as pg

CONNECTIONS = 5  # per process; every session of the dashboard shares them
STATEMENT_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 3
WAIT_S = 10.0

NUMBERS = {20, 21, 23, 700, 701, 1700}  # oids of int8, int2, int4, float4, float8, numeric
DATE, TIMESTAMPTZ = 1082, 1184

log = logging.getLogger(__name__)

Reason = Literal["down", "empty", "slow", "busy"]
SENTENCES: dict[Reason, str] = {
    "down": "The database cannot be reached. The pages come back by themselves when it is up again.",
    "empty": "The warehouse has no such table yet: the first refresh has not finished.",
    "slow": f"The database took longer than {STATEMENT_TIMEOUT_MS // 1000} s to answer; it may be rebuilding.",
    "busy": "Too many readers at once; try again in a moment.",
}


class MartsError(Exception):
    """The marts cannot be read now; `reason` is machine-readable, the text is fit for a visitor: no SQL, no secret."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(SENTENCES[reason])
        self.reason = reason


class Pool:
    """At most `size` connections, opened when needed; one that broke is thrown away with its idle siblings."""

    def __init__(self, size: int) -> None:
        self._slots = threading.BoundedSemaphore(size)
        self._idle: list[pg.connection] = []
        self._lock = threading.Lock()

    def fetch(
        self, statement: str, parameters: Mapping[str, Any]
    ) -> tuple[list[tuple[Any, ...]], list[tuple[str, int]]]:
        """Return the rows, and the name and type oid of each column; raise MartsError."""
        if not self._slots.acquire(timeout=WAIT_S):
            raise MartsError("busy")
        try:
            return self._fetch_retrying(statement, parameters)
        except psycopg2.errors.QueryCanceled as error:
            raise self._told("slow", error) from None
        except (
            psycopg2.errors.UndefinedTable,
            psycopg2.errors.UndefinedColumn,
            psycopg2.errors.InvalidSchemaName,
            psycopg2.errors.InsufficientPrivilege,
        ) as error:
            raise self._told("empty", error) from None
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise self._told("down", error) from None
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _fetch_retrying(self, statement: str, parameters: Mapping[str, Any]) -> tuple[list[Any], list[tuple[str, int]]]:
        """Run a query; when an idle connection turns out to be dead (the server restarted), once more on a new one."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                return self._run(connection, statement, parameters)
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                if not connection.closed:
                    raise
                log.warning("reconnecting: %s", _one_line(error))
                self.close()
        return self._run(_connect(), statement, parameters)

    def _run(
        self, connection: pg.connection, statement: str, parameters: Mapping[str, Any]
    ) -> tuple[list[Any], list[tuple[str, int]]]:
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, dict(parameters))
                rows = cursor.fetchall()
                return rows, [(column.name, column.type_code) for column in cursor.description or ()]
        finally:
            if not connection.closed:
                with self._lock:
                    self._idle.append(connection)

    def _told(self, reason: Reason, error: Exception) -> MartsError:
        log.warning("marts %s: %s", reason, _one_line(error))
        return MartsError(reason)


POOL = Pool(CONNECTIONS)


def fetch_frame(statement: str, **parameters: object) -> pd.DataFrame:
    """Run one query and return its rows: numbers as float64 or int64, days and instants as datetimes (instants UTC)."""
    rows, columns = POOL.fetch(statement, parameters)
    frame = pd.DataFrame(rows, columns=[name for name, _ in columns])
    for name, oid in columns:
        if oid in NUMBERS:
            frame[name] = pd.to_numeric(frame[name])
        elif oid == TIMESTAMPTZ:
            frame[name] = pd.to_datetime(frame[name], utc=True)
        elif oid == DATE:
            frame[name] = pd.to_datetime(frame[name])
    return frame


def _connect() -> pg.connection:
    """Connect as libpq's variables say, with the seat belts that a reader needs; PGOPTIONS (a role) stays in force."""
    options = f"{os.environ.get('PGOPTIONS', '')} -c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC"
    connection = psycopg2.connect(
        "", options=options.strip(), connect_timeout=CONNECT_TIMEOUT_S, application_name="tickmart dashboard"
    )
    connection.set_session(readonly=True, autocommit=True)
    pg.register_type(FLOAT, connection)
    return connection


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


# Charts need binary floats; numeric's exact digits are wanted only by exports, which ask for text.
FLOAT = pg.new_type((1700,), "numeric as float", lambda value, _: None if value is None else float(value))
