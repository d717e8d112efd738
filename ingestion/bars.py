"""A run's bars: what need not be asked for, which way is asked, what is asked about again.

Belongs here: joining what is known between runs (symbols, coverage, holes, archive files) into one ingestion of klines.
Does not: each of these by itself, nor when a run takes place (``orchestration``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from ingestion import binance, books, bronze, gaps, symbols
from ingestion.archive import History
from ingestion.binance import Exchange
from ingestion.bronze import Context, Report
from ingestion.datasets import BINANCE_OPENED, KLINES, object_day
from ingestion.http import HttpClient, SourceError
from ingestion.symbols import Survey
from ingestion.universe import Asset

Source = Literal["rest", "archive", "auto"]
ONE_DAY = timedelta(days=1)
_EVER = datetime(2000, 1, 1, tzinfo=UTC)


def bring(
    context: Context,
    rest: HttpClient,
    archive: HttpClient,
    set_limit: Callable[[int], None],
    universe: Sequence[Asset],
    start: date,
    end: date,
    *,
    interval: str = "1h",
    source: Source = "rest",
    skip_covered: bool = False,
    resume: bool = False,
) -> Report:
    """Bring the closed bars of the UTC days [start, end) into bronze, by REST, by archive files, or by the cheaper.

    ``skip_covered`` leaves out days that are over and answered, but never yesterday and today; ``resume`` books the
    range as a backfill and takes up one that was cut off. Holes that an earlier run could not explain are asked about
    again, once. ``set_limit`` is told the exchange's weight limit per minute. SourceError when nothing can be asked.
    """
    tracked = sorted({a.binance_symbol for a in universe if a.binance_symbol})
    exchange, found, rest_error = _exchange(context, rest, tracked, source)
    if exchange.weight_per_minute:
        set_limit(exchange.weight_per_minute)
    start, end = max(start, BINANCE_OPENED), min(end, exchange.now.date() + ONE_DAY)
    assets = [a for a in universe if a.binance_symbol and a.binance_symbol not in found.unknown | found.delisted]
    backfill, skip = _known(context, tracked, found, interval, start, end, exchange.now, skip_covered, resume)
    if source == "rest":
        report = bronze.ingest_klines(
            context, rest, assets, start, end, interval=interval, skip=skip, now=exchange.now
        )  # fmt: skip
    else:
        report = _from_archives(context, rest, archive, assets, found, start, end, interval, source, skip, exchange.now)
    _book_unlisted(context, found, assets, start, end, interval, exchange.now)
    if rest_error is None and not report.error:
        _ask_again(context, rest, assets, interval, exchange.now, report)
    elif rest_error is not None:
        report.failed["Binance REST"] = f"{rest_error} What no archive file holds is missing."
    _judge(context, report, found)
    if backfill is not None and not report.error and not set(report.failed) - found.unknown:
        books.end_backfill(context.connection, backfill)
    if report.skipped_days:
        report.notes.append(f"{report.skipped_days:,} symbol-days were there already and not asked for again")
    return report


def _exchange(
    context: Context, rest: HttpClient, tracked: Sequence[str], source: Source
) -> tuple[Exchange, Survey, SourceError | None]:
    """Ask the exchange of itself and its symbols; without it, archives can still be read by this host's clock."""
    try:
        exchange = binance.exchange_info(rest, tracked)
        return exchange, symbols.survey(context.connection, rest, exchange), None
    except SourceError as error:
        if source != "archive" or error.kind == "banned":
            raise
        return Exchange(datetime.now(UTC), None, {}), Survey({}, frozenset(), frozenset()), error


def _known(
    context: Context,
    tracked: Sequence[str],
    found: Survey,
    interval: str,
    start: date,
    end: date,
    now: datetime,
    skip_covered: bool,
    resume: bool,
) -> tuple[int | None, dict[str, set[date]]]:
    """Return the backfill that is open, and for each symbol the days that need no request."""
    backfill: int | None = None
    covered: dict[str, set[date]] = {}
    if resume:
        backfill, since = books.begin_backfill(context.connection, KLINES, interval, start, end)
        covered = books.covered_days(context.connection, KLINES, interval, since)
    elif skip_covered:
        # Yesterday and today are always asked for again: late corrections, the 23:00 bar, a missed tick.
        fresh = now.date() - ONE_DAY
        held = books.covered_days(context.connection, KLINES, interval, _EVER)
        covered = {symbol: {day for day in days if day < fresh} for symbol, days in held.items()}
    return backfill, {s: covered.get(s, set()) | found.before_listing(s, start, end) for s in tracked}


def _from_archives(
    context: Context,
    rest: HttpClient,
    archive: HttpClient,
    assets: Sequence[Asset],
    found: Survey,
    start: date,
    end: date,
    interval: str,
    source: Source,
    skip: dict[str, set[date]],
    now: datetime,
) -> Report:
    covered = books.covered_days(context.connection, KLINES, interval, _EVER)
    keys = [o.key for o in context.lake.list(f"{KLINES.prefix}/interval={interval}/")]
    held = {day for key in keys if (day := object_day(key))}
    ranges: dict[str, list[Asset]] = {}
    for asset in assets:
        ranges.setdefault(asset.binance_symbol, []).append(asset)

    def settled(symbol: str, first: date, last: date) -> bool:
        there = covered.get(symbol, set()) & held
        days = {first + timedelta(days=n) for n in range((last - first).days)}
        wanted = {day for day in days if any(a.trades_in(day, day + ONE_DAY) for a in ranges[symbol])}
        return wanted - found.before_listing(symbol, first, last) <= there

    with History(
        archive, rest, interval, start, end, now.date(), cheapest=source == "auto",
        loaded=books.loaded_archives(context.connection), settled=settled,
    ) as history:  # fmt: skip
        report = bronze.ingest_klines(
            context, rest, assets, start, end, interval=interval, skip=skip, now=now, history=history
        )
        report.notes += history.problems[:5]
        if len(history.problems) > 5:
            report.notes.append(f"{len(history.problems) - 5} more archive files could not be used")
        if history.downloaded or history.unchanged:
            report.notes.append(f"{history.downloaded:,} archive files read, {history.unchanged:,} unchanged")
        return report


def _book_unlisted(
    context: Context, found: Survey, assets: Sequence[Asset], start: date, end: date, interval: str, now: datetime
) -> None:
    """Cover the days before a listing, so that they count as answered without having cost a request."""
    rows = [(symbol, day, 0, True, "not_listed") for symbol, day in symbols.unlisted_rows(found, assets, start, end)]
    books.record_coverage(context.connection, KLINES, interval, rows, now)


def _ask_again(
    context: Context, rest: HttpClient, assets: Sequence[Asset], interval: str, now: datetime, report: Report
) -> None:
    """Ask REST about the holes that nothing explains, once, and about days whose object was found damaged."""
    holes = gaps.to_ask_again(context.connection, interval)
    lost = books.open_days(context.connection, KLINES, interval, now.date() - ONE_DAY)
    todo: dict[str, set[date]] = {}
    asked = []
    for asset in assets:
        symbol = asset.binance_symbol
        days = {d for d in holes.get(symbol, set()) | lost.get(symbol, set()) if asset.trades_in(d, d + ONE_DAY)}
        if days and symbol not in report.failed:
            asked.append(asset)
            todo.setdefault(symbol, set()).update(days)
    if not asked:
        return
    days = set().union(*todo.values())
    first, last = min(days), max(days) + ONE_DAY
    every = {first + timedelta(days=n) for n in range((last - first).days)}
    again = bronze.ingest_klines(
        context, rest, asked, first, last, interval=interval, skip={s: every - d for s, d in todo.items()}, now=now
    )
    gaps.mark_asked_again(context.connection, interval, sorted((todo.keys() & holes.keys()) - again.failed.keys()))
    report.written += again.written
    report.rejected += again.rejected
    report.refusal = report.refusal or again.refusal
    report.repeated += again.repeated
    report.notes += again.notes
    for found, why in ((holes, "with unexplained holes"), (lost, "whose answer was lost")):
        if count := sum(len(days & found.get(symbol, set())) for symbol, days in todo.items()):
            report.notes.append(f"{count:,} symbol-days {why} were asked for again")


def _judge(context: Context, report: Report, found: Survey) -> None:
    """Say which symbols failed alone and why, and which the exchange has ended."""
    for symbol in sorted(found.unknown):
        report.failed[symbol] = binance.unknown_symbol(symbol)
    for symbol in sorted(found.delisted):
        report.notes.append(
            f"{symbol} is no longer listed by Binance and is not asked for; give its row a valid_to to say since when"
        )
    books.record_symbols(
        context.connection,
        {s: ("UNKNOWN" if s in found.unknown else "FAILED", why) for s, why in report.failed.items()},
    )
