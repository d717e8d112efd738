"""Heartbeats: when the scheduler last ran, and the ping to a dead man's switch (``HEARTBEAT_URL``)."""

from __future__ import annotations

from datetime import UTC, datetime

import urllib3

from ingestion import proxies
from ingestion.connection_errors import describe_transport_error
from ingestion.database import connections
from ingestion.database.connections import Connection
from ingestion.settings import Settings
from orchestration.alerting.messages import through

PING_ATTEMPTS = 3


def record_heartbeat(connection: Connection, name: str, now: datetime, error: str | None = None) -> None:
    """Record a heartbeat in ``ops.heartbeats``, or why it is missing (``error``); the last one stays."""
    statement = """
        insert into ops.heartbeats as h (name, beat_at, last_error) values (%(name)s, %(now)s, %(error)s)
        on conflict (name) do update set
            beat_at = case when %(error)s is null then excluded.beat_at else h.beat_at end,
            last_error = excluded.last_error
    """
    connections.execute(connection, statement, {"name": name, "now": now, "error": error})


def ping_heartbeat(settings: Settings) -> str | None:
    """Ping ``HEARTBEAT_URL`` if it is set and record the outcome; return the problem in one line, or None."""
    if settings.alerting.heartbeat_url is None:
        return None
    error = ping(settings.alerting.heartbeat_url)
    with connections.connected(settings.postgres, "ingest") as connection:
        record_heartbeat(connection, "dead_man", datetime.now(UTC), error)
    return error


def ping(url: str) -> str | None:
    """Request a heartbeat URL, up to ``PING_ATTEMPTS`` times; return the problem in one line, or None."""
    problem = ""
    proxy = proxies.proxy_of(url)
    timeout = urllib3.Timeout(connect=3, read=5)
    with proxies.pool(proxy, retries=False, timeout=timeout) as pool:
        for _ in range(PING_ATTEMPTS):
            try:
                response = pool.request("GET", url, headers={"User-Agent": "tickmart/0.1"})
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = f"HEARTBEAT_URL{through(proxy)} {describe_transport_error(error)}"
                continue
            if response.status < 300:
                return None
            problem = f"HEARTBEAT_URL answered {response.status}"
    return problem
