"""Requests and unpacks one file of Binance's bulk archives: a monthly or daily zip of bars with its SHA-256.

Belongs here: paths, checksums, the CSV inside. Does not: which files are read (``archive_reader``). Facts:
https://github.com/binance/binance-public-data (no header row on spot, a header on others; microseconds since 2025,
milliseconds before; daily files since 2021-03-01; files are replaced silently; a file that is not published is a 404,
sometimes an AccessDenied).
"""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US
from ingestion.datasets import Page, midnight
from ingestion.sources.binance.contract import bars_per_day
from ingestion.sources.binance.parse import parse_csv
from ingestion.sources.conventions import Answer, Conventions
from ingestion.sources.http import HttpClient

DAILY_SINCE = date(2021, 3, 1)
ATTEMPTS = 3
# A month of minute bars is 7 MB of text; a file that unpacks to more than this is rejected.
CSV_LIMIT_BYTES = 64 << 20


CONVENTIONS = Conventions(
    # A bucket that does not list its keys answers AccessDenied for a file that does not exist.
    is_missing=lambda answer: (
        answer.status == 404 or (answer.status == 403 and b"<Code>AccessDenied</Code>" in answer.body)
    )
)


class DamagedArchive(Exception):
    """A file that does not match its checksum or is not a zip of bars; the message does not name the file."""


@dataclass(frozen=True)
class ArchiveFile:
    """A published file: its path below the archive's address, its checksum, and how many bars it has."""

    path: str
    sha256: str
    rows: int


def month_path(symbol: str, interval: str, month: date) -> str:
    """Return the path of a month's file, such as /data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-11.zip."""
    return f"/data/spot/monthly/klines/{quote(symbol)}/{interval}/{quote(symbol)}-{interval}-{month:%Y-%m}.zip"


def day_path(symbol: str, interval: str, day: date) -> str:
    """Return the path of a day's file."""
    return f"/data/spot/daily/klines/{quote(symbol)}/{interval}/{quote(symbol)}-{interval}-{day:%Y-%m-%d}.zip"


def published_sha256(client: HttpClient, path: str) -> str | None:
    """Return the SHA-256 that the exchange publishes for a file, or None when the file does not exist."""

    def parse(answer: Answer) -> str:
        found = re.match(rb"([0-9a-fA-F]{64})[ *]", answer.body)
        if not found:
            raise ValueError("no SHA-256 in it")
        return found[1].decode().lower()

    return client.get(f"{path}.CHECKSUM", parse=parse, missing_ok=True)


def download(client: HttpClient, path: str, sha256: str) -> tuple[Answer, str] | None:
    """Return a file and its checksum, or None when it no longer exists; DamagedArchive when they do not match.

    Right after a file is replaced, the published checksum may be the old one's (binance-public-data#405), so both are
    requested again.
    """
    for attempt in range(ATTEMPTS):
        wanted = published_sha256(client, path) if attempt else sha256
        answer = client.get(path, parse=lambda answer: answer, missing_ok=True)
        if wanted is None or answer is None:
            return None
        if hashlib.sha256(answer.body).hexdigest() == wanted:
            return answer, wanted
    raise DamagedArchive(f"does not match its SHA-256, {ATTEMPTS} times")


def parse_zip(body: bytes, symbol: str, interval: str, url: str, fetched_at: datetime) -> Page:
    """Parse a zip of one CSV into bronze columns (without ``batch_id``); DamagedArchive when that is impossible.

    The rows are what REST sends for the same bars.
    """
    try:
        text = _csv_of(body, Path(url).stem)
    # The exceptions of zipfile and its decompressors for damaged bytes, unknown methods and encrypted members.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise DamagedArchive(f"cannot be unpacked ({error or type(error).__name__})") from None
    except (struct.error, IndexError, MemoryError, OverflowError) as error:
        raise DamagedArchive(f"cannot be unpacked ({type(error).__name__})") from None
    page = parse_csv(text, symbol, interval, url, fetched_at)
    if len(page.rows) == 0:
        why = f"each of its {len(page.rejected)} lines is rejected" if page.rejected else "its CSV is empty"
        raise DamagedArchive(f"has no bar ({why})")
    return page


def _csv_of(body: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        named = [member for member in files if member.filename.rpartition("/")[2] == f"{name}.csv"] or files
        if len(named) != 1:
            raise DamagedArchive(f"has {len(files)} files instead of one CSV")
        # The directory may state a wrong size.
        with archive.open(named[0]) as member:
            text = member.read(CSV_LIMIT_BYTES + 1)
        if len(text) > CSV_LIMIT_BYTES:
            raise DamagedArchive(f"unpacks to more than {CSV_LIMIT_BYTES >> 20} MB")
        return text


def bars_of_days(table: pa.Table, interval: str, first: date, end: date) -> pa.Table:
    """Return the bars that open on the UTC days of [first, end) in a file's name.

    DamagedArchive when there are none, or more of a day than fit: the file has other days or another interval.
    """
    found = table.filter(opens_in(table, first, end))
    if len(found) == 0:
        raise DamagedArchive(f"has {len(table)} bars, none of them of the days in its name")
    fit = bars_per_day(interval)
    day, count = bars_by_day(found).most_common(1)[0]
    if count > fit:
        raise DamagedArchive(f"has {count} bars of {day}, where {fit} of {interval} fit")
    return found


def bars_by_day(table: pa.Table) -> Counter[date]:
    """Return how many distinct bars open on each UTC day."""
    return Counter(pc.cast(pc.unique(table["open_time"]), pa.date32()).to_pylist())


def opens_in(table: pa.Table, first: date, end: date) -> pa.Array:
    """Mark the bars that open on the UTC days of [first, end)."""
    low, high = pa.scalar(midnight(first), UTC_US), pa.scalar(midnight(end), UTC_US)
    opened = table["open_time"]
    return pc.and_(pc.greater_equal(opened, low), pc.less(opened, high))
