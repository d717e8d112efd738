"""`tickmart status`: one status per dataset, its exit code, and a result even without a database."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion.datasets import always
from ingestion.sources.datasets import DATASETS, OPTIONAL
from orchestration.observability import health
from orchestration.observability.attempts import record_failure
from support.cli import ROOT, TICKMART, clean_environment
from support.pipeline import Chain

ON = [dataset for dataset in DATASETS if dataset.is_on is always]


class StatusCommand:
    """One run of the command: its exit code, its JSON and its status.json."""

    def __init__(self, home: Path, **env: str) -> None:
        environment = clean_environment()
        done = subprocess.run(
            [TICKMART, "status", "--json"],
            env={**environment, "TICKMART_HOME": str(home), **env},
            capture_output=True, text=True, cwd=ROOT, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        self.code, self.status, self.stderr = done.returncode, json.loads(done.stdout), done.stderr
        assert json.loads((home / "status.json").read_text()) == self.status
        self.health = {d["dataset"]: d["health"] for d in self.status["datasets"]}


@pytest.fixture
def fresh(chain: Chain) -> Iterator[Chain]:
    """A warehouse whose datasets are all fresh, loaded and checked."""
    chain.ask(
        """
        insert into raw.universe (crypto_id, binance_symbol, name, category, batch_id)
        values ('bitcoin', 'BTCUSDT', 'Bitcoin', 'money', 'b');
        insert into raw.binance_klines
        select
            'BTCUSDT', '1h', date_trunc('hour', now()) - interval '1 hour', 1, 1, 1, 1, 1, now(),
            1, 1, 1, 1, now(), 'b';
        insert into raw.coingecko_markets (crypto_id, snapshot_at, symbol, name, payload, batch_id)
        values ('bitcoin', now(), 'btc', 'Bitcoin', '{}', 'b');
        insert into raw.fear_greed (date, value, classification, batch_id)
        values ((now() at time zone 'UTC')::date, 5, 'Fear', 'b');
        insert into ops.run_stages (run_id, stage, dataset, status)
        select 'run-1', 'raw', d, 'ok' from unnest(array['binance_klines', 'coingecko_markets', 'fear_greed']) as d;
        create or replace view marts.fct_dataset_health as
        select
            d as dataset, 'Healthy' as health, 'Healthy' as load_health, 'Healthy' as freshness_health,
            'Healthy' as checks_health, now() as last_data_at
        from unnest(array['binance_klines', 'coingecko_markets', 'fear_greed']) as d;
        grant select on marts.fct_dataset_health to quality_ro
        """
    )
    yield chain
    chain.ask("drop view marts.fct_dataset_health")


def run_status(chain: Chain, home: Path) -> StatusCommand:
    owner = chain.postgres
    return StatusCommand(
        home, PGHOST=owner.host, PGPORT=str(owner.port), PGUSER=owner.user, PGPASSWORD=owner.password,
        PGDATABASE=owner.database,
    )  # fmt: skip


def test_a_healthy_warehouse_exits_0(fresh: Chain, tmp_path):
    command = run_status(fresh, tmp_path / "home")
    # An optional dataset may be without data until its SLA.
    assert command.health == {d.name: "unknown" if d.name in OPTIONAL else "healthy" for d in ON}
    assert (command.code, command.status["status"]) == (0, "healthy")
    assert command.status["datasets"][0]["last_run"]["run_id"] == "run-1"


@pytest.mark.parametrize(("status", "code"), [("healthy", 0), ("unknown", 3), ("warning", 3), ("degraded", 1)])
def test_the_exit_code_follows_the_worst_status(status: str, code: int):
    assert health.EXIT[health.worst(["healthy", status])] == code


def test_an_undelivered_alert_is_itself_a_warning(fresh: Chain, tmp_path):
    fresh.ask(
        """
        insert into ops.alerts (channel, event, dedup_key, message, created_at, last_error)
        values ('slack', 'digest', 'k', '{}', now() - interval '1 hour', 'Slack answered 500')
        """
    )
    command = run_status(fresh, tmp_path / "home")
    assert (command.code, command.status["status"]) == (3, "warning")
    assert command.status["alerts"]["waiting"] == 1
    assert command.status["alerts"]["last_error"] == "slack: Slack answered 500"


def test_without_a_database_the_last_status_is_shown_with_its_present_age_and_exits_1(fresh: Chain, tmp_path):
    home = tmp_path / "home"
    run_status(fresh, home)
    status = json.loads((home / "status.json").read_text())
    long_ago = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    for row in status["datasets"]:
        row["newest"] = long_ago
    (home / "status.json").write_text(json.dumps(status))
    command = StatusCommand(home, PGHOST="127.0.0.1", PGPORT="9", PGUSER="me", PGPASSWORD="canary-password")
    assert (command.code, command.status["status"]) == (1, "degraded")
    assert set(command.health.values()) == {"degraded", "warning"}
    assert command.status["generated_at"] == status["generated_at"]
    assert "127.0.0.1:9" in command.status["database_error"]
    assert command.stderr.count("\n") == 1
    assert "canary" not in json.dumps(command.status) + command.stderr


def test_without_a_database_and_without_a_last_status_every_dataset_is_unknown(tmp_path):
    command = StatusCommand(tmp_path / "home", PGHOST="127.0.0.1", PGPORT="9", PGUSER="me", PGPASSWORD="x")
    assert command.code == 1
    assert set(command.health.values()) == {"unknown"}


def test_a_run_that_could_not_log_in_is_the_newest_run_until_one_is_recorded(fresh: Chain, tmp_path):
    fresh.ask("insert into ops.runs values ('good', 'market_refresh', now() - interval '1 hour', now(), 'ok')")
    home, owner = tmp_path / "home", fresh.postgres
    environment = clean_environment()
    failed = subprocess.run(
        [TICKMART, "run"], capture_output=True, text=True, cwd=ROOT, timeout=60,
        env={
            **environment, "TICKMART_HOME": str(home),
            "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user,
            "PGPASSWORD": "canary-password", "PGDATABASE": owner.database, "MINIO_ENDPOINT": "127.0.0.1:9",
            "MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "s",
        },
    )  # fmt: skip
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    command = run_status(fresh, home)
    assert (command.code, command.status["status"]) == (1, "degraded")
    assert set(command.health.values()) == {"healthy", "unknown"}
    last = command.status["last_run"]
    assert (last["job"], last["status"]) == ("tickmart run", "failed")
    assert "no such user with this password" in last["error"]
    assert "canary" not in json.dumps(command.status)
    fresh.ask("insert into ops.runs values ('better', 'market_refresh', now(), now(), 'ok')")
    again = run_status(fresh, home)
    assert (again.code, again.status["last_run"]["run_id"]) == (0, "better")


def test_a_run_that_could_not_log_in_is_reported_even_while_the_database_is_down(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    record_failure(home, "run", "market_refresh", "nothing listens there", "run-7")
    command = StatusCommand(home, PGHOST="127.0.0.1", PGPORT="9", PGUSER="me", PGPASSWORD="x")
    assert command.code == 1
    assert (command.status["last_run"]["run_id"], command.status["last_run"]["status"]) == ("run-7", "failed")


def test_the_dashboard_reads_status_json(tmp_path, monkeypatch):
    from dashboard.health import read_status

    StatusCommand(tmp_path, PGHOST="127.0.0.1", PGPORT="9", PGUSER="me", PGPASSWORD="x")
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    assert [row["health"] for row in read_status()["datasets"]] == ["Unknown"] * len(ON)
