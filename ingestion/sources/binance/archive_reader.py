"""Fetches ranges of days from archive files as far as they go, and from REST for the days that no file has."""

from __future__ import annotations

import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.datasets import ONE_DAY, Page, days_between, join_days, midnight, next_month
from ingestion.sources.binance.archive import (
    DAILY_SINCE,
    ArchiveFile,
    DamagedArchive,
    bars_by_day,
    bars_of_days,
    day_path,
    download,
    month_path,
    opens_in,
    parse_zip,
    published_sha256,
)
from ingestion.sources.binance.contract import BAR_RULES, bars_per_day
from ingestion.sources.binance.plan import FetchPlan, Way
from ingestion.sources.binance.rest import FetchedRange
from ingestion.sources.http import HttpClient, SourceError
from ingestion.validation import validate

# After so many missing daily files in a row, the other ways are tried for the rest of the month.
MISSING_DAYS = 3
_Days = tuple[date, date]


@dataclass(frozen=True)
class _ReadFile:
    """A file in this run: without ``file`` it is not published or unusable; ``is_new`` if its bars were read."""

    file: ArchiveFile | None
    is_new: bool = False
    table: pa.Table | None = None


@dataclass(frozen=True)
class LoadedFiles:
    """What earlier runs loaded: the SHA-256 of each file by its path, and whether a symbol's days are in bronze."""

    sha256: Mapping[str, str]
    has_days: Callable[[str, date, date], bool]


# For files that confirm what REST lacks: each is read, and their number is not reported.
NO_FILES = LoadedFiles({}, lambda symbol, first, last: False)


class ArchiveReader:
    """Reads the archive files of one plan; safe to share between threads.

    A file is read once, whatever the ranges that its days are requested in: its bars stay in a temporary folder until
    all of them are written (``take_written``). A file with the checksum under which it was loaded before, whose days
    are in bronze, is not downloaded again. The days of a file that have fewer bars than expected, although the symbol
    ``traded`` from midnight to midnight, are requested in the next way too.
    """

    def __init__(
        self, client: HttpClient, plan: FetchPlan, today: date, traded: Callable[[str, date], bool], loaded: LoadedFiles
    ) -> None:
        self._client, self._interval, self._today = client, plan.interval, today
        self._start, self._end = plan.start, plan.end
        self._traded, self._loaded = traded, loaded
        self._folder = tempfile.TemporaryDirectory(prefix="tickmart-archive-")
        self._months: dict[tuple[str, date], _ReadFile] = {}
        self._files: list[tuple[date, ArchiveFile]] = []
        self._rejected: defaultdict[str, list[Page]] = defaultdict(list)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        # A month of minute bars takes some 40 MB while it is parsed: files are downloaded in parallel, not parsed so.
        self._parsing = threading.Semaphore(2)
        self._archive_down = False
        # File names by problem and kind of file (monthly, daily).
        self._problems: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        # By the path of a month's file, its symbol and its days that lack bars.
        self.short: dict[str, tuple[str, set[date]]] = {}
        self._downloaded = self._unchanged = 0

    @property
    def notes(self) -> list[str]:
        """One line for each kind of problem with the names of all its files, and how many files were read."""
        notes = [f"{name_files(names)} {why}".strip() for (why, _), names in self._problems.items()]
        if self._loaded is not NO_FILES and (self._downloaded or self._unchanged):
            notes.append(f"{self._downloaded:,} archive files read, {self._unchanged:,} unchanged")
        return notes

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._months.clear()
        self._folder.cleanup()

    def fetch(
        self, symbol: str, first: date, last: date, ways: Sequence[Way]
    ) -> tuple[list[FetchedRange], list[tuple[date, date]]]:
        """Return the new bars that files have of the UTC days of [first, last), and the ranges left to REST.

        Days whose file is unchanged are in neither.
        """
        found: list[FetchedRange] = []
        missing: list[_Days] = []
        with self._locks[symbol]:
            for a, b in _by_month(first, last):
                fetched, left = self._from_files(symbol, (a, b), ways)
                found += fetched
                for days in left:
                    if missing and missing[-1][1] == days[0]:
                        days = (missing.pop()[0], days[1])
                    missing.append(days)
            if symbol in self._rejected:
                found.append(FetchedRange(first, first, "archive", self._rejected.pop(symbol)))
        return found, missing

    def take_written(self, until: date) -> list[ArchiveFile]:
        """Return the files whose requested days are all before ``until`` and so written, and drop their bars."""
        with self._lock:
            done = [file for end, file in self._files if min(end, self._end) <= until]
            self._files = [(end, file) for end, file in self._files if min(end, self._end) > until]
        for key in [k for k in list(self._months) if min(next_month(k[1]), self._end) <= until]:
            self._months.pop(key)
            self._spool(*key).unlink(missing_ok=True)
        return done

    def _from_files(self, symbol: str, days: _Days, ways: Sequence[Way]) -> tuple[list[FetchedRange], list[_Days]]:
        """Try the file ways in order for days of one month; return what they have, and the days left."""
        found: list[FetchedRange] = []
        missing, short = [days], set[date]()
        for way in ways:
            if way == "rest" or self._archive_down:
                break
            read = self._monthly_file if way == "monthly_file" else self._daily_files
            fetched: list[FetchedRange] = []
            absent: list[_Days] = []
            for a, b in missing:
                part, left = read(symbol, a, b)
                fetched += part
                absent += left
            found += fetched
            if way == "monthly_file":
                short = self._note_short_month(symbol, fetched)
            elif short:
                short = {day for piece in fetched for day in self._short_days(symbol, piece)}
            missing = sorted([*absent, *join_days(short)])
        return found, missing

    def _monthly_file(self, symbol: str, first: date, last: date) -> tuple[list[FetchedRange], list[_Days]]:
        """Return a month's bars of [first, last), or these days if there is no file; neither if it is unchanged."""
        month = first.replace(day=1)
        if (symbol, month) not in self._months:
            path = month_path(symbol, self._interval, month)
            read = self._read(path, symbol, (month, next_month(month)), self._spool(symbol, month))
            self._months[symbol, month] = read
        if self._months[symbol, month].file is None:
            return [], [(first, last)]
        is_new = self._months[symbol, month].is_new
        return [FetchedRange(first, last, "archive", [self._piece(symbol, first, last)])] if is_new else [], []

    def _note_short_month(self, symbol: str, fetched: Iterable[FetchedRange]) -> set[date]:
        short = {day for piece in fetched for day in self._short_days(symbol, piece)}
        if short:
            path = month_path(symbol, self._interval, min(short).replace(day=1))
            self.short.setdefault(path, (symbol, set()))[1].update(short)
        return short

    def _short_days(self, symbol: str, piece: FetchedRange) -> list[date]:
        """Return the days of a range on which the symbol traded all day and bars are missing."""
        bars = bars_by_day(_valid(piece.pages[0].rows))
        few = [day for day in days_between(piece.first, piece.last) if bars[day] < bars_per_day(self._interval)]
        return [day for day in few if self._traded(symbol, day)]

    def _daily_files(self, symbol: str, first: date, last: date) -> tuple[list[FetchedRange], list[_Days]]:
        """Return what the daily files of [first, last) have, and the days without a file."""
        found: list[FetchedRange] = []
        absent: list[_Days] = []
        absent_in_a_row = 0
        for day in days_between(first, last):
            days = (day, day + ONE_DAY)
            if day < DAILY_SINCE or day >= self._today or absent_in_a_row >= MISSING_DAYS or self._archive_down:
                absent.append(days)
                continue
            read = self._read(day_path(symbol, self._interval, day), symbol, days)
            absent_in_a_row = absent_in_a_row + 1 if read.file is None else 0
            if read.file is None:
                absent.append(days)
            elif read.is_new:
                found.append(FetchedRange(*days, "archive", [Page(read.table)]))
        return found, absent

    def _piece(self, symbol: str, first: date, last: date) -> Page:
        """Return the bars that open on days [first, last) of one month that was read."""
        low, high = midnight(first), midnight(last)
        with pq.ParquetFile(self._spool(symbol, first.replace(day=1))) as file:
            column = file.schema_arrow.get_field_index("open_time")
            ranges = [file.metadata.row_group(n).column(column).statistics for n in range(file.num_row_groups)]
            near = [n for n, opened in enumerate(ranges) if opened.max >= low and opened.min < high]
            table = file.read_row_groups(near, use_threads=False)
        return Page(table.filter(opens_in(table, first, last)))

    def _spool(self, symbol: str, month: date) -> Path:
        return Path(self._folder.name) / f"{quote(symbol, safe='')}-{month:%Y-%m}.parquet"

    def _read(self, path: str, symbol: str, days: _Days, spool: Path | None = None) -> _ReadFile:
        """Download a file unless it was loaded before; a file that cannot be used is recorded as a problem.

        Its bars go to ``spool`` in one row group a day, so that a piece is read without the rest, or into the result.
        """
        first, end = days
        try:
            sha256 = published_sha256(self._client, path)
            if sha256 is None:
                return _ReadFile(None)
            requested = max(first, self._start), min(end, self._end)
            if self._loaded.sha256.get(path) == sha256 and self._loaded.has_days(symbol, *requested):
                self._unchanged += 1
                return _ReadFile(ArchiveFile(path, sha256, 0))
            downloaded = download(self._client, path, sha256)
            if downloaded is None:
                return _ReadFile(None)
            answer, sha256 = downloaded
            with self._parsing:
                page = parse_zip(answer.body, symbol, self._interval, answer.url, datetime.now(UTC))
                rows = bars_of_days(page.rows, self._interval, first, end)
                valid = len(_valid(rows))
                if valid == 0:
                    raise DamagedArchive(f"has no possible bar ({validate(rows, BAR_RULES)[0]})")
                count, table = len(rows), rows
                if spool is not None:
                    pq.write_table(rows, spool, row_group_size=bars_per_day(self._interval), compression="lz4")
                    table = rows.schema.empty_table()
        except DamagedArchive as error:
            self._note(f"{error}; its bars were requested from other files or by REST", path)
            return _ReadFile(None)
        except SourceError as error:
            self._note_failure(error, path)
            return _ReadFile(None)
        file = ArchiveFile(path, sha256, count)
        with self._lock:
            self._files.append((end, file))
            self._downloaded += 1
        if len(page.rows) > count:
            self._note(f"has {len(page.rows) - count} bars of other days than its name says, which are ignored", path)
        if rejected := len(page.rejected) + count - valid:
            self._note(f"has {rejected} lines that are rejected; `tickmart rejected list` shows them", path)
        if page.rejected:
            self._rejected[symbol].append(Page(page.rows.schema.empty_table(), page.rejected))
        return _ReadFile(file, True, table)

    def _note(self, why: str, path: str) -> None:
        with self._lock:
            self._problems[why, path.split("/")[3]].append(path.rpartition("/")[2])

    def _note_failure(self, error: SourceError, path: str) -> None:
        """Record why a file cannot be downloaded; an unreachable archive is recorded once and not requested again."""
        if error.kind == "unreachable":
            if not self._archive_down:
                self._archive_down = True
                self._problems[f"{error} REST was used instead.", ""] = []
            return
        # Without the address, so that all files with the same failure share a line.
        why = str(error).partition(path)[2].removeprefix(".CHECKSUM").strip() or str(error)
        self._note(f"{why} Its bars were requested from other files or by REST.", path)


def _valid(table: pa.Table) -> pa.Table:
    """Return the bars that satisfy their contract; the others are rejected by the write, and count as missing here."""
    invalid = np.array([reason is not None for reason in validate(table, BAR_RULES)], dtype=bool)
    return table.filter(pa.array(~invalid)) if invalid.any() else table


def name_files(names: Sequence[str]) -> str:
    """Return file names as the subject of a sentence: the first, and the others in brackets."""
    return names[0] + (f" (and {', '.join(names[1:])})" if len(names) > 1 else "") if names else ""


def _by_month(first: date, last: date) -> Iterator[_Days]:
    while first < last:
        following = min(next_month(first), last)
        yield first, following
        first = following
