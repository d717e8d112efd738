"""HTTP requests to the sources in the ``ops`` schema."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from datetime import datetime

from ingestion.database.connections import Connection, write_rows


@dataclass(frozen=True)
class Attempt:
    """One HTTP attempt as a row of ``ops.source_requests``: no query string, no header."""

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


def record_attempts(connection: Connection, attempts: Iterable[Attempt], run_id: str) -> None:
    """Append HTTP attempts to ``ops.source_requests``."""
    names = [f.name for f in fields(Attempt)]
    statement = f"insert into ops.source_requests ({', '.join(names)}, run_id) values %s"  # noqa: S608
    write_rows(connection, statement, [(*astuple(attempt), run_id) for attempt in attempts])
