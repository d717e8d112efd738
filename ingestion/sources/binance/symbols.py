"""Refreshes the status of tracked symbols: when each was listed, whether it trades, when it ended.

Belongs here: ``ops.symbol_status``, which later runs read. Does not: the universe file (``universe``), fetching bars
(``ingest``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime

from psycopg2.extras import execute_values

from ingestion.database.connections import Connection, fetch, write_rows
from ingestion.datasets import ONE_DAY, days_between
from ingestion.sources.binance import rest
from ingestion.sources.binance.rest import Exchange
from ingestion.sources.http import HttpClient, RequestRejected, SourceError
from ingestion.universe import Asset

PROBERS = 6
# Statuses of a symbol that trades, or without a statement of the exchange.
TRADING = ("TRADING", "")


@dataclass(frozen=True)
class SymbolFacts:
    """What is known of the tracked symbols: ``listed_at`` as probed, ``delisted`` and ``unknown`` (never seen) ones.

    ``ended_at`` is the last bar of symbols that do not trade now, if it is known. ``paused`` are the symbols whose
    status has changed from TRADING to another since the last run, with that status.
    """

    listed_at: dict[str, datetime]
    delisted: frozenset[str]
    unknown: frozenset[str]
    ended_at: dict[str, datetime] = field(default_factory=dict)
    paused: dict[str, str] = field(default_factory=dict)

    def before_listing(self, symbol: str, start: date, end: date) -> set[date]:
        """Return the UTC days of [start, end) before the one on which the symbol was listed."""
        listed = self.listed_at.get(symbol)
        return set(days_between(start, min(end, listed.date()))) if listed else set()

    def traded_all_day(self, symbol: str, day: date) -> bool:
        """Return whether the symbol was listed before the UTC day and had not ended by its last moment."""
        listed, ended = self.listed_at.get(symbol), self.ended_at.get(symbol)
        return (listed is None or listed.date() < day) and (ended is None or day < ended.date())


def refresh_symbol_status(connection: Connection, client: HttpClient, exchange: Exchange) -> SymbolFacts:
    """Record the exchange's statuses, and probe the listings and ends of symbols that are not recorded yet.

    A symbol that the exchange does not list is ``DELISTED`` if it ever had bars, and ``UNKNOWN`` if it was never seen.
    """
    query = "select symbol, status, listed_at, last_bar_at from ops.symbol_status where symbol = any(%s)"
    before = {symbol: known for symbol, *known in fetch(connection, query, (list(exchange.status),))}
    listed: dict[str, datetime] = {symbol: at for symbol, (_, at, _) in before.items() if at is not None}
    absent = {symbol for symbol, word in exchange.status.items() if word == "UNKNOWN"}
    delisted = absent & listed.keys()
    listed |= _probe(
        [s for s in exchange.status if s not in absent and s not in listed], lambda s: rest.first_bar(client, s)
    )
    # A status that a failure has overwritten counts as unchanged: the end of a symbol is reported once.
    paused = {
        symbol: word
        for symbol, word in exchange.status.items()
        if word not in TRADING and symbol not in absent and before.get(symbol, [""])[0] not in (word, "FAILED")
    }
    over = [s for s, word in exchange.status.items() if word not in TRADING and s not in absent and s in listed]
    unseen = [s for s in over if s in paused or before.get(s, [None, None, None])[2] is None]
    ended = _probe(unseen, lambda s: rest.last_bar(client, s, listed[s], exchange.now))
    _record(
        connection, {s: "DELISTED" if s in delisted else word for s, word in exchange.status.items()}, listed, ended
    )
    over = [symbol for symbol, word in exchange.status.items() if word not in TRADING]
    query = "select symbol, last_bar_at from ops.symbol_status where symbol = any(%s) and last_bar_at is not null"
    last_bars = dict(fetch(connection, query, (over,)))
    return SymbolFacts(listed, frozenset(delisted), frozenset(absent - delisted), last_bars, paused)


def _probe(symbols: Sequence[str], ask: Callable[[str], datetime | None]) -> dict[str, datetime]:
    """Return what ``ask`` finds for each symbol. The next run probes those that fail now."""

    def one(symbol: str) -> datetime | None:
        try:
            return ask(symbol)
        except RequestRejected:
            return None
        except SourceError as error:
            if error.kind != "failing":
                raise
            return None

    with ThreadPoolExecutor(PROBERS, thread_name_prefix="probe") as pool:
        found = dict(zip(symbols, pool.map(one, symbols), strict=True))
    return {symbol: opened for symbol, opened in found.items() if opened}


def _record(
    connection: Connection, status: dict[str, str], listed: dict[str, datetime], ended: dict[str, datetime]
) -> None:
    with connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            """
            insert into ops.symbol_status as s (symbol, status, listed_at, last_bar_at) values %s
            on conflict (symbol) do update set
                -- An empty status is not a statement.
                status = coalesce(nullif(excluded.status, ''), s.status),
                detail = null,
                listed_at = coalesce(s.listed_at, excluded.listed_at),
                last_bar_at = greatest(s.last_bar_at, excluded.last_bar_at),
                checked_at = clock_timestamp()
            """,
            [(symbol, word, listed.get(symbol), ended.get(symbol)) for symbol, word in sorted(status.items())],
        )
        cursor.execute(
            """
            update ops.symbol_status as s
            set
                last_bar_at = greatest(s.last_bar_at, bars.last_at),
                -- A bar from before the listing shows that the probe came short.
                listed_at = case
                    when s.listed_at is not null then least(s.listed_at, date_trunc('day', bars.first_at, 'UTC'))
                end
            from (
                select asked.symbol, of_symbol.*
                from unnest(%s::text[]) as asked (symbol)
                cross join lateral (
                    select min(k.open_time) as first_at, max(k.open_time) as last_at
                    from raw.binance_klines as k where k.symbol = asked.symbol and k.interval = '1h'
                ) as of_symbol
            ) as bars
            where s.symbol = bars.symbol
            """,
            (list(status),),
        )


def record_failed(connection: Connection, facts: SymbolFacts, failed: Mapping[str, str]) -> None:
    """Record the symbols that a fetch could not request, each with the reason."""
    statement = """
        insert into ops.symbol_status (symbol, status, detail) values %s
        on conflict (symbol) do update set
            status = excluded.status, detail = excluded.detail, checked_at = clock_timestamp()
    """
    if failed:
        rows = [(symbol, "UNKNOWN" if symbol in facts.unknown else "FAILED", why) for symbol, why in failed.items()]
        write_rows(connection, statement, rows)


def tracked_now(assets: Sequence[Asset], today: date) -> list[str]:
    """Return the symbols whose row of the universe is valid yesterday or today: those that a refresh requests."""
    return sorted(
        {a.binance_symbol for a in assets if a.binance_symbol and a.trades_in(today - ONE_DAY, today + ONE_DAY)}
    )
