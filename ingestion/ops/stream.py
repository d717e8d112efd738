"""The stream in the ``ops`` schema: minutes, gaps, connections, and its status with the sink's position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values

from ingestion.database.connections import Connection, fetch


@dataclass(frozen=True)
class Counts:
    """What one load of the sink brought, for ``ops.stream_minutes``; delays in seconds, None without messages."""

    messages: int = 0
    trades: int = 0
    tickers: int = 0
    duplicates: int = 0
    rejected: int = 0
    delay_p50_s: float | None = None
    delay_p95_s: float | None = None


def lock_position(cursor: Any, stream: str, broker_id: str) -> int:
    """Return the sequence up to which raw has the broker's messages, 0 for another broker's; other sinks wait."""
    cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"stream {stream}",))
    cursor.execute("select broker_id, last_sequence from ops.stream_status where stream = %s", (stream,))
    row = cursor.fetchone()
    return int(row[1]) if row and row[0] == broker_id else 0


def position(connection: Connection, stream: str, broker_id: str) -> int:
    """Return the sequence up to which raw has the broker's messages, 0 for another broker's."""
    query = "select last_sequence from ops.stream_status where stream = %s and broker_id = %s"
    rows = fetch(connection, query, (stream, broker_id))
    return int(rows[0][0]) if rows else 0


def record_status(cursor: Any, stream: str, values: Mapping[str, Any]) -> None:
    """Write the status of a stream; a column without a value keeps the one that it has."""
    names = [name for name, value in values.items() if value is not None]
    columns = ", ".join(["stream", "sink_at", *names])
    sets = ", ".join(f"{name} = excluded.{name}" for name in ["sink_at", *names])
    cursor.execute(
        f"insert into ops.stream_status ({columns}) values (%s, clock_timestamp(){', %s' * len(names)})"  # noqa: S608
        f" on conflict (stream) do update set {sets}",
        (stream, *(values[name] for name in names)),
    )


def record_minute(cursor: Any, stream: str, counts: Counts) -> None:
    """Add a load to the minute in which it is committed; the delays of a minute are those of its slowest load."""
    cursor.execute(
        """
        insert into ops.stream_minutes as known
            (stream, minute, messages, trades, tickers, duplicates, rejected, delay_p50_s, delay_p95_s)
        values (%s, date_trunc('minute', clock_timestamp()), %s, %s, %s, %s, %s, %s, %s)
        on conflict (stream, minute) do update set
            messages = known.messages + excluded.messages, trades = known.trades + excluded.trades,
            tickers = known.tickers + excluded.tickers, duplicates = known.duplicates + excluded.duplicates,
            rejected = known.rejected + excluded.rejected,
            delay_p50_s = greatest(known.delay_p50_s, excluded.delay_p50_s),
            delay_p95_s = greatest(known.delay_p95_s, excluded.delay_p95_s)
        """,
        (stream, counts.messages, counts.trades, counts.tickers, counts.duplicates, counts.rejected,
         counts.delay_p50_s, counts.delay_p95_s),
    )  # fmt: skip


def record_gaps(cursor: Any, gaps: Sequence[tuple[Any, ...]]) -> None:
    """Write gaps: instrument, ids after and before, opened, closed, reason, trades filled, whether it is filled.

    The newest event of a gap counts.
    """
    newest = {row[:3]: row for row in gaps}
    execute_values(
        cursor,
        """
        insert into ops.stream_gaps
            (inst_id, after_trade_id, before_trade_id, opened_at, closed_at, reason, filled_trades, is_filled)
        values %s
        on conflict (inst_id, after_trade_id, before_trade_id) do update set
            closed_at = excluded.closed_at, reason = excluded.reason, filled_trades = excluded.filled_trades,
            is_filled = excluded.is_filled
        """,
        list(newest.values()),
    )


def record_connections(
    cursor: Any, stream: str, events: Iterable[tuple[datetime, datetime | None, str | None]]
) -> None:
    """Write when connections of the collector began and, once they have, ended and why.

    A connection that a killed collector left open ends with the beginning of the next one.
    """
    for connected_at, ended_at, reason in events:
        if ended_at is None:
            cursor.execute(
                "update ops.stream_connections set ended_at = %s, reason = 'the collector was killed'"
                " where stream = %s and ended_at is null and connected_at < %s",
                (connected_at, stream, connected_at),
            )
        cursor.execute(
            """
            insert into ops.stream_connections (stream, connected_at, ended_at, reason) values (%s, %s, %s, %s)
            on conflict (stream, connected_at) do update set ended_at = excluded.ended_at, reason = excluded.reason
            """,
            (stream, connected_at, ended_at, reason),
        )
