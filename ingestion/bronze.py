"""From a source to bronze objects: what to ask for, what to refuse, what to write.

Belongs here: the three ingestions, each returning a report of what it did. Does not: HTTP, parsing, Parquet or SQL
themselves, nor the schedule. An ingestion reads its source once, splits what came by UTC day and merges each day into
its object; what breaks the contract goes to ``_rejected/`` and stops nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion import binance, books, coingecko, fear_greed, warehouse
from ingestion.archive import History
from ingestion.binance import Stretch
from ingestion.datasets import (
    BINANCE_OPENED,
    FEAR_GREED,
    FEAR_GREED_OPENED,
    FEAR_GREED_RULES,
    INTERVAL_MS,
    KLINE_RULES,
    KLINES,
    MARKET_RULES,
    MARKETS,
    UTC_US,
    Dataset,
    Rejected,
    Rule,
    align_decimals,
    fear_greed_key,
    judge,
    klines_key,
    last_wins,
    markets_key,
    outside,
    rejected_key,
    union,
)
from ingestion.http import HttpClient, RequestRefused, SourceError
from ingestion.klines import FIELDS
from ingestion.lake import DamagedObject, Lake, Written
from ingestion.universe import Asset

ONE_DAY = timedelta(days=1)
# What differs between two fetches of one record; a refused record is kept once.
_NOT_THE_RECORD = ["source_url", "fetched_at", "batch_id"]
# Rows fetched before they are written: what bounds memory, whatever the range (an hour of 50 symbols is 50 rows). With
# twice as many the peak is 80 MB higher and no row faster.
CHUNK_ROWS = 60_000
FETCHERS = 6


@dataclass
class Report:
    """What one ingestion did. ``failed`` names what failed alone (a symbol, a coin) and why; ``error`` the whole.

    ``refusal`` is why the first of the ``rejected`` records was refused; ``repeated`` counts records that an answer
    held more than once; ``shortfall`` says what a list lacks that should be whole.
    """

    dataset: str
    rows: int = 0
    written: list[Written] = field(default_factory=list)
    rejected: int = 0
    refusal: str | None = None
    repeated: int = 0
    shortfall: str | None = None
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    requests: int = 0
    retries: int = 0
    skipped_days: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Return how many objects were created or replaced."""
        return sum(1 for w in self.written if w.outcome != "unchanged")


@dataclass(frozen=True)
class Progress:
    """How far a history has come, for a progress bar."""

    rows: int
    days_done: int
    days_total: int
    weight: int


@dataclass
class Context:
    """What every ingestion needs: where to write, and under which names to book it."""

    lake: Lake
    connection: warehouse.Connection
    batch_id: str
    on_progress: Callable[[Progress], None] = lambda progress: None


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
    now = now or binance.exchange_clock(client)
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
                    books.record_archives(context.connection, [(f.path, f.sha256, f.rows) for f in files])
                done += (last - first).days
                context.on_progress(Progress(report.rows, done, total, 0))
    return report


_Fetches = list[tuple[str, "Future[list[Stretch]]"]]


def _by_rest(client: HttpClient, interval: str, now: datetime, symbol: str, first: date, last: date) -> list[Stretch]:
    end = min(_midnight(last), now)
    return [Stretch(first, last, "rest", binance.klines(client, symbol, interval, _midnight(first), end))]


def _chunks(start: date, end: date, interval: str, symbols: int) -> Iterator[tuple[date, date]]:
    """Split a range of days so that a chunk holds about CHUNK_ROWS rows and full pages of one symbol."""
    per_day = 86_400_000 // INTERVAL_MS[interval]
    page_days = max(1, binance.PAGE // per_day)
    pages = max(1, CHUNK_ROWS // (max(1, symbols) * page_days * per_day))
    step = timedelta(days=page_days * pages)
    while start < end:
        yield start, min(start + step, end)
        start += step


def _submit(
    pool: ThreadPoolExecutor,
    ask: Callable[[str, date, date], list[Stretch]],
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
    asked: list[tuple[str, Stretch]] = []
    fatal: SourceError | None = None
    for symbol, future in fetches:
        try:
            for stretch in future.result():
                pages += [page.rows for page in stretch.pages]
                unread = [r for page in stretch.pages for r in page.rejected]
                rejected += unread
                incomplete |= {symbol} if unread else set()
                asked.append((symbol, stretch))
        except RequestRefused as error:
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
        with warehouse.locked(context.connection, f"bronze {KLINES.name}"):
            _write_days(context, report, table, days, interval)
        counts = _counts(table, days)
        _note_new_fields(context, report, KLINES, _unknown_elements(table))
    _quarantine(context, report, KLINES, rejected)
    _book_coverage(context, asked, counts, interval, now, incomplete)
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


def rules(dataset: Dataset, now: datetime) -> list[Rule]:
    """Return what every record of a dataset must satisfy when it is fetched at ``now``."""
    if dataset is KLINES:
        return [*KLINE_RULES, outside("open_time", _midnight(BINANCE_OPENED), now)]
    if dataset is MARKETS:
        return list(MARKET_RULES)
    tomorrow = now.date() + ONE_DAY
    too_far: Rule = (
        f"date is before {FEAR_GREED_OPENED} or in the future",
        lambda t: pc.or_(pc.less(t["date"], pa.scalar(FEAR_GREED_OPENED)), pc.greater(t["date"], pa.scalar(tomorrow))),
    )
    return [*FEAR_GREED_RULES, too_far]


def _accept(table: pa.Table, rules: Sequence[Rule]) -> tuple[pa.Table, list[Rejected]]:
    """Part the rows that keep the contract from those that break it."""
    reasons = judge(table, rules)
    broken = [at for at, reason in enumerate(reasons) if reason]
    if not broken:
        return table, []
    records = [json.dumps(row, default=_plain) for row in table.drop_columns(_NOT_THE_RECORD).take(broken).to_pylist()]
    refused = [Rejected(text, reasons[at] or "") for text, at in zip(records, broken, strict=True)]
    kept = np.ones(len(table), dtype=bool)
    kept[broken] = False
    return table.filter(pa.array(kept)), refused


def _plain(value: object) -> str:
    """Write a number without the zeros that its column's scale adds: the same record must read the same each time."""
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


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
            books.forget_coverage(context.connection, KLINES, interval, day)
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


def _book_coverage(
    context: Context,
    asked: Sequence[tuple[str, Stretch]],
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
    books.record_coverage(context.connection, KLINES, interval, rows, now, incomplete)


def _why(error: RequestRefused, symbol: str) -> str:
    if error.code == binance.UNKNOWN_SYMBOL:
        return binance.unknown_symbol(symbol)
    return str(error)


# -- markets and fear & greed ------------------------------------------------------------------------------------------


def ingest_markets(context: Context, client: HttpClient, assets: Sequence[Asset], snapshot_at: datetime) -> Report:
    """Bring one sweep over the universe and the top 250 into bronze, as one object."""
    report = Report(MARKETS.name)
    ids = sorted({a.crypto_id for a in assets})
    page = coingecko.sweep(client, ids, snapshot_at)
    report.repeated = page.repeated
    if page.missing_from_top:
        report.shortfall = (
            f"{page.missing_from_top} of the {coingecko.TOP} largest coins are in no page of CoinGecko's list"
        )
    table = page.rows.append_column("batch_id", _constant(context, [page.rows]))
    _quarantine(context, report, MARKETS, page.rejected)
    report.rows = len(table)
    spoilt = {_coin_id(r.record) for r in page.rejected}
    kept = set(table["crypto_id"].to_pylist())
    today = snapshot_at.date()
    # An id whose rows of the universe have all ended may go quiet.
    current = {a.crypto_id: a for a in assets if a.valid_to is None or a.valid_to > today}
    quiet = coingecko.without_news(table)
    for coin in sorted(current):
        if coin not in kept:
            report.failed[coin] = (
                f"CoinGecko's record of {coin} breaks its contract; ops.rejected_records tells how"
                if coin in spoilt
                else f"CoinGecko does not know the id {coin}; correct or remove its row in the universe file"
            )
        elif coin in quiet:
            row = f"{coin},{current[coin].binance_symbol}"
            report.failed[coin] = (
                f"CoinGecko answers {coin} {quiet[coin]}: the id is stale, retired or renamed; in the universe file, "
                f"put its present id into the row {row}, or end that row with a valid_to"
            )
    _note_new_fields(context, report, MARKETS, coingecko.unknown_fields(table["payload"].to_pylist()))
    _note_unfit_values(report, page.unfit)
    if len(table):
        report.written.append(context.lake.merge(MARKETS, markets_key(snapshot_at), table.combine_chunks()))
    return report


def ingest_fear_greed(context: Context, client: HttpClient, fetched_on: date) -> Report:
    """Bring the index's whole history into bronze, unless the newest object holds the same values already."""
    report = Report(FEAR_GREED.name)
    page = fear_greed.history(client)
    table = page.rows.append_column("batch_id", _constant(context, [page.rows]))
    table, refused = _accept(table, rules(FEAR_GREED, _midnight(fetched_on)))
    _quarantine(context, report, FEAR_GREED, [*page.rejected, *refused])
    report.rows = len(table)
    # Newest first is how the index is sent; of a day that comes twice the first is the newer statement.
    table = last_wins(table.take(pa.array(range(len(table) - 1, -1, -1), pa.int64())), FEAR_GREED.key).combine_chunks()
    report.repeated = report.rows - len(table)
    held = context.lake.list(f"{FEAR_GREED.prefix}/")
    try:
        last = context.lake.read(held[-1].key) if held else None
    except DamagedObject as error:
        last = None
        report.notes.append(f"{error}; the whole history is written anew")
    if last is not None:
        table = _with_lost_days(report, last[0], table)
    value = [*FEAR_GREED.key, *FEAR_GREED.values]
    if last is not None and last[0].select(value).equals(table.select(value)):
        report.written.append(Written(held[-1].key, "unchanged", len(table), 0))
    elif len(table):
        report.written.append(context.lake.merge(FEAR_GREED, fear_greed_key(fetched_on), table))
    return report


def _with_lost_days(report: Report, known: pa.Table, table: pa.Table) -> pa.Table:
    """Return the index's history with the days that were known and that this answer lacks; report a cut answer."""
    days, came = set(known["date"].to_pylist()), set(table["date"].to_pylist())
    lost = sorted(days - came)
    if not lost:
        return table
    if not came or min(came) > min(days) or max(came) < max(days):
        report.notes.append(
            f"the answer was cut: it lacks {len(lost):,} of the {len(days):,} days that are known, the first "
            f"{lost[0]}; they are kept"
        )
    return union(FEAR_GREED, known, table)


# -- shared ------------------------------------------------------------------------------------------------------------


def _quarantine(context: Context, report: Report, dataset: Dataset, rejected: Sequence[Rejected]) -> None:
    """Keep refused records under ``_rejected/`` and in ``ops.rejected_records``, and count them."""
    if not rejected:
        return
    report.rejected += len(rejected)
    report.refusal = report.refusal or rejected[0].reason
    rows = sorted({(r.record, r.reason) for r in rejected})
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
    today = datetime.now(UTC)
    key = rejected_key(dataset, today.date(), digest)
    table = pa.table(
        {
            "record": [record for record, _ in rows],
            "reason": [reason for _, reason in rows],
            "batch_id": [context.batch_id] * len(rows),
            "rejected_at": pa.array([today] * len(rows), UTC_US),
        }
    )
    context.lake.write(key, table)
    books.record_rejected(context.connection, dataset, key, [Rejected(*row) for row in rows], context.batch_id)


def _note_new_fields(context: Context, report: Report, dataset: Dataset, fields: dict[str, str]) -> None:
    """Report, once for all runs, a field that the source did not use to send; bronze keeps it either way."""
    for name in books.record_new_fields(context.connection, dataset, fields, context.batch_id):
        report.notes.append(f"{dataset.name}: the source sends a new field, {name} (such as {fields[name][:60]})")


def _note_unfit_values(report: Report, unfit: dict[str, dict[str, str]]) -> None:
    """Note in one line the optional values that do not fit their column: how many by field, each with an example."""
    found = []
    for name, values in sorted(unfit.items()):
        coin, value = next(iter(values.items()))
        found.append(f"{name} of {len(values)} (such as {value} of {coin})")
    if found:
        report.notes.append(
            f"{report.dataset}: optional values that do not fit are null, and kept in payload: {', '.join(found)}"
        )


def _coin_id(record: str) -> str | None:
    try:
        entry = json.loads(record)
    except ValueError:
        return None
    found = entry.get("id", entry.get("crypto_id")) if isinstance(entry, dict) else None
    return found if isinstance(found, str) else None


def _constant(context: Context, pages: Sequence[pa.Table]) -> pa.Array:
    return pa.repeat(context.batch_id, sum(len(p) for p in pages))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
