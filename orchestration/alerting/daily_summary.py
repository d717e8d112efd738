"""The daily mail: what a day brought, in numbers.

Belongs here: which numbers, and when. Does not: how the mail looks and travels (``channels``, ``alerts``).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from psycopg2.extras import Json

from orchestration.alerting.channels import Message
from orchestration.observability import health
from orchestration.observability.text import span

# The day's last bars are loaded and judged by then.
AFTER_UTC = time(6, 0)


def write_digest(cursor: Any, now: datetime) -> None:
    """Put yesterday's mail into the outbox, once, unless nothing ran and nothing was wrong."""
    day = now.date() - timedelta(days=1)
    key = f"digest {day}"
    if now.time() < AFTER_UTC:
        return
    cursor.execute("select exists (select 1 from ops.alerts where channel = 'email' and dedup_key = %s)", (key,))
    if cursor.fetchone()[0]:
        return
    tables = numbers(cursor, day, now)
    if not tables["Runs"] and not tables["Incidents"]:
        return
    wrong = sum(row[-1] == "open" for row in tables["Incidents"])
    title = f"{day}: {f'{wrong} open incident(s)' if wrong else 'all well'}"
    message = Message(key, "digest", "warn", title, "", {h: rows for h, rows in tables.items() if rows}, health.links())
    cursor.execute(
        """
        insert into ops.alerts (channel, event, dedup_key, message) values ('email', 'digest', %s, %s)
        on conflict (channel, dedup_key) do nothing
        """,
        (key, Json(message.as_json())),
    )


def numbers(cursor: Any, day: date, now: datetime) -> dict[str, list[list[str]]]:
    """Return the day's tables by heading, each row as texts."""
    start = datetime.combine(day, time(0), UTC)
    bounds = {"start": start, "end": start + timedelta(days=1)}

    def ask(query: str) -> list[tuple[Any, ...]]:
        cursor.execute(query, bounds)
        return list(cursor.fetchall())

    runs = ask(
        """
        select job, status, count(*), avg(extract(epoch from ended_at - started_at))
        from ops.runs where started_at >= %(start)s and started_at < %(end)s
        group by job, status order by job, status
        """
    )
    loaded = ask(
        """
        select
            dataset,
            sum(coalesce((detail ->> 'inserted')::bigint, 0)),
            sum(coalesce((detail ->> 'updated')::bigint, 0))
        from ops.run_stages
        where stage = 'raw' and dataset <> 'universe' and ended_at >= %(start)s and ended_at < %(end)s
        group by dataset order by dataset
        """
    )
    asked = ask(
        """
        select source, count(*), count(*) filter (where error is not null), count(*) filter (where http_status = 429)
        from ops.source_requests where requested_at >= %(start)s and requested_at < %(end)s
        group by source order by source
        """
    )
    checks = ask(
        """
        select severity, status, count(*)
        from ops.check_results where checked_at >= %(start)s and checked_at < %(end)s
        group by severity, status order by severity, status
        """
    )
    incidents = ask(
        """
        select severity, title, opened_at, recovered_at
        from ops.incidents
        where opened_at < %(end)s and (recovered_at is null or recovered_at >= %(start)s)
        order by recovered_at is not null, incident_id limit 30
        """
    )
    return {
        "Data": [
            [dataset, f"{span((now - moment).total_seconds())} old" if moment else "never loaded"]
            for dataset, moment in health.newest_data(cursor).items()
        ],
        "Runs": [[job, status, f"{n}", f"{seconds or 0:.1f} s each"] for job, status, n, seconds in runs],
        "Rows loaded": [[dataset, f"{new:,} new", f"{changed:,} changed"] for dataset, new, changed in loaded],
        "Requests": [[source, f"{n:,}", f"{bad:,} failed", f"{many:,} times 429"] for source, n, bad, many in asked],
        "Checks": [[severity, status, f"{n:,}"] for severity, status, n in checks],
        "Incidents": [
            [severity, title, f"from {opened:%H:%M} UTC on {opened:%d %b}", "recovered" if recovered else "open"]
            for severity, title, opened, recovered in incidents
        ],
    }
