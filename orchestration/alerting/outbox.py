"""Alerts: each incident told once when it begins and once when it ends, whoever looks and however often.

Belongs here: keeping incidents, and the outbox in Postgres that channels are served from (``ops.incidents``,
``ops.alerts``). Does not: what an incident is (``incidents``), how a message looks and travels (``channels``), the
day's numbers (``digest``). Runs, a sensor every minute and ``tickmart up`` all call ``tick``; one lock makes them look
in turn.

Delivery is at least once: a message is marked as sent in the transaction that holds it, after the channel has taken it,
so a process that is killed between the two leaves it to be sent again, under the same Message-ID. A channel that is
down keeps its messages and is tried again after 1, 2, 4, ... minutes, an hour at most, without end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2.extras import Json, RealDictCursor, execute_values

from ingestion.database import connections
from ingestion.database.connections import LOCK_SPACE, Connection
from ingestion.settings import Alerting, Settings
from orchestration.alerting import channels
from orchestration.alerting.channels import Message, Refused, Unavailable
from orchestration.alerting.daily_summary import write_digest
from orchestration.alerting.incidents import FLAPS_WITHIN, Finding, Incident, decide, look
from orchestration.observability import health, logs
from orchestration.observability.text import span

BUNDLE = 10
FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 3600.0


def evaluate(connection: Connection, settings: Settings, now: datetime, daemon_since: datetime | None = None) -> None:
    """Look, and bring incidents and outbox up to date, in one transaction and one at a time."""
    on = channels.configured(settings.alerting)
    with connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s, 200)", (LOCK_SPACE,))
        seen = look(connection, settings, now, daemon_since)
        known = _known(cursor, seen.wrong)
        for event, fingerprint in decide(seen, known, now):
            _EVENTS[event](cursor, seen.wrong.get(fingerprint), known.get(fingerprint), now, on)
        # A channel that is switched on later learns of what is open then.
        cursor.execute(
            """
            select incident_id, severity, title, detail
            from ops.incidents as i
            where recovered_at is null and exists (
                select 1
                from unnest(%s::text[]) as switched_on (channel)
                where not exists (
                    select 1 from ops.alerts as a
                    where a.incident_id = i.incident_id and a.channel = switched_on.channel
                )
            )
            """,
            (on,),
        )
        for incident_id, severity, title, detail in cursor.fetchall():
            _post(cursor, incident_id, "opened", 0, severity, title, detail, on)
        if settings.alerting.smtp is not None:
            write_digest(cursor, now)


def _known(cursor: Any, fingerprints: Iterable[str]) -> dict[str, Incident]:
    """Return the newest incident of each fingerprint, and every open one."""
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


def _open(cursor: Any, finding: Finding, known: Incident | None, now: datetime, on: Sequence[str]) -> None:
    cursor.execute(
        """
        insert into ops.incidents
            (fingerprint, kind, severity, title, detail, run_id, opened_at, last_bad_at, recovered_at)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        returning incident_id
        """,
        (
            finding.fingerprint, finding.kind, finding.severity, finding.title, finding.detail, finding.run_id,
            now, now, now if finding.momentary else None,
        ),
    )  # fmt: skip
    _post(cursor, cursor.fetchone()[0], "opened", 0, finding.severity, finding.title, finding.detail, on)


def _reopen(cursor: Any, finding: Finding, known: Incident, now: datetime, on: Sequence[str]) -> None:
    cursor.execute(
        """
        update ops.incidents
        set recovered_at = null, reopened = reopened + 1, last_bad_at = %s, severity = %s, title = %s, detail = %s,
            run_id = %s
        where incident_id = %s
        """,
        (now, finding.severity, finding.title, finding.detail, finding.run_id, known.incident_id),
    )
    hours = FLAPS_WITHIN.total_seconds() / 3600
    detail = f"{finding.detail}\nIt comes and goes: you hear of it again when it has held for {hours:.0f} hours."
    _post(cursor, known.incident_id, "reopened", known.reopened + 1, finding.severity, finding.title, detail, on)


def _still_wrong(cursor: Any, finding: Finding, known: Incident, now: datetime, on: Sequence[str]) -> None:
    cursor.execute(
        "update ops.incidents set last_bad_at = %s, severity = %s, title = %s, detail = %s where incident_id = %s",
        (now, finding.severity, finding.title, finding.detail, known.incident_id),
    )


def _recover(cursor: Any, finding: None, known: Incident, now: datetime, on: Sequence[str]) -> None:
    cursor.execute(
        "update ops.incidents set recovered_at = %s where incident_id = %s returning severity, title, opened_at",
        (now, known.incident_id),
    )
    severity, title, opened_at = cursor.fetchone()
    # Whoever was told of the beginning is told of the end, whether or not this process knows the channel.
    cursor.execute(
        "select distinct channel from ops.alerts where incident_id = %s and event = 'opened'", (known.incident_id,)
    )
    told = [row[0] for row in cursor.fetchall()]
    detail = f"It lasted {span((now - opened_at).total_seconds())}."
    _post(cursor, known.incident_id, "recovered", known.reopened, severity, title, detail, told)


def _forget(cursor: Any, finding: None, known: Incident, now: datetime, on: Sequence[str]) -> None:
    cursor.execute("update ops.incidents set recovered_at = %s where incident_id = %s", (now, known.incident_id))


_EVENTS: dict[str, Any] = {
    "opened": _open, "reopened": _reopen, "still wrong": _still_wrong, "recovered": _recover, "forgotten": _forget,
}  # fmt: skip


def _post(
    cursor: Any, incident_id: int, event: str, turn: int, severity: str, title: str, detail: str, on: Sequence[str]
) -> None:
    """Put a message into the outbox of each channel, once for each turn of the incident's life."""
    key = f"incident {incident_id} {event} {turn}"
    message = Message(key, event, severity, title, detail, links=health.links())
    rows = [(incident_id, channel, event, key, Json(message.as_json())) for channel in on]
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
    """Send what is due through every channel that is on; return how many messages each took."""
    sent = dict.fromkeys(channels.configured(alerting), 0)
    for channel in sent:
        while taken := _deliver_bundle(connection, alerting, channel):
            sent[channel] += taken
    return sent


def _deliver_bundle(connection: Connection, alerting: Alerting, channel: str) -> int:
    """Send the oldest due messages of a channel as one; return how many it took, 0 when done or when it is down."""
    with connection, connection.cursor() as cursor:
        # Another deliverer's rows are passed over, and an incident's end never overtakes its beginning.
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
        except Refused as error:
            logs.unit("alerts refused", channel=channel, messages=len(rows), status="failed", problem=str(error))
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
    _rest(connection, channel, wait)
    return 0


def _mark(cursor: Any, ids: Sequence[int], what: str, *values: str) -> None:
    cursor.execute(
        f"update ops.alerts set attempts = attempts + 1, {what} where alert_id = any(%s)",  # noqa: S608 - words of ours
        (*values, list(ids)),
    )


def _rest(connection: Connection, channel: str, seconds: float) -> None:
    """Leave a channel that is down alone for so long."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            update ops.alerts
            set due_at = clock_timestamp() + make_interval(secs => %s)
            where alert_id in (
                select alert_id from ops.alerts
                where channel = %s and sent_at is null and refused_at is null
                for update skip locked
            )
            """,
            (seconds, channel),
        )


def retry(connection: Connection) -> int:
    """Make what a channel had refused due again; return how many messages that are."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "update ops.alerts set refused_at = null, due_at = clock_timestamp() where refused_at is not null"
        )
        return int(cursor.rowcount)


# -- who calls -------------------------------------------------------------------------------------------------------


def tick(settings: Settings, *, beat: bool = False, daemon_since: datetime | None = None) -> dict[str, int]:
    """Look, decide and deliver once; ``beat`` says that it is the daemon that lives to do so."""
    assert settings.postgres is not None
    now = datetime.now(UTC)
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        if beat:
            record_beat(connection, "daemon", now)
        evaluate(connection, settings, now, daemon_since)
        return deliver(connection, settings.alerting)


def record_beat(connection: Connection, name: str, now: datetime, error: str | None = None) -> None:
    """Write down that a part lives, or (with ``error``) that it could not show so."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            insert into ops.heartbeats as h (name, beat_at, last_error) values (%(name)s, %(now)s, %(error)s)
            on conflict (name) do update set
                beat_at = case when %(error)s is null then excluded.beat_at else h.beat_at end,
                last_error = excluded.last_error
            """,
            {"name": name, "now": now, "error": error},
        )


def ping_heartbeat(settings: Settings) -> str | None:
    """Ping the dead-man switch, if there is one, and write the outcome down; return what went wrong."""
    assert settings.postgres is not None
    if settings.alerting.heartbeat_url is None:
        return None
    error = channels.ping(settings.alerting.heartbeat_url)
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        record_beat(connection, "dead_man", datetime.now(UTC), error)
    return error


def evaluate_and_send_best_effort(settings: Settings, *, daemon_since: datetime | None = None) -> str | None:
    """Tick beside work that goes on whatever becomes of alerts; return in one line what kept them from being sent."""
    try:
        tick(settings, daemon_since=daemon_since)
    except (psycopg2.Error, connections.WarehouseError) as error:
        return f"alerts could not be judged or sent ({' '.join(str(error).split())[:200]})"
    return None


def listed(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the newest incidents with how each of their messages fared."""
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(
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
        return [dict(row) for row in cursor.fetchall()]
