"""A Prometheus endpoint that reads ``ops`` at every scrape.

Belongs here: which metrics there are, and answering in time whatever the database does. Does not: counting (a number
that is read cannot be stale or lost), alert rules and dashboards (``docker/monitoring``). Sums cover the last 24 hours
instead of being counters: ``ops`` is pruned, and Prometheus would take a smaller counter for a restart. No label is
``job`` or ``instance``: Prometheus sets these at the scrape, and renames ours to ``exported_job``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg2
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from psycopg2.extras import RealDictCursor

from ingestion.database import connections
from ingestion.settings import Settings
from orchestration.local.processes import LocalServicesError, port_owner_message
from orchestration.observability import health

# Prometheus waits 10 s for a scrape by default.
DEADLINE_S = 8.0
STATEMENT_TIMEOUT_MS = 5_000
_LOGGER = logging.getLogger(__name__)
_LATEST_CHECKS = """
    select distinct on (asset, check_name) severity, status
    from ops.check_results
    where checked_at >= now() - interval '48 hours'
    order by asset, check_name, checked_at desc, check_id desc
"""
_PENDING = """
    select o.channel, {what}
    from unnest(array['slack', 'email']) as o (channel)
    left join ops.alerts as a on a.channel = o.channel and a.sent_at is null and a.refused_at is {refused} null
    group by o.channel
"""
# Name, help, labels, and a query whose rows are the label values and then the number.
QUERIES: list[tuple[str, str, tuple[str, ...], str]] = [
    (
        "tickmart_run_last_success_timestamp_seconds", "When a run of the job last succeeded.", ("job_name",),
        "select job, extract(epoch from max(ended_at)) from ops.runs where status in ('ok', 'partial') group by job",
    ),
    (
        "tickmart_run_failed", "Whether the job's newest ended run failed.", ("job_name",),
        "select distinct on (job) job, (status = 'failed')::int from ops.runs where ended_at is not null"
        " order by job, started_at desc",
    ),
    (
        "tickmart_run_seconds", "Duration of the job's newest ended run.", ("job_name",),
        "select distinct on (job) job, extract(epoch from ended_at - started_at) from ops.runs"
        " where ended_at is not null order by job, started_at desc",
    ),
    (
        "tickmart_dataset_last_load_timestamp_seconds", "Time of the dataset's last load.", ("dataset",),
        "select dataset, extract(epoch from max(loaded_at)) from ops.load_ledger group by dataset",
    ),
    (
        "tickmart_rows_loaded_24h", "Records inserted or updated in the last 24 hours.", ("dataset", "change"),
        """
        select s.dataset, c.change, sum(coalesce((s.detail ->> c.change)::bigint, 0))
        from ops.run_stages as s cross join unnest(array['inserted', 'updated']) as c (change)
        where s.stage = 'raw' and s.ended_at >= now() - interval '24 hours' group by s.dataset, c.change
        """,
    ),
    (
        "tickmart_requests_24h", "HTTP attempts of the last 24 hours; status none: no response.", ("source", "status"),
        """
        select source, coalesce(http_status::text, 'none'), count(*)
        from ops.source_requests where requested_at >= now() - interval '24 hours' group by 1, 2
        """,
    ),
    (
        "tickmart_requests_429_24h", "HTTP attempts in the last 24 hours with response 429.", ("source",),
        """
        select source, count(*) filter (where http_status = 429)
        from ops.source_requests where requested_at >= now() - interval '24 hours' group by 1
        """,
    ),
    (
        "tickmart_api_weight_used", "Request weight used in this minute.", ("host",),
        "select host, case when minute >= date_trunc('minute', now(), 'UTC') then used else 0 end from ops.api_budget",
    ),
    ("tickmart_api_weight_limit", "Limit of the request weight per minute.", ("host",),
     "select host, weight_limit from ops.api_budget"),
    (
        "tickmart_api_month_used", "Calls used in this month.", ("host",),
        """
        select host, case when month = date_trunc('month', now(), 'UTC')::date then month_used else 0 end
        from ops.api_budget
        """,
    ),
    (
        "tickmart_api_banned", "Whether the host has banned this IP address.", ("host",),
        "select host, coalesce(banned_until > now(), false)::int from ops.api_budget",
    ),
    (
        "tickmart_gaps_open", "Unexplained gaps in series of bars.", (),
        "select count(*) from ops.gaps where kind = 'missing_locally'",
    ),
    (
        "tickmart_rejected_records", "Rejected records that were not replayed.", ("dataset",),
        "select dataset, count(*) from ops.rejected_records where replayed_at is null group by dataset",
    ),
    (
        "tickmart_checks_failed", "Checks whose latest result of 48 hours is not passed.", ("severity",),
        f"""
        select s.severity, count(c.severity)
        from unnest(array['warn', 'error']) as s (severity)
        left join ({_LATEST_CHECKS}) as c on c.severity = s.severity and c.status <> 'passed'
        group by s.severity
        """,  # noqa: S608 - ours
    ),
    (
        "tickmart_incidents_open", "Open incidents.", ("severity",),
        """
        select s.severity, count(i.incident_id)
        from unnest(array['warn', 'error']) as s (severity)
        left join ops.incidents as i on i.severity = s.severity and i.recovered_at is null
        group by s.severity
        """,
    ),
    ("tickmart_outbox_depth", "Alerts that are waiting to be sent.", ("channel",),
     _PENDING.format(what="count(a.alert_id)", refused="")),
    ("tickmart_alerts_refused", "Alerts that failed permanently.", ("channel",),
     _PENDING.format(what="count(a.alert_id)", refused="not")),
    (
        "tickmart_outbox_oldest_seconds", "Age of the oldest alert that is waiting to be sent.", ("channel",),
        _PENDING.format(what="coalesce(extract(epoch from now() - min(a.created_at)), 0)", refused=""),
    ),
    (
        "tickmart_sign_of_life_age_seconds", "Age of the last heartbeat.", ("part",),
        "select name, extract(epoch from now() - beat_at) from ops.heartbeats",
    ),
]  # fmt: skip


class OpsCollector(Collector):
    """Reads all metrics at each scrape, in the read-only role."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reading: threading.Thread | None = None
        self._lock = threading.Lock()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Describe nothing: a registry would otherwise collect once to learn the names."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield all metrics, or only ``tickmart_up 0`` when the database does not answer in time."""
        found: list[GaugeMetricFamily] = []
        with self._lock:
            # While a reader hangs on an unresponsive server, no second one is started.
            if self._reading is None or not self._reading.is_alive():
                self._reading = threading.Thread(target=self._read_into, args=(found,), daemon=True)
                self._reading.start()
                self._reading.join(DEADLINE_S)
            done = not self._reading.is_alive() and bool(found)
        yield GaugeMetricFamily("tickmart_up", "Whether the database answers.", value=float(done))
        if done:
            yield from found

    def _read_into(self, found: list[GaugeMetricFamily]) -> None:
        try:
            found += self._read()
        except (psycopg2.Error, connections.WarehouseError) as error:
            _LOGGER.warning("tickmart metrics: %s", " ".join(str(error).split())[:200])

    def _read(self) -> list[GaugeMetricFamily]:
        found = []
        missing = 0
        with connections.connected(self._settings.postgres, "quality_ro") as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("set statement_timeout = %s", (STATEMENT_TIMEOUT_MS,))
                for name, text, labels, query in QUERIES:
                    family = GaugeMetricFamily(name, text, labels=labels)
                    try:
                        cursor.execute(query)
                        for *values, number in cursor.fetchall():
                            family.add_metric(values, float(number))
                    except (psycopg2.errors.UndefinedTable, psycopg2.errors.InsufficientPrivilege):
                        missing += 1
                    found.append(family)
            with connection.cursor(cursor_factory=RealDictCursor) as cursor:
                missing += self._ages(cursor, found)
        text = "Metrics that could not be read because their table does not exist (yet)."
        return [*found, GaugeMetricFamily("tickmart_metrics_missing", text, value=missing)]

    def _ages(self, cursor: Any, found: list[GaugeMetricFamily]) -> int:
        age = GaugeMetricFamily("tickmart_dataset_age_seconds", "Age of the newest data.", labels=("dataset",))
        sla = GaugeMetricFamily("tickmart_dataset_sla_seconds", "Maximum age of the newest data.", labels=("dataset",))
        found += [age, sla]
        try:
            for dataset, allowed in health.limits(cursor, self._settings).items():
                sla.add_metric([dataset], allowed.sla_seconds)
            newest = health.newest_data(cursor)
            newest |= {dataset: row["last_data_at"] for dataset, row in health.mart_rows(cursor).items()}
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.InsufficientPrivilege):
            return 1
        for dataset, moment in newest.items():
            if moment is not None:
                age.add_metric([dataset], (datetime.now(UTC) - moment).total_seconds())
        return 0


def serve(settings: Settings, host: str, port: int) -> tuple[Any, threading.Thread]:
    """Start the endpoint; return its server and thread. Raises LocalServicesError when the port is taken."""
    registry = CollectorRegistry()
    registry.register(OpsCollector(settings))
    try:
        return start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        if port:
            raise LocalServicesError(port_owner_message(port, "--port")) from None
        raise LocalServicesError(f"the metrics cannot be served on {host} ({error.strerror})") from None
