"""Alerts against real servers: what is sent, how often, and what happens when a channel is down or rejects it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from ingestion.database import connections
from orchestration.alerting import channels, heartbeat
from orchestration.alerting import outbox as alerting_outbox
from orchestration.cli.main import main
from orchestration.observability import health
from support.alerting import HOUR, NOW, check, deliver, evaluate, fail_a_run, settings_of, slack_settings
from support.cli import ROOT
from support.mail_server import mailbox
from support.pipeline import Chain
from support.scripted_server import Reply, scripted


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    return tmp_path


# -- delivery --------------------------------------------------------------------------------------------------------


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
