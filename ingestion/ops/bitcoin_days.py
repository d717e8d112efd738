"""Days of Bitcoin transactions in the ``ops`` schema: what their folders had when they were last read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ingestion.database.connections import Connection, execute, fetch


@dataclass(frozen=True)
class BitcoinDay:
    """A day: its status (provisional, final, incomplete), its object, the digest of its listing, its counts."""

    day: date
    status: str
    object_key: str | None
    digest: str
    blocks: int = 0
    rows: int = 0
    problems: tuple[str, ...] = ()


def read_days(connection: Connection, start: date, end: date) -> dict[date, BitcoinDay]:
    """Return the recorded days of [start, end)."""
    query = """
        select day, status, object_key, digest, blocks, rows, problems from ops.bitcoin_days
        where day >= %s and day < %s order by day
    """
    rows = fetch(connection, query, (start, end))
    return {
        day: BitcoinDay(day, status, key, digest, blocks, count, tuple(problems))
        for day, status, key, digest, blocks, count, problems in rows
    }


def record_day(connection: Connection, day: BitcoinDay) -> None:
    """Record what a day's folder had; ``loaded_at`` stays until its object is loaded."""
    execute(
        connection,
        """
        insert into ops.bitcoin_days as known (day, status, object_key, digest, blocks, rows, problems)
        values (%s, %s, %s, %s, %s, %s, %s)
        on conflict (day) do update set
            status = excluded.status, object_key = excluded.object_key, digest = excluded.digest,
            blocks = excluded.blocks, rows = excluded.rows, problems = excluded.problems,
            checked_at = clock_timestamp()
        """,
        (day.day, day.status, day.object_key, day.digest, day.blocks, day.rows, list(day.problems)),
    )


def mark_loaded(cursor: Any, day: date) -> None:
    """Record that raw has the day's object, in the transaction that loads it."""
    cursor.execute("update ops.bitcoin_days set loaded_at = clock_timestamp() where day = %s", (day,))


def broken_heights(connection: Connection, days: Sequence[date]) -> list[str]:
    """Return a line for each height that is missing between the blocks that count of final days next to each other."""
    rows = fetch(
        connection,
        """
        with days as (
            select day, day - (row_number() over (order by day))::integer as run_of_days
            from ops.bitcoin_days where status = 'final' and loaded_at is not null
        ),
        heights as (
            select
                b.block_number, b.source_day,
                lag(b.block_number) over (partition by d.run_of_days order by b.block_number) as below
            from raw.bitcoin_blocks as b
            inner join days as d on d.day = b.source_day
            where b.left_out is null
        )
        select source_day, below + 1, block_number - 1 from heights
        where block_number > below + 1 and source_day = any(%s)
        order by block_number
        """,
        (list(days),),
    )
    return [f"{day}: height {first}{'' if first == last else f' to {last}'} is missing" for day, first, last in rows]
