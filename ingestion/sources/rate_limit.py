"""The request budget of each API host, kept in Postgres: all processes that ask it share one limit and one ban.

Belongs here: ``ops.api_budget``. Does not: what a request weighs (the source's module), nor retrying (``http``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ingestion.sources.http import RETRY_AFTER_CAP_S, SourceError

# Clocks and in-flight requests differ: the last tenth of a limit is left to others behind the same address.
SHARE = 0.9
# Weight is drawn in portions, so that a backfill asks the database for one request in ten.
PORTION = 20


class SharedRateLimiter:
    """Weight per minute (and calls per month) of one source's hosts; safe to share between threads."""

    def __init__(
        self,
        source: str,
        connect: Callable[[], Any],
        *,
        per_minute: int,
        per_month: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.source, self._per_minute, self._per_month = source, per_minute, per_month
        self._sleep = sleep
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, int]] = {}  # host: (minute, weight drawn and not yet spent)
        self._seen: dict[str, int] = {}
        self.spent = 0
        self._connection = connect()
        self._connection.autocommit = True

    def _key(self, host: str) -> str:
        # Two sources may stand behind one address (a proxy, the simulator); their limits are two all the same.
        return f"{self.source} {host}"

    def set_limit(self, per_minute: int) -> None:
        """Take over the limit that the exchange itself states."""
        self._per_minute = per_minute

    def acquire(self, host: str, weight: int) -> None:
        """Spend ``weight`` on ``host``, waiting for the next minute if this one is used up.

        Raises SourceError when the host has banned this address, or when the month's calls are used up.
        """
        waited = 0.0
        while True:
            with self._lock:
                minute = int(time.time() // 60)
                held_in, held = self._held.get(host, (0, 0))
                if held_in == minute and held >= weight:
                    self._held[host] = (minute, held - weight)
                    self.spent += weight
                    return
                # Of a month's budget nothing may be drawn in vain.
                spare = 0 if self._per_month is not None else min(PORTION, int(self._per_minute * SHARE) // 4)
                portion = max(weight, spare)
                if self._draw(host, portion):
                    self._held[host] = (minute, portion - weight)
                    self.spent += weight
                    return
            if waited > RETRY_AFTER_CAP_S:
                raise SourceError(
                    self.source,
                    f"no request weight was free on {host} for {waited:.0f} s: other processes use it all. "
                    "Run again later; it goes on where it stopped.",
                    kind="rate_limited",
                )
            pause = min(60 - time.time() % 60 + 0.05, 5.0)
            self._sleep(pause)
            waited += pause

    def _draw(self, host: str, weight: int) -> bool:
        """Book ``weight`` in the current minute; False when the minute has not that much left."""
        limit = max(int(self._per_minute * SHARE), weight)
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
                f"{host} has banned this address until {banned_until:%Y-%m-%d %H:%M:%S} UTC (remembered). "
                "Nothing is sent there before; other sources go on.",
                kind="banned",
                status=418,
            )
        if self._per_month is not None and month_used + weight > self._per_month:
            raise SourceError(
                self.source,
                f"the month's {self._per_month} calls to {host} are used up; it is asked again next month, "
                "or raise the limit of your plan in TICKMART_COINGECKO_CALLS_PER_MONTH.",
                kind="exhausted",
            )
        return False

    def observe(self, host: str, used: int) -> None:
        """Correct the books by the server's own count when it is higher, once per portion."""
        with self._lock:
            # The minute's count on the server includes what was drawn here and already spent, so only a real
            # difference (another machine behind the same address) is worth a statement.
            known = self._seen.get(host, 0)
            if abs(used - known) < PORTION:
                return
            self._seen[host] = used
            with self._connection.cursor() as cursor:
                cursor.execute(
                    """
                    update ops.api_budget set used = greatest(used, %s)
                    where host = %s and minute = date_trunc('minute', clock_timestamp(), 'UTC')
                    """,
                    (used, self._key(host)),
                )

    def rest(self, host: str, seconds: float) -> None:
        """Have every process leave ``host`` alone for so long."""
        with self._lock, self._connection.cursor() as cursor:
            self._held.pop(host, None)
            cursor.execute(
                """
                update ops.api_budget
                set resting_until = greatest(resting_until, clock_timestamp() + make_interval(secs => %s))
                where host = %s
                """,
                (seconds, self._key(host)),
            )

    def ban(self, host: str, until: datetime) -> None:
        """Write down that ``host`` must not be asked before ``until``, for every process and the next start."""
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
        """Give the connection back."""
        self._connection.close()
