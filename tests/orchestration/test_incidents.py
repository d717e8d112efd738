"""Incidents: what opens and ends one, and how often each is reported."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion.bronze.results import FetchResult
from ingestion.ops import checks
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.fear_greed.source import ALTERNATIVE_ME
from orchestration.alerting import channels
from orchestration.alerting.incidents import Evaluation, Finding, Incident, transitions
from orchestration.alerting.messages import Message
from orchestration.assets.source_checks import check_source
from orchestration.observability.attempts import record_failure
from support.alerting import HOUR, NOW, evaluate, fail_a_run, outbox, settings_of
from support.pipeline import Chain


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    return tmp_path


# -- transitions ------------------------------------------------------------------------------------------------------

FAILING = Finding("f", "check_failed", "error", "it failed", "")


def events(*evaluations: tuple[float, bool | None]) -> list[str]:
    """The events of one check evaluated at (hours, failing): True failing, False passing, None not evaluated."""
    known: dict[str, Incident] = {}
    found = []
    for hours, failing in evaluations:
        now = NOW + hours * HOUR
        evaluation = Evaluation({"f": FAILING} if failing else {}, {"f"} if failing is False else set())
        old = known.get("f")
        for event, _ in transitions(evaluation, known, now):
            found += [] if event == "still failing" else [event]
            reopened = old.reopened + (event == "reopened") if old and event != "opened" else 0
            last_bad = now if failing else old.last_bad_at if old else now
            ended = now if event in ("recovered", "closed") else None
            known["f"] = Incident(1, "f", "check_failed", last_bad, ended, reopened)
    return found


def test_an_incident_opens_once_and_recovers_once():
    assert events((0, True), (1, True), (2, True), (3, False), (4, False)) == ["opened", "recovered"]
    assert events((0, False), (1, False)) == []


def test_a_flapping_incident_is_reported_once_more_and_then_only_when_it_is_stable():
    flapping = [(hour, hour % 2 == 0) for hour in range(11)]
    assert events(*flapping) == ["opened", "recovered", "reopened"]
    assert events(*flapping, (12, False), (13.5, False), (14, False)) == [
        "opened",
        "recovered",
        "reopened",
        "recovered",
    ]


def test_a_problem_that_returns_a_day_later_is_a_new_incident():
    assert events((0, True), (1, False), (25, True)) == ["opened", "recovered", "opened"]


def test_an_incident_that_nothing_evaluates_is_closed_silently_after_eight_days():
    assert events((0, True), (24, None), (24 * 7, None)) == ["opened"]
    assert events((0, True), (24 * 9, None)) == ["opened", "closed"]


# -- detection --------------------------------------------------------------------------------------------------------

STALE = "insert into raw.fear_greed (date, value, classification, batch_id) values ('{day}', 5, 'Fear', 'b')"
BUDGET = """
    insert into ops.api_budget (host, minute, used, weight_limit, {column}, month, month_used)
    values ('CoinGecko api', now(), 0, 10, {value}, '{month}', {used})
    on conflict (host) do update set banned_until = excluded.banned_until, month_used = excluded.month_used
"""
CHECK = """
    insert into ops.check_results (run_id, asset, check_name, source, severity, status, checked_at)
    values ('r', 'raw/x', 'c', 'dbt', '{severity}', '{status}', '{at}')
"""
RUN = """
    insert into ops.runs (run_id, job, started_at, ended_at, status)
    values ('{id}', 'j', '{at}', '{at}', '{status}')
"""
REJECTED = """
    insert into ops.check_results (run_id, asset, check_name, source, severity, status, observed, expected, checked_at)
    values ('r', 'bronze/fear_greed', 'records_kept', 'pipeline', '{severity}', '{status}', 'o', 'e', '{at}')
"""
GAP = """
    insert into ops.gaps (symbol, interval, gap_start, gap_end, bars, kind, asked_again_at)
    values ('{symbol}', '1h', '2026-03-01 05:00Z', '2026-03-01 07:00Z', 2, 'missing_locally', now())
"""
BEAT = "insert into ops.heartbeats values ('daemon', '{at}') on conflict (name) do update set beat_at = '{at}'"
LATER = NOW + HOUR
MONTH = NOW.date().replace(day=1)

KINDS = {
    "a failed run": (
        "run_failed", "error", RUN.format(id="1", at=NOW, status="failed"),
        RUN.format(id="2", at=LATER, status="ok"),
    ),
    "a failed check": (
        "check_failed", "error", CHECK.format(severity="error", status="failed", at=NOW),
        CHECK.format(severity="error", status="passed", at=LATER),
    ),
    "a warned check": (
        "check_failed", "warn", CHECK.format(severity="warn", status="failed", at=NOW),
        CHECK.format(severity="warn", status="passed", at=LATER),
    ),
    "a check that could not run": (
        "check_failed", "error", CHECK.format(severity="error", status="error", at=NOW),
        CHECK.format(severity="error", status="passed", at=LATER),
    ),
    "a stale dataset": (
        "stale_dataset", "warn", STALE.format(day=NOW.date() - timedelta(days=1)),
        STALE.format(day=NOW.date()),
    ),
    "a gap that stays": (
        "gap_stays", "warn", GAP.format(symbol="A") + ";" + GAP.format(symbol="B"), "delete from ops.gaps",
    ),
    "a shape that changed": (
        "schema_drift", "error", REJECTED.format(severity="error", status="failed", at=NOW),
        REJECTED.format(severity="warn", status="passed", at=LATER),
    ),
    "a ban": (
        "budget_exhausted", "error",
        BUDGET.format(column="banned_until", value=f"'{NOW + 6 * HOUR}'", month=MONTH, used=1),
        BUDGET.format(column="banned_until", value="null", month=MONTH, used=1),
    ),
    "a month used up": (
        "budget_exhausted", "error", BUDGET.format(column="banned_until", value="null", month=MONTH, used=10_000),
        BUDGET.format(column="banned_until", value="null", month=MONTH, used=0),
    ),
    "a silent daemon": (
        "daemon_silent", "error", BEAT.format(at=NOW - 9 * HOUR), BEAT.format(at=LATER),
    ),
}  # fmt: skip


def test_a_scheduler_whose_runs_cannot_log_in_is_not_reported_as_down(chain: Chain, tmp_path: Path):
    settings = settings_of(chain, TICKMART_HOME=str(tmp_path))
    now = datetime.now(UTC)
    chain.ask(BEAT.format(at=now - HOUR))
    title = "select title, detail from ops.incidents where recovered_at is null and kind = 'daemon_silent'"
    evaluate(chain, settings, now, since=now - HOUR)
    [(down, _)] = chain.ask(title)
    record_failure(tmp_path, "scheduler", "alerts", "the server knows no such user")
    evaluate(chain, settings, now, since=now - HOUR)
    [(alive, reason)] = chain.ask(title)
    assert alive != down
    assert reason == "the server knows no such user"
    chain.ask(BEAT.format(at=now))
    evaluate(chain, settings, now, since=now - HOUR)
    assert chain.ask(title) == []


def test_a_failed_run_that_the_database_could_not_record_is_an_incident(chain: Chain, tmp_path: Path):
    settings = settings_of(chain, TICKMART_HOME=str(tmp_path))
    now = datetime.now(UTC)
    chain.ask(RUN.format(id="1", at=now - HOUR, status="ok"))
    record_failure(tmp_path, "run", "j", "the server knows no such user", "2")
    evaluate(chain, settings, now)
    assert chain.ask("select kind, run_id, recovered_at from ops.incidents") == [("run_failed", "2", None)]
    chain.ask(RUN.format(id="3", at=now + HOUR, status="ok"))
    evaluate(chain, settings, now + 2 * HOUR)
    assert chain.one("select recovered_at is not null from ops.incidents")


@pytest.mark.parametrize("what", KINDS)
def test_each_kind_of_incident_alerts_once_however_often_evaluated_and_once_at_its_end(chain: Chain, what: str):
    kind, severity, failing, passing = KINDS[what]
    settings = settings_of(chain, SLACK_WEBHOOK_URL="https://hooks.example/s")
    evaluate(chain, settings)
    assert outbox(chain) == []
    since = NOW - 8 * HOUR if kind == "daemon_silent" else None
    chain.ask(failing)
    for _ in range(3):
        evaluate(chain, settings, since=since)
    assert chain.ask("select kind, severity, recovered_at from ops.incidents") == [(kind, severity, None)]
    assert outbox(chain) == [("slack", "opened")]
    chain.ask(passing)
    for minutes in (1, 2):
        evaluate(chain, settings, LATER + timedelta(minutes=minutes), since=since)
    assert outbox(chain) == [("slack", "opened"), ("slack", "recovered")]


@pytest.mark.parametrize(
    ("rejected", "records", "severity"),
    [(0, 3, None), (1, 3, "warn"), (5, 100, "warn"), (9, 9, "warn"), (10, 200, "warn"), (10, 199, "error")],
)
def test_check_and_incident_agree_on_the_limit_of_rejected_records(
    chain: Chain, rejected: int, records: int, severity: str | None
):
    reason = "value is not from 0 to 100"
    result = FetchResult(FEAR_GREED.name, rows=records - rejected, rejected=rejected, first_rejection=reason)
    checks.record_checks(chain.connection, "run-1", check_source(ALTERNATIVE_ME, result))
    evaluate(chain, settings_of(chain), datetime.now(UTC))
    failed = chain.ask("select severity from ops.check_results where status = 'failed'")
    opened = chain.ask("select severity from ops.incidents")
    assert failed == opened == ([(severity,)] if severity else [])


def test_a_new_field_alerts_once_and_never_recovers(chain: Chain):
    settings = settings_of(chain, SLACK_WEBHOOK_URL="https://hooks.example/s")
    chain.ask(
        "insert into ops.source_fields values ('fear_greed', 'mood', '1', 'b', %s), ('fear_greed', 'x', '1', 'b', %s)",
        (NOW, NOW),
    )
    for hours in range(4):
        evaluate(chain, settings, NOW + hours * HOUR)
    [(title, detail)] = chain.ask("select title, detail from ops.incidents")
    assert "2 new" in title
    assert "mood, x" in detail
    assert outbox(chain) == [("slack", "opened")]


def test_a_rerun_that_fails_again_sends_no_second_alert(chain: Chain):
    settings = settings_of(chain, SLACK_WEBHOOK_URL="https://hooks.example/s")
    for number in range(3):
        fail_a_run(chain, f"run-{number}", at=NOW + number * timedelta(minutes=1))
        evaluate(chain, settings, NOW + HOUR)
    assert outbox(chain) == [("slack", "opened")]
    assert "the disk is full" in chain.one("select message ->> 'detail' from ops.alerts")


def test_an_empty_warehouse_and_a_scheduler_that_just_started_are_no_incident(chain: Chain):
    evaluate(chain, settings_of(chain), since=NOW - timedelta(minutes=4))
    assert chain.ask("select title from ops.incidents") == []


def test_a_channel_configured_later_is_notified_of_open_incidents(chain: Chain):
    fail_a_run(chain)
    evaluate(chain, settings_of(chain))
    assert outbox(chain) == []
    evaluate(chain, settings_of(chain, SLACK_WEBHOOK_URL="https://hooks.example/s"))
    assert outbox(chain) == [("slack", "opened")]


def test_the_daily_summary_is_enqueued_once_after_the_day_with_its_numbers(chain: Chain):
    yesterday = NOW - timedelta(days=1)
    fail_a_run(chain, "run-1", "ok", at=yesterday)
    chain.ask(
        "insert into ops.run_stages (run_id, stage, dataset, status, detail, ended_at)"
        " values ('run-1', 'raw', 'binance_klines', 'ok', '{\"inserted\": 1234}', %s)",
        (yesterday,),
    )
    settings = settings_of(chain, SMTP_URL="smtp://localhost:9", ALERT_EMAIL_TO="me@example.org")
    evaluate(chain, settings, NOW)
    assert outbox(chain) == []
    for hours in (4, 5, 20):
        evaluate(chain, settings, NOW.replace(hour=0) + hours * HOUR + 3 * HOUR)
    assert outbox(chain) == [("email", "digest")]
    message = Message(**chain.one("select message from ops.alerts"))
    mail = channels.compose(settings.alerting, [message])
    for part in ("plain", "html"):
        text = mail.get_body((part,)).get_content()
        assert "1,234 new" in text
