"""Which incidents there are: detection from ``ops``, and the transitions of an incident from open to resolved.

Belongs here: reading ``ops`` (``detect``) and the state machine (``transitions``); neither writes. Does not: storing
incidents and sending alerts (``outbox``), validating the data itself (``quality``, ``dbt_project``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from psycopg2.extras import RealDictCursor

from ingestion.database.connections import Connection
from ingestion.settings import Settings
from ingestion.sources.datasets import OPTIONAL
from ingestion.sources.registry import SOURCES
from orchestration.observability import health
from orchestration.observability.attempts import newest_failure
from orchestration.observability.text import problems, span
from orchestration.quality import suites

# An incident that returns within this time after its recovery is flapping: it is reported once more, and resolves only
# after it has passed for this long.
FLAPS_WITHIN = timedelta(hours=3)
# An incident that nothing evaluates any more (its check or model was removed) is closed without an alert.
CLOSED_AFTER = timedelta(days=8)
CHECKS_SINCE = timedelta(hours=48)
SCHEDULER_DOWN_AFTER = timedelta(minutes=5)
# Kinds whose complete state every evaluation reads: what is not failing passes.
ALWAYS_EVALUATED = ("stale_dataset", "gap_stays", "budget_exhausted", "price_rules")
# Checks that an incident kind of their own reports.
REPORTED_BY_OTHER_KINDS = ("holes_are_explained", suites.NO_MISSING_BARS, suites.DATA_WITHIN_SLA)
# The check of the answers of a source (`assets.source_checks`).
SOURCE_ANSWERED = "source_answered"
# The check of rejected records (`assets.source_checks`); its severity says whether there are too many.
RECORDS_KEPT = "records_kept"


@dataclass(frozen=True)
class Finding:
    """A problem at this moment; the same problem has the same fingerprint at every evaluation."""

    fingerprint: str
    kind: str
    severity: str
    title: str
    detail: str
    run_id: str | None = None
    is_event: bool = False
    """A single event rather than a state: reported once, and never resolved."""


@dataclass(frozen=True)
class Incident:
    """The open or else the newest incident of a fingerprint in ``ops.incidents``."""

    incident_id: int
    fingerprint: str
    kind: str
    last_bad_at: datetime
    recovered_at: datetime | None
    reopened: int


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation: the failing findings by fingerprint, and the fingerprints that pass."""

    failing: dict[str, Finding]
    passing: set[str]


def detect(
    connection: Connection, settings: Settings, now: datetime, scheduler_since: datetime | None = None
) -> Evaluation:  # fmt: skip
    """Evaluate ``ops``. ``scheduler_since`` is the start of a scheduler that should be running, None for none."""
    failing: dict[str, Finding] = {}
    passing: set[str] = set()
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        for found in chain(
            _runs(cursor, now),
            _checks(cursor, now),
            _drift(cursor, now),
            _stale(cursor, settings, now),
            _gaps(cursor),
            _budgets(cursor, settings, now),
            _unrecorded_run(cursor, settings, now),
            _scheduler(cursor, settings, now, scheduler_since),
        ):
            if isinstance(found, str):
                passing.add(found)
            else:
                failing[found.fingerprint] = found
    return Evaluation(failing, passing - failing.keys())


# Each of these yields what fails, and the fingerprint of what passes.


def _runs(cursor: Any, now: datetime) -> Iterator[Finding | str]:
    cursor.execute(
        """
        select distinct on (job) run_id, job, status, summary, ended_at
        from ops.runs
        where ended_at >= %s
        order by job, started_at desc
        """,
        (now - CLOSED_AFTER,),
    )
    for run in cursor.fetchall():
        fingerprint = f"run_failed:{run['job']}"
        if run["status"] != "failed":
            yield fingerprint
            continue
        summary = {"stages": [], "checks": {"failures": []}, **(run["summary"] or {})}
        lines = problems(summary) + [
            f"{c['asset']} {c['check_name']}: {c['observed']}"
            for c in summary["checks"]["failures"]
            if c["severity"] == "error"
        ]
        detail = "\n".join(lines[:8]) or "Its process exited without reporting: see Dagster's run list."
        title = f"{run['job']} failed at {run['ended_at']:%Y-%m-%d %H:%M} UTC"
        yield Finding(fingerprint, "run_failed", "error", title, detail, run["run_id"])


def _unrecorded_run(cursor: Any, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield the newest run if it failed because it could not use the database."""
    cursor.execute("select run_id, job, status, started_at, ended_at from ops.runs order by started_at desc limit 1")
    run = health.newest_run(cursor.fetchone(), settings)
    if run is not None and run.get("error") and now - run["ended_at"] <= CLOSED_AFTER:
        title = f"{run['job']} failed at {run['ended_at']:%Y-%m-%d %H:%M} UTC: it could not use the database"
        yield Finding(f"run_failed:{run['job']}", "run_failed", "error", title, run["error"], run["run_id"])


def _checks(cursor: Any, now: datetime) -> Iterator[Finding | str]:
    cursor.execute(
        """
        select distinct on (asset, check_name)
            asset, check_name, description, severity, status, observed, expected, run_id
        from ops.check_results
        where checked_at >= %s
        order by asset, check_name, checked_at desc, check_id desc
        """,
        (now - CHECKS_SINCE,),
    )
    found, awaited = cursor.fetchall(), _awaited_checks(cursor)
    for check in found:
        if check["check_name"] in REPORTED_BY_OTHER_KINDS or (check["asset"], check["check_name"]) in awaited:
            continue
        fingerprint = f"check_failed:{check['asset']}:{check['check_name']}"
        if check["status"] == "passed" or _too_many_rejected(check):
            yield fingerprint
            continue
        outcome = "could not run" if check["status"] == "error" else "failed"
        title = f"{check['asset']}: {check['check_name']} {outcome}"
        lines = {"Check": check["description"], "Observed": check["observed"], "Expected": check["expected"]}
        detail = "\n".join(f"{name}: {text}" for name, text in lines.items() if text)
        yield Finding(fingerprint, "check_failed", check["severity"], title, detail, check["run_id"])


def _awaited_checks(cursor: Any) -> set[tuple[str, str]]:
    """Return the checks of optional datasets that fail while their source does not answer: the SLA reports them."""
    cursor.execute(
        """
        select distinct on (dataset) dataset, status
        from ops.run_stages where stage = 'bronze' and dataset = any(%s)
        order by dataset, ended_at desc
        """,
        (sorted(OPTIONAL),),
    )
    without_answer = {row["dataset"] for row in cursor.fetchall() if row["status"] == "failed"}
    return {(f"raw/{name}", suites.HAS_DATA) for name in OPTIONAL} | {
        (f"bronze/{name}", SOURCE_ANSWERED) for name in without_answer
    }


def _drift(cursor: Any, now: datetime) -> Iterator[Finding | str]:
    cursor.execute(
        """
        select dataset, batch_id, array_agg(field order by field) as fields
        from ops.source_fields
        where first_seen_at >= %s
        group by dataset, batch_id
        """,
        (now - timedelta(days=1),),
    )
    for row in cursor.fetchall():
        title = f"{row['dataset']}: the source sends {len(row['fields'])} new field(s)"
        detail = f"{', '.join(row['fields'][:20])}. Bronze stores them; nothing else changes."
        fingerprint = f"schema_drift:{row['dataset']}:{row['batch_id']}"
        yield Finding(fingerprint, "schema_drift", "warn", title, detail, row["batch_id"], is_event=True)
    cursor.execute(
        """
        select distinct on (asset) asset, check_name, severity, status, observed, run_id
        from ops.check_results
        where check_name = %s and checked_at >= %s
        order by asset, checked_at desc, check_id desc
        """,
        (RECORDS_KEPT, now - CLOSED_AFTER),
    )
    for check in cursor.fetchall():
        dataset = check["asset"].removeprefix("bronze/")
        fingerprint = f"schema_drift:{dataset}:rejected"
        if _too_many_rejected(check):
            title = f"{dataset}: too many records were rejected; the source may have changed its format"
            yield Finding(fingerprint, "schema_drift", "error", title, check["observed"], check["run_id"])
        else:
            yield fingerprint


def _too_many_rejected(check: Mapping[str, str]) -> bool:
    return check["check_name"] == RECORDS_KEPT and check["status"] != "passed" and check["severity"] == "error"


def _stale(cursor: Any, settings: Settings, now: datetime) -> Iterator[Finding]:
    limits, awaited_since = health.limits(cursor, settings), health.awaited_since(cursor)
    newest = health.newest_data(cursor, limits)
    for dataset, allowed in limits.items():
        newest_at = newest[dataset]
        if newest_at is None and (since := awaited_since.get(dataset)) is not None:
            fresh = health.freshness((now - since).total_seconds(), allowed)
            if fresh != "healthy":
                title = f"{dataset}: there is no data yet, after its SLA of {span(allowed.sla_seconds)}"
                detail = f"Requested without success since {since:%Y-%m-%d %H:%M} UTC: see `tickmart status`."
                # Runs go on without it, however long.
                yield Finding(f"stale_dataset:{dataset}", "stale_dataset", "warn", title, detail)
        if newest_at is None:
            continue  # never loaded, so not stale
        age = (now - newest_at).total_seconds()
        fresh = health.freshness(age, allowed)
        if fresh != "healthy":
            title = f"{dataset}: data is older than its SLA of {span(allowed.sla_seconds)}"
            detail = f"The newest data is from {newest_at:%Y-%m-%d %H:%M} UTC, {span(age)} ago: see `tickmart status`."
            severity = "error" if fresh == "degraded" else "warn"
            yield Finding(f"stale_dataset:{dataset}", "stale_dataset", severity, title, detail)


def _gaps(cursor: Any) -> Iterator[Finding]:
    cursor.execute(
        """
        select interval, gap_start, array_agg(symbol order by symbol) as symbols, sum(bars) as bars
        from ops.gaps
        where kind = 'missing_locally' and asked_again_at is not null
        group by interval, gap_start
        """
    )
    for row in cursor.fetchall():
        since, symbols = row["gap_start"], row["symbols"]
        title = f"{row['bars']:,} bar(s) of {row['interval']} from {since:%Y-%m-%d %H:%M} UTC are still missing"
        more = f" and {len(symbols) - 10} more" if len(symbols) > 10 else ""
        detail = f"Requested again without success; later runs request them again: {', '.join(symbols[:10])}{more}"
        yield Finding(f"gap_stays:{row['interval']}:{since:%Y-%m-%dT%H:%M}", "gap_stays", "warn", title, detail)


def _budgets(cursor: Any, settings: Settings, now: datetime) -> Iterator[Finding]:
    cursor.execute("select host, banned_until, month, month_used from ops.api_budget")
    limits = {api.name: api.limits(settings) for source in SOURCES for api in source.apis if api.limits}
    for row in cursor.fetchall():
        source = row["host"].rpartition(" ")[0]
        if row["banned_until"] is not None and row["banned_until"] > now:
            title = f"{row['host']} has banned this IP address"
            detail = (
                f"No requests are sent to it until {row['banned_until']:%Y-%m-%d %H:%M} UTC; other sources continue."
            )
            yield Finding(f"budget_exhausted:{row['host']}:ban", "budget_exhausted", "error", title, detail)
        limit = limits[source].per_month if source in limits else None
        if limit is not None and row["month"] == now.date().replace(day=1) and row["month_used"] >= limit:
            title = f"{row['host']}: the monthly call limit is reached"
            raised_by = limits[source].month_setting or "a larger plan"
            detail = f"{row['month_used']:,} of {limit:,} calls. The limit resets next month; {raised_by} raises it."
            yield Finding(f"budget_exhausted:{row['host']}:month", "budget_exhausted", "error", title, detail)


def _scheduler(
    cursor: Any, settings: Settings, now: datetime, since: datetime | None
) -> Iterator[Finding | str]:  # fmt: skip
    cursor.execute("select beat_at from ops.heartbeats where name = 'daemon'")
    row = cursor.fetchone()
    beat_at = row["beat_at"] if row else None
    fingerprint = "daemon_silent:dagster"
    if beat_at and now - beat_at <= SCHEDULER_DOWN_AFTER:
        yield fingerprint
    elif since is not None and now - max(since, beat_at or since) > SCHEDULER_DOWN_AFTER:
        failure = newest_failure(settings.home, "scheduler")
        if failure and now - failure["failed_at"] <= SCHEDULER_DOWN_AFTER:
            title, detail = "Dagster's scheduler runs but cannot use the database: its runs fail", failure["error"]
        else:
            title = "Dagster's scheduler is not running"
            last = (
                f"Its last heartbeat was at {beat_at:%Y-%m-%d %H:%M} UTC." if beat_at else "It has sent no heartbeat."
            )
            detail = f"{last} No schedule runs meanwhile: see logs/dagster-daemon.log, or restart `tickmart up`."
        yield Finding(fingerprint, "daemon_silent", "error", title, detail)


# -- transitions ------------------------------------------------------------------------------------------------------


def transitions(evaluation: Evaluation, known: Mapping[str, Incident], now: datetime) -> list[tuple[str, str]]:
    """Return event and fingerprint of each transition: opened, reopened, still failing, recovered or closed."""
    events = []
    for fingerprint, finding in evaluation.failing.items():
        incident = known.get(fingerprint)
        if incident is None:
            events.append(("opened", fingerprint))
        elif incident.recovered_at is None:
            events.append(("still failing", fingerprint))
        elif not finding.is_event:
            flapping = now - incident.recovered_at <= FLAPS_WITHIN
            events.append(("reopened" if flapping else "opened", fingerprint))
    for fingerprint, incident in known.items():
        if incident.recovered_at is not None or fingerprint in evaluation.failing:
            continue
        if fingerprint in evaluation.passing or incident.kind in ALWAYS_EVALUATED:
            if not incident.reopened or now - incident.last_bad_at > FLAPS_WITHIN:
                events.append(("recovered", fingerprint))
        elif now - incident.last_bad_at > CLOSED_AFTER:
            events.append(("closed", fingerprint))
    return events
