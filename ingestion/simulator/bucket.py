"""The simulated public bucket of Bitcoin's blocks and transactions: anonymous S3 in the layout of AWS.

Listings, ranges and which files a day has are here; the rows are in `bitcoin`. Each day has the same blocks whenever it
is requested. While it lasts, and until 00:35 UTC of the next day, it has one file per block; then two daily files.
"""

import hashlib
import re
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from .bitcoin import FIRST_HEIGHT, SimulatedDay, by_block, make_day
from .faults import Rule
from .onchain import OnchainServices
from .services import ErrorResponse, Request

BUCKET, ROOT = "aws-public-blockchain", "v1.0/btc"
FIRST_DAY = date(2024, 1, 1)
BLOCKS, PER_BLOCK = 144, 12
COMPACTED_AFTER = timedelta(minutes=35)
KINDS = ("blocks", "transactions")
CACHED_DAYS = 40
Files = dict[str, bytes]


def s3_error(status: int, code: str) -> ErrorResponse:
    """An error in S3's shape."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return ErrorResponse(status, body.encode(), {"Content-Type": "application/xml"})


class Days:
    """The files of each day at a moment, by key; the newest days are cached."""

    def __init__(self) -> None:
        self._cache: OrderedDict[tuple[date, str, int], Files] = OrderedDict()

    def files(self, day: date, now: datetime, rules: list[Rule]) -> Files:
        """Return the files of a day: per block, daily, or both; none for a day to come or one that is missing."""
        kinds = {rule["kind"] for rule in rules}
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if day < FIRST_DAY or midnight > now or "missing_day" in kinds:
            return {}
        made = self._make(day, "fork" if "republished" in kinds else "")
        is_over = now >= midnight + timedelta(days=1) + COMPACTED_AFTER
        seen = sum(at.replace(tzinfo=UTC) <= now for at in made.blocks["timestamp"].to_pylist())
        key = (day, f"{sorted(kinds)}", BLOCKS if is_over else seen)
        if key not in self._cache:
            files: Files = {}
            if is_over:
                files |= {_key(kind, day, "part-00000-sim"): _parquet(getattr(made, kind)) for kind in KINDS}
            if not is_over or "duplicate" in kinds:
                for number, *tables in list(by_block(made))[:seen]:
                    files |= {_key(kind, day, str(number)): _parquet(t) for kind, t in zip(KINDS, tables, strict=True)}
            self._cache[key] = files
            while len(self._cache) > CACHED_DAYS:
                self._cache.popitem(last=False)
        return self._cache[key]

    def _make(self, day: date, fork: str) -> SimulatedDay:
        first = FIRST_HEIGHT + BLOCKS * (day - FIRST_DAY).days
        return make_day(day, first=first, blocks=BLOCKS, per_block=PER_BLOCK, fork=fork)


def _key(kind: str, day: date, name: str) -> str:
    return f"{ROOT}/{kind}/date={day.isoformat()}/{name}.snappy.parquet"


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="snappy")
    return bytes(sink.getvalue().to_pybytes())


def _day_of(text: str) -> date | None:
    found = re.search(r"date=(\d{4}-\d\d-\d\d)", text)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


class BucketServices(OnchainServices):
    """Answers anonymous S3 requests: listings (version 2) and objects, whole or by range."""

    def _usual_body(self, status: int) -> Any:
        if self._route.startswith(f"/{BUCKET}"):
            code = {403: "AccessDenied", 404: "NoSuchBucket", 503: "SlowDown"}.get(status, "InternalError")
            return s3_error(status, code).body.decode()
        return super()._usual_body(status)

    def _bucket(self, request: Request) -> bytes:
        now = datetime.fromtimestamp(request.now_ms / 1000, UTC)
        key = request.path.lstrip("/")
        if not key:
            request.headers["Content-Type"] = "application/xml"
            return self._listing(request, now).encode()
        day = _day_of(key)
        days: Days = self.server.bitcoin_days
        body = days.files(day, now, request.rules).get(key) if day else None
        if body is None or day is None:
            raise s3_error(404, "NoSuchKey")
        request.headers |= {"Content-Type": "binary/octet-stream", "ETag": _etag(body), "Accept-Ranges": "bytes"}
        request.headers["Last-Modified"] = _modified(day, request.rules).strftime("%a, %d %b %Y %H:%M:%S GMT")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return body
        first, last = int(asked[1]), min(int(asked[2] or len(body) - 1), len(body) - 1)
        if first > last:
            raise s3_error(416, "InvalidRange")
        request.status = 206
        request.headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return body[first : last + 1]

    def _listing(self, request: Request, now: datetime) -> str:
        """List what starts with a prefix; days are folders, and only a listing of one day has files."""
        prefix = request.query.get("prefix", "")
        days: Days = self.server.bitcoin_days
        day = _day_of(prefix)
        contents = ""
        prefixes = []
        if day is not None:
            written = _modified(day, request.rules)
            for key, body in sorted(days.files(day, now, request.rules).items()):
                if key.startswith(prefix):
                    contents += (
                        f"<Contents><Key>{escape(key)}</Key><LastModified>{written:%Y-%m-%dT%H:%M:%S.000Z}"
                        f"</LastModified><ETag>{escape(_etag(body))}</ETag><Size>{len(body)}</Size></Contents>"
                    )
        elif prefix.rstrip("/") in (f"{ROOT}/{kind}" for kind in KINDS):
            count = (now.date() - FIRST_DAY).days + 1
            known = [FIRST_DAY + timedelta(days=n) for n in range(max(0, count))]
            prefixes = [f"{prefix.rstrip('/')}/date={found.isoformat()}/" for found in known]
        folders = "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in prefixes)
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"
            f"<KeyCount>{contents.count('<Key>') + len(prefixes)}</KeyCount>{contents}{folders}</ListBucketResult>"
        )


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _modified(day: date, rules: list[Rule]) -> datetime:
    """Return when a day's files were written: an hour later if they were published again."""
    again = any(rule["kind"] == "republished" for rule in rules)
    written = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) + COMPACTED_AFTER
    return written + timedelta(hours=1) * again
