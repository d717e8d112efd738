"""Access to a bucket or folder in the layout of the AWS Public Blockchain: listings of days, and files.

Belongs here: addresses, errors in one line, time-outs, retries. Does not: what the files contain (``parse``).

pyarrow's file systems, not the lake's minio client: one interface for S3 and folders, range requests of single columns
(nine tenths of a file are the inputs and outputs that nobody reads), and the SDK's retries of 503 SlowDown. Listings
have no ETag there; names, sizes and times identify a version as well.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import certifi
import pyarrow.fs

from ingestion import proxies
from ingestion.sources.conventions import SourceError

T = TypeVar("T")
SOURCE, SETTING = "Bitcoin transactions", "BITCOIN_TRANSACTIONS_URL"
DEFAULT_REGION = "us-east-2"
CONNECT_S, REQUEST_S = 5, 60
# The SDK waits up to 20 s between attempts.
ATTEMPTS = 5
# What an error's text contains, what it means, and the fix.
_CAUSES = (
    ("ACCESS_DENIED|HTTP status 403", "it does not allow anonymous listing and reading",
     f"set {SETTING} to a public one"),
    ("NO_SUCH_BUCKET|404.*ListObjects|ListObjects.*404", "there is no such bucket", f"set {SETTING}"),
    ("[Nn]ot found|[Dd]oes not exist|No such file|NO_SUCH_KEY", "it has no folder blocks", f"set {SETTING}"),
    ("HTTP status 301|region", "the bucket is in another region", f"add ?region=<its region> to {SETTING}"),
    ("SLOW_DOWN|HTTP status 503|SERVICE_UNAVAILABLE|TOO_MANY", "it is overloaded", "run again later"),
    ("Permission denied", "it may not be read", "allow this user to read it"),
    ("NETWORK_CONNECTION|resolve host|connect|[Tt]imeout|timed out", "it cannot be reached",
     f"check the network, or set {SETTING}"),
)  # fmt: skip


@dataclass(frozen=True)
class File:
    """A file of a day: its path in the file system, and whether it is a daily file (not one of a single block)."""

    path: str
    size: int
    modified_ns: int
    is_daily: bool


@dataclass(frozen=True)
class Listing:
    """The files of a day, daily files first; ``digest`` identifies their versions."""

    blocks: tuple[File, ...]
    transactions: tuple[File, ...]

    @property
    def digest(self) -> str:
        """The SHA-256 of names, sizes and times."""
        lines = [f"{f.path} {f.size} {f.modified_ns}" for f in sorted((*self.blocks, *self.transactions), key=_path)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def is_daily(self) -> bool:
        """Whether both folders have daily files."""
        return all(any(f.is_daily for f in files) for files in (self.blocks, self.transactions))


def _path(file: File) -> str:
    return file.path


class Bucket:
    """A bucket or folder; ``url`` is s3://bucket/prefix, http(s)://endpoint/bucket/prefix or file:///folder."""

    def __init__(self, url: str, *, attempts: int = ATTEMPTS, request_s: float = REQUEST_S) -> None:
        self.url = url.partition("?")[0].rstrip("/")
        parts = urlsplit(url)
        if parts.scheme == "file":
            self.files: pyarrow.fs.FileSystem = pyarrow.fs.LocalFileSystem()
            self._root = unquote(parts.path).rstrip("/")
            return
        region = parse_qs(parts.query).get("region", [DEFAULT_REGION])[0]
        own_endpoint = parts.scheme != "s3"
        path = parts.path if own_endpoint else parts.netloc + parts.path
        self._root = path.strip("/")
        address = url if own_endpoint else f"https://s3.{region}.amazonaws.com"
        self.files = pyarrow.fs.S3FileSystem(
            anonymous=True,
            region=region,
            endpoint_override=parts.netloc if own_endpoint else None,
            scheme=parts.scheme if own_endpoint else "https",
            proxy_options=_proxy(address),
            connect_timeout=CONNECT_S,
            request_timeout=request_s,
            retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
            tls_ca_file_path=os.environ.get("SSL_CERT_FILE") or certifi.where(),
            background_writes=False,
        )

    def list_day(self, day: date) -> Listing:
        """Return the files of a day, none for a day without a folder; SourceError if they cannot be listed."""
        return Listing(*(self._list(kind, day) for kind in ("blocks", "transactions")))

    def open(self, file: File) -> pyarrow.NativeFile:
        """Open a file for reading by ranges; OSError if that fails."""
        return self.files.open_input_file(file.path)

    def url_of(self, file: File) -> str:
        """Return a file's address."""
        return f"{self.url}/{file.path.removeprefix(self._root).lstrip('/')}"

    @cached_property
    def span(self) -> tuple[str, str]:
        """The first and the last day of the bucket; SourceError if it has another layout or none.

        A day without a folder looks the same as a wrong address until this is read.
        """
        found = self.reporting(lambda: self.files.get_file_info(pyarrow.fs.FileSelector(f"{self._root}/blocks")))
        days = sorted(info.base_name.removeprefix("date=") for info in found if info.base_name.startswith("date="))
        if not days:
            raise SourceError(SOURCE, f"{self.url}/blocks has no folder date=YYYY-MM-DD: set {SETTING}")
        return days[0], days[-1]

    def _list(self, kind: str, day: date) -> tuple[File, ...]:
        folder = f"{self._root}/{kind}/date={day.isoformat()}"
        selector = pyarrow.fs.FileSelector(folder, allow_not_found=True)
        found = self.reporting(lambda: self.files.get_file_info(selector))
        files = [
            # A file of one block is named after its height, before the first dot.
            File(f.path, f.size or 0, f.mtime_ns or 0, not re.match(r"\d+\.", f.base_name))
            for f in found
            if f.type == pyarrow.fs.FileType.File and f.base_name.endswith(".parquet")
        ]
        return tuple(sorted(files, key=lambda f: (not f.is_daily, f.path)))

    def reporting(self, call: Callable[[], T]) -> T:
        """Return what a call returns; an error becomes a SourceError with address, cause and fix in one line."""
        try:
            return call()
        except OSError as error:
            raise SourceError(SOURCE, self.describe(error)) from None

    def describe(self, error: Exception) -> str:
        """Return address, cause and fix of an error, in one line."""
        text = " ".join(str(error).split())
        cause, fix = next(
            ((cause, fix) for pattern, cause, fix in _CAUSES if re.search(pattern, text)),
            ("it cannot be read", f"check {SETTING}"),
        )
        said = re.search(r"AWS Error .*", text)
        return f"{self.url}: {cause} ({(said[0] if said else text)[:200]}): {fix}"


def _proxy(url: str) -> dict[str, str | int] | str | None:
    """Return the proxy of a URL as pyarrow takes it."""
    proxy = proxies.proxy_of(url)
    if proxy is None:
        return None
    scheme, _, address = proxy.url.partition("://")
    login = "{}:{}@".format(*(quote(part, safe="") for part in proxy.login.split(":", 1))) if proxy.login else ""
    return f"{scheme}://{login}{address}"
