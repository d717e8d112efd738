"""Binance's bulk archives: monthly and daily zips of bars, each with the SHA-256 that it must have.

Belongs here: paths, checksums, the CSV inside, and reading a history from files as far as they go and by REST beyond.
Does not: what happens to the rows afterwards. Facts: https://github.com/binance/binance-public-data (no header row on
spot, a header on others; microseconds since 2025, milliseconds before; daily files since 2021-03-01; files are replaced
silently; what is not published yet is a 404, sometimes an AccessDenied).
"""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import struct
import tempfile
import threading
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion import binance
from ingestion.binance import Stretch
from ingestion.datasets import INTERVAL_MS, KLINE_RULES, UTC_US, Page, judge
from ingestion.http import Answer, HttpClient, SourceError
from ingestion.klines import parse_csv

ONE_DAY = timedelta(days=1)
DAILY_SINCE = date(2021, 3, 1)
# A file costs two requests, the checksum and the zip, and no weight.
FILE_REQUESTS = 2
# A month without a file is looked for by the day; after so many missing days in a row REST is asked for the rest.
MISSING_DAYS = 3
ATTEMPTS = 3
# A month of minute bars is 7 MB of text; what unpacks to more than this is no such file.
CSV_LIMIT_BYTES = 64 << 20


class DamagedArchive(Exception):
    """A file that does not have its checksum, or has it and is no zip of bars; the message says why, not which."""


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
    raise DamagedArchive(f"does not have its SHA-256, {ATTEMPTS} times")


def _unread(answer: Answer) -> Answer:
    return answer


def parse_zip(body: bytes, symbol: str, interval: str, url: str, fetched_at: datetime) -> Page:
    """Read a zip of one CSV into KLINES' bronze columns (without ``batch_id``); DamagedArchive when it is none.

    The rows are what REST sends for the same bars.
    """
    try:
        text = _csv_of(body, Path(url).stem)
    # What zipfile and its decompressors raise for damaged bytes, methods they do not know, and encrypted members.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise DamagedArchive(f"cannot be unpacked ({error or type(error).__name__})") from None
    except (struct.error, IndexError, MemoryError, OverflowError) as error:
        raise DamagedArchive(f"cannot be unpacked ({type(error).__name__})") from None
    page = parse_csv(text, symbol, interval, url, fetched_at)
    if len(page.rows) == 0:
        why = f"each of its {len(page.rejected)} lines is rejected" if page.rejected else "its CSV is empty"
        raise DamagedArchive(f"holds no bar ({why})")
    return page


def _csv_of(body: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        named = [member for member in files if member.filename.rpartition("/")[2] == f"{name}.csv"] or files
        if len(named) != 1:
            raise DamagedArchive(f"holds {len(files)} files instead of one CSV")
        # The directory may state another size than what comes out.
        with archive.open(named[0]) as member:
            text = member.read(CSV_LIMIT_BYTES + 1)
        if len(text) > CSV_LIMIT_BYTES:
            raise DamagedArchive(f"unpacks to more than {CSV_LIMIT_BYTES >> 20} MB")
        return text


def bars_of_days(table: pa.Table, interval: str, first: date, end: date) -> pa.Table:
    """Return the bars that open on the UTC days of [first, end) that a file is named after.

    DamagedArchive when it holds none, or more of a day than fit: then it holds other days or another interval.
    """
    found = table.filter(_opens_in(table, first, end))
    if len(found) == 0:
        raise DamagedArchive(f"holds {len(table)} bars, none of them of the days in its name")
    fit = 86_400_000 // INTERVAL_MS[interval]
    day, count = bars_by_day(found).most_common(1)[0]
    if count > fit:
        raise DamagedArchive(f"holds {count} bars of {day}, where {fit} of {interval} fit")
    return found


def possible(table: pa.Table) -> pa.Table:
    """Return the bars that keep their contract; the others are rejected when they are written, and count as missing."""
    broken = np.array([reason is not None for reason in judge(table, KLINE_RULES)], dtype=bool)
    return table.filter(pa.array(~broken)) if broken.any() else table


def bars_by_day(table: pa.Table) -> Counter[date]:
    """Return how many distinct bars open on each UTC day."""
    return Counter(pc.cast(pc.unique(table["open_time"]), pa.date32()).to_pylist())


def _opens_in(table: pa.Table, first: date, end: date) -> pa.Array:
    low, high = pa.scalar(_midnight(first), UTC_US), pa.scalar(_midnight(end), UTC_US)
    opened = table["open_time"]
    return pc.and_(pc.greater_equal(opened, low), pc.less(opened, high))


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
                found.append(Stretch(first, first, "archive", self._rejected.pop(symbol)))
        if self._rest is None:
            return found
        for a, b in missing:
            try:
                end = min(_midnight(b), self._now)
                pages = binance.klines(self._rest, symbol, self._interval, _midnight(a), end)
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
    ) -> tuple[list[Stretch], list[tuple[date, date]]]:
        """Return a month's bars of [first, last) and, of the days that it lacks bars of, what daily files hold.

        Days that are short in both are left to REST as well.
        """
        assert held.file is not None
        if not held.new:
            return [], []
        piece = self._piece(symbol, first, last)
        found = [Stretch(first, last, "archive", [piece])]
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

    def _by_day_or_month(self, symbol: str, first: date, last: date) -> tuple[list[Stretch], list[tuple[date, date]]]:
        """Return what daily files hold, and of the other days what the month's file holds, if there is one."""
        found, missing = self._by_day(symbol, first, last)
        month = first.replace(day=1)
        if missing and _next_month(month) <= self._today and not self._archive_down:
            held = self._month(symbol, month)
            if held.new:
                found += [Stretch(a, b, "archive", [self._piece(symbol, a, b)]) for a, b in missing]
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


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
