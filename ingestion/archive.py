"""Binance's bulk archives: monthly and daily zips of bars, each with the SHA-256 that it must have.

Belongs here: paths, checksums, the CSV inside, and reading a history from files as far as they go and by REST beyond.
Does not: what happens to the rows afterwards. Facts: https://github.com/binance/binance-public-data (no header row on
spot, a header on others; microseconds since 2025, milliseconds before; daily files since 2021-03-01; files are replaced
silently; what is not published yet is a 404, sometimes an AccessDenied).
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion import binance
from ingestion.binance import Stretch
from ingestion.datasets import INTERVAL_MS, UTC_US, Page
from ingestion.http import Answer, HttpClient, SourceError
from ingestion.klines import parse_csv

ONE_DAY = timedelta(days=1)
DAILY_SINCE = date(2021, 3, 1)
# A file costs two requests, the checksum and the zip, and no weight.
FILE_REQUESTS = 2
# A month without a file is looked for by the day; after so many missing days in a row REST is asked for the rest.
MISSING_DAYS = 3
ATTEMPTS = 3


class DamagedArchive(Exception):
    """A file that does not have its checksum, or has it and is no zip of one CSV; the message names it."""


@dataclass(frozen=True)
class ArchiveFile:
    """A published file: its path below the archive's address, the checksum that it had, and how many bars it holds."""

    path: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class _Held:
    """What is known of a file in this run: no ``file`` means that it is not published, ``new`` that it was read."""

    file: ArchiveFile | None
    new: bool = False
    table: pa.Table | None = None


def month_path(symbol: str, interval: str, month: date) -> str:
    """Return the path of a month's file, such as /data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-11.zip."""
    name = quote(symbol)
    return f"/data/spot/monthly/klines/{name}/{interval}/{name}-{interval}-{month:%Y-%m}.zip"


def day_path(symbol: str, interval: str, day: date) -> str:
    """Return the path of a day's file."""
    name = quote(symbol)
    return f"/data/spot/daily/klines/{name}/{interval}/{name}-{interval}-{day:%Y-%m-%d}.zip"


def published_sha256(client: HttpClient, path: str) -> str | None:
    """Return the SHA-256 that the exchange publishes for a file, or None when there is no such file."""

    def parse(answer: Answer) -> str:
        found = re.match(rb"([0-9a-fA-F]{64})[ *]", answer.body)
        if not found:
            raise ValueError("no SHA-256 in it")
        return found[1].decode().lower()

    return client.get(f"{path}.CHECKSUM", parse=parse, missing_ok=True)


def download(client: HttpClient, path: str, sha256: str) -> tuple[Answer, str] | None:
    """Return a file that has its checksum, and that, or None when it has gone; DamagedArchive when it has not.

    Right after a file has been replaced its checksum may be the old one's (binance-public-data#405), so both are asked
    for again.
    """
    for attempt in range(ATTEMPTS):
        wanted = published_sha256(client, path) if attempt else sha256
        answer = client.get(path, parse=_unread, missing_ok=True)
        if wanted is None or answer is None:
            return None
        if hashlib.sha256(answer.body).hexdigest() == wanted:
            return answer, wanted
    raise DamagedArchive(f"{path} does not have its SHA-256, {ATTEMPTS} times")


def _unread(answer: Answer) -> Answer:
    return answer


def parse_zip(body: bytes, symbol: str, interval: str, url: str, fetched_at: datetime) -> Page:
    """Read a zip of one CSV into KLINES' bronze columns (without ``batch_id``); DamagedArchive when it is none.

    The rows are what REST sends for the same bars.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            text = archive.read(archive.namelist()[0])
    except (zipfile.BadZipFile, IndexError, OSError, EOFError) as error:
        raise DamagedArchive(f"{url} is no zip with a CSV in it ({error})") from None
    return parse_csv(text, symbol, interval, url, fetched_at)


class History:
    """A history of one interval, from archive files as far as they go and by REST beyond; safe to share by threads.

    A file is read once, whatever the pieces that its days are asked for in: its bars wait in a temporary folder until
    all of them have been written (``take_written``). A file that has the checksum under which it was loaded before, and
    whose days ``settled`` says are there, is not downloaded again.
    """

    def __init__(
        self,
        archive: HttpClient,
        rest: HttpClient,
        interval: str,
        start: date,
        end: date,
        today: date,
        *,
        cheapest: bool,
        loaded: Mapping[str, str],
        settled: Callable[[str, date, date], bool],
    ) -> None:
        self._archive, self._rest, self._interval = archive, rest, interval
        self._start, self._end, self._today = start, end, today
        self._cheapest, self._loaded, self._settled = cheapest, loaded, settled
        self._folder = tempfile.TemporaryDirectory(prefix="tickmart-archive-")
        self._months: dict[tuple[str, date], _Held] = {}
        self._files: list[tuple[date, ArchiveFile]] = []
        self._rejected: dict[str, Page] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        # A month of minutes takes some 40 MB while it is parsed: files are fetched side by side, not parsed so.
        self._parsing = threading.Semaphore(2)
        self._archive_down = False
        self.problems: list[str] = []
        self.rest_error: SourceError | None = None
        self.downloaded = 0
        self.unchanged = 0

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self._months.clear()
        self._folder.cleanup()

    def bars(self, symbol: str, first: date, last: date) -> list[Stretch]:
        """Return the bars of the UTC days of [first, last) that are new or may be, stretch by stretch.

        Days whose file is unchanged are left out; so are those that only REST could give when it cannot be used at all
        (``rest_error`` tells). Raises RequestRefused for this symbol alone.
        """
        found: list[Stretch] = []
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
                found.append(Stretch(first, first, "archive", [self._rejected.pop(symbol)]))
        for a, b in missing:
            try:
                pages = binance.klines(self._rest, symbol, self._interval, _midnight(a), _midnight(b))
            except SourceError as error:
                if error.kind in ("refused", "failing"):
                    raise
                self.rest_error = error
            else:
                found.append(Stretch(a, b, "rest", pages))
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

    def _from_files(self, symbol: str, first: date, last: date) -> tuple[list[Stretch], list[tuple[date, date]]]:
        """Return what files say of days of one month, and the days that none speaks of."""
        month = first.replace(day=1)
        if self._archive_down or (self._cheapest and not self._worth_a_file(month)):
            return [], [(first, last)]
        if _next_month(month) <= self._today:
            held = self._month(symbol, month)
            if held.file is not None:
                return ([Stretch(first, last, "archive", [self._piece(symbol, first, last)])] if held.new else []), []
        if self._cheapest:
            return [], [(first, last)]
        return self._by_day(symbol, first, last)

    def _worth_a_file(self, month: date) -> bool:
        """Tell whether a month is wanted whole and costs REST more requests than its file does."""
        following = _next_month(month)
        whole = self._start <= month and following <= self._end
        bars = (following - month).days * 86_400_000 // INTERVAL_MS[self._interval]
        return whole and -(-bars // binance.PAGE) > FILE_REQUESTS

    def _by_day(self, symbol: str, first: date, last: date) -> tuple[list[Stretch], list[tuple[date, date]]]:
        found: list[Stretch] = []
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
                    found.append(Stretch(day, day + ONE_DAY, "archive", [Page(held.table)]))
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
        opened = table["open_time"]
        inside = pc.and_(pc.greater_equal(opened, pa.scalar(low, UTC_US)), pc.less(opened, pa.scalar(high, UTC_US)))
        return Page(table.filter(inside))

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
                count, kept = len(page.rows), page.rows
                if spool is not None:
                    per_day = 86_400_000 // INTERVAL_MS[self._interval]
                    pq.write_table(page.rows, spool, row_group_size=per_day, compression="lz4")
                    kept = page.rows.schema.empty_table()
                page = Page(kept, page.rejected)
        except DamagedArchive as error:
            self.problems.append(f"{error}; its bars were asked for by REST")
            return _Held(None)
        except SourceError as error:
            if error.kind == "unreachable" and not self._archive_down:
                self._archive_down = True
                self.problems.append(f"{error} REST was asked instead.")
            elif error.kind != "unreachable":
                self.problems.append(f"{error} Its bars were asked for by REST.")
            return _Held(None)
        file = ArchiveFile(path, sha256, count)
        with self._lock:
            self._files.append((end, file))
            self.downloaded += 1
        if page.rejected:
            self._rejected[symbol] = Page(page.rows.schema.empty_table(), page.rejected)
        return _Held(file, True, page.rows)


def _by_month(first: date, last: date) -> Iterator[tuple[date, date]]:
    while first < last:
        following = min(_next_month(first), last)
        yield first, following
        first = following


def _next_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
