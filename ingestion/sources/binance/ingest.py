"""Executes plans of klines: fetches them in windows of days, validates, writes bronze and records coverage.

Belongs here: reading what a plan depends on, and everything that a plan leads to. Does not: the choice of symbol-days
and ways (``plan``), nor when a run takes place (``orchestration``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from ingestion.bronze.results import FetchResult, merge_results
from ingestion.bronze.write import Context, Progress
from ingestion.datasets import ONE_DAY, days_between, midnight, next_month, object_days
from ingestion.ops import coverage, runs
from ingestion.sources.binance import gaps, rest
from ingestion.sources.binance.archive_reader import NO_FILES, ArchiveReader, LoadedFiles, name_files
from ingestion.sources.binance.contract import bars_per_day
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.plan import (
    DayRange,
    FetchPlan,
    KlinesRequest,
    Known,
    fetchable,
    plan_fetch,
    plan_follow_up,
)
from ingestion.sources.binance.rest import Exchange, FetchedRange
from ingestion.sources.binance.symbols import SymbolFacts, record_failed, refresh_symbol_status
from ingestion.sources.binance.write import WindowWriter
from ingestion.sources.http import HttpClient, SourceError
from ingestion.universe import Asset

# Rows that are fetched before they are written: this bounds memory for any range (an hour of 50 symbols is 50 rows).
# With twice as many, the peak is 80 MB higher and no row is faster.
WINDOW_ROWS = 60_000
FETCHERS = 6
# The name under which a failure of the REST API for all symbols is reported; it is not a symbol.
BINANCE_REST = "Binance REST"
_EVER = datetime(2000, 1, 1, tzinfo=UTC)
_NO_SYMBOLS = SymbolFacts({}, frozenset(), frozenset())


def sync_klines(context: Context, client: HttpClient, archive: HttpClient, request: KlinesRequest) -> FetchResult:
    """Fetch the requested closed bars into bronze, and request again what earlier answers and this one lack.

    What an answer lacks is requested in a second way, and again by later runs (``gaps.is_due``). SourceError when
    nothing can be requested.
    """
    connection, interval = context.connection, request.interval
    began_at = runs.clock(connection)
    tracked = sorted({a.binance_symbol for a in request.assets if a.binance_symbol})
    exchange, symbols, rest_error = _exchange(context, client, tracked, request)
    backfill, known = _known(context, request, exchange.now, symbols)
    plan = plan_fetch(request, known)
    fetch = _Fetch(context, client, interval, exchange.now, symbols, began_at)
    short_files: dict[str, tuple[str, set[date]]] = {}
    if request.source == "rest":
        result = fetch.execute(plan)
    else:
        with ArchiveReader(
            archive, plan, known.today, symbols.traded_all_day, _loaded(context, request, known)
        ) as reader:
            result = fetch.execute(plan, reader)
            short_files = reader.short
    result = replace(result, skipped_days=plan.skipped_days)
    # Days before a listing count as answered without a request.
    unlisted = [(symbol, day, 0, True, "not_listed") for symbol, day in plan.unlisted]
    coverage.record_coverage(connection, KLINES, interval, unlisted, exchange.now)
    if rest_error is not None:
        # The bars of files are loaded; the unusable REST API is one failure among others.
        why = f"{rest_error} Days that no archive file has are missing."
        result = replace(result, error=None, failed={**result.failed, BINANCE_REST: why})
    elif not result.error:
        result = _follow_up(fetch, archive, request, known, result)
    result = merge_results(
        result,
        FetchResult(KLINES.name, failed={s: rest.unknown_symbol(s) for s in sorted(symbols.unknown)}),
        FetchResult(KLINES.name, notes=(*_short_notes(fetch, short_files), *_symbol_notes(fetch, request.assets))),
    )
    record_failed(connection, symbols, {s: result.failed[s] for s in tracked if s in result.failed})
    if backfill is not None and not result.error and not set(result.failed) - symbols.unknown:
        coverage.end_backfill(connection, backfill, plan.end)
    if result.skipped_days:
        note = f"{result.skipped_days:,} symbol-days were answered before and not requested again"
        result = replace(result, notes=(*result.notes, note))
    return result


def ingest_klines(
    context: Context,
    client: HttpClient,
    assets: Sequence[Asset],
    start: date,
    end: date,
    interval: str = "1h",
) -> FetchResult:
    """Fetch the closed bars of the UTC days [start, end) by REST, whatever earlier runs answered.

    A symbol that the exchange rejects fails alone. When the exchange becomes unusable on the way, what came before is
    kept and the result's ``error`` has the reason; SourceError when not even its clock can be read.
    """
    now = rest.exchange_clock(client)
    plan = plan_fetch(KlinesRequest(assets, start, end, interval), Known(now, _NO_SYMBOLS, {}))
    return _Fetch(context, client, interval, now, _NO_SYMBOLS, now).execute(plan)


_Answers = list[tuple[str, "Future[list[FetchedRange]]"]]


@dataclass(frozen=True)
class _Fetch:
    """What the plans of one ingestion share: where to write, the REST client, and the exchange's clock and symbols."""

    context: Context
    client: HttpClient
    interval: str
    now: datetime
    symbols: SymbolFacts
    began_at: datetime

    def execute(self, plan: FetchPlan, reader: ArchiveReader | None = None) -> FetchResult:
        """Fetch a plan's ranges window by window, one window ahead of the one that is written.

        Without ``reader`` every range is requested by REST. A symbol that fails is left out of the following windows.
        """
        result = FetchResult(KLINES.name)
        writer = WindowWriter(self.context, self.interval, self.now)
        fetcher = _RangeFetcher(self.client, self.interval, self.now, reader)
        windows = _windows(plan) if plan.ranges else ()
        done = 0
        with ThreadPoolExecutor(FETCHERS, thread_name_prefix="binance") as pool:
            ahead: list[tuple[date, date, _Answers]] = []
            for window in [*windows, None]:
                if window is not None:
                    first, last, ranges = window
                    wanted = [r for r in ranges if r.symbol not in result.failed]
                    answers = [(r.symbol, pool.submit(fetcher.fetch, r)) for r in wanted]
                    ahead.append((first, last, answers))
                if not ahead or (window is not None and len(ahead) == 1):
                    continue
                first, last, answers = ahead.pop(0)
                result = merge_results(result, writer.write(answers))
                if result.error:
                    pool.shutdown(cancel_futures=True)
                    break
                if reader is not None:
                    files = reader.take_written(last)
                    coverage.record_archives(self.context.connection, [(f.path, f.sha256, f.rows) for f in files])
                done += (last - first).days
                self.context.on_progress(Progress(result.rows, done, (plan.end - plan.start).days))
        return merge_results(result, fetcher.outcome())

    def short_days(self) -> dict[tuple[str, date], tuple[int, list[str]]]:
        """Return bars and ways that answered for this run's short days that no listing or end explains."""
        rows = coverage.short_days(
            self.context.connection, KLINES, self.interval, self.began_at, bars_per_day(self.interval)
        )
        return {(s, day): (bars, ways) for s, day, bars, ways in rows if self.symbols.traded_all_day(s, day)}


class _RangeFetcher:
    """Fetches one range in the ways of its plan; safe to share between threads.

    With ``reader``, an unusable REST API does not end the fetch: the files that exist are loaded.
    """

    def __init__(self, client: HttpClient, interval: str, now: datetime, reader: ArchiveReader | None) -> None:
        self._client, self._interval, self._now, self._reader = client, interval, now, reader
        self._rest_error: SourceError | None = None

    def fetch(self, planned: DayRange) -> list[FetchedRange]:
        """Return what was answered; raises RequestRejected for this symbol alone."""
        symbol, first, last = planned.symbol, planned.first, planned.last
        if self._reader is None:
            return [self._by_rest(symbol, first, last)]
        found, missing = self._reader.fetch(symbol, first, last, planned.ways)
        for a, b in missing if "rest" in planned.ways else ():
            try:
                found.append(self._by_rest(symbol, a, b))
            except SourceError as error:
                if error.kind in ("refused", "failing"):
                    raise
                self._rest_error = error
        return found

    def outcome(self) -> FetchResult:
        """Return the error of the REST API and the notes on archive files."""
        error = str(self._rest_error) if self._rest_error else None
        return FetchResult(KLINES.name, error=error, notes=tuple(self._reader.notes if self._reader else ()))

    def _by_rest(self, symbol: str, first: date, last: date) -> FetchedRange:
        end = min(midnight(last), self._now)
        return FetchedRange(
            first, last, "rest", rest.klines(self._client, symbol, self._interval, midnight(first), end)
        )


def _windows(plan: FetchPlan) -> Iterator[tuple[date, date, list[DayRange]]]:
    """Split a plan into windows of days with about WINDOW_ROWS rows and full pages of one symbol.

    Ranges of a symbol that differ in their reason alone are requested as one.
    """
    symbols = len({r.symbol for r in plan.ranges})
    per_day = bars_per_day(plan.interval)
    page_days = max(1, rest.PAGE // per_day)
    pages = max(1, WINDOW_ROWS // (max(1, symbols) * page_days * per_day))
    step = timedelta(days=page_days * pages)
    pieces: dict[int, list[DayRange]] = {}
    for planned in plan.ranges:
        first = planned.first
        while first < planned.last:
            number = (first - plan.start) // step
            last = min(planned.last, plan.start + (number + 1) * step)
            piece, window = replace(planned, first=first, last=last), pieces.setdefault(number, [])
            before = window[-1] if window else None
            if before and (before.symbol, before.last, before.ways) == (piece.symbol, first, piece.ways):
                window[-1] = replace(before, last=last)
            else:
                window.append(piece)
            first = last
    for number in range(-((plan.start - plan.end) // step)):
        first = plan.start + number * step
        yield first, min(first + step, plan.end), pieces.get(number, [])


def _exchange(
    context: Context, client: HttpClient, tracked: Sequence[str], request: KlinesRequest
) -> tuple[Exchange, SymbolFacts, SourceError | None]:
    """Request the exchange's clock, limit and symbols; without REST, archives are read by this host's clock."""
    try:
        exchange = rest.exchange_info(client, tracked)
        if exchange.weight_per_minute:
            client.limiter.set_limit(exchange.weight_per_minute)
        return exchange, refresh_symbol_status(context.connection, client, exchange), None
    except SourceError as error:
        if request.source != "archive" or error.kind == "banned":
            raise
        return Exchange(datetime.now(UTC), None, {}), _NO_SYMBOLS, error


def _known(context: Context, request: KlinesRequest, now: datetime, symbols: SymbolFacts) -> tuple[int | None, Known]:
    """Return the id of the backfill that this run resumes, and what is known before the fetch."""
    connection, interval = context.connection, request.interval
    start, end = request.days_until(now.date())
    # A monthly file has days beside those that are requested.
    months = start.replace(day=1), next_month(end)
    known = Known(now, symbols, coverage.covered_days(connection, KLINES, interval, months, _EVER))
    if not request.resume:
        return None, known
    backfill, since = coverage.begin_backfill(connection, KLINES, interval, start, end)
    answered = coverage.covered_days(connection, KLINES, interval, months, since)
    return backfill, replace(known, answered_in_backfill=answered)


def _loaded(context: Context, request: KlinesRequest, known: Known) -> LoadedFiles:
    """Return which archive files were loaded before, and which symbol-days are answered and in bronze."""
    keys = [o.key for o in context.lake.list(f"{KLINES.prefix}/interval={request.interval}/")]
    in_bronze = {day for key in keys if (days := object_days(key)) for day in days_between(*days)}
    rows: dict[str, list[Asset]] = {}
    for asset in fetchable(request.assets, known.symbols):
        rows.setdefault(asset.binance_symbol, []).append(asset)

    def has_days(symbol: str, first: date, last: date) -> bool:
        present = set(known.answered.get(symbol, ())) & in_bronze
        wanted = {
            day for day in days_between(first, last) if any(a.trades_in(day, day + ONE_DAY) for a in rows[symbol])
        }
        return wanted - known.symbols.before_listing(symbol, first, last) <= present

    return LoadedFiles(coverage.loaded_archives(context.connection), has_days)


def _follow_up(
    fetch: _Fetch, archive: HttpClient, request: KlinesRequest, known: Known, result: FetchResult
) -> FetchResult:
    """Request due gaps, lost days and this run's short days again, and record which gaps were requested."""
    connection, interval = fetch.context.connection, fetch.interval
    follow_up = plan_follow_up(
        request,
        known,
        gaps.due(connection, interval, fetch.began_at),
        coverage.open_days(connection, KLINES, interval, known.today - ONE_DAY),
        {symbol_day: ways for symbol_day, (_, ways) in fetch.short_days().items()},
    )
    result = merge_results(result, fetch.execute(follow_up.by_rest.without(result.failed)))
    if not result.error and follow_up.by_files.ranges:
        plan = follow_up.by_files.without(result.failed)
        with ArchiveReader(archive, plan, known.today, fetch.symbols.traded_all_day, NO_FILES) as reader:
            result = merge_results(result, fetch.execute(plan, reader))
    gaps.mark_requested(connection, interval, fetch.began_at)
    return replace(result, notes=(*result.notes, *follow_up.notes))


def _short_notes(fetch: _Fetch, short_files: Mapping[str, tuple[str, set[date]]]) -> Iterator[str]:
    """Yield notes on the archive files, and otherwise the days, that are short although every way was tried."""
    short = fetch.short_days()
    files: dict[tuple[date, int], list[str]] = {}
    for path, (symbol, days) in sorted(short_files.items()):
        if still := sorted(day for day in days if (symbol, day) in short):
            files.setdefault((still[0], len(still)), []).append(path.rpartition("/")[2])
    for (first, count), names in sorted(files.items()):
        more = f" and of {count - 1} more days" if count > 1 else ""
        yield f"{name_files(names)} lacks bars of {first}{more}; no other way gave them"
    unconfirmed = [(day, symbol, bars) for (symbol, day), (bars, ways) in short.items() if len(ways) < 2]
    if unconfirmed:
        day, symbol, bars = min(unconfirmed)
        yield (
            f"{len(unconfirmed):,} symbol-days came short, the first is {symbol} on {day} with {bars:,} of "
            f"{bars_per_day(fetch.interval):,} bars; later runs request them again"
        )


def _symbol_notes(fetch: _Fetch, assets: Sequence[Asset]) -> Iterator[str]:
    """Yield notes on the symbols that are no longer listed or have stopped trading."""
    symbols = fetch.symbols
    for symbol in sorted(symbols.delisted):
        yield (
            f"{symbol} is no longer listed by Binance and not requested; set a valid_to in its row of the universe file"
        )
    today = fetch.now.date()
    open_rows = {a.binance_symbol for a in fetchable(assets, symbols) if a.valid_to is None or a.valid_to > today}
    for symbol, status in sorted(symbols.paused.items()):
        if symbol in open_rows:
            ended = symbols.ended_at.get(symbol)
            last = f"its last bar is of {ended:%Y-%m-%d}" if ended else "it has no bar"
            yield (
                f"{symbol} is not trading on Binance (status {status}), {last}; "
                "if it has ended, give its row in the universe file a valid_to"
            )
