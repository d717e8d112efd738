"""Klines from Binance to bronze: fetch by chunks of days, validate, merge into one object per day, record coverage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US, align_decimals, last_wins
from ingestion.bronze.lake import Written
from ingestion.bronze.write import (
    ONE_DAY,
    Context,
    Progress,
    Report,
    _accept,
    _constant,
    _midnight,
    _note_new_fields,
    _quarantine,
    rules,
)
from ingestion.database import connections
from ingestion.ops import coverage
from ingestion.sources.binance import rest
from ingestion.sources.binance.archive_history import History
from ingestion.sources.binance.dataset import BINANCE_OPENED, INTERVAL_MS, KLINES, klines_key
from ingestion.sources.binance.parse import FIELDS
from ingestion.sources.binance.rest import FetchedRange
from ingestion.sources.http import HttpClient, RequestRejected, SourceError
from ingestion.universe import Asset
from ingestion.validation import Rejected

# Rows fetched before they are written: what bounds memory, whatever the range (an hour of 50 symbols is 50 rows). With
# twice as many the peak is 80 MB higher and no row faster.
CHUNK_ROWS = 60_000
FETCHERS = 6


# -- klines ----------------------------------------------------------------------------------------------------------


def ingest_klines(
    context: Context,
    client: HttpClient,
    assets: Sequence[Asset],
    start: date,
    end: date,
    *,
    interval: str = "1h",
    skip: dict[str, set[date]] | None = None,
    now: datetime | None = None,
    history: History | None = None,
    report: Report | None = None,
) -> Report:
    """Fetch the closed bars that open on the UTC days of [start, end) into bronze, one object per day.

    ``skip`` names the (symbol, day) that need not be requested again; ``history`` is asked instead of REST alone. A
    symbol that the exchange refuses fails alone. When the exchange becomes unusable on the way, what came before is
    kept and the report's ``error`` says why; SourceError is raised when not even its clock can be read. A second fetch
    of one run continues the first one's ``report``, so that nothing of either is lost.
    """
    report = report or Report(KLINES.name)
    now = now or rest.exchange_clock(client)
    # A bar in progress is no bar yet, so there is nothing to ask for after the exchange's own day.
    start, end = max(start, BINANCE_OPENED), min(end, now.date() + ONE_DAY)
    # In order of the key, so that what comes need hardly be sorted.
    listed = sorted((a for a in assets if a.binance_symbol and a.trades_in(start, end)), key=lambda a: a.binance_symbol)
    chunks = list(_chunks(start, end, interval, len(listed)))
    total = sum((b - a).days for a, b in chunks)
    done = 0
    ask = history.bars if history else partial(_by_rest, client, interval, now)
    with ThreadPoolExecutor(FETCHERS, thread_name_prefix="binance") as pool:
        ahead: list[tuple[date, date, _Fetches]] = []
        for a, b in [*chunks, (end, end)]:
            if a < b:
                ahead.append((a, b, _submit(pool, ask, listed, a, b, skip or {}, report)))
            # One chunk is fetched while the one before it is written.
            if len(ahead) > (1 if a < b else 0):
                first, last, fetches = ahead.pop(0)
                try:
                    _write_chunk(context, report, fetches, interval, now)
                except SourceError as error:
                    report.error = str(error)
                    pool.shutdown(cancel_futures=True)
                    break
                if history is not None:
                    files = history.take_written(last)
                    coverage.record_archives(context.connection, [(f.path, f.sha256, f.rows) for f in files])
                done += (last - first).days
                context.on_progress(Progress(report.rows, done, total, 0))
    return report


_Fetches = list[tuple[str, "Future[list[FetchedRange]]"]]


def _by_rest(
    client: HttpClient, interval: str, now: datetime, symbol: str, first: date, last: date
) -> list[FetchedRange]:
    end = min(_midnight(last), now)
    return [FetchedRange(first, last, "rest", rest.klines(client, symbol, interval, _midnight(first), end))]


def _chunks(start: date, end: date, interval: str, symbols: int) -> Iterator[tuple[date, date]]:
    """Split a range of days so that a chunk holds about CHUNK_ROWS rows and full pages of one symbol."""
    per_day = 86_400_000 // INTERVAL_MS[interval]
    page_days = max(1, rest.PAGE // per_day)
    pages = max(1, CHUNK_ROWS // (max(1, symbols) * page_days * per_day))
    step = timedelta(days=page_days * pages)
    while start < end:
        yield start, min(start + step, end)
        start += step


def _submit(
    pool: ThreadPoolExecutor,
    ask: Callable[[str, date, date], list[FetchedRange]],
    assets: Sequence[Asset],
    start: date,
    end: date,
    skip: dict[str, set[date]],
    report: Report,
) -> _Fetches:
    """Ask for each symbol's missing days of a chunk: consecutive days in one series of requests."""
    fetches: _Fetches = []
    for asset in assets:
        symbol = asset.binance_symbol
        if symbol in report.failed:
            continue
        known = skip.get(symbol, set())
        for first, last in _runs(start, end, partial(_wanted, asset, known)):
            fetches.append((symbol, pool.submit(ask, symbol, first, last)))
    return fetches


def _wanted(asset: Asset, known: set[date], day: date) -> bool:
    return day not in known and asset.trades_in(day, day + ONE_DAY)


def _runs(start: date, end: date, wanted: Callable[[date], bool]) -> Iterator[tuple[date, date]]:
    """Yield the half-open runs of consecutive wanted days."""
    first: date | None = None
    day = start
    while day < end:
        if wanted(day):
            first = first or day
        elif first is not None:
            yield first, day
            first = None
        day += ONE_DAY
    if first is not None:
        yield first, end


def _write_chunk(context: Context, report: Report, fetches: _Fetches, interval: str, now: datetime) -> None:
    pages: list[pa.Table] = []
    rejected: list[Rejected] = []
    incomplete: set[str] = set()
    asked: list[tuple[str, FetchedRange]] = []
    fatal: SourceError | None = None
    for symbol, future in fetches:
        try:
            for stretch in future.result():
                pages += [page.rows for page in stretch.pages]
                unread = [r for page in stretch.pages for r in page.rejected]
                rejected += unread
                incomplete |= {symbol} if unread else set()
                asked.append((symbol, stretch))
        except RequestRejected as error:
            report.failed[symbol] = _why(error, symbol)
        except SourceError as error:
            if error.kind == "failing":
                report.failed[symbol] = str(error)
            else:
                fatal = error
    counts: dict[tuple[str, date], int] = {}
    if pages:
        table = pa.concat_tables(align_decimals(pages)).append_column("batch_id", _constant(context, pages))
        read = table
        table, refused = _accept(table, rules(KLINES, now))
        rejected += refused
        if refused:
            incomplete |= {s for s, n in _per_symbol(read).items() if n != _per_symbol(table).get(s)}
        closed = _closed(table, now)
        table = last_wins(closed, KLINES.key)
        report.repeated += len(closed) - len(table)
        report.rows += len(table)
        days = pc.cast(table["open_time"], pa.date32())
        with connections.locked(context.connection, f"bronze {KLINES.name}"):
            _write_days(context, report, table, days, interval)
        counts = _counts(table, days)
        _note_new_fields(context, report, KLINES, _unknown_elements(table))
    _quarantine(context, report, KLINES, rejected)
    _record_coverage(context, asked, counts, interval, now, incomplete)
    if fatal is not None:
        raise fatal


def _per_symbol(table: pa.Table) -> dict[str, int]:
    counted = table["symbol"].value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _unknown_elements(table: pa.Table) -> dict[str, str]:
    """Return, by position, an example of each element of a bar that is not documented."""
    extras = (json.loads(text) for text in pc.drop_null(table["extra"].unique()).to_pylist())
    return {
        f"element {len(FIELDS) + 1 + at}": json.dumps(cell) for cells in extras for at, cell in enumerate(cells[1:])
    }


def _write_days(context: Context, report: Report, table: pa.Table, days: pa.Array, interval: str) -> None:
    if len(table) == 0:
        return
    # The sort is stable: a day's rows stay in the order of their key.
    order = pc.sort_indices(days)
    days = days.take(order)
    numbers = np.asarray(days.cast(pa.int32()))
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    parts = [
        (days[int(a)].as_py(), order[int(a) : int(b)]) for a, b in zip(starts, [*starts[1:], len(numbers)], strict=True)
    ]

    def merge(day: date, rows: pa.Array) -> Written:
        return context.lake.merge(KLINES, klines_key(interval, day), table.take(rows).combine_chunks())

    with ThreadPoolExecutor(4, thread_name_prefix="lake") as pool:
        written = list(pool.map(merge, *zip(*parts, strict=True))) if parts else []
    report.written += written
    for (day, _), done in zip(parts, written, strict=True):
        if done.outcome == "repaired":
            # What else the damaged object held is not known: symbols that are not asked for now are by the next run.
            coverage.invalidate_coverage(context.connection, KLINES, interval, day)
            report.notes.append(f"{done.key} was damaged; it is written anew")


def _closed(table: pa.Table, now: datetime) -> pa.Table:
    """Drop the bar in progress: its close_time is not yet past by the exchange's clock."""
    closed = pc.less(table["close_time"], pa.scalar(now, UTC_US))
    return table if pc.all(closed).as_py() else table.filter(closed)


def _counts(table: pa.Table, days: pa.Array) -> dict[tuple[str, date], int]:
    counted = (
        pa.table({"symbol": table["symbol"], "day": days}).group_by(["symbol", "day"]).aggregate([([], "count_all")])
    )
    return {(r["symbol"], r["day"]): r["count_all"] for r in counted.to_pylist()}


def _record_coverage(
    context: Context,
    asked: Sequence[tuple[str, FetchedRange]],
    counts: dict[tuple[str, date], int],
    interval: str,
    now: datetime,
    incomplete: set[str],
) -> None:
    rows = []
    for symbol, stretch in asked:
        for offset in range((stretch.last - stretch.first).days):
            day = stretch.first + timedelta(days=offset)
            # The last bar of a day is closed and answered a little after midnight; an hour is ample.
            final = now >= _midnight(day + ONE_DAY) + timedelta(hours=1)
            rows.append((symbol, day, counts.get((symbol, day), 0), final, stretch.source))
    coverage.record_coverage(context.connection, KLINES, interval, rows, now, incomplete)


def _why(error: RequestRejected, symbol: str) -> str:
    if error.code == rest.UNKNOWN_SYMBOL:
        return rest.unknown_symbol(symbol)
    return str(error)
