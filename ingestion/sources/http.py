"""The HTTP client of all sources: timeouts, retries, Retry-After, host fallback, bans, request log.

Belongs here: what every API has in common. Does not: an API's paths, weights and shapes (its own package), its codes
and headers (``conventions``), nor where shared limits are stored (``rate_limit``). Connections and gzip are urllib3's,
the retry loop is tenacity's.
"""

from __future__ import annotations

import copy
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
import tenacity
import urllib3

from ingestion import proxies
from ingestion.connection_errors import PROXY_FAULT, PROXY_LOGIN, describe_transport_error
from ingestion.ops.requests import Attempt
from ingestion.sources.conventions import (
    PLAIN_HTTP,
    Answer,
    Conventions,
    RequestRejected,
    SourceError,
    parsed_body,
)
from ingestion.sources.rate_limit import MOST_WAIT_S, RateLimiter

# The errors are part of the client's interface.
__all__ = ["ATTEMPTS", "CONNECT_ATTEMPTS", "Deadline", "HttpClient", "RequestRejected", "SourceError", "Transport"]
T = TypeVar("T")
ATTEMPTS = 6
# A refused connection is mostly a wrong address or no network: report it in seconds, not minutes.
CONNECT_ATTEMPTS = 3
BODY_LIMIT_BYTES = 256 * 1024 * 1024
_NO_CONNECTION = (
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.SSLError,
)


class _RetryableError(Exception):
    """A failed attempt that may succeed when it is repeated."""

    def __init__(
        self, why: str, *, wait_s: float | None = None, connecting: bool = False, too_many: bool = False
    ) -> None:
        super().__init__(why)
        self.wait_s, self.connecting, self.too_many = wait_s, connecting, too_many
        self.attempts = 1


class _HostBlocked(Exception):
    """A host rejects every request of ours (451, 403): the next host is tried at once."""


@dataclass
class Deadline:
    """A limit on the time without a usable answer; each usable answer restarts it."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _ends: float = field(init=False)

    def __post_init__(self) -> None:
        self.touch()

    def touch(self) -> None:
        """Restart the time."""
        self._ends = self.clock() + self.seconds

    def remaining(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self._ends - self.clock())


@dataclass(frozen=True)
class Transport:
    """How requests travel: extra headers, timeouts in seconds, and connections per host."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_s: float = 5
    read_s: float = 15
    body_s: float = 60
    connections: int = 8


@dataclass(frozen=True)
class _Request:
    path: str
    params: Mapping[str, str | int]
    weight: int
    parse: Callable[[Answer], Any]
    missing_ok: bool


def as_json(answer: Answer) -> Any:
    """Parse the body; ValueError when it is not JSON. Numbers with a fraction become floats: see the callers."""
    return orjson.loads(answer.body)


class HttpClient:
    """A client for one source with one or more hosts, safe to share between threads."""

    def __init__(
        self,
        source: str,
        base_urls: Sequence[str],
        *,
        setting: str,
        conventions: Conventions = PLAIN_HTTP,
        limiter: RateLimiter | None = None,
        deadline: Deadline | None = None,
        transport: Transport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.source, self.setting = source, setting
        self.limiter = limiter or RateLimiter()
        self._base_urls = list(base_urls)
        self._conventions = conventions
        self._transport = transport or Transport()
        self._deadline = deadline or Deadline(900)
        self._sleep = sleep
        self._unusable: dict[str, str] = {}
        self._down: SourceError | None = None
        self._answered: set[str] = set()
        self._paused_until: dict[str, float] = {}
        self._secrets = [value for value in self._transport.headers.values() if value]
        self._lock = threading.Lock()
        self._attempts: list[Attempt] = []
        self._proxies = {base: proxies.proxy_of(base) for base in self._base_urls}
        self._pools = {
            proxy: proxies.pool(
                proxy,
                maxsize=self._transport.connections,
                block=True,
                retries=False,
                timeout=urllib3.Timeout(connect=self._transport.connect_s, read=self._transport.read_s),
                headers={"User-Agent": "tickmart/0.1", "Accept-Encoding": "gzip", **self._transport.headers},
            )
            for proxy in set(self._proxies.values())
        }

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        weight: int = 1,
        parse: Callable[[Answer], T] = as_json,
        missing_ok: bool = False,
    ) -> T | None:
        """Request ``path`` and return what ``parse`` makes of the answer; None if it is missing and ``missing_ok``.

        A body that ``parse`` cannot read (ValueError) counts as damaged in transit and is requested again. Raises
        RequestRejected for a 4xx that is about this request, SourceError when the source cannot be used.
        """
        if self._down is not None:
            raise self._down
        request = _Request(path, params or {}, weight, parse, missing_ok)
        for base in self._base_urls:
            if base in self._unusable:
                continue
            try:
                return self._with_retries(base, request)  # type: ignore[no-any-return]
            except _HostBlocked as blocked:
                self._unusable[base] = str(blocked)
            except _RetryableError as last:
                if not last.connecting:
                    raise self._failing(base, path, last) from None
                # Given up for this client's lifetime, so that fifty symbols do not each wait for an unreachable host.
                self._unusable[base] = str(last)
        tried = "; ".join(f"{self._named(base)} {why}" for base, why in self._unusable.items())
        self._down = SourceError(self.source, f"{tried}. {self._fix(tried)}")
        raise self._down

    def only(self, base_url: str) -> HttpClient:
        """Return a client of one of the addresses, which each answer for themselves: news feeds, not mirrors of a host.

        It has a deadline of its own; limits, connections and request log are those of this client, which closes it.
        """
        one = copy.copy(self)
        one._base_urls, one._unusable, one._down, one._answered = [base_url], {}, None, set()
        one._deadline = Deadline(self._deadline.seconds, self._deadline.clock)
        return one

    def take_attempts(self) -> list[Attempt]:
        """Return the attempts made since the last call, for the request log."""
        with self._lock:
            taken, self._attempts = self._attempts, []
        return taken

    def close(self) -> None:
        """Close the kept-alive connections."""
        for pool in self._pools.values():
            pool.clear()

    def _failing(self, base: str, path: str, last: _RetryableError) -> SourceError:
        """Return the error of a host that answers without success; some of these make the whole source unusable."""
        message = f"{self._named(base, path)} {last}, {last.attempts} times. Run again later; the run resumes."
        if last.too_many:
            self._down = SourceError(self.source, message, kind="rate_limited", status=429)
        elif self._deadline.remaining() <= 0:
            self._down = SourceError(self.source, f"no answer in {self._deadline.seconds:.0f} s: {message}")
        return self._down or SourceError(self.source, message, kind="failing")

    def _named(self, base: str, path: str = "") -> str:
        """Return an address for a message, with the proxy that its requests go through."""
        proxy = self._proxies[base]
        return f"{base}{path} (through {proxy})" if proxy else f"{base}{path}"

    def _fix(self, tried: str) -> str:
        if failing := next((p for p in self._pools if p and f"{p}) {PROXY_FAULT}" in tried), None):
            return f"Correct {failing.variable}, unset it, or name the host in no_proxy."
        if "answered 451" in tried or "answered 403" in tried:
            return f"The network you are in is blocked there; set {self.setting} to a host that serves it."
        if "answered 404" in tried or "answered 3" in tried:
            return f"Is the address right? {self.setting} sets it."
        return f"Check the network, or set {self.setting} to a host that answers."

    def _with_retries(self, base: str, request: _Request) -> Any:
        def give_up(state: tenacity.RetryCallState) -> bool:
            failure = state.outcome.exception() if state.outcome else None
            limit = ATTEMPTS
            if isinstance(failure, _RetryableError):
                failure.attempts = state.attempt_number
                limit = CONNECT_ATTEMPTS if failure.connecting else ATTEMPTS
            return state.attempt_number >= limit or self._deadline.remaining() <= 0

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_RetryableError),
            wait=self._wait,
            stop=give_up,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._attempt, base, request, retrying)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        requested = failure.wait_s if isinstance(failure, _RetryableError) else None
        left = self._deadline.remaining()
        if requested is not None:
            if requested > min(MOST_WAIT_S, left):
                most = min(MOST_WAIT_S, left)
                raise SourceError(
                    self.source,
                    f"{failure}, and asks for a pause of {requested:.0f} s: more than the {most:.0f} s that this run "
                    "waits. Run again later; the run resumes.",
                    kind="rate_limited",
                )
            # A little more than requested, and not all threads in the same instant.
            return requested + random.uniform(0.05, 0.5)  # noqa: S311
        # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ (0 to 0.5, 1, 2, ... s)
        return min(random.uniform(0, 0.5 * 2 ** (state.attempt_number - 1)), left)  # noqa: S311

    def _attempt(self, base: str, request: _Request, retrying: tenacity.Retrying) -> Any:
        if self._down is not None:
            raise self._down
        host = urlsplit(base).netloc
        # Until the pause that the host requested ends, whichever thread caused it.
        if (left := self._paused_until.get(host, 0.0) - self._deadline.clock()) > 0:
            self._sleep(left)
        self.limiter.acquire(host, request.weight)
        # The wait may have been long, and another thread may have been banned meanwhile.
        if self._down is not None:
            raise self._down
        number = int(retrying.statistics.get("attempt_number", 1))
        started, at = time.monotonic(), datetime.now(UTC)
        status, size, error = None, 0, None
        try:
            response = self._pools[self._proxies[base]].request(
                "GET", base + request.path, fields={k: str(v) for k, v in request.params.items()}, preload_content=False
            )
            status = response.status
            self._answered.add(base)
            body = _read_body(response, self._transport.body_s)
            size = len(body)
            answer = Answer(body, base + request.path, response.headers, status)
            if (used := self._conventions.used_weight(answer.headers)) is not None:
                self.limiter.observe(host, used)
            if request.missing_ok and self._conventions.is_missing(answer):
                return None
            if status != 200:
                self._raise_for_status(host, answer)
            parsed = request.parse(answer)
            self._deadline.touch()
            return parsed
        except ValueError as problem:
            error = f"answered 200 with a body that cannot be read ({str(problem)[:80]})"
            raise _RetryableError(error) from None
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            error = describe_transport_error(problem)
            # A host that has never answered may be blocked on the way: then the next one is worth a try.
            no_connection = isinstance(problem, _NO_CONNECTION) or (status is None and base not in self._answered)
            raise _RetryableError(error, connecting=no_connection) from None
        except (_RetryableError, _HostBlocked, SourceError) as problem:
            error = str(problem)
            raise
        finally:
            elapsed_ms = (time.monotonic() - started) * 1000
            entry = Attempt(
                self.source, request.path, host, at, status, error, elapsed_ms, size, number, request.weight
            )
            with self._lock:
                self._attempts.append(entry)

    def _raise_for_status(self, host: str, answer: Answer) -> None:
        """Raise what a status other than 200 means."""
        status, wait = answer.status, self._conventions.wait_s(answer.headers)
        body = parsed_body(answer)
        text = self._reason(body)
        if (until := self._conventions.banned_until(answer)) is not None:
            self.limiter.ban(host, until)
            self._down = SourceError(
                self.source,
                f"{host} answered {status}: this address is banned until {until:%Y-%m-%d %H:%M:%S} UTC. "
                "No request is sent before; other sources continue.",
                kind="banned",
                status=status,
            )
            raise self._down
        if status == 407:
            raise _HostBlocked(f"{PROXY_FAULT}: it {PROXY_LOGIN}")
        if status in (403, 451) and not self._conventions.is_about_request(answer):
            raise _HostBlocked(f"answered {status}{text}")
        if status == 429:
            if wait is not None and wait <= MOST_WAIT_S:
                self._paused_until[host] = self._deadline.clock() + wait
                self.limiter.pause(host, wait)
            raise _RetryableError(f"answered 429 (too many requests){text}", wait_s=wait, too_many=True)
        if status == 408 or status >= 500:
            raise _RetryableError(f"answered {status}{text}", wait_s=wait)
        code = self._conventions.error_code(body)
        if (status == 404 and code is None) or 300 <= status < 400:
            moved = f", moved to {place[:200]}" if (place := answer.headers.get("Location", "").strip()) else ""
            raise _HostBlocked(f"answered {status} to {urlsplit(answer.url).path}{moved}")
        raise RequestRejected(self.source, f"{host} answered {status}{text}", status=status, code=code)

    def _reason(self, body: Any) -> str:
        """Return ": message" of an error body on one line, cut to 160 characters, without our secrets.

        Some services quote a wrong key in their error message.
        """
        text = " ".join(self._conventions.error_message(body).split())[:160]
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return f": {text}" if text else ""


def _read_body(response: urllib3.BaseHTTPResponse, deadline_s: float) -> bytes:
    """Read a body completely, within a time and a size that no honest answer needs."""
    ends = time.monotonic() + deadline_s
    parts: list[bytes] = []
    size = 0
    try:
        # read1 returns what has arrived instead of filling a buffer: a slow body must not exceed its deadline.
        while part := response.read1(1 << 18, decode_content=True):
            parts.append(part)
            size += len(part)
            if time.monotonic() > ends:
                raise TimeoutError(f"no complete body within {deadline_s:.0f} s")
            if size > BODY_LIMIT_BYTES:
                raise urllib3.exceptions.HTTPError(f"a body over {BODY_LIMIT_BYTES >> 20} MB")
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return b"".join(parts)
