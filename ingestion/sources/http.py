"""The one HTTP client of all sources: timeouts, retries, Retry-After, host fallback, bans, request log.

Belongs here: what is true of any of the APIs. Does not: an API's paths, weights and shapes (its own module), nor where
the shared budget is kept (``budget``). Connections and gzip are urllib3's, the retry loop is tenacity's.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import orjson
import tenacity
import urllib3

from ingestion import proxies

T = TypeVar("T")
ATTEMPTS = 6
# Refusing to connect is mostly a wrong address or no network: a user should hear of it in seconds, not minutes.
CONNECT_ATTEMPTS = 3
RETRY_AFTER_CAP_S = 300.0
TIMEOUT = urllib3.Timeout(connect=5, read=15)
BODY_DEADLINE_S = 60.0
BODY_LIMIT_BYTES = 256 * 1024 * 1024


class SourceError(Exception):
    """A source that cannot be used now; the message is one line: source, what was tried, mend."""

    def __init__(self, source: str, message: str, *, kind: str = "unreachable", status: int | None = None) -> None:
        super().__init__(f"{source}: {message}")
        self.source, self.kind, self.status = source, kind, status


class RequestRejected(SourceError):
    """The source understood the request and refuses it (4xx): repeating it is useless."""

    def __init__(self, source: str, message: str, *, status: int, code: int | None) -> None:
        super().__init__(source, message, kind="refused", status=status)
        self.code = code


class _Again(Exception):
    """An attempt failed in a way that another may not."""

    def __init__(
        self, why: str, *, wait_s: float | None = None, connecting: bool = False, too_many: bool = False
    ) -> None:
        super().__init__(why)
        self.wait_s, self.connecting, self.too_many = wait_s, connecting, too_many
        self.attempts = 1


class _HostBlocked(Exception):
    """A host refuses us altogether (451, 403): the next one is tried at once."""


class Budget(Protocol):
    """A limit on requests that is shared by everybody who asks the same host from here."""

    def acquire(self, host: str, weight: int) -> None:
        """Wait until ``weight`` may be spent; raise SourceError when that would take too long."""

    def observe(self, host: str, used: int) -> None:
        """Take over what the server says has been used in this minute, if it is more than we knew."""

    def rest(self, host: str, seconds: float) -> None:
        """Let nobody ask the host for so long: it has asked for a rest (429 with Retry-After)."""

    def ban(self, host: str, until: datetime) -> None:
        """Remember that the host must not be asked before ``until``."""


class Unlimited:
    """A budget for hosts that state no limit."""

    def acquire(self, host: str, weight: int) -> None:
        """Let everything pass."""

    def observe(self, host: str, used: int) -> None:
        """Forget it."""

    def rest(self, host: str, seconds: float) -> None:
        """Forget it; the client itself waits."""

    def ban(self, host: str, until: datetime) -> None:
        """Forget it; the client itself stops."""


@dataclass(frozen=True)
class Attempt:
    """One HTTP attempt, as ``ops.source_requests`` keeps it: no query string, no header."""

    source: str
    endpoint: str
    host: str
    requested_at: datetime
    http_status: int | None
    error: str | None
    latency_ms: float
    bytes: int
    attempt: int
    weight: int


@dataclass
class Deadline:
    """A limit on the time that may pass without an answer that can be used; each such answer starts it anew."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _ends: float = field(init=False)

    def __post_init__(self) -> None:
        self.touch()

    def touch(self) -> None:
        """Start the time anew: an answer has come."""
        self._ends = self.clock() + self.seconds

    def remaining(self) -> float:
        """Return the seconds that are left, 0 at least."""
        return max(0.0, self._ends - self.clock())


@dataclass(frozen=True)
class Answer:
    """A good answer: its body decoded, and the URL without its query."""

    body: bytes
    url: str
    headers: Mapping[str, str]


def as_json(answer: Answer) -> Any:
    """Parse the body; ValueError when it is no JSON. Numbers with a fraction become floats: see the callers."""
    return orjson.loads(answer.body)


class HttpClient:
    """A client for one source with one or more hosts, safe to share between threads."""

    def __init__(
        self,
        source: str,
        base_urls: Sequence[str],
        *,
        setting: str,
        headers: Mapping[str, str] | None = None,
        budget: Budget | None = None,
        deadline: Deadline | None = None,
        connections: int = 8,
        timeout: urllib3.Timeout = TIMEOUT,
        body_deadline_s: float = BODY_DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.source, self.setting = source, setting
        self._base_urls = list(base_urls)
        self._refused: dict[str, str] = {}
        self._down: SourceError | None = None
        self._budget = budget or Unlimited()
        self._deadline = deadline or Deadline(900)
        self._sleep = sleep
        self._body_deadline_s = body_deadline_s
        self._answered: set[str] = set()
        self._rest_ends: dict[str, float] = {}
        self._secrets = [value for value in (headers or {}).values() if value]
        self._lock = threading.Lock()
        self._attempts: list[Attempt] = []
        self._proxies = {base: proxies.proxy_of(base) for base in self._base_urls}
        self._pools = {
            proxy: proxies.pool(
                proxy,
                maxsize=connections,
                block=True,
                retries=False,
                timeout=timeout,
                headers={"User-Agent": "tickmart/0.1", "Accept-Encoding": "gzip", **(headers or {})},
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
        """Ask for ``path`` and return what ``parse`` makes of the answer; None for what is missing, if ``missing_ok``.

        A body that ``parse`` cannot read (ValueError) counts as damaged on its way and is asked for again. Raises
        RequestRejected for a 4xx that is about this request, SourceError when the source cannot be used.
        """
        if self._down is not None:
            raise self._down
        for base in self._base_urls:
            if base in self._refused:
                continue
            try:
                return self._from_host(base, path, params or {}, weight, parse, missing_ok)
            except _HostBlocked as blocked:
                self._refused[base] = str(blocked)
            except _Again as last:
                if not last.connecting:
                    raise self._failing(base, path, last) from None
                # Given up for this client's life, so that fifty symbols do not each wait for a host out of reach.
                self._refused[base] = str(last)
        tried = "; ".join(f"{self._named(base)} {why}" for base, why in self._refused.items())
        self._down = SourceError(self.source, f"{tried}. {self._mend(tried)}")
        raise self._down

    def _failing(self, base: str, path: str, last: _Again) -> SourceError:
        """Say that a host answers, but not usefully; too many requests or too much time end the source's turn."""
        message = (
            f"{self._named(base, path)} {last}, {last.attempts} times. Run again later; it goes on where it stopped."
        )
        if last.too_many:
            self._down = SourceError(self.source, message, kind="rate_limited", status=429)
        elif self._deadline.remaining() <= 0:
            self._down = SourceError(self.source, f"no answer in {self._deadline.seconds:.0f} s: {message}")
        return self._down or SourceError(self.source, message, kind="failing")

    def take_attempts(self) -> list[Attempt]:
        """Return the attempts made since the last call, for the request log."""
        with self._lock:
            taken, self._attempts = self._attempts, []
        return taken

    def close(self) -> None:
        """Close the kept-alive connections."""
        for pool in self._pools.values():
            pool.clear()

    def _named(self, base: str, path: str = "") -> str:
        """Return an address for a message, with the proxy that it was asked through."""
        proxy = self._proxies[base]
        return f"{base}{path} (through {proxy})" if proxy else f"{base}{path}"

    def _mend(self, tried: str) -> str:
        if failing := next((p for p in self._pools if p and f"{p}) {PROXY_FAULT}" in tried), None):
            return f"Correct {failing.variable}, unset it, or name the host in no_proxy."
        if "answered 451" in tried or "answered 403" in tried:
            return f"The network you are in is blocked there; set {self.setting} to a host that serves it."
        if "answered 404" in tried or "answered 3" in tried:
            return f"Is the address right? {self.setting} sets it."
        return f"Check the network, or set {self.setting} to a host that answers."

    def _from_host(
        self,
        base: str,
        path: str,
        params: Mapping[str, str | int],
        weight: int,
        parse: Callable[[Answer], T],
        missing_ok: bool,
    ) -> T | None:
        def give_up(state: tenacity.RetryCallState) -> bool:
            failure = state.outcome.exception() if state.outcome else None
            limit = ATTEMPTS
            if isinstance(failure, _Again):
                failure.attempts = state.attempt_number
                limit = CONNECT_ATTEMPTS if failure.connecting else ATTEMPTS
            return state.attempt_number >= limit or self._deadline.remaining() <= 0

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Again),
            wait=self._wait,
            stop=give_up,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._once, base, path, params, weight, parse, missing_ok, retrying)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.wait_s if isinstance(failure, _Again) else None
        left = self._deadline.remaining()
        if asked is not None:
            if asked > min(RETRY_AFTER_CAP_S, left):
                most = min(RETRY_AFTER_CAP_S, left)
                raise SourceError(
                    self.source,
                    f"{failure}, and asks for {asked:.0f} s of rest: more than the {most:.0f} s that this run waits. "
                    "Run again later; it goes on where it stopped.",
                    kind="rate_limited",
                )
            # A little more than asked for, and not all threads in the same instant.
            return asked + random.uniform(0.05, 0.5)  # noqa: S311
        # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ (0 to 0.5, 1, 2, ... s)
        return min(random.uniform(0, 0.5 * 2 ** (state.attempt_number - 1)), left)  # noqa: S311

    def _once(
        self,
        base: str,
        path: str,
        params: Mapping[str, str | int],
        weight: int,
        parse: Callable[[Answer], T],
        missing_ok: bool,
        retrying: tenacity.Retrying,
    ) -> T | None:
        if self._down is not None:
            raise self._down
        host = urlsplit(base).netloc
        self._respect_rest(host)
        self._budget.acquire(host, weight)
        # The wait may have been long, and another thread may have been banned meanwhile.
        if self._down is not None:
            raise self._down
        attempt = int(retrying.statistics.get("attempt_number", 1))
        started, at = time.monotonic(), datetime.now(UTC)
        status, size, error = None, 0, None
        try:
            response = self._pools[self._proxies[base]].request(
                "GET", base + path, fields={k: str(v) for k, v in params.items()}, preload_content=False
            )
            status = response.status
            self._answered.add(base)
            body = _read(response, self._body_deadline_s)
            size = len(body)
            answer = Answer(body, base + path, response.headers)
            used = response.headers.get("x-mbx-used-weight-1m")
            if used and used.isdigit():
                self._budget.observe(host, int(used))
            # A bucket that does not list its keys answers AccessDenied for one that it has not.
            if missing_ok and (status == 404 or (status == 403 and b"<Code>AccessDenied</Code>" in body)):
                return None
            if status != 200:
                self._judge(host, status, answer)
            parsed = parse(answer)
            self._deadline.touch()
            return parsed
        except ValueError as problem:
            error = f"answered 200 with a body that cannot be read ({str(problem)[:80]})"
            raise _Again(error) from None
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            error = describe_transport_error(problem)
            # A host that has never answered may be blocked on the way: then the next one is worth a try.
            refused = isinstance(problem, _NO_CONNECTION) or (status is None and base not in self._answered)
            raise _Again(error, connecting=refused) from None
        except (_Again, _HostBlocked, SourceError) as problem:
            error = str(problem)
            raise
        finally:
            entry = Attempt(
                self.source, path, host, at, status, error, (time.monotonic() - started) * 1000, size, attempt, weight
            )
            with self._lock:
                self._attempts.append(entry)

    def _without_secrets(self, text: str) -> str:
        """Take out what must not be repeated: some services quote a wrong key in their refusal."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _respect_rest(self, host: str) -> None:
        """Wait as long as the host has asked for, whichever thread it was that asked too much."""
        left = self._rest_ends.get(host, 0.0) - self._deadline.clock()
        if left > 0:
            self._sleep(left)

    def _judge(self, host: str, status: int, answer: Answer) -> None:
        """Raise what a status other than 200 means (https://developers.binance.com, HTTP return codes)."""
        text = self._without_secrets(_reason(answer.body))
        wait = retry_after(answer.headers)
        if status == 418:
            until = _banned_until(answer.body, wait)
            self._budget.ban(host, until)
            self._down = SourceError(
                self.source,
                f"{host} answered 418: this address is banned until {until:%Y-%m-%d %H:%M:%S} UTC. "
                "Nothing is sent there before; other sources go on.",
                kind="banned",
                status=418,
            )
            raise self._down
        if status == 407:
            raise _HostBlocked(f"{PROXY_FAULT}: it {_PROXY_LOGIN}")
        if status in (403, 451):
            raise _HostBlocked(f"answered {status}{text}")
        if status == 429:
            if wait is not None and wait <= RETRY_AFTER_CAP_S:
                self._rest_ends[host] = self._deadline.clock() + wait
                self._budget.rest(host, wait)
            raise _Again(f"answered 429 (too many requests){text}", wait_s=wait, too_many=True)
        if status == 408 or status >= 500:
            raise _Again(f"answered {status}{text}", wait_s=wait)
        code = _code(answer.body)
        if (status == 404 and code is None) or 300 <= status < 400:
            raise _HostBlocked(f"answered {status} to {urlsplit(answer.url).path}")
        raise RequestRejected(self.source, f"{host} answered {status}{text}", status=status, code=code)


# How a message about a proxy, and not about the host behind it, begins.
PROXY_FAULT = "was not reached, for the proxy failed"
_PROXY_LOGIN = "wants another user and password (407)"
_NO_CONNECTION = (
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.SSLError,
)


def _read(response: urllib3.BaseHTTPResponse, deadline_s: float) -> bytes:
    """Read a body whole, within a time and a size that no honest answer needs."""
    ends = time.monotonic() + deadline_s
    parts: list[bytes] = []
    size = 0
    try:
        # What has come so far, not what fills a buffer: a body that drips must not outlast its deadline.
        while part := response.read1(1 << 18, decode_content=True):
            parts.append(part)
            size += len(part)
            if time.monotonic() > ends:
                raise TimeoutError(f"no whole body within {deadline_s:.0f} s")
            if size > BODY_LIMIT_BYTES:
                raise urllib3.exceptions.HTTPError(f"a body over {BODY_LIMIT_BYTES >> 20} MB")
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return b"".join(parts)


def describe_transport_error(problem: Exception) -> str:
    """Say in a few words what went wrong on the wire, without addresses of objects in memory."""
    if isinstance(problem, urllib3.exceptions.ProxyError):
        return f"{PROXY_FAULT}: it {_proxy_fault(problem.original_error)}"
    if isinstance(problem, urllib3.exceptions.NameResolutionError):
        return "has no address (DNS does not know the host)"
    # urllib3 derives the refusal from the timeout, so the order matters.
    if isinstance(problem, urllib3.exceptions.NewConnectionError):
        return "cannot be connected to (connection refused or no route)"
    if isinstance(problem, urllib3.exceptions.ConnectTimeoutError):
        return "does not answer (connection timed out)"
    if isinstance(problem, (urllib3.exceptions.ReadTimeoutError, TimeoutError)):
        return "stopped answering (timed out)"
    if isinstance(problem, urllib3.exceptions.SSLError):
        return "has no certificate that this machine trusts"
    if isinstance(problem, urllib3.exceptions.ProtocolError):
        return "cut the connection"
    if isinstance(problem, urllib3.exceptions.DecodeError):
        return "sent a damaged gzip body"
    if isinstance(problem, urllib3.exceptions.ResponseError):
        return f"failed ({problem})"
    return f"failed ({type(problem).__name__})"


def _proxy_fault(problem: Exception) -> str:
    """Say what a proxy did; http.client has no class for a refused tunnel, only a text with the status."""
    refused = re.match(r"Tunnel connection failed: (\d{3})", str(problem))
    if refused is None:
        return describe_transport_error(problem)
    return _PROXY_LOGIN if refused[1] == "407" else f"answered {refused[1]} to CONNECT"


def _body(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def _code(body: bytes) -> int | None:
    """Return Binance's error code, if the body carries one."""
    parsed = _body(body)
    code = parsed.get("code") if isinstance(parsed, dict) else None
    return code if isinstance(code, int) else None


def _reason(body: bytes) -> str:
    """Return ": reason" from any of the error bodies that the sources use, cut short, or nothing."""
    parsed = _body(body)
    if not isinstance(parsed, dict):
        return ""
    inner = parsed.get("error", parsed)
    inner = inner.get("status", inner) if isinstance(inner, dict) else inner
    text = inner if isinstance(inner, str) else (inner.get("msg") or inner.get("error_message") or "")
    if not text and isinstance(parsed.get("status"), dict):
        text = parsed["status"].get("error_message", "")
    return f": {' '.join(str(text).split())[:160]}" if text else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds, whether it was sent as seconds or as a date."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _banned_until(body: bytes, wait: float | None) -> datetime:
    """Return when a ban ends: by the message ("banned until <ms>"), else Retry-After, else the shortest, 2 min."""
    found = re.search(rb"until (\d{13})", body)
    if found:
        return datetime.fromtimestamp(int(found[1]) / 1000, UTC)
    return datetime.fromtimestamp(time.time() + (wait if wait is not None else 120), UTC)
