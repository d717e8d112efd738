"""Servers on an IPv6 address: every place that writes or splits host and port connects there."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlalchemy

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.settings import Postgres, load_settings
from ingestion.simulator.server import simulator
from ingestion.sources.http import Deadline, HttpClient
from orchestration.alerting import channels
from orchestration.alerting.heartbeat import ping
from orchestration.alerting.messages import Message
from orchestration.quality import runner
from orchestration.session import dagster_url
from support.mail_server import mailbox
from support.scripted_server import Reply, scripted
from support.tcp_proxy import tcp_proxy


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")


@pytest.fixture
def server(postgres: Postgres) -> Iterator[dict[str, str]]:
    """libpq's variables of a database that is reached by an IPv6 address."""
    with tcp_proxy(postgres.host, postgres.port, "::1") as way:
        yield {
            "PGHOST": "::1", "PGPORT": str(way.port), "PGDATABASE": postgres.database, "PGUSER": postgres.user,
            "PGPASSWORD": postgres.password,
        }  # fmt: skip


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_postgres_connects_there_and_names_it_in_brackets(server, host):
    settings = load_settings({**server, "PGHOST": host})
    with closing(connections.connect(settings.postgres, "ingest")) as connection:
        assert connection.info.host == "::1"
    assert settings.postgres.address == f"[::1]:{server['PGPORT']}"


def test_dagster_and_great_expectations_connect_there(server, monkeypatch):
    login = {"USER": server["PGUSER"], "PASSWORD": server["PGPASSWORD"]}
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    for role in ("DAGSTER", "QUALITY_RO"):
        for name, value in login.items():
            monkeypatch.setenv(f"TICKMART_PG_{role}_{name}", value)
    dagster = {**server, **{f"TICKMART_PG_DAGSTER_{name}": value for name, value in login.items()}}
    for url in (dagster_url(dagster), runner._connection_string()):
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("select 1")) == 1
        engine.dispose()


def test_the_lake_connects_there(stack_env):
    host, _, port = stack_env["MINIO_ENDPOINT"].rpartition(":")
    with tcp_proxy(host, int(port), "::1") as way:
        settings = load_settings({**stack_env, "MINIO_ENDPOINT": f"[::1]:{way.port}", "MINIO_BUCKET": "by-ipv6"})
        lake = Lake(settings.object_store)
        lake.ensure_bucket()
        assert lake.list("") == []
        assert way.connections > 0


def test_a_source_is_asked_there():
    with scripted([Reply(body={"serverTime": 1})]) as market:
        host, _, port = market.url.removeprefix("http://").rpartition(":")
        with tcp_proxy(host, int(port), "::1") as way:
            url = load_settings({"BINANCE_BASE_URL": f"http://[::1]:{way.port}/binance"}).source_urls[
                "BINANCE_BASE_URL"
            ][0]
            client = HttpClient("Binance", [url], setting="BINANCE_BASE_URL", deadline=Deadline(20))
            with closing(client):
                assert client.get("/api/v3/time") == {"serverTime": 1}
                assert {attempt.host for attempt in client.take_attempts()} == {f"[::1]:{way.port}"}


def test_mail_slack_and_the_heartbeat_are_sent_there():
    message = Message("k", "test", "warn", "it broke")
    with mailbox() as mail, tcp_proxy("127.0.0.1", mail.port, "::1") as way:
        environ = {"SMTP_URL": f"smtp://[::1]:{way.port}", "ALERT_EMAIL_TO": "a@example.org"}
        channels.send("email", load_settings(environ).alerting, [message])
        assert len(mail.mails) == 1
    with scripted([Reply()]) as hook, tcp_proxy("127.0.0.1", hook.server_address[1], "::1") as way:
        url = f"http://[::1]:{way.port}/services/x"
        alerting = load_settings({"SLACK_WEBHOOK_URL": url, "HEARTBEAT_URL": url}).alerting
        channels.send("slack", alerting, [message])
        assert ping(url) is None
        assert len(hook.asked) == 2


def test_the_simulator_listens_there():
    with simulator(host="::1") as server:
        client = HttpClient("Binance", [server.binance_url], setting="BINANCE_BASE_URL", deadline=Deadline(20))
        with closing(client):
            assert client.get("/api/v3/ping") == {}


def test_the_health_check_of_a_service_asks_there():
    with scripted([Reply()]) as page, tcp_proxy("127.0.0.1", page.server_address[1], "::1") as way:
        command = [sys.executable, "docker/health.py", "http", f"http://[::1]:{way.port}/"]
        assert subprocess.run(command, timeout=30, check=False).returncode == 0
