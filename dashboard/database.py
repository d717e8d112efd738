"""Read-only access to Postgres: a pool of connections, query results as DataFrames, errors as user-facing messages.

No SQL (`queries`), no caching, no handling of errors on pages (`components.messages`). Database grants decide what the
role can read.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Literal

import pandas as pd
import psycopg2
import psycopg2.errors
import psycopg2.extensions as pg
from sqlalchemy import create_engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

MAX_CONNECTIONS = 5  # per process, shared by all sessions
STATEMENT_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 3
POOL_TIMEOUT_S = 10.0

NUMBERS = {20, 21, 23, 700, 701, 1700}  # oids of int8, int2, int4, float4, float8, numeric
DATE, TIMESTAMPTZ = 1082, 1184

log = logging.getLogger(__name__)

Reason = Literal["down", "empty", "slow", "busy"]
MESSAGES: dict[Reason, str] = {
    "down": "The database cannot be reached. Pages work again once it is available.",
    "empty": "The warehouse has no such table yet: the first refresh has not finished.",
    "slow": f"The database did not answer within {STATEMENT_TIMEOUT_MS // 1000} s; it may be rebuilding.",
    "busy": "Too many concurrent queries; try again in a moment.",
}
MISSING_RELATION = (
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.UndefinedColumn,
    psycopg2.errors.InvalidSchemaName,
    psycopg2.errors.InsufficientPrivilege,
)


class MartsError(Exception):
    """The marts cannot be read. `reason` is machine-readable; the text is safe to show: no SQL, no secrets."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(MESSAGES[reason])
        self.reason = reason


def fetch_frame(statement: str, **parameters: object) -> pd.DataFrame:
    """Run one query; return numbers as float64 or int64, dates and timestamps as datetimes (timestamps in UTC).

    Raises MartsError.
    """
    rows, columns = _fetch(statement, parameters)
    frame = pd.DataFrame(rows, columns=[name for name, _ in columns])
    for name, oid in columns:
        if oid in NUMBERS:
            frame[name] = pd.to_numeric(frame[name])
        elif oid == TIMESTAMPTZ:
            frame[name] = pd.to_datetime(frame[name], utc=True)
        elif oid == DATE:
            frame[name] = pd.to_datetime(frame[name])
    return frame


def _fetch(statement: str, parameters: Mapping[str, Any]) -> tuple[list[tuple[Any, ...]], list[tuple[str, int]]]:
    """Return the rows, and the name and type oid of each column."""
    try:
        with closing(ENGINE.raw_connection()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, dict(parameters))
            return cursor.fetchall(), [(column.name, column.type_code) for column in cursor.description or ()]
    except PoolTimeoutError as error:
        raise _marts_error("busy", error) from None
    except psycopg2.errors.QueryCanceled as error:
        raise _marts_error("slow", error) from None
    except MISSING_RELATION as error:
        raise _marts_error("empty", error) from None
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise _marts_error("down", error) from None


def _marts_error(reason: Reason, error: Exception) -> MartsError:
    log.warning("marts %s: %s", reason, " ".join(str(error).split())[:300])
    return MartsError(reason)


def _connect() -> pg.connection:
    """Open a read-only autocommit connection by libpq's variables, with timeouts; PGOPTIONS (a role) still applies."""
    options = f"{os.environ.get('PGOPTIONS', '')} -c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC"
    connection = psycopg2.connect(
        "", options=options.strip(), connect_timeout=CONNECT_TIMEOUT_S, application_name="tickmart dashboard"
    )
    connection.set_session(readonly=True, autocommit=True)
    pg.register_type(NUMERIC_AS_FLOAT, connection)
    return connection


# Charts need binary floats. Exports, which need exact digits, select text.
NUMERIC_AS_FLOAT = pg.new_type((1700,), "numeric as float", lambda value, _: None if value is None else float(value))

# pool_pre_ping replaces connections that a restart of the server closed.
ENGINE = create_engine(
    "postgresql+psycopg2://",
    creator=_connect,
    pool_size=MAX_CONNECTIONS,
    max_overflow=0,
    pool_timeout=POOL_TIMEOUT_S,
    pool_pre_ping=True,
    use_native_hstore=False,
)
