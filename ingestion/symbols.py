"""The life of a symbol: when it was listed, whether it still trades, and so what need not be asked for.

Belongs here: what is known of tracked symbols between runs (``ops.symbol_status``). Does not: the universe file
(``universe``), fetching bars (``bronze``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from psycopg2.extras import execute_values

from ingestion import binance
from ingestion.binance import Exchange
from ingestion.http import HttpClient, RequestRefused, SourceError
from ingestion.universe import Asset
from ingestion.warehouse import Connection

PROBERS = 6


@dataclass(frozen=True)
class Survey:
    """What is known of the tracked symbols: ``listed_at`` as probed, those that are gone, those never seen."""

    listed_at: dict[str, datetime]
    delisted: frozenset[str]
    unknown: frozenset[str]

    def before_listing(self, symbol: str, start: date, end: date) -> set[date]:
        """Return the UTC days of [start, end) before the one on which the symbol was listed."""
        listed = self.listed_at.get(symbol)
        return set(_days(start, min(end, listed.date()))) if listed else set()


def survey(connection: Connection, client: HttpClient, exchange: Exchange) -> Survey:
    """Compare the exchange's word with what is known, probe listings that are not, and write both down.

    A symbol that the exchange no longer knows is ``DELISTED`` if it ever had bars and ``UNKNOWN`` if it was never seen.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select symbol, listed_at from ops.symbol_status where symbol = any(%s) and listed_at is not null",
            (list(exchange.status),),
        )
        listed: dict[str, datetime] = dict(cursor.fetchall())
    connection.commit()
    absent = {symbol for symbol, word in exchange.status.items() if word == "UNKNOWN"}
    delisted = absent & listed.keys()
    listed |= _probe(client, [s for s in exchange.status if s not in absent and s not in listed])
    _record(connection, {s: "DELISTED" if s in delisted else word for s, word in exchange.status.items()}, listed)
    return Survey(listed, frozenset(delisted), frozenset(absent - delisted))


def _probe(client: HttpClient, symbols: Sequence[str]) -> dict[str, datetime]:
    """Return the first bar of each symbol that has one; the next run probes those that cannot be probed now."""

    def first(symbol: str) -> datetime | None:
        try:
            return binance.first_bar(client, symbol)
        except RequestRefused:
            return None
        except SourceError as error:
            if error.kind != "failing":
                raise
            return None

    with ThreadPoolExecutor(PROBERS, thread_name_prefix="probe") as pool:
        found = dict(zip(symbols, pool.map(first, symbols), strict=True))
    return {symbol: opened for symbol, opened in found.items() if opened}


def _record(connection: Connection, status: dict[str, str], listed: dict[str, datetime]) -> None:
    with connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            """
            insert into ops.symbol_status (symbol, status, listed_at) values %s
            on conflict (symbol) do update set
                status = excluded.status,
                detail = null,
                listed_at = coalesce(ops.symbol_status.listed_at, excluded.listed_at),
                checked_at = clock_timestamp()
            """,
            [(symbol, word, listed.get(symbol)) for symbol, word in sorted(status.items())],
        )
        cursor.execute(
            """
            update ops.symbol_status as s
            set last_bar_at = (
                select max(k.open_time) from raw.binance_klines as k where k.symbol = s.symbol and k.interval = '1h'
            )
            where s.symbol = any(%s)
            """,
            (list(status),),
        )


def tracked_now(assets: Sequence[Asset], today: date) -> list[str]:
    """Return the symbols whose row of the universe is valid yesterday or today: those that a refresh is about."""
    near = (today - timedelta(days=1), today + timedelta(days=1))
    return sorted({a.binance_symbol for a in assets if a.binance_symbol and a.trades_in(*near)})


def unlisted_rows(found: Survey, assets: Sequence[Asset], start: date, end: date) -> Iterator[tuple[str, date]]:
    """Yield the (symbol, day) of [start, end) that need no request: the symbol was not listed yet."""
    for asset in assets:
        for day in sorted(found.before_listing(asset.binance_symbol, start, end)):
            if asset.trades_in(day, day + timedelta(days=1)):
                yield asset.binance_symbol, day


def _days(start: date, end: date) -> Iterator[date]:
    for offset in range((end - start).days):
        yield start + timedelta(days=offset)
