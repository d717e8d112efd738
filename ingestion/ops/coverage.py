"""Requested symbol-days, archive files and backfills in the ``ops`` schema: what later runs need not request again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from ingestion.database.connections import Connection, execute, fetch, write_rows
from ingestion.datasets import ONE_DAY, Dataset


def invalidate_coverage(connection: Connection, dataset: Dataset, interval: str, days: tuple[date, date]) -> None:
    """Make the next run request the days [first, end) again, for every symbol that was requested."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            update ops.coverage set is_final = false, answered_by = '{}'
            where dataset = %s and interval = %s and date >= %s and date < %s and source <> 'not_listed'
            """,
            (dataset.name, interval, *days),
        )


def open_days(connection: Connection, dataset: Dataset, interval: str, before: date) -> dict[str, set[date]]:
    """Return for each symbol the days before one that were requested and are not final: their answer is lost."""
    return _days(connection, "not is_final and date < %s", (dataset.name, interval, before))


def covered_days(
    connection: Connection, dataset: Dataset, interval: str, days: tuple[date, date], since: datetime
) -> dict[str, set[date]]:
    """Return for each symbol the final days in [first, end) that were requested and answered since a moment."""
    condition = "is_final and date >= %s and date < %s and checked_at >= %s"
    return _days(connection, condition, (dataset.name, interval, *days, since))


def _days(connection: Connection, condition: str, values: tuple[Any, ...]) -> dict[str, set[date]]:
    query = f"""
        select symbol, array_agg(date) from ops.coverage
        where dataset = %s and interval = %s and {condition}
        group by symbol
    """  # noqa: S608 - the conditions above
    return {symbol: set(days) for symbol, days in fetch(connection, query, values)}


def record_coverage(
    connection: Connection,
    dataset: Dataset,
    interval: str,
    rows: Iterable[tuple[str, date, int, bool, str]],
    now: datetime,
    incomplete: Collection[str] = (),
) -> None:
    """Record which (symbol, day, closed bars, final, source) were requested and answered at ``now``.

    ``now`` is the exchange's time when the request began: bars that were closed by then had to be in the answer.
    ``incomplete`` names the symbols some of whose records were rejected: such an answer proves no absence.
    """
    answers: dict[tuple[str, str], list[Any]] = {}
    for symbol, day, bars, final, source in rows:
        answer = answers.setdefault((symbol, day.isoformat()), [bars, final, source, ""])
        answer[0], answer[2] = max(answer[0], bars), source
        if final and source != "not_listed" and symbol not in incomplete:
            # A day that is not over may still get bars, so no answer covers all of it.
            answer[3] = f"{answer[3]},{source}".lstrip(",")
    columns: list[Any] = [list(column) for column in zip(*answers, strict=True)]
    columns += [list(column) for column in zip(*answers.values(), strict=True)]
    if not answers:
        return
    with connection, connection.cursor() as cursor:
        # Arrays: a chunk of fifty symbols has thousands of rows, and formatting each one takes longer than writing it.
        cursor.execute(
            """
            insert into ops.coverage as c
                (dataset, symbol, interval, date, bars, is_final, source, closed_until, answered_by)
            select
                %s, asked.symbol, %s, asked.date, asked.bars, asked.is_final, asked.source,
                least(%s, (asked.date + 1)::timestamp at time zone 'UTC'),
                string_to_array(asked.ways, ',') || case
                    when asked.ways <> '' and asked.bars = 0 and asked.date > (s.last_bar_at at time zone 'UTC')::date
                        then array['status']
                end
            from unnest(%s::text[], %s::date[], %s::integer[], %s::boolean[], %s::text[], %s::text[])
                as asked (symbol, date, bars, is_final, source, ways)
            left join ops.symbol_status as s
                on s.symbol = asked.symbol and s.status not in ('', 'TRADING', 'FAILED', 'UNKNOWN')
            on conflict (dataset, symbol, interval, date) do update set
                bars = greatest(c.bars, excluded.bars), is_final = excluded.is_final, source = excluded.source,
                closed_until = excluded.closed_until, checked_at = clock_timestamp(),
                answered_by = array(
                    select distinct way from unnest(c.answered_by || excluded.answered_by) as way order by way
                )
            """,
            (dataset.name, interval, now, *columns),
        )


def short_days(
    connection: Connection, dataset: Dataset, interval: str, since: datetime, day_bars: int
) -> list[tuple[str, date, int, list[str]]]:
    """Return (symbol, day, bars, ways that answered) of each short day answered since a moment and in no known gap.

    A day is short when it is over and brought fewer than ``day_bars``.
    """
    return fetch(
        connection,
        """
        select symbol, date, bars, answered_by
        from ops.coverage as c
        where
            dataset = %s and interval = %s and checked_at >= %s
            and is_final and bars < %s and source <> 'not_listed'
            and not exists (
                select 1 from ops.gaps as g
                where
                    g.symbol = c.symbol and g.interval = c.interval and g.kind not in ('not_listed', 'delisted')
                    and g.gap_start < (c.date + 1)::timestamp at time zone 'UTC'
                    and g.gap_end > c.date::timestamp at time zone 'UTC'
            )
        order by date, symbol
        """,
        (dataset.name, interval, since, day_bars),
    )


def loaded_archives(connection: Connection) -> dict[str, str]:
    """Return the SHA-256 under which each archive file was last loaded, by its path."""
    return dict(fetch(connection, "select url, sha256 from ops.archive_files"))


def record_archives(connection: Connection, files: Iterable[tuple[str, str, int]]) -> None:
    """Record the archive files (path, SHA-256, rows) whose bars are in bronze."""
    statement = """
        insert into ops.archive_files (url, sha256, rows) values %s
        on conflict (url) do update set sha256 = excluded.sha256, rows = excluded.rows, loaded_at = clock_timestamp()
    """
    write_rows(connection, statement, list(files))


def begin_backfill(
    connection: Connection, dataset: Dataset, source: str, start: date, end: date
) -> tuple[int, datetime]:
    """Begin a backfill, or resume the unfinished one with this start; return its id and when it first began.

    The end is not compared: it moves with the calendar. Another start is another backfill, which must not be recorded
    as finished by this one.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select backfill_id, started_at from ops.backfills
            where dataset = %s and source = %s and start_date = %s and finished_at is null
            order by started_at limit 1
            """,
            (dataset.name, source, start),
        )
        found = cursor.fetchone()
        if found is None:
            cursor.execute(
                """
                insert into ops.backfills (dataset, source, start_date, end_date) values (%s, %s, %s, %s)
                returning backfill_id, started_at
                """,
                (dataset.name, source, start, end),
            )
            found = cursor.fetchone()
    assert found is not None
    return found[0], found[1]


def end_backfill(connection: Connection, backfill_id: int, end: date) -> None:
    """Mark a backfill as finished if ``end`` reaches its end: the next one requests everything again."""
    statement = "update ops.backfills set finished_at = clock_timestamp() where backfill_id = %s and end_date <= %s"
    execute(connection, statement, (backfill_id, end))


def refresh_start(
    connection: Connection, dataset: Dataset, symbols: Sequence[str], today: date, default_days: int
) -> date:
    """Return the first day that a refresh of hourly data requests: yesterday, or earlier after days without a run.

    A symbol without any answer starts ``default_days`` ago. Symbols that the exchange does not list do not count.
    """
    [(earliest,)] = fetch(
        connection,
        """
        select min(coalesce(c.last_final + 1, %(default)s))
        from unnest(%(symbols)s::text[]) as s (symbol)
        -- One index probe per symbol instead of a scan.
        left join lateral (
            select date as last_final from ops.coverage as c
            where c.dataset = %(dataset)s and c.symbol = s.symbol and c.interval = '1h' and c.is_final
            order by date desc limit 1
        ) as c on true
        left join ops.symbol_status as o using (symbol)
        where coalesce(o.status, '') not in ('UNKNOWN', 'DELISTED')
        """,
        {"symbols": list(symbols), "default": today - timedelta(days=default_days), "dataset": dataset.name},
    )
    return min(today - ONE_DAY, earliest or today)
