"""Symbol status in the ``ops`` schema."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg2.extras import execute_values

from ingestion.database.connections import Connection


def record_symbols(connection: Connection, status: Mapping[str, tuple[str, str]]) -> None:
    """Record each symbol's (status, detail)."""
    if not status:
        return
    with connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            """
            insert into ops.symbol_status (symbol, status, detail) values %s
            on conflict (symbol) do update set
                status = excluded.status, detail = excluded.detail, checked_at = clock_timestamp()
            """,
            [(symbol, word, detail) for symbol, (word, detail) in status.items()],
        )
