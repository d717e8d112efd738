"""The rate limit of each API host, stored in Postgres: all processes share one limit, one pause and one ban.

Belongs here: ``ops.api_budget``. Does not: what a request weighs (the source's package), nor retrying (``http``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingestion.sources.conventions import SourceError

# Usable share of a limit. The rest is headroom for clock differences and other machines behind the same address.
USABLE_SHARE = 0.9
# Weight is reserved in batches, so that a backfill queries the database for one request in ten.
BATCH_SIZE = 20
# The longest wait of a run for a free limit, or for the end of a pause that a server requests.
MOST_WAIT_S = 300.0


@dataclass(frozen=True)
class Limits:
    """The limits of one source's hosts: weight per minute, and calls per month with the setting that raises them."""

    per_minute: int
    per_month: int | None = None
    month_setting: str | None = None


class RateLimiter:
    """The limiter of hosts without a limit, and the interface of all: it counts, and leaves waiting to the client."""

    def __init__(self) -> None:
        self.spent = 0

    def acquire(self, host: str, weight: int) -> None:
        """Wait until ``weight`` may be spent; raise SourceError when that would take too long."""
        self.spent += weight

    def observe(self, host: str, used: int) -> None:
        """Record the weight that the server has counted in this minute."""

    def pause(self, host: str, seconds: float) -> None:
        """Stop all requests to the host for a time: it answered 429 with Retry-After."""

    def ban(self, host: str, until: datetime) -> None:
        """Stop all requests to the host until a moment."""

    def set_limit(self, per_minute: int) -> None:
        """Replace the limit by the one that the source states."""

    def close(self) -> None:
        """Release what the limiter holds."""


class SharedRateLimiter(RateLimiter):
    """Weight per minute (and calls per month) of one source's hosts; safe to share between threads."""

    def __init__(
        self, source: str, connect: Callable[[], Any], limits: Limits, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__()
        self.source, self._limits = source, limits
        self._per_minute, self._per_month = limits.per_minute, limits.per_month
        self._sleep = sleep
        self._lock = threading.Lock()
        self._reserved: dict[str, tuple[int, int]] = {}  # host: (minute, weight reserved and not yet spent)
        self._observed: dict[str, int] = {}
        self._connection = connect()
        self._connection.autocommit = True

    def _key(self, host: str) -> str:
        # Two sources may share an address (a proxy, the simulator); each has its own limits.
        return f"{self.source} {host}"

    def set_limit(self, per_minute: int) -> None:
        """Replace the limit per minute by the one that the source states."""
        self._per_minute = per_minute

    def acquire(self, host: str, weight: int) -> None:
        """Spend ``weight`` on ``host``, waiting for the next minute if this one's limit is reached.

        Raises SourceError when the host has banned this address, or when the month's limit is reached.
        """
        waited = 0.0
        while True:
            with self._lock:
                minute = int(time.time() // 60)
                reserved_in, reserved = self._reserved.get(host, (0, 0))
                if reserved_in == minute and reserved >= weight:
                    self._reserved[host] = (minute, reserved - weight)
                    self.spent += weight
                    return
                # Under a monthly limit, unused reservations would be lost.
                ahead = 0 if self._per_month is not None else min(BATCH_SIZE, int(self._per_minute * USABLE_SHARE) // 4)
                batch = max(weight, ahead)
                if self._reserve(host, batch):
                    self._reserved[host] = (minute, batch - weight)
                    self.spent += weight
                    return
            if waited > MOST_WAIT_S:
                raise SourceError(
                    self.source,
                    f"the rate limit of {host} was reached for {waited:.0f} s: other processes use all of it. "
                    "Run again later; the run resumes.",
                    kind="rate_limited",
                )
            pause = min(60 - time.time() % 60 + 0.05, 5.0)
            self._sleep(pause)
            waited += pause

    def _reserve(self, host: str, weight: int) -> bool:
        """Reserve ``weight`` in the current minute; False when less than that is left."""
        limit = max(int(self._per_minute * USABLE_SHARE), weight)
        with self._connection.cursor() as cursor:
            cursor.execute(
                """
                insert into ops.api_budget as b (host, minute, used, weight_limit, month, month_used)
                values (%(host)s, date_trunc('minute', clock_timestamp(), 'UTC'), %(weight)s, %(stated)s,
                        date_trunc('month', clock_timestamp(), 'UTC')::date, %(weight)s)
                on conflict (host) do update set
                    used = case when b.minute = excluded.minute then b.used else 0 end + excluded.used,
                    minute = excluded.minute,
                    weight_limit = excluded.weight_limit,
                    month_used = case when b.month = excluded.month then b.month_used else 0 end + excluded.month_used,
                    month = excluded.month
                where (b.banned_until is null or b.banned_until <= clock_timestamp())
                    and (b.resting_until is null or b.resting_until <= clock_timestamp())
                    and (b.minute <> excluded.minute or b.used + excluded.used <= %(limit)s)
                    and (%(per_month)s::integer is null or b.month is distinct from excluded.month
                        or b.month_used + excluded.month_used <= %(per_month)s)
                returning used
                """,
                {
                    "host": self._key(host),
                    "weight": weight,
                    "stated": self._per_minute,
                    "limit": limit,
                    "per_month": self._per_month,
                },
            )
            if cursor.fetchone():
                return True
            cursor.execute("select banned_until, month_used from ops.api_budget where host = %s", (self._key(host),))
            banned_until, month_used = cursor.fetchone()
        if banned_until is not None and banned_until > datetime.now(UTC):
            raise SourceError(
                self.source,
                f"{host} has banned this address until {banned_until:%Y-%m-%d %H:%M:%S} UTC (recorded earlier). "
                "No request is sent before; other sources continue.",
                kind="banned",
            )
        if self._per_month is not None and month_used + weight > self._per_month:
            fix = f", or set {self._limits.month_setting} to your plan's limit" if self._limits.month_setting else ""
            raise SourceError(
                self.source,
                f"the limit of {self._per_month} calls a month to {host} is reached; requests resume next month{fix}.",
                kind="exhausted",
            )
        return False

    def observe(self, host: str, used: int) -> None:
        """Raise the recorded weight to the server's own count when that is higher, once per batch."""
        with self._lock:
            # The server's count includes what was reserved and spent here, so only a real difference (another machine
            # behind the same address) is worth a statement.
            known = self._observed.get(host, 0)
            if abs(used - known) < BATCH_SIZE:
                return
            self._observed[host] = used
            with self._connection.cursor() as cursor:
                cursor.execute(
                    """
                    update ops.api_budget set used = greatest(used, %s)
                    where host = %s and minute = date_trunc('minute', clock_timestamp(), 'UTC')
                    """,
                    (used, self._key(host)),
                )

    def pause(self, host: str, seconds: float) -> None:
        """Stop the requests of every process to ``host`` for a time."""
        with self._lock, self._connection.cursor() as cursor:
            self._reserved.pop(host, None)
            cursor.execute(
                """
                update ops.api_budget
                set resting_until = greatest(resting_until, clock_timestamp() + make_interval(secs => %s))
                where host = %s
                """,
                (seconds, self._key(host)),
            )

    def ban(self, host: str, until: datetime) -> None:
        """Stop the requests of every process to ``host`` until a moment, also after a restart."""
        with self._lock, self._connection.cursor() as cursor:
            cursor.execute(
                """
                insert into ops.api_budget (host, minute, used, weight_limit, banned_until)
                values (%s, date_trunc('minute', clock_timestamp(), 'UTC'), 0, %s, %s)
                on conflict (host) do update set banned_until = excluded.banned_until
                """,
                (self._key(host), self._per_minute, until),
            )

    def close(self) -> None:
        """Close the database connection."""
        self._connection.close()
