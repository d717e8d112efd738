"""Alerts against real servers: what is sent, how often, and what happens when a channel is down or rejects it."""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ingestion.bronze.results import FetchResult
from ingestion.database import connections
from ingestion.ops import checks
from ingestion.settings import Alerting, Settings, Smtp, load_settings
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.fear_greed.source import ALTERNATIVE_ME
from orchestration.alerting import channels, heartbeat
from orchestration.alerting import outbox as alerting_outbox
from orchestration.alerting.incidents import Evaluation, Finding, Incident, transitions
from orchestration.alerting.messages import Message, PermanentFailure, Unavailable
from orchestration.assets.source_checks import check_source
from orchestration.cli.main import main
from orchestration.observability import health
from orchestration.observability.attempts import record_failure
from support.cli import ROOT
from support.mail_server import certificate, mailbox
from support.pipeline import Chain
from support.scripted_server import Reply, scripted

# Before the hour of the daily summary, so that only its own test creates one.
NOW = datetime.now(UTC).replace(hour=3, minute=30, second=0, microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    return tmp_path


def settings_of(chain: Chain, **env: str) -> Settings:
    owner = chain.postgres
    return load_settings(
        {
            "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user, "PGPASSWORD": owner.password,
            "PGDATABASE": owner.database, **env,
        }
    )  # fmt: skip


def evaluate(chain: Chain, settings: Settings, now: datetime = NOW, since: datetime | None = None) -> None:
    alerting_outbox.evaluate(chain.connection, settings, now, since)


def fail_a_run(chain: Chain, run_id: str = "run-1", status: str = "failed", at: datetime = NOW) -> None:
    chain.ask(
        "insert into ops.runs (run_id, job, started_at, ended_at, status, summary) values (%s, 'job', %s, %s, %s, %s)",
        (run_id, at - HOUR, at, status, json.dumps({"error": "the disk is full"})),
    )


def check(chain: Chain, status: str, severity: str = "error", at: datetime = NOW) -> None:
    chain.ask(
        """
        insert into ops.check_results (run_id, asset, check_name, source, severity, status, observed, checked_at)
        values ('run-1', 'marts/fct_prices', 'unique', 'dbt', %s, %s, '3 rows failed', %s)
        """,
        (severity, status, at),
    )


def outbox(chain: Chain) -> list[tuple[str, str]]:
    return [tuple(row) for row in chain.ask("select channel, event from ops.alerts order by alert_id")]


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


# -- delivery --------------------------------------------------------------------------------------------------------


def slack_settings(chain: Chain, url: str) -> Settings:
    return settings_of(chain, SLACK_WEBHOOK_URL=f"{url}/services/T0/B0/secret")


def deliver(chain: Chain, settings: Settings) -> dict[str, int]:
    return alerting_outbox.deliver(chain.connection, settings.alerting)


def make_due(chain: Chain) -> None:
    chain.ask("update ops.alerts set due_at = now()")


def state(chain: Chain) -> list[tuple[str, int, str | None]]:
    return [
        tuple(row)
        for row in chain.ask(
            """
            select
                case when sent_at is not null then 'sent' when refused_at is not null then 'failed' else 'waiting' end,
                attempts, last_error
            from ops.alerts order by alert_id
            """
        )
    ]


def test_several_incidents_are_sent_as_one_message_that_names_each(chain: Chain):
    with scripted([Reply(body=b"ok")]) as slack:
        settings = slack_settings(chain, slack.url)
        fail_a_run(chain)
        check(chain, "failed")
        evaluate(chain, settings)
        assert deliver(chain, settings) == {"slack": 2}
        assert deliver(chain, settings) == {"slack": 0}
    [asked] = slack.asked
    sent = json.loads(asked.body)
    shown = json.dumps(sent["blocks"])
    assert "2 new problems" in sent["text"]
    assert "the disk is full" in shown
    assert "marts/fct_prices: unique" in shown


@pytest.mark.parametrize("fault", ["refused connection", "500", "silence", "reset"])
def test_an_unavailable_channel_delays_messages_and_loses_none(chain: Chain, fault: str, monkeypatch):
    monkeypatch.setattr(channels, "TIMEOUT_S", 0.3)
    script = {"500": Reply(500), "silence": Reply(wire="silence"), "reset": Reply(wire="reset")}
    down = "http://127.0.0.1:9"
    fail_a_run(chain)
    with scripted([script.get(fault, Reply())]) as slack:
        settings = slack_settings(chain, down if fault == "refused connection" else slack.url)
        evaluate(chain, settings)
        assert deliver(chain, settings) == {"slack": 0}
        before = len(slack.asked)
        # It is not retried before it is due again, after at least a minute.
        assert deliver(chain, settings) == {"slack": 0}
        assert len(slack.asked) == before
    [(fate, attempts, why)] = state(chain)
    assert (fate, attempts) == ("waiting", 1)
    assert "Slack" in why
    assert "secret" not in why
    assert chain.one("select extract(epoch from due_at - now()) from ops.alerts") > 50
    with scripted([Reply(body=b"ok")]) as slack:
        make_due(chain)
        deliver(chain, slack_settings(chain, slack.url))
        assert len(slack.asked) == 1
    assert state(chain) == [("sent", 2, None)]


def test_retry_waits_grow_to_an_hour_and_retries_never_end(chain: Chain):
    settings = slack_settings(chain, "http://127.0.0.1:9")
    fail_a_run(chain)
    evaluate(chain, settings)
    waits = []
    for _ in range(9):
        make_due(chain)
        deliver(chain, settings)
        waits.append(round(float(chain.one("select extract(epoch from due_at - now()) from ops.alerts")) / 60))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_slacks_retry_after_delays_every_waiting_message(chain: Chain):
    fail_a_run(chain)
    with scripted([Reply(429, headers={"Retry-After": "1800"}), Reply(body=b"ok")]) as slack:
        settings = slack_settings(chain, slack.url)
        evaluate(chain, settings)
        chain.ask("update ops.alerts set message = message")
        chain.ask(
            "insert into ops.alerts (channel, event, dedup_key, message)"
            " select channel, 'digest', 'other', message from ops.alerts"
        )
        chain.ask("update ops.alerts set due_at = now() + interval '1 minute' where dedup_key = 'other'")
        assert deliver(chain, settings) == {"slack": 0}
        waits = [float(s) for (s,) in chain.ask("select extract(epoch from due_at - now()) from ops.alerts")]
        assert min(waits) > 1700
        make_due(chain)
        assert deliver(chain, settings) == {"slack": 2}
        assert len(slack.asked) == 2


def test_a_permanent_failure_is_reported_not_repeated_and_sent_after_alert_retry(chain: Chain):
    fail_a_run(chain)
    with scripted([Reply(400, b"invalid_blocks"), Reply(body=b"ok")]) as slack:
        settings = slack_settings(chain, slack.url)
        evaluate(chain, settings)
        for _ in range(3):
            make_due(chain)
            deliver(chain, settings)
        assert len(slack.asked) == 1
        [(fate, _, why)] = state(chain)
        assert fate == "failed"
        assert "400 invalid_blocks" in why
        found = health.status(settings)
        assert (found["alerts"]["refused"], found["alerts"]["waiting"]) == (1, 0)
        assert "400 invalid_blocks" in found["alerts"]["last_error"]
        assert alerting_outbox.retry(chain.connection) == 1
        deliver(chain, settings)
    assert state(chain)[0][0] == "sent"


def test_concurrent_deliveries_send_each_message_once(chain: Chain):
    fail_a_run(chain)
    check(chain, "failed")

    def slow(asked):
        time.sleep(0.3)
        return Reply(body=b"ok")

    with scripted(slow) as slack:
        settings = slack_settings(chain, slack.url)
        evaluate(chain, settings)

        def work():
            with connections.closing(connections.connect(chain.postgres, "ingest")) as connection:
                alerting_outbox.deliver(connection, settings.alerting)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sent = [block["text"]["text"] for asked in slack.asked for block in json.loads(asked.body)["blocks"][1:]]
    assert len(sent) == len(set(sent)) == 2
    assert [row[:2] for row in state(chain)] == [("sent", 1), ("sent", 1)]


def test_the_end_of_an_incident_is_never_sent_before_its_beginning(chain: Chain):
    settings = slack_settings(chain, "http://127.0.0.1:9")
    fail_a_run(chain)
    evaluate(chain, settings)
    fail_a_run(chain, "run-2", "ok", at=NOW + timedelta(minutes=1))
    evaluate(chain, settings, NOW + HOUR)
    with scripted([Reply(body=b"ok")]) as slack:
        deliver(chain, slack_settings(chain, slack.url))
    assert ["RECOVERED" in asked.body.decode() for asked in slack.asked] == [False, True]


def test_a_process_killed_between_sending_and_marking_leaves_the_message_to_be_sent_again(chain: Chain):
    fail_a_run(chain)
    victim: list[subprocess.Popen] = []

    def kill_the_first(asked):
        if len(slack.asked) == 1:
            victim[0].send_signal(signal.SIGKILL)
            victim[0].wait()
        return Reply(body=b"ok")

    with scripted(kill_the_first) as slack:
        settings = slack_settings(chain, slack.url)
        evaluate(chain, settings)
        owner = chain.postgres
        env = {
            **os.environ, "PYTHONPATH": str(ROOT), "SLACK_WEBHOOK_URL": f"{slack.url}/services/x",
            "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user, "PGPASSWORD": owner.password,
            "PGDATABASE": owner.database,
        }  # fmt: skip
        code = (
            "import time; from ingestion.database import connections; from ingestion.settings import load_settings\n"
            "from orchestration.alerting import outbox\n"
            "s = load_settings(); c = connections.connect(s.postgres, 'ingest'); time.sleep(0.2)\n"
            "outbox.deliver(c, s.alerting)"
        )
        victim.append(subprocess.Popen([sys.executable, "-c", code], env=env))
        assert victim[0].wait(60) == -signal.SIGKILL
        assert state(chain)[0][0] == "waiting"
        assert deliver(chain, settings) == {"slack": 1}
    assert len(slack.asked) == 2
    assert slack.asked[0].body == slack.asked[1].body


# -- format -----------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=4000) | st.text("&<>*_`", max_size=4000)
MESSAGES = st.lists(
    st.builds(
        Message, st.just("incident 1 opened 0"), st.sampled_from(["opened", "reopened", "recovered"]),
        st.sampled_from(["warn", "error"]), TEXT, TEXT, st.just({}),
        st.just({"Dagster": "http://127.0.0.1:3000"}),
    ),
    min_size=1, max_size=60,
)  # fmt: skip


@given(MESSAGES)
def test_any_messages_are_escaped_and_within_slacks_limits(bundle: list[Message]):
    payload = channels.to_payload(bundle)
    blocks = payload["blocks"]
    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= 150
    shown = [block["text"] for block in blocks if block["type"] == "section"]
    assert {text["type"] for text in shown} == {"plain_text"}
    sections = [text["text"] for text in shown]
    assert all(0 < len(text) <= 3000 for text in sections)
    assert sum(map(len, sections)) <= 13_000
    rest = payload["text"].replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert not set("&<>") & set(rest)
    assert payload["mrkdwn"] is False


@given(TEXT.filter(lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text)), TEXT)
def test_no_text_adds_a_header_to_the_mail(title: str, detail: str):
    alerting = Alerting(email_to=("me@example.org",), email_from="tickmart@example.org")
    mail = channels.compose(alerting, [Message("k", "opened", "error", f"{title}\r\nBcc: you@example.org", detail)])
    assert set(mail.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert mail.get_body(("html",)).get_content().count("<h3>") == 1


def test_source_values_are_plain_text_in_slack_and_mail():
    evil = "<!channel> *x* `y` :smile: <https://x.y|z> & \x1b[31m\u202e"
    message = Message("k", "opened", "error", f"{evil}\nBcc: you@example.org", evil, {"Data": [[evil, "1"]]})
    payload = channels.to_payload([message])
    (section,) = [block["text"] for block in payload["blocks"] if block["type"] == "section"]
    assert section["type"] == "plain_text"
    assert "<!channel> *x* `y` :smile:" in section["text"]
    assert "<!channel>" not in payload["text"]
    mail = channels.compose(Alerting(email_to=("me@example.org",), email_from="tickmart@example.org"), [message])
    page, words = (mail.get_body((kind,)).get_content() for kind in ("html", "plain"))
    assert "&lt;!channel&gt;" in page
    assert "<!channel> *x*" in words
    for sent in (str(payload), mail["Subject"], page, words):
        assert not {"\x1b", "\u202e"} & set(sent)


# -- e-mail ----------------------------------------------------------------------------------------------------------

MESSAGE = Message("incident 7 opened 0", "opened", "error", "it <failed>", "fix & retry", links={"Dagster": "http://d"})


def mail_to(port: int, *, tls: bool = False, login: bool = True) -> Alerting:
    user, password = ("me", "canary-password") if login else (None, None)
    return Alerting(
        smtp=Smtp("127.0.0.1", port, tls, user, password), email_to=("you@example.org",), email_from="a@b.c"
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    return certificate(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls(authority: Path, monkeypatch) -> ssl.SSLContext:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    return context


@pytest.mark.parametrize("from_the_start", [False, True])
def test_a_mail_is_plain_and_html_and_its_password_is_sent_encrypted(tls, from_the_start: bool):
    with mailbox(tls=tls, from_the_start=from_the_start) as server:
        channels.send("email", mail_to(server.port, tls=from_the_start), [MESSAGE])
    [mail] = server.mails
    assert mail["Subject"] == "tickmart: FAILED: it <failed>"
    assert mail["Message-ID"] == "<incident.7.opened.0@tickmart.invalid>"
    assert "fix & retry" in mail.get_body(("plain",)).get_content()
    assert "it &lt;failed&gt;" in mail.get_body(("html",)).get_content()
    assert [encrypted for encrypted, line in server.received if line.startswith("AUTH")] == [True]


def test_a_password_is_not_sent_unencrypted(monkeypatch):
    monkeypatch.setattr(channels.proxies, "is_loopback", lambda host: False)
    with mailbox() as server, pytest.raises(PermanentFailure, match="STARTTLS"):
        channels.send("email", mail_to(server.port), [MESSAGE])
    assert not [line for _, line in server.received if line.startswith("AUTH")]


def test_a_certificate_that_is_not_trusted_stops_the_mail(authority: Path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with mailbox(tls=context) as server, pytest.raises(Unavailable, match="TLS"):
        channels.send("email", mail_to(server.port), [MESSAGE])


@pytest.mark.parametrize(
    ("manner", "kind", "words"),
    [
        ("silent", Unavailable, "timed out"),
        ("busy", Unavailable, "421"),
        ("no login", PermanentFailure, "535"),
        ("nobody here", PermanentFailure, "550"),
    ],
)
def test_a_mail_servers_failure_is_temporary_or_permanent_as_its_code_says(manner, kind, words, monkeypatch):
    monkeypatch.setattr(channels, "TIMEOUT_S", 0.3)
    with mailbox(manner) as server, pytest.raises(kind, match=words) as problem:
        channels.send("email", mail_to(server.port), [MESSAGE])
    assert "canary-password" not in str(problem.value)


def test_a_mail_server_that_is_down_does_not_delay_slack(chain: Chain):
    fail_a_run(chain)
    with scripted([Reply(body=b"ok")]) as slack:
        settings = settings_of(
            chain, SLACK_WEBHOOK_URL=f"{slack.url}/s/x", SMTP_URL="smtp://127.0.0.1:9", ALERT_EMAIL_TO="me@example.org"
        )
        evaluate(chain, settings)
        assert deliver(chain, settings) == {"slack": 1, "email": 0}


# -- entry points -----------------------------------------------------------------------------------------------------


def test_alert_test_sends_one_through_each_channel():
    with scripted([Reply(body=b"ok")]) as slack, mailbox() as server, scripted([Reply()]) as monitor:
        env = {
            "SLACK_WEBHOOK_URL": f"{slack.url}/services/x", "SMTP_URL": f"smtp://127.0.0.1:{server.port}",
            "ALERT_EMAIL_TO": "me@example.org", "HEARTBEAT_URL": f"{monitor.url}/ping",
        }  # fmt: skip
        done = CliRunner().invoke(main, ["alert", "test"], env=env)
    assert done.exit_code == 0, done.output
    assert (len(slack.asked), len(server.mails), len(monitor.asked)) == (1, 1, 1)
    assert "TEST: this channel works" in slack.asked[0].body.decode()


def test_alert_test_names_the_channel_that_does_not_work_and_no_secret():
    with scripted([Reply(404, b"no_service")]) as slack, scripted([Reply(500)]) as monitor:
        env = {"SLACK_WEBHOOK_URL": f"{slack.url}/services/canary", "HEARTBEAT_URL": f"{monitor.url}/canary"}
        done = CliRunner().invoke(main, ["alert", "test"], env=env)
    assert done.exit_code == 1
    assert "slack: NOT sent: Slack answered 404 no_service" in done.output
    assert "heartbeat: NOT answered: HEARTBEAT_URL answered 500" in done.output
    assert "canary" not in done.output


def test_alert_test_without_a_channel_names_the_settings():
    done = CliRunner().invoke(main, ["alert", "test"], env={"SLACK_WEBHOOK_URL": "", "SMTP_URL": ""})
    assert done.exit_code == 2
    assert "SLACK_WEBHOOK_URL" in done.output


def test_the_sensor_sends_alerts_and_records_the_schedulers_heartbeat(chain: Chain, monkeypatch):
    owner = chain.postgres
    for name, value in {
        "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user, "PGPASSWORD": owner.password,
        "PGDATABASE": owner.database,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    from orchestration.sensors import alert_sensor

    fail_a_run(chain, at=datetime.now(UTC))
    with scripted([Reply(body=b"ok")]) as slack:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", f"{slack.url}/services/x")
        with dg.instance_for_test() as instance:
            tick = alert_sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    assert "sent" in tick.skip_message
    assert len(slack.asked) == 1
    assert chain.one("select now() - beat_at < interval '1 minute' from ops.heartbeats where name = 'daemon'")


def test_a_failed_ping_is_recorded_beside_the_last_heartbeat(chain: Chain):
    with scripted([Reply(), Reply(503)]) as monitor:
        settings = settings_of(chain, HEARTBEAT_URL=f"{monitor.url}/ping/canary")
        assert heartbeat.ping_heartbeat(settings) is None
        problem = heartbeat.ping_heartbeat(settings)
    assert problem == "HEARTBEAT_URL answered 503"
    [(beat_at, error)] = chain.ask("select beat_at, last_error from ops.heartbeats where name = 'dead_man'")
    assert beat_at is not None
    assert error == problem


def test_the_dashboard_gets_no_secret_that_it_does_not_need(monkeypatch):
    from orchestration.cli.up import dashboard_env

    monkeypatch.setenv("TICKMART_PG_DASHBOARD_RO_USER", "dashboard_ro")
    monkeypatch.setenv("TICKMART_PG_DASHBOARD_RO_PASSWORD", "its-own")
    names = ("SLACK_WEBHOOK_URL", "SMTP_URL", "HEARTBEAT_URL", "COINGECKO_API_KEY", "MINIO_SECRET_KEY",
             "TICKMART_PG_INGEST_PASSWORD", "DAGSTER_PG_URL", "PGPASSWORD")  # fmt: skip
    env = dashboard_env(dict.fromkeys(names, "canary"))
    assert "canary" not in env.values()
