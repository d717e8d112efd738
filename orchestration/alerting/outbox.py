"""Transactional outbox: one alert when an incident opens and one when it resolves, however many processes evaluate it.

Belongs here: ``ops.incidents`` and ``ops.alerts``, and delivery. Does not: what an incident is (``incidents``), formats
and transports (``channels``), the daily numbers (``daily_summary``). Runs, a sensor every minute and
``tickmart up`` all call ``evaluate_and_send``; an advisory lock serializes their evaluations.

Delivery is at least once: a message is marked as sent, in the transaction that locks it, after the channel accepted it.
A process that is killed in between leaves it to be sent again under the same Message-ID. An unavailable channel keeps
its messages and is retried after 1, 2, 4, ... minutes, at most an hour, without limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2.extras import Json, execute_values

from ingestion.database import connections
from ingestion.database.connections import LOCK_SPACE, Connection
from ingestion.settings import Alerting, Settings
from orchestration.alerting import channels, price_alerts
from orchestration.alerting.daily_summary import add_daily_summary
from orchestration.alerting.heartbeat import record_heartbeat
from orchestration.alerting.incidents import FLAPS_WITHIN, Finding, Incident, detect, transitions
from orchestration.alerting.messages import Message, PermanentFailure, Unavailable
from orchestration.alerting.price_alerts import Observed
from orchestration.observability import health, logs
from orchestration.observability.text import span

BUNDLE = 10
FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 3600.0


def evaluate(
    connection: Connection,
    settings: Settings,
    now: datetime,
    scheduler_since: datetime | None = None,
    observed: Observed | None = None,
) -> None:
    """Detect incidents and update ``ops.incidents`` and the outbox, in one transaction and one caller at a time.

    ``observed``: the price rules and the values that they have not seen.
    """
    configured = channels.configured(settings.alerting)
    with connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s, 200)", (LOCK_SPACE,))
        evaluation = detect(connection, settings, now, scheduler_since)
        if observed is not None:
            evaluation.failing.update({found.fingerprint: found for found in price_alerts.update(cursor, observed)})
        known = _known(cursor, evaluation.failing)
        for event, fingerprint in transitions(evaluation, known, now):
            if event == "opened":
                _open(cursor, evaluation.failing[fingerprint], now, configured)
            elif event in ("reopened", "still failing"):
                _update(cursor, event, evaluation.failing[fingerprint], known[fingerprint], now, configured)
            else:
                _end(cursor, event, known[fingerprint], now)
        # A channel that is configured later is notified of the incidents that are open then.
        cursor.execute(
            """
            select incident_id, severity, title, detail
            from ops.incidents as i
            where recovered_at is null and exists (
                select 1
                from unnest(%s::text[]) as configured (channel)
                where not exists (
                    select 1 from ops.alerts as a
                    where a.incident_id = i.incident_id and a.channel = configured.channel
                )
            )
            """,
            (configured,),
        )
        for incident_id, severity, title, detail in cursor.fetchall():
            _enqueue(cursor, incident_id, "opened 0", severity, title, detail, configured)
        if settings.alerting.smtp is not None:
            add_daily_summary(cursor, now)


def _known(cursor: Any, fingerprints: Iterable[str]) -> dict[str, Incident]:
    """Return every open incident, and the newest one of each of the fingerprints, by fingerprint."""
    cursor.execute(
        """
        select distinct on (fingerprint) incident_id, fingerprint, kind, last_bad_at, recovered_at, reopened
        from ops.incidents
        where fingerprint = any(%s) or recovered_at is null
        order by fingerprint, recovered_at is null desc, incident_id desc
        """,
        (list(fingerprints),),
    )
    return {row[1]: Incident(*row) for row in cursor.fetchall()}


def _open(cursor: Any, finding: Finding, now: datetime, configured: Sequence[str]) -> None:
    cursor.execute(
        """
        insert into ops.incidents
            (fingerprint, kind, severity, title, detail, run_id, opened_at, last_bad_at, recovered_at)
        values (
            %(fingerprint)s, %(kind)s, %(severity)s, %(title)s, %(detail)s, %(run_id)s,
            %(now)s, %(now)s, case when %(is_event)s then %(now)s end
        )
        returning incident_id
        """,
        {**vars(finding), "now": now},
    )
    _enqueue(cursor, cursor.fetchone()[0], "opened 0", finding.severity, finding.title, finding.detail, configured)


def _update(
    cursor: Any, event: str, finding: Finding, known: Incident, now: datetime, configured: Sequence[str]
) -> None:
    """Record that an incident is still failing, or open it again."""
    cursor.execute(
        """
        update ops.incidents
        set recovered_at = null, last_bad_at = %(now)s, severity = %(severity)s, title = %(title)s, detail = %(detail)s,
            reopened = reopened + %(again)s::integer, run_id = case when %(again)s then %(run_id)s else run_id end
        where incident_id = %(incident_id)s
        """,
        {**vars(finding), "now": now, "again": event == "reopened", "incident_id": known.incident_id},
    )
    if event == "reopened":
        hours = FLAPS_WITHIN.total_seconds() / 3600
        detail = (
            f"{finding.detail}\nIt is flapping. The next alert follows when it has been stable for {hours:.0f} hours."
        )
        key = f"reopened {known.reopened + 1}"
        _enqueue(cursor, known.incident_id, key, finding.severity, finding.title, detail, configured)


def _end(cursor: Any, event: str, known: Incident, now: datetime) -> None:
    """Record the end of an incident; only a recovery is reported."""
    cursor.execute(
        "update ops.incidents set recovered_at = %s where incident_id = %s returning severity, title, opened_at",
        (now, known.incident_id),
    )
    severity, title, opened_at = cursor.fetchone()
    if event == "recovered":
        # Every channel that was notified of the beginning is notified of the end, whatever this process has configured.
        cursor.execute(
            "select distinct channel from ops.alerts where incident_id = %s and event = 'opened'", (known.incident_id,)
        )
        notified = [channel for (channel,) in cursor.fetchall()]
        detail = f"It lasted {span((now - opened_at).total_seconds())}."
        _enqueue(cursor, known.incident_id, f"recovered {known.reopened}", severity, title, detail, notified)


def _enqueue(
    cursor: Any, incident_id: int, occurrence: str, severity: str, title: str, detail: str, to: Sequence[str]
) -> None:
    """Add a message to the outbox of the channels ``to``, at most one per incident and occurrence of an event."""
    key, event = f"incident {incident_id} {occurrence}", occurrence.partition(" ")[0]
    message = Message(key, event, severity, title, detail, links=health.links())
    rows = [(incident_id, channel, event, key, Json(message.as_json())) for channel in to]
    execute_values(
        cursor,
        """
        insert into ops.alerts (incident_id, channel, event, dedup_key, message) values %s
        on conflict (channel, dedup_key) do nothing
        """,
        rows,
    )


# -- delivery --------------------------------------------------------------------------------------------------------


def deliver(connection: Connection, alerting: Alerting) -> dict[str, int]:
    """Send what is due through every configured channel; return how many messages each accepted."""
    sent = dict.fromkeys(channels.configured(alerting), 0)
    for channel in sent:
        while count := _deliver_bundle(connection, alerting, channel):
            sent[channel] += count
    return sent


def _deliver_bundle(connection: Connection, alerting: Alerting, channel: str) -> int:
    """Send the oldest due messages of a channel as one; return how many left the queue, 0 when none is due."""
    with connection, connection.cursor() as cursor:
        # Rows that another process is sending are skipped, and an incident's end is never sent before its beginning.
        cursor.execute(
            """
            select a.alert_id, a.attempts, a.message
            from ops.alerts as a
            where a.channel = %s and a.sent_at is null and a.refused_at is null and a.due_at <= clock_timestamp()
                and not exists (
                    select 1
                    from ops.alerts as b
                    where b.incident_id = a.incident_id and b.channel = a.channel and b.alert_id < a.alert_id
                        and b.sent_at is null and b.refused_at is null
                )
            order by a.alert_id
            limit %s
            for update skip locked
            """,
            (channel, BUNDLE),
        )
        rows = cursor.fetchall()
        if not rows:
            return 0
        ids, attempts = [row[0] for row in rows], max(row[1] for row in rows) + 1
        try:
            channels.send(channel, alerting, [Message(**row[2]) for row in rows])
        except PermanentFailure as error:
            logs.unit("alerts rejected", channel=channel, messages=len(rows), status="failed", problem=str(error))
            _mark(cursor, ids, "refused_at = clock_timestamp(), last_error = %s", str(error))
            return len(rows)
        except Unavailable as error:
            wait = min(error.wait_s or FIRST_WAIT_S * 2 ** min(attempts - 1, 10), LONGEST_WAIT_S)
            logs.unit(
                "alerts delayed",
                channel=channel,
                messages=len(rows),
                seconds=wait,
                status="partial",
                problem=str(error),
            )
            _mark(cursor, ids, "last_error = %s", str(error))
        else:
            _mark(cursor, ids, "sent_at = clock_timestamp(), last_error = null")
            logs.unit("alerts sent", channel=channel, messages=len(rows), status="ok")
            return len(rows)
    _delay(connection, channel, wait)
    return 0


def _mark(cursor: Any, ids: Sequence[int], what: str, *values: str) -> None:
    cursor.execute(
        f"update ops.alerts set attempts = attempts + 1, {what} where alert_id = any(%s)",  # noqa: S608 - ours
        (*values, list(ids)),
    )


def _delay(connection: Connection, channel: str, seconds: float) -> None:
    """Make the messages of an unavailable channel due only after a wait."""
    statement = """
        update ops.alerts
        set due_at = clock_timestamp() + make_interval(secs => %s)
        where alert_id in (
            select alert_id from ops.alerts
            where channel = %s and sent_at is null and refused_at is null
            for update skip locked
        )
    """
    connections.execute(connection, statement, (seconds, channel))


def retry(connection: Connection) -> int:
    """Make the messages that failed permanently due again; return how many."""
    statement = "update ops.alerts set refused_at = null, due_at = clock_timestamp() where refused_at is not null"
    return connections.execute(connection, statement)


# -- entry points ----------------------------------------------------------------------------------------------------


def evaluate_and_send(
    settings: Settings, *, from_scheduler: bool = False, scheduler_since: datetime | None = None
) -> dict[str, int]:
    """Evaluate the incidents and deliver what is due; return how many messages each channel accepted.

    ``from_scheduler``: the caller is the scheduler, and its heartbeat is recorded.
    """
    now = datetime.now(UTC)
    observed = price_alerts.observe(settings, now)
    with connections.connected(settings.postgres, "ingest") as connection:
        if from_scheduler:
            record_heartbeat(connection, "daemon", now)
        evaluate(connection, settings, now, scheduler_since, observed)
        return deliver(connection, settings.alerting)


def evaluate_and_send_best_effort(settings: Settings, *, scheduler_since: datetime | None = None) -> str | None:
    """Evaluate and send beside work that must continue; return the problem in one line, or None."""
    try:
        evaluate_and_send(settings, scheduler_since=scheduler_since)
    except (psycopg2.Error, connections.WarehouseError) as error:
        return f"alerts could not be evaluated or sent ({' '.join(str(error).split())[:200]})"
    return None


def listed(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return open incidents, then the newest others, each with the delivery state of its messages."""
    return connections.fetch_dicts(
        connection,
        """
        select
            i.incident_id, i.kind, i.severity, i.title, i.detail, i.opened_at, i.recovered_at, i.reopened,
            coalesce(
                (
                    select jsonb_agg(
                        jsonb_build_object(
                            'channel', a.channel, 'event', a.event, 'attempts', a.attempts, 'sent_at', a.sent_at,
                            'refused_at', a.refused_at, 'due_at', a.due_at, 'last_error', a.last_error
                        )
                        order by a.alert_id
                    )
                    from ops.alerts as a where a.incident_id = i.incident_id
                ), '[]'::jsonb
            ) as messages
        from ops.incidents as i
        order by i.recovered_at is null desc, i.incident_id desc
        limit %s
        """,
        (limit,),
    )
