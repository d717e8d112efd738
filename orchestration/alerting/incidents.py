"""Incidents: what is wrong now, and what becomes of it.

Belongs here: judging the books (``look``) and the life of an incident (``decide``), which writes nothing. Does not:
keeping incidents and telling of them (``alerts``), judging the data itself (``quality``, ``dbt_project``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extras import RealDictCursor

from ingestion.database.connections import Connection
from ingestion.settings import Settings
from orchestration.observability import health
from orchestration.observability.attempts import newest_failure
from orchestration.observability.text import problems, span
from orchestration.quality import suites

# What comes back within this time after its recovery is flapping: told of once more, and then silent until it has held.
FLAPS_WITHIN = timedelta(hours=3)
# A check that nothing judges any more (renamed, its model gone): closed without a word.
FORGOTTEN_AFTER = timedelta(days=8)
CHECKS_SINCE = timedelta(hours=48)
DAEMON_SILENT_AFTER = timedelta(minutes=5)
# These are judged whole at every look: one that is not found wrong is right.
JUDGED_WHOLE = ("stale_dataset", "gap_stays", "budget_exhausted")
# Told of by an incident of its own kind.
OTHERWISE_TOLD = ("holes_are_explained", suites.NO_MISSING_BARS, suites.DATA_WITHIN_SLA)
# The check of rejected records (`assets.source_checks`); its severity says whether there are too many.
RECORDS_KEPT = "records_kept"


@dataclass(frozen=True)
class Finding:
    """Something wrong at this moment; the fingerprint is what makes it the same thing as a moment ago."""

    fingerprint: str
    kind: str
    severity: str
    title: str
    detail: str
    run_id: str | None = None
    momentary: bool = False
    """An event rather than a state: told once, with nothing to recover from."""


@dataclass(frozen=True)
class Incident:
    """The newest incident of a fingerprint, as it stands in ``ops.incidents``."""

    incident_id: int
    fingerprint: str
    kind: str
    last_bad_at: datetime
    recovered_at: datetime | None
    reopened: int


@dataclass(frozen=True)
class Seen:
    """What a look found: what is wrong, and what was judged and is right."""

    wrong: dict[str, Finding]
    right: set[str]


def look(connection: Connection, settings: Settings, now: datetime, daemon_since: datetime | None = None) -> Seen:
    """Judge the books as they stand. ``daemon_since`` is when a daemon was started that ought to be alive."""
    wrong: list[Finding] = []
    right: set[str] = set()
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        for find in (_runs, _checks, _drift):
            found, sound = find(cursor, now)
            wrong += found
            right |= sound
        wrong += _stale(cursor, settings, now)
        wrong += _gaps(cursor)
        wrong += _budgets(cursor, settings, now)
        wrong += _unrecorded_run(cursor, settings, now)
        found, sound = _daemon(cursor, settings, now, daemon_since)
        wrong += found
        right |= sound
    by_fingerprint = {finding.fingerprint: finding for finding in wrong}
    return Seen(by_fingerprint, right - by_fingerprint.keys())


def _runs(cursor: Any, now: datetime) -> tuple[list[Finding], set[str]]:
    cursor.execute(
        """
        select distinct on (job) run_id, job, status, summary, ended_at
        from ops.runs
        where ended_at >= %s
        order by job, started_at desc
        """,
        (now - FORGOTTEN_AFTER,),
    )
    wrong, right = [], set()
    for run in cursor.fetchall():
        fingerprint = f"run_failed:{run['job']}"
        if run["status"] != "failed":
            right.add(fingerprint)
            continue
        summary = {"stages": [], "checks": {"failures": []}, **(run["summary"] or {})}
        lines = problems(summary) + [
            f"{c['asset']} {c['check_name']}: {c['observed']}"
            for c in summary["checks"]["failures"]
            if c["severity"] == "error"
        ]
        detail = "\n".join(lines[:8]) or "Its process ended without a word; Dagster's run list tells more."
        title = f"{run['job']} failed at {run['ended_at']:%Y-%m-%d %H:%M} UTC"
        wrong.append(Finding(fingerprint, "run_failed", "error", title, detail, run["run_id"]))
    return wrong, right


def _unrecorded_run(cursor: Any, settings: Settings, now: datetime) -> list[Finding]:
    """Return the newest run if it failed because it could not use the database."""
    cursor.execute("select run_id, job, status, started_at, ended_at from ops.runs order by started_at desc limit 1")
    run = health.newest_run(cursor.fetchone(), settings)
    if run is None or not run.get("error") or now - run["ended_at"] > FORGOTTEN_AFTER:
        return []
    title = f"{run['job']} failed at {run['ended_at']:%Y-%m-%d %H:%M} UTC: it could not use the database"
    return [Finding(f"run_failed:{run['job']}", "run_failed", "error", title, run["error"], run["run_id"])]


def _checks(cursor: Any, now: datetime) -> tuple[list[Finding], set[str]]:
    cursor.execute(
        """
        select distinct on (asset, check_name) asset, check_name, severity, status, observed, expected, run_id
        from ops.check_results
        where checked_at >= %s
        order by asset, check_name, checked_at desc, check_id desc
        """,
        (now - CHECKS_SINCE,),
    )
    wrong, right = [], set()
    for check in cursor.fetchall():
        if check["check_name"] in OTHERWISE_TOLD:
            continue
        fingerprint = f"check_failed:{check['asset']}:{check['check_name']}"
        if check["status"] == "passed" or _too_many_rejected(check):
            right.add(fingerprint)
            continue
        word = "could not run" if check["status"] == "error" else "does not hold"
        title = f"{check['asset']}: {check['check_name']} {word}"
        detail = f"Observed: {check['observed']}\nExpected: {check['expected']}"
        wrong.append(Finding(fingerprint, "check_failed", check["severity"], title, detail, check["run_id"]))
    return wrong, right


def _drift(cursor: Any, now: datetime) -> tuple[list[Finding], set[str]]:
    cursor.execute(
        """
        select dataset, batch_id, array_agg(field order by field) as fields
        from ops.source_fields
        where first_seen_at >= %s
        group by dataset, batch_id
        """,
        (now - timedelta(days=1),),
    )
    wrong = [
        Finding(
            f"schema_drift:{row['dataset']}:{row['batch_id']}", "schema_drift", "warn",
            f"{row['dataset']}: the source sends {len(row['fields'])} new field(s)",
            f"{', '.join(row['fields'][:20])}. They are kept in bronze; nothing else changes.",
            row["batch_id"], momentary=True,
        )
        for row in cursor.fetchall()
    ]  # fmt: skip
    cursor.execute(
        """
        select distinct on (asset) asset, check_name, severity, status, observed, run_id
        from ops.check_results
        where check_name = %s and checked_at >= %s
        order by asset, checked_at desc, check_id desc
        """,
        (RECORDS_KEPT, now - FORGOTTEN_AFTER),
    )
    right = set()
    for check in cursor.fetchall():
        dataset = check["asset"].removeprefix("bronze/")
        fingerprint = f"schema_drift:{dataset}:rejected"
        if _too_many_rejected(check):
            title = f"{dataset}: so many records were rejected that the source's format may have changed"
            wrong.append(Finding(fingerprint, "schema_drift", "error", title, check["observed"], check["run_id"]))
        else:
            right.add(fingerprint)
    return wrong, right


def _too_many_rejected(check: Mapping[str, str]) -> bool:
    return check["check_name"] == RECORDS_KEPT and check["status"] != "passed" and check["severity"] == "error"


def _stale(cursor: Any, settings: Settings, now: datetime) -> list[Finding]:
    newest = health.newest_data(cursor)
    wrong = []
    for dataset, allowed in health.limits(cursor, settings).items():
        data_of = newest[dataset]
        if data_of is None:
            continue  # never loaded: nothing has gone stale
        age = (now - data_of).total_seconds()
        fresh = health.freshness(age, allowed)
        if fresh != "healthy":
            title = f"{dataset}: data is older than {span(allowed.sla_seconds)}"
            detail = f"The newest is of {data_of:%Y-%m-%d %H:%M} UTC, {span(age)} old: see `tickmart status`."
            severity = "error" if fresh == "degraded" else "warn"
            wrong.append(Finding(f"stale_dataset:{dataset}", "stale_dataset", severity, title, detail))
    return wrong


def _gaps(cursor: Any) -> list[Finding]:
    cursor.execute(
        """
        select interval, gap_start, array_agg(symbol order by symbol) as symbols, sum(bars) as bars
        from ops.gaps
        where kind = 'missing_locally' and asked_again_at is not null
        group by interval, gap_start
        """
    )
    return [
        Finding(
            f"gap_stays:{row['interval']}:{row['gap_start']:%Y-%m-%dT%H:%M}", "gap_stays", "warn",
            f"{row['bars']:,} bar(s) of {row['interval']} from {row['gap_start']:%Y-%m-%d %H:%M} UTC stay missing",
            f"Requested again without result; later runs request them again: {', '.join(row['symbols'][:10])}"
            + (f" and {len(row['symbols']) - 10} more" if len(row["symbols"]) > 10 else ""),
        )
        for row in cursor.fetchall()
    ]  # fmt: skip


def _budgets(cursor: Any, settings: Settings, now: datetime) -> list[Finding]:
    cursor.execute("select host, banned_until, month, month_used from ops.api_budget")
    wrong = []
    for row in cursor.fetchall():
        source = row["host"].partition(" ")[0]
        if row["banned_until"] is not None and row["banned_until"] > now:
            title = f"{row['host']} has banned this address"
            detail = f"Until {row['banned_until']:%Y-%m-%d %H:%M} UTC nothing is asked there; other sources go on."
            wrong.append(Finding(f"budget_exhausted:{row['host']}:ban", "budget_exhausted", "error", title, detail))
        most = settings.coingecko_calls_per_month
        if source == "CoinGecko" and row["month"] == now.date().replace(day=1) and row["month_used"] >= most:
            title = f"{row['host']}: the month's calls are used up"
            detail = f"{row['month_used']:,} of {most:,}; next month or TICKMART_COINGECKO_CALLS_PER_MONTH gives more."
            wrong.append(Finding(f"budget_exhausted:{row['host']}:month", "budget_exhausted", "error", title, detail))
    return wrong


def _daemon(
    cursor: Any, settings: Settings, now: datetime, since: datetime | None
) -> tuple[list[Finding], set[str]]:  # fmt: skip
    cursor.execute("select beat_at from ops.heartbeats where name = 'daemon'")
    row = cursor.fetchone()
    beats = [beat for beat in (row["beat_at"] if row else None, since) if beat is not None]
    fingerprint = "daemon_silent:dagster"
    if row and now - row["beat_at"] <= DAEMON_SILENT_AFTER:
        return [], {fingerprint}
    if since is None or now - max(beats) <= DAEMON_SILENT_AFTER:
        return [], set()
    failure = newest_failure(settings.home, "scheduler")
    if failure and now - failure["failed_at"] <= DAEMON_SILENT_AFTER:
        title = "Dagster's scheduler is alive, but cannot use the database: its runs fail"
        return [Finding(fingerprint, "daemon_silent", "error", title, failure["error"])], set()
    title = "Dagster's daemon shows no sign of life"
    last = f"Its last tick was at {row['beat_at']:%Y-%m-%d %H:%M} UTC. " if row else "It has never ticked. "
    detail = f"{last}No schedule runs while it is silent: see logs/dagster-daemon.log, or start `tickmart up` anew."
    return [Finding(fingerprint, "daemon_silent", "error", title, detail)], set()


# -- the life of an incident -----------------------------------------------------------------------------------------


def decide(seen: Seen, known: Mapping[str, Incident], now: datetime) -> list[tuple[str, str]]:
    """Return what happens to which fingerprint: opened, reopened, still wrong, recovered or forgotten."""
    events = []
    for fingerprint, finding in seen.wrong.items():
        incident = known.get(fingerprint)
        if incident is None:
            events.append(("opened", fingerprint))
        elif incident.recovered_at is None:
            events.append(("still wrong", fingerprint))
        elif not finding.momentary:
            again = now - incident.recovered_at <= FLAPS_WITHIN
            events.append(("reopened" if again else "opened", fingerprint))
    for fingerprint, incident in known.items():
        if incident.recovered_at is not None or fingerprint in seen.wrong:
            continue
        if fingerprint in seen.right or incident.kind in JUDGED_WHOLE:
            if not incident.reopened or now - incident.last_bad_at > FLAPS_WITHIN:
                events.append(("recovered", fingerprint))
        elif now - incident.last_bad_at > FORGOTTEN_AFTER:
            events.append(("forgotten", fingerprint))
    return events
