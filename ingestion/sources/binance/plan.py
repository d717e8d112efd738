"""A run's bars: what need not be requested, which way is asked, what is requested again.

Belongs here: joining what is known between runs (symbols, coverage, gaps, archive files) into one ingestion of klines.
Does not: each of these by itself, nor when a run takes place (``orchestration``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from ingestion.bronze.write import Context, Report
from ingestion.datasets import object_day
from ingestion.ops import coverage, runs
from ingestion.ops import symbols as ops_symbols
from ingestion.raw import gaps
from ingestion.sources.binance import ingest, symbols
from ingestion.sources.binance import rest as binance_rest
from ingestion.sources.binance.archive_history import History, name_files
from ingestion.sources.binance.dataset import BINANCE_OPENED, INTERVAL_MS, KLINES
from ingestion.sources.binance.rest import Exchange
from ingestion.sources.binance.symbols import Survey
from ingestion.sources.http import HttpClient, SourceError
from ingestion.universe import Asset

Source = Literal["rest", "archive", "auto"]
ONE_DAY = timedelta(days=1)
_EVER = datetime(2000, 1, 1, tzinfo=UTC)
# Symbol-days of which one run asks archive files for what REST lacks, two requests each; later runs do the rest.
FILE_DAYS_PER_RUN = 500
# What the report calls the REST API when it failed for all symbols: it is no symbol.
BINANCE_REST = "Binance REST"
SymbolDays = dict[str, set[date]]


@dataclass(frozen=True)
class _Fetch:
    """What the parts of one ingestion share: whom to ask for which symbols and days, and what is known of them."""

    context: Context
    rest: HttpClient
    archive: HttpClient
    assets: Sequence[Asset]
    interval: str
    start: date
    end: date
    now: datetime
    found: Survey
    began_at: datetime

    def short_days(self) -> list[tuple[str, date, int, list[str]]]:
        """Return (symbol, day, bars, ways that answered) of this run's short days that no listing or end explains."""
        whole = 86_400_000 // INTERVAL_MS[self.interval]
        short = coverage.short_days(self.context.connection, KLINES, self.interval, self.began_at, whole)
        return [row for row in short if self.found.traded_all_day(row[0], row[1])]


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
    """Fetch the closed bars of the UTC days [start, end) into bronze, by REST, by archive files, or by the cheaper.

    ``skip_covered`` leaves out days that are over and answered, but never yesterday and today; ``resume`` records the
    range as a backfill and takes up one that was cut off. What an answer lacks is requested by a second way, and again
    by later runs (``gaps.is_due``). ``set_limit`` gets the exchange's weight limit per minute. SourceError when nothing
    can be asked.
    """
    tracked = sorted({a.binance_symbol for a in universe if a.binance_symbol})
    began_at = runs.clock(context.connection)
    exchange, found, rest_error = _exchange(context, rest, tracked, source)
    if exchange.weight_per_minute:
        set_limit(exchange.weight_per_minute)
    start, end = max(start, BINANCE_OPENED), min(end, exchange.now.date() + ONE_DAY)
    assets = [a for a in universe if a.binance_symbol and a.binance_symbol not in found.unknown | found.delisted]
    fetch = _Fetch(context, rest, archive, assets, interval, start, end, exchange.now, found, began_at)
    backfill, covered = _covered(fetch, skip_covered, resume)
    skip = {s: covered.get(s, set()) | found.before_listing(s, start, end) for s in tracked}
    report = Report(KLINES.name, skipped_days=_count_days(fetch, skip))
    short_files: dict[str, tuple[str, set[date]]] = {}
    if source == "rest":
        ingest.ingest_klines(
            context, rest, assets, start, end, interval=interval, skip=skip, now=exchange.now, report=report
        )
    else:
        short_files = _from_archives(fetch, source, skip, report)
    _record_unlisted(fetch)
    if rest_error is not None:
        report.error = None  # what files hold is loaded; that REST cannot be used is one failure among others
        report.failed[BINANCE_REST] = f"{rest_error} What no archive file holds is missing."
    elif not report.error:
        _request_again(fetch, report)
    _report_short(fetch, short_files, report)
    _report_symbols(fetch, tracked, report)
    if backfill is not None and not report.error and not set(report.failed) - found.unknown:
        coverage.end_backfill(context.connection, backfill, end)
    if report.skipped_days:
        report.notes.append(f"{report.skipped_days:,} symbol-days were there already and not asked for again")
    return report


def _exchange(
    context: Context, rest: HttpClient, tracked: Sequence[str], source: Source
) -> tuple[Exchange, Survey, SourceError | None]:
    """Ask the exchange of itself and its symbols; without it, archives can still be read by this host's clock."""
    try:
        exchange = binance_rest.exchange_info(rest, tracked)
        return exchange, symbols.survey(context.connection, rest, exchange), None
    except SourceError as error:
        if source != "archive" or error.kind == "banned":
            raise
        return Exchange(datetime.now(UTC), None, {}), Survey({}, frozenset(), frozenset()), error


def _covered(fetch: _Fetch, skip_covered: bool, resume: bool) -> tuple[int | None, SymbolDays]:
    """Return the backfill that is open, and for each symbol the days that were answered and need no request."""
    connection, interval = fetch.context.connection, fetch.interval
    if resume:
        backfill, since = coverage.begin_backfill(connection, KLINES, interval, fetch.start, fetch.end)
        return backfill, coverage.covered_days(connection, KLINES, interval, since)
    if not skip_covered:
        return None, {}
    # Yesterday and today are always requested again: late corrections, the 23:00 bar, a missed tick.
    fresh = fetch.now.date() - ONE_DAY
    covered = coverage.covered_days(connection, KLINES, interval, _EVER)
    return None, {symbol: {day for day in days if day < fresh} for symbol, days in covered.items()}


def _count_days(fetch: _Fetch, days: Mapping[str, set[date]]) -> int:
    """Return how many symbol-days of the range ``days`` holds."""
    return sum(
        fetch.start <= day < fetch.end
        for asset in fetch.assets
        if asset.trades_in(fetch.start, fetch.end)
        for day in days[asset.binance_symbol]
    )


def _from_archives(fetch: _Fetch, source: Source, skip: SymbolDays, report: Report) -> dict[str, tuple[str, set[date]]]:
    """Read files, and ask REST for what they lack; return by its path each short file's symbol and short days."""
    context, interval = fetch.context, fetch.interval
    covered = coverage.covered_days(context.connection, KLINES, interval, _EVER)
    keys = [o.key for o in context.lake.list(f"{KLINES.prefix}/interval={interval}/")]
    held = {day for key in keys if (day := object_day(key))}
    ranges: dict[str, list[Asset]] = {}
    for asset in fetch.assets:
        ranges.setdefault(asset.binance_symbol, []).append(asset)

    def settled(symbol: str, first: date, last: date) -> bool:
        there = covered.get(symbol, set()) & held
        days = {first + timedelta(days=n) for n in range((last - first).days)}
        wanted = {day for day in days if any(a.trades_in(day, day + ONE_DAY) for a in ranges[symbol])}
        return wanted - fetch.found.before_listing(symbol, first, last) <= there

    with History(
        fetch.archive, fetch.rest, interval, fetch.start, fetch.end, fetch.now, cheapest=source == "auto",
        loaded=coverage.loaded_archives(context.connection), settled=settled, traded=fetch.found.traded_all_day,
    ) as history:  # fmt: skip
        ingest.ingest_klines(
            context, fetch.rest, fetch.assets, fetch.start, fetch.end,
            interval=interval, skip=skip, now=fetch.now, history=history, report=report,
        )  # fmt: skip
    if history.rest_error is not None:
        report.error = report.error or str(history.rest_error)
    report.notes += history.problems
    if history.downloaded or history.unchanged:
        report.notes.append(f"{history.downloaded:,} archive files read, {history.unchanged:,} unchanged")
    return history.short


def _record_unlisted(fetch: _Fetch) -> None:
    """Cover the days before a listing, so that they count as answered without having cost a request."""
    unlisted = symbols.unlisted_rows(fetch.found, fetch.assets, fetch.start, fetch.end)
    rows = [(symbol, day, 0, True, "not_listed") for symbol, day in unlisted]
    coverage.record_coverage(fetch.context.connection, KLINES, fetch.interval, rows, fetch.now)


def _request_again(fetch: _Fetch, report: Report) -> None:
    """Request gaps that are due by both ways, this run's short days by the other way, and lost days by REST."""
    connection, interval, today = fetch.context.connection, fetch.interval, fetch.now.date()
    due = gaps.due(connection, interval, fetch.began_at)
    lost = coverage.open_days(connection, KLINES, interval, today - ONE_DAY)
    short = fetch.short_days()
    by_rest = _union(due, lost, _by_symbol((s, d) for s, d, _, ways in short if ways == ["archive"]))
    by_files = _union(due, _by_symbol((s, d) for s, d, _, ways in short if ways == ["rest"]))
    _fetch_days(fetch, by_rest, report)
    if not report.error:
        _fetch_files(fetch, _at_most(by_files, FILE_DAYS_PER_RUN, before=today), report)
    gaps.mark_requested(connection, interval, fetch.began_at)
    for days, why in (
        (due, "with gaps were requested again"),
        (lost, "whose answer was lost were requested again"),
        (_by_symbol((s, d) for s, d, *_ in short), "that came short were requested in a second way"),
    ):
        if count := sum(len(days.get(symbol, set())) for symbol in {a.binance_symbol for a in fetch.assets}):
            report.notes.append(f"{count:,} symbol-days {why}")


def _fetch_days(fetch: _Fetch, days: SymbolDays, report: Report, history: History | None = None) -> None:
    """Fetch these symbol-days, by REST or from ``history``; a symbol that has failed in this run is left out."""
    wanted: SymbolDays = {}
    for asset in fetch.assets:
        symbol = asset.binance_symbol
        mine = {d for d in days.get(symbol, set()) if asset.trades_in(d, d + ONE_DAY)}
        if mine and symbol not in report.failed:
            wanted.setdefault(symbol, set()).update(mine)
    if not wanted:
        return
    first, last = _bounds(wanted)
    every = {first + timedelta(days=n) for n in range((last - first).days)}
    ingest.ingest_klines(
        fetch.context, fetch.rest, [a for a in fetch.assets if a.binance_symbol in wanted], first, last,
        interval=fetch.interval, skip={s: every - d for s, d in wanted.items()}, now=fetch.now, history=history,
        report=report,
    )  # fmt: skip


def _fetch_files(fetch: _Fetch, days: SymbolDays, report: Report) -> None:
    """Fetch these symbol-days from archive files alone; a file that is not published yet proves nothing."""
    if not days:
        return
    with History(
        fetch.archive, None, fetch.interval, *_bounds(days), fetch.now, loaded={},
        settled=lambda *_: False, traded=fetch.found.traded_all_day,
    ) as history:  # fmt: skip
        _fetch_days(fetch, days, report, history)
    report.notes += history.problems


def _by_symbol(rows: Iterable[tuple[str, date]]) -> SymbolDays:
    days: SymbolDays = {}
    for symbol, day in rows:
        days.setdefault(symbol, set()).add(day)
    return days


def _union(*parts: SymbolDays) -> SymbolDays:
    return _by_symbol((symbol, day) for part in parts for symbol, days in part.items() for day in days)


def _at_most(days: SymbolDays, count: int, *, before: date) -> SymbolDays:
    """Return the oldest ``count`` of the symbol-days before a day."""
    rows = sorted((day, symbol) for symbol, mine in days.items() for day in mine if day < before)
    return _by_symbol((symbol, day) for day, symbol in rows[:count])


def _bounds(days: SymbolDays) -> tuple[date, date]:
    every = set().union(*days.values())
    return min(every), max(every) + ONE_DAY


def _report_short(fetch: _Fetch, short_files: Mapping[str, tuple[str, set[date]]], report: Report) -> None:
    """Name the archive files, and otherwise the days, that are short although every way was asked."""
    short = fetch.short_days()
    left = _by_symbol((symbol, day) for symbol, day, *_ in short)
    files: dict[tuple[date, int], list[str]] = {}
    for path, (symbol, days) in sorted(short_files.items()):
        if still := sorted(days & left.get(symbol, set())):
            files.setdefault((still[0], len(still)), []).append(path.rpartition("/")[2])
    for (first, count), names in sorted(files.items()):
        more = f" and of {count - 1} more days" if count > 1 else ""
        report.notes.append(f"{name_files(names)} lacks bars of {first}{more}; no other way gave them")
    once = [(day, symbol, bars) for symbol, day, bars, ways in short if len(ways) < 2]
    if once:
        day, symbol, bars = min(once)
        whole = 86_400_000 // INTERVAL_MS[fetch.interval]
        report.notes.append(
            f"{len(once):,} symbol-days came short, the first is {symbol} on {day} with {bars:,} of {whole:,} bars; "
            "later runs request them again"
        )


def _report_symbols(fetch: _Fetch, tracked: Sequence[str], report: Report) -> None:
    """Say which symbols failed alone and why, and which do not trade any more."""
    found = fetch.found
    for symbol in sorted(found.unknown):
        report.failed[symbol] = binance_rest.unknown_symbol(symbol)
    for symbol in sorted(found.delisted):
        report.notes.append(
            f"{symbol} is no longer listed by Binance and is not asked for; give its row a valid_to to say since when"
        )
    today = fetch.now.date()
    open_rows = {a.binance_symbol for a in fetch.assets if a.valid_to is None or a.valid_to > today}
    for symbol, status in sorted(found.paused.items()):
        if symbol not in open_rows:
            continue
        ended = found.ended_at.get(symbol)
        last = f"its last bar is of {ended:%Y-%m-%d}" if ended else "it has no bar"
        report.notes.append(
            f"{symbol} is not trading on Binance (status {status}), {last}; "
            "if it has ended, give its row in the universe file a valid_to"
        )
    ops_symbols.record_symbols(
        fetch.context.connection,
        {
            symbol: ("UNKNOWN" if symbol in found.unknown else "FAILED", report.failed[symbol])
            for symbol in tracked
            if symbol in report.failed
        },
    )
