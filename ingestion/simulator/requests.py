"""What the simulated services share: a request, an error response, the clock and the rate limiter."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .faults import Rule
from .market import DAY_MS, DAYS, FIRST_DAY

REJECTIONS_BEFORE_BAN = 20


class ErrorResponse(Exception):
    """A response that is an error: HTTP status, body (bytes, or JSON), headers."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def binance_error(status: int, code: int, message: str) -> ErrorResponse:
    """An error in Binance's shape."""
    return ErrorResponse(status, {"code": code, "msg": message})


@dataclass
class Request:
    """One request to a service: the path below its base URL, and the headers of the response, which it adds to."""

    path: str
    pairs: list[tuple[str, str]]
    now_ms: int
    rules: list[Rule]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def query(self) -> dict[str, str]:
        """The parameters; the last one of repeated ones."""
        return dict(self.pairs)


class Clock:
    """The simulator's time: the real one, or a given moment that is fixed or moves on."""

    def __init__(self, now_ms: int | None, moves: bool) -> None:
        self._moves = moves or now_ms is None
        self.set(now_ms)

    def set(self, now_ms: int | None) -> None:
        """Set the moment; None is the real time. ValueError outside the simulated years."""
        if now_ms is not None and not FIRST_DAY * DAY_MS <= now_ms < (FIRST_DAY + DAYS) * DAY_MS:
            raise ValueError(f"the clock cannot be at {now_ms} ms; the simulated years are 2017-08-17 to 2040-08-15")
        self._base, self._started = (time.time() * 1000 if now_ms is None else now_ms), time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self._base + ((time.monotonic() - self._started) * 1000 if self._moves else 0))


class Limiter:
    """A limit of weight per address and real minute (None: no limit): then 429, and 418 after repeated 429s."""

    ban_seconds = 120.0

    def __init__(self, limit: int | None) -> None:
        self.limit, self.total, self._minute, self._lock = limit, 0, 0, threading.Lock()
        self._used, self._rejected = Counter[str](), Counter[str]()
        self._banned_until: dict[str, float] = {}

    def spend(self, address: str, weight: int) -> tuple[int, int, int]:
        """Return HTTP status, weight used in this minute, and seconds to wait."""
        with self._lock:
            now = time.time()
            if now < self._banned_until.get(address, 0):
                return 418, self._used[address], int(self._banned_until[address] - now) + 1
            if int(now // 60) != self._minute:
                self._minute = int(now // 60)
                self._used.clear()
                self._rejected.clear()
            self._used[address] += weight
            self.total += weight
            if self.limit is None or self._used[address] <= self.limit:
                return 200, self._used[address], 0
            self._rejected[address] += 1
            if self._rejected[address] > REJECTIONS_BEFORE_BAN:
                self._banned_until[address] = now + self.ban_seconds
                return 418, self._used[address], int(self.ban_seconds) + 1
            return 429, self._used[address], int(60 - now % 60) + 1
