"""The daily summary by e-mail: a day's runs, rows, requests, checks and incidents in numbers.

Belongs here: which numbers, and when. Does not: the format and delivery of the mail (``channels``, ``outbox``).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from psycopg2.extras import Json

from orchestration.alerting.messages import Message
from orchestration.observability import health
from orchestration.observability.text import span

# The day's last bars are loaded and checked by then.
AFTER_UTC = time(6, 0)


def add_daily_summary(cursor: Any, now: datetime) -> None:
    """Add yesterday's summary to the outbox, at most once, unless nothing ran and there was no incident."""
    day = now.date() - timedelta(days=1)
    key = f"digest {day}"
    if now.time() < AFTER_UTC:
        return
    cursor.execute("select exists (select 1 from ops.alerts where channel = 'email' and dedup_key = %s)", (key,))
    if cursor.fetchone()[0]:
        return
    tables = summary_tables(cursor, day, now)
    if not tables["Runs"] and not tables["Incidents"]:
        return
    open_incidents = sum(row[-1] == "open" for row in tables["Incidents"])
    title = f"{day}: {f'{open_incidents} open incident(s)' if open_incidents else 'no open incidents'}"
    message = Message(key, "digest", "warn", title, "", {h: rows for h, rows in tables.items() if rows}, health.links())
    cursor.execute(
        """
        insert into ops.alerts (channel, event, dedup_key, message) values ('email', 'digest', %s, %s)
        on conflict (channel, dedup_key) do nothing
        """,
        (key, Json(message.as_json())),
    )


_RUNS = """
    select job, status, count(*), avg(extract(epoch from ended_at - started_at))
    from ops.runs where started_at >= %(start)s and started_at < %(end)s
    group by job, status order by job, status
"""
_LOADED = """
    select
        dataset,
        sum(coalesce((detail ->> 'inserted')::bigint, 0)),
        sum(coalesce((detail ->> 'updated')::bigint, 0))
    from ops.run_stages
    where stage = 'raw' and dataset <> 'universe' and ended_at >= %(start)s and ended_at < %(end)s
    group by dataset order by dataset
"""
_REQUESTS = """
    select source, count(*), count(*) filter (where error is not null), count(*) filter (where http_status = 429)
    from ops.source_requests where requested_at >= %(start)s and requested_at < %(end)s
    group by source order by source
"""
_CHECKS = """
    select severity, status, count(*)
    from ops.check_results where checked_at >= %(start)s and checked_at < %(end)s
    group by severity, status order by severity, status
"""
_INCIDENTS = """
    select severity, title, opened_at, recovered_at
    from ops.incidents
    where opened_at < %(end)s and (recovered_at is null or recovered_at >= %(start)s)
    order by recovered_at is not null, incident_id limit 30
"""


def summary_tables(cursor: Any, day: date, now: datetime) -> dict[str, list[list[str]]]:
    """Return the tables of a UTC day by heading, each cell as text."""
    start = datetime.combine(day, time(0), UTC)

    def rows(query: str) -> list[tuple[Any, ...]]:
        cursor.execute(query, {"start": start, "end": start + timedelta(days=1)})
        return list(cursor.fetchall())

    return {
        "Data": [
            [dataset, f"{span((now - newest).total_seconds())} old" if newest else "never loaded"]
            for dataset, newest in health.newest_data(cursor).items()
        ],
        "Runs": [[job, status, f"{n}", f"{seconds or 0:.1f} s each"] for job, status, n, seconds in rows(_RUNS)],
        "Rows loaded": [[dataset, f"{new:,} new", f"{changed:,} changed"] for dataset, new, changed in rows(_LOADED)],
        "Requests": [
            [source, f"{n:,}", f"{failed:,} failed", f"{limited:,} times 429"]
            for source, n, failed, limited in rows(_REQUESTS)
        ],
        "Checks": [[severity, status, f"{n:,}"] for severity, status, n in rows(_CHECKS)],
        "Incidents": [
            [severity, title, f"from {opened:%H:%M} UTC on {opened:%d %b}", "recovered" if recovered else "open"]
            for severity, title, opened, recovered in rows(_INCIDENTS)
        ],
    }
