"""Reads the marts from Postgres, read-only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg2
import psycopg2.errors
import pyarrow as pa
from psycopg2 import extensions, sql

from tickmart import copying
from tickmart.errors import ArgumentError, TickmartError
from tickmart.result import Result
from tickmart.source import Condition, Filters, Parameters, Read, Source

_CONNECT_TIMEOUT_S = 10
# A value has one text, whatever the database or the user's login is set to.
_SETTINGS = {"timezone": "UTC", "datestyle": "ISO", "intervalstyle": "iso_8601", "extra_float_digits": "1"}
_AS_OF = "marts.bars_as_of(timestamptz)"
_COMMENTS = """
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)
from pg_catalog.pg_class as c
inner join pg_catalog.pg_attribute as a on c.oid = a.attrelid
where
    c.relnamespace = to_regnamespace('marts') and c.relkind in ('r', 'v', 'm', 'p')
    and a.attnum > 0 and not a.attisdropped
    and (%(mart)s is null or c.relname = %(mart)s)
order by c.relname, a.attnum
"""


class PostgresSource(Source):
    """The marts of one database, by one connection that is opened again when it was closed; threads take turns."""

    def __init__(self, url: str) -> None:
        # SQLAlchemy's addresses name the driver: postgresql+psycopg2://
        scheme, separator, rest = url.partition("://")
        try:
            self._parts = extensions.parse_dsn(scheme.partition("+")[0] + separator + rest)
        except psycopg2.ProgrammingError:  # its text has parts of the address, which may be the password
            raise ArgumentError(
                "The address is not that of a Postgres database; `tickmart connect --format url` prints it"
            ) from None
        self._lock = threading.RLock()
        self._connection: Any = None
        with self._cursor():
            pass

    def close(self) -> None:
        """Close the connection; a later read opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def __repr__(self) -> str:
        return f"<tickmart: {self._address}>"

    def sql(self, text: str, params: Parameters = None, *, decimals: bool = False) -> Result:
        """Run one query, read-only. `params` fill `%s`, or `%(name)s` from a dict.

        >>> import tickmart as tm
        >>> query = "select count(*) as n from marts.dim_crypto where crypto_id = %(coin)s"
        >>> tm.sql(query, {"coin": "bitcoin"}).to_pylist()
        [{'n': 1}]
        """
        with self._cursor() as cursor:
            return Result(copying.read(cursor, _filled(cursor, text.rstrip().rstrip(";"), params), decimals=decimals))

    def _column_types(self, mart: str) -> dict[str, str]:
        types = {column: data_type for _, column, data_type, _ in self._comments(mart)}
        if not types:
            raise TickmartError(f"The database has no marts.{mart}: the first refresh has not finished")
        return types

    def _comments(self, mart: str | None = None) -> Iterable[tuple[str, str, str, str | None]]:
        with self._cursor() as cursor:
            cursor.execute(_COMMENTS, {"mart": mart})
            rows: list[tuple[str, str, str, str | None]] = cursor.fetchall()
            return rows

    def _read(self, wanted: Read) -> pa.Table:
        with self._cursor() as cursor:
            statement = sql.SQL("select {columns} from {relation} {where} order by {order}").format(
                columns=_names(wanted.columns),
                relation=_relation(cursor, wanted),
                where=_where(wanted.filters),
                order=_names(wanted.order_by),
            )
            query = statement.as_string(cursor).encode()
            return copying.read(cursor, query, decimals=wanted.decimals)

    @property
    def _address(self) -> str:
        return f"Postgres {self._parts.get('host', 'localhost')}:{self._parts.get('port', 5432)}"

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        """Yield a cursor in a read-only transaction; an error closes the connection and becomes one line."""
        with self._lock:
            try:
                if not self._is_open():
                    self._connection = self._connect()
                with self._connection, self._connection.cursor() as cursor:
                    yield cursor
            except ArgumentError:
                raise
            except pa.ArrowInvalid as error:  # a value that Arrow does not have, such as the time infinity
                self.close()
                raise TickmartError(f"{str(error).splitlines()[0]}; cast the column to text") from None
            except psycopg2.Error as error:
                self.close()
                raise TickmartError(self._message(error)) from None
            except BaseException:
                self.close()
                raise

    def _is_open(self) -> bool:
        """Return whether the server still answers; a restart of it closes the connection without notice."""
        if self._connection is None or self._connection.closed:
            return False
        try:
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute("select 1")
        except psycopg2.Error:
            return False
        return True

    def _connect(self) -> Any:
        settings = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        parts = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "tickmart client", **self._parts}
        connection = psycopg2.connect(**{**parts, "options": f"{self._parts.get('options', '')} {settings}".strip()})
        connection.set_session(readonly=True, isolation_level="REPEATABLE READ")
        connection.set_client_encoding("UTF8")
        return connection

    def _message(self, error: Exception) -> str:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # Without a code the error is not the server's answer to a statement: no connection, or a lost one.
        where = f"{self._address}: " if getattr(error, "pgcode", None) is None else ""
        hint = "; sql() runs one select" if isinstance(error, psycopg2.errors.SyntaxError) else ""
        return where + lines[0].removeprefix("ERROR:").strip() + hint


def _filled(cursor: Any, text: str, params: Parameters) -> bytes:
    try:
        filled: bytes = cursor.mogrify(text, params)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ArgumentError(f"params do not fit the query: {error}; write a literal % as %%") from None
    return filled


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _relation(cursor: Any, wanted: Read) -> sql.Composable:
    if wanted.as_of is None:
        return sql.Identifier("marts", wanted.mart)
    cursor.execute("select to_regprocedure(%s) is not null", (_AS_OF,))
    if cursor.fetchone() != (True,):
        raise ArgumentError("as_of= is not available in this version")
    return sql.SQL("marts.bars_as_of({}) as bars").format(sql.Literal(wanted.as_of))


def _where(filters: Filters) -> sql.Composable:
    alternatives = [sql.SQL(" and ").join(map(_condition, conditions)) for conditions in filters if conditions]
    if not alternatives:
        return sql.SQL("")
    return sql.SQL("where ({})").format(sql.SQL(") or (").join(alternatives))


def _condition(condition: Condition) -> sql.Composed:
    column, operator, value = condition
    template = "{} = any({})" if operator == "in" else f"{{}} {operator.replace('==', '=')} {{}}"
    return sql.SQL(template).format(sql.Identifier(column), sql.Literal(value))
