"""Reads klines from archive files first and from REST for the days that no file holds."""

from __future__ import annotations

import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.datasets import Page
from ingestion.sources.binance import rest as binance_rest
from ingestion.sources.binance.archive import (
    DAILY_SINCE,
    FILE_REQUESTS,
    MISSING_DAYS,
    ONE_DAY,
    ArchiveFile,
    DamagedArchive,
    _midnight,
    _opens_in,
    bars_by_day,
    bars_of_days,
    day_path,
    download,
    month_path,
    parse_zip,
    published_sha256,
)
from ingestion.sources.binance.dataset import INTERVAL_MS, KLINE_RULES
from ingestion.sources.binance.rest import FetchedRange
from ingestion.sources.http import HttpClient, SourceError
from ingestion.validation import judge


@dataclass(frozen=True)
class _Held:
    """What is known of a file in this run: no ``file`` means that it is not published, ``new`` that it was read."""

    file: ArchiveFile | None
    new: bool = False
    table: pa.Table | None = None


def possible(table: pa.Table) -> pa.Table:
    """Return the bars that keep their contract; the others are rejected when they are written, and count as missing."""
    broken = np.array([reason is not None for reason in judge(table, KLINE_RULES)], dtype=bool)
    return table.filter(pa.array(~broken)) if broken.any() else table


class History:
    """A history of one interval, from archive files as far as they go and by REST beyond; safe to share by threads.

    A file is read once, whatever the pieces that its days are asked for in: its bars wait in a temporary folder until
    all of them have been written (``take_written``). A file that has the checksum under which it was loaded before, and
    whose days ``settled`` says are there, is not downloaded again. A month's file that lacks bars of a day on which the
    symbol ``traded`` from midnight to midnight speaks for the rest of its days: the daily file and REST are asked too.
    Without ``rest`` only files are read, daily ones first, to confirm or refute what REST lacks.
    """

    def __init__(
        self,
        archive: HttpClient,
        rest: HttpClient | None,
        interval: str,
        start: date,
        end: date,
        now: datetime,
        *,
        cheapest: bool = False,
        loaded: Mapping[str, str],
        settled: Callable[[str, date, date], bool],
        traded: Callable[[str, date], bool],
    ) -> None:
        self._archive, self._rest, self._interval = archive, rest, interval
        self._start, self._end, self._now, self._today = start, end, now, now.date()
        self._cheapest, self._loaded, self._settled, self._traded = cheapest, loaded, settled, traded
        self._folder = tempfile.TemporaryDirectory(prefix="tickmart-archive-")
        self._months: dict[tuple[str, date], _Held] = {}
        self._files: list[tuple[date, ArchiveFile]] = []
        self._rejected: defaultdict[str, list[Page]] = defaultdict(list)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        # A month of minutes takes some 40 MB while it is parsed: files are fetched side by side, not parsed so.
        self._parsing = threading.Semaphore(2)
        self._archive_down = False
        # File names by what was wrong with them and the kind of file (monthly, daily).
        self._problems: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        # By the path of a month's file, its symbol and the days of which it lacks bars.
        self.short: dict[str, tuple[str, set[date]]] = {}
        self.rest_error: SourceError | None = None
        self.downloaded = 0
        self.unchanged = 0

    @property
    def problems(self) -> list[str]:
        """One line for each thing that was wrong with files, which names all of them."""
        return [f"{name_files(names)} {why}".strip() for (why, _), names in self._problems.items()]

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self._months.clear()
        self._folder.cleanup()

    def bars(self, symbol: str, first: date, last: date) -> list[FetchedRange]:
        """Return the bars of the UTC days of [first, last) that are new or may be, stretch by stretch.

        Days whose file is unchanged are left out; so are those that only REST could give when it cannot be used at all
        (``rest_error`` tells). Raises RequestRejected for this symbol alone.
        """
        found: list[FetchedRange] = []
        missing: list[tuple[date, date]] = []
        with self._locks[symbol]:
            for a, b in _by_month(first, last):
                stretches, gaps = self._from_files(symbol, a, b)
                found += stretches
                for gap in gaps:
                    if missing and missing[-1][1] == gap[0]:
                        gap = (missing.pop()[0], gap[1])
                    missing.append(gap)
            if symbol in self._rejected:
                found.append(FetchedRange(first, first, "archive", self._rejected.pop(symbol)))
        if self._rest is None:
            return found
        for a, b in missing:
            try:
                end = min(_midnight(b), self._now)
                pages = binance_rest.klines(self._rest, symbol, self._interval, _midnight(a), end)
            except SourceError as error:
                if error.kind in ("refused", "failing"):
                    raise
                self.rest_error = error
            else:
                found.append(FetchedRange(a, b, "rest", pages))
        return found

    def take_written(self, until: date) -> list[ArchiveFile]:
        """Return the files all of whose wanted days are before ``until``, which have been written, and forget them."""
        with self._lock:
            done = [file for end, file in self._files if min(end, self._end) <= until]
            self._files = [(end, file) for end, file in self._files if min(end, self._end) > until]
        for key in [k for k in list(self._months) if min(_next_month(k[1]), self._end) <= until]:
            self._months.pop(key)
            self._spool(*key).unlink(missing_ok=True)
        return done

    def _from_files(self, symbol: str, first: date, last: date) -> tuple[list[FetchedRange], list[tuple[date, date]]]:
        """Return what files say of days of one month, and the days that none speaks of."""
        month = first.replace(day=1)
        if self._rest is None:
            return self._by_day_or_month(symbol, first, last)
        if self._archive_down or (self._cheapest and not self._worth_a_file(month)):
            return [], [(first, last)]
        if _next_month(month) <= self._today:
            held = self._month(symbol, month)
            if held.file is not None:
                return self._from_month(symbol, first, last, held)
        if self._cheapest:
            return [], [(first, last)]
        return self._by_day(symbol, first, last)

    def _from_month(
        self, symbol: str, first: date, last: date, held: _Held
    ) -> tuple[list[FetchedRange], list[tuple[date, date]]]:
        """Return a month's bars of [first, last) and, of the days that it lacks bars of, what daily files hold.

        Days that are short in both are left to REST as well.
        """
        assert held.file is not None
        if not held.new:
            return [], []
        piece = self._piece(symbol, first, last)
        found = [FetchedRange(first, last, "archive", [piece])]
        missing: list[tuple[date, date]] = []
        short = self._short_days(symbol, first, last, piece.rows)
        if short:
            self.short.setdefault(held.file.path, (symbol, set()))[1].update(short)
        for a, b in _spans(short):
            daily, absent = ([], [(a, b)]) if self._cheapest else self._by_day(symbol, a, b)
            found += daily
            rows = [(stretch, page.rows) for stretch in daily for page in stretch.pages]
            still = [d for s, table in rows for d in self._short_days(symbol, s.first, s.last, table)]
            missing += [*absent, *_spans(still)]
        return found, sorted(missing)

    def _by_day_or_month(
        self, symbol: str, first: date, last: date
    ) -> tuple[list[FetchedRange], list[tuple[date, date]]]:
        """Return what daily files hold, and of the other days what the month's file holds, if there is one."""
        found, missing = self._by_day(symbol, first, last)
        month = first.replace(day=1)
        if missing and _next_month(month) <= self._today and not self._archive_down:
            held = self._month(symbol, month)
            if held.new:
                found += [FetchedRange(a, b, "archive", [self._piece(symbol, a, b)]) for a, b in missing]
                missing = []
        return found, missing

    def _short_days(self, symbol: str, first: date, last: date, table: pa.Table) -> list[date]:
        """Return the days of [first, last) on which the symbol traded all day and of which bars are missing."""
        whole = 86_400_000 // INTERVAL_MS[self._interval]
        bars = bars_by_day(possible(table))
        days = (first + n * ONE_DAY for n in range((last - first).days))
        return [day for day in days if bars[day] < whole and self._traded(symbol, day)]

    def _worth_a_file(self, month: date) -> bool:
        """Tell whether a month is wanted whole and costs REST more requests than its file does."""
        following = _next_month(month)
        whole = self._start <= month and following <= self._end
        bars = (following - month).days * 86_400_000 // INTERVAL_MS[self._interval]
        return whole and -(-bars // binance_rest.PAGE) > FILE_REQUESTS

    def _by_day(self, symbol: str, first: date, last: date) -> tuple[list[FetchedRange], list[tuple[date, date]]]:
        found: list[FetchedRange] = []
        missing: list[tuple[date, date]] = []
        absent = 0
        day = first
        while day < last:
            if day < DAILY_SINCE or day >= self._today or absent >= MISSING_DAYS or self._archive_down:
                missing.append((day, day + ONE_DAY))
            else:
                held = self._read(day_path(symbol, self._interval, day), symbol, day, day + ONE_DAY)
                absent = absent + 1 if held.file is None else 0
                if held.file is None:
                    missing.append((day, day + ONE_DAY))
                elif held.new:
                    found.append(FetchedRange(day, day + ONE_DAY, "archive", [Page(held.table)]))
            day += ONE_DAY
        return found, missing

    def _month(self, symbol: str, month: date) -> _Held:
        key = (symbol, month)
        if key not in self._months:
            end = _next_month(month)
            path = month_path(symbol, self._interval, month)
            held = self._read(path, symbol, month, end, self._spool(symbol, month))
            self._months[key] = held
        return self._months[key]

    def _piece(self, symbol: str, first: date, last: date) -> Page:
        """Return the bars that open on days [first, last) of one month that was read."""
        low, high = _midnight(first), _midnight(last)
        with pq.ParquetFile(self._spool(symbol, first.replace(day=1))) as file:
            column = file.schema_arrow.get_field_index("open_time")
            spans = [file.metadata.row_group(n).column(column).statistics for n in range(file.num_row_groups)]
            near = [n for n, span in enumerate(spans) if span.max >= low and span.min < high]
            table = file.read_row_groups(near, use_threads=False)
        return Page(table.filter(_opens_in(table, first, last)))

    def _spool(self, symbol: str, month: date) -> Path:
        return Path(self._folder.name) / f"{quote(symbol, safe='')}-{month:%Y-%m}.parquet"

    def _read(self, path: str, symbol: str, first: date, end: date, spool: Path | None = None) -> _Held:
        """Download a file unless it is the one that was loaded before; a file that cannot be used is reported.

        Its bars are put into ``spool`` by the day, so that a piece is read without the rest, or else kept as they are.
        """
        a, b = max(first, self._start), min(end, self._end)
        try:
            sha256 = published_sha256(self._archive, path)
            if sha256 is None:
                return _Held(None)
            if self._loaded.get(path) == sha256 and self._settled(symbol, a, b):
                self.unchanged += 1
                return _Held(ArchiveFile(path, sha256, 0))
            held = download(self._archive, path, sha256)
            if held is None:
                return _Held(None)
            answer, sha256 = held
            with self._parsing:
                page = parse_zip(answer.body, symbol, self._interval, answer.url, datetime.now(UTC))
                rows = bars_of_days(page.rows, self._interval, first, end)
                sound = len(possible(rows))
                if sound == 0:
                    raise DamagedArchive(f"holds no possible bar ({judge(rows, KLINE_RULES)[0]})")
                count, kept = len(rows), rows
                if spool is not None:
                    per_day = 86_400_000 // INTERVAL_MS[self._interval]
                    pq.write_table(rows, spool, row_group_size=per_day, compression="lz4")
                    kept = rows.schema.empty_table()
        except DamagedArchive as error:
            self._note(f"{error}; its bars were requested from other files or by REST", path)
            return _Held(None)
        except SourceError as error:
            self._note_failure(error, path)
            return _Held(None)
        file = ArchiveFile(path, sha256, count)
        with self._lock:
            self._files.append((end, file))
            self.downloaded += 1
        if len(page.rows) > count:
            self._note(f"holds {len(page.rows) - count} bars of other days than its name says: they are left out", path)
        if rejected := len(page.rejected) + count - sound:
            self._note(f"holds {rejected} lines that are rejected; `tickmart rejected list` shows them", path)
        if page.rejected:
            self._rejected[symbol].append(Page(page.rows.schema.empty_table(), page.rejected))
        return _Held(file, True, kept)

    def _note(self, why: str, path: str) -> None:
        with self._lock:
            self._problems[why, path.split("/")[3]].append(path.rpartition("/")[2])

    def _note_failure(self, error: SourceError, path: str) -> None:
        """Record why a file could not be had; an archive that is out of reach is named once and asked no more."""
        if error.kind == "unreachable":
            if not self._archive_down:
                self._archive_down = True
                self._problems[f"{error} REST was asked instead.", ""] = []
            return
        # Without the address, so that all files with the same failure share a line.
        why = str(error).partition(path)[2].removeprefix(".CHECKSUM").strip() or str(error)
        self._note(f"{why} Its bars were requested from other files or by REST.", path)


def name_files(names: Sequence[str]) -> str:
    """Return file names as the subject of a sentence: the first, and the others in brackets."""
    return names[0] + (f" (and {', '.join(names[1:])})" if len(names) > 1 else "") if names else ""


def _spans(days: Sequence[date]) -> list[tuple[date, date]]:
    """Join consecutive days into half-open spans."""
    spans: list[tuple[date, date]] = []
    for day in sorted(days):
        if spans and spans[-1][1] == day:
            spans[-1] = (spans[-1][0], day + ONE_DAY)
        else:
            spans.append((day, day + ONE_DAY))
    return spans


def _by_month(first: date, last: date) -> Iterator[tuple[date, date]]:
    while first < last:
        following = min(_next_month(first), last)
        yield first, following
        first = following


def _next_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)
