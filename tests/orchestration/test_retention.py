"""Everything that grows is bounded, and runs whose process has gone are closed: 300 synthetic runs on real storage."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus

from ingestion.settings import load_settings
from orchestration import runner
from orchestration.maintenance import retention
from orchestration.orphans import CODE_SERVER_SINCE, HOST_TAG, PID_TAG, close_orphans
from orchestration.resources import Stores
from orchestration.sensors import close_dead_runs
from orchestration.session import dagster_url
from support.pipeline import Chain

RUNS = 300
KEPT_IN = ("runs", "run_tags", "event_logs")


@pytest.fixture
def home(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose Dagster keeps its runs in the chain's database, as a session sets it up."""
    store, owner = chain.lake.store, chain.postgres
    env = {
        "TICKMART_HOME": tmp_path, "DAGSTER_HOME": tmp_path / "dagster", "PGHOST": owner.host, "PGPORT": owner.port,
        "PGDATABASE": owner.database, "PGUSER": owner.user, "PGPASSWORD": owner.password,
        "MINIO_ENDPOINT": store.endpoint, "MINIO_ACCESS_KEY": store.access_key, "MINIO_SECRET_KEY": store.secret_key,
        "MINIO_BUCKET": store.bucket, "TICKMART_PG_DAGSTER_USER": owner.user,
        "TICKMART_PG_DAGSTER_PASSWORD": owner.password, "TICKMART_PG_DAGSTER_ROLE": "dagster",
    }  # fmt: skip
    for name, value in env.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("DAGSTER_PG_URL", dagster_url(os.environ))
    (tmp_path / "dagster").mkdir()
    shutil.copyfile(Path(runner.__file__).with_name("dagster.yaml"), tmp_path / "dagster" / "dagster.yaml")
    tables = chain.ask("select tablename from pg_tables where schemaname = 'dagster' and tablename in %s", (KEPT_IN,))
    chain.ask(";".join(f"delete from dagster.{name}" for (name,) in tables) or "select 1")
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as made:
        made.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=4)
        yield made


def add_run(instance: dg.DagsterInstance, home: Path, status: DagsterRunStatus, **tags: str) -> str:
    """A run as Dagster leaves it: its row, its events, its captured output; and its log and dbt target."""
    run = instance.add_run(dg.DagsterRun(job_name="market_refresh", run_id=str(uuid4()), status=status, tags=tags))
    instance.report_engine_event("something happened", run)
    for folder in (home / "dagster" / "storage" / run.run_id / "compute_logs", home / "dbt" / run.run_id):
        folder.mkdir(parents=True)
        (folder / "out").write_text("x" * 1000)
    (home / "logs").mkdir(exist_ok=True)
    (home / "logs" / f"run-{run.run_id}.log").write_text("x" * 1000)
    return run.run_id


def files(home: Path) -> int:
    return sum(1 for path in home.rglob("*") if path.is_file() and path.name != "dagster.yaml")


def test_three_hundred_runs_leave_no_more_than_their_bound_and_never_one_in_progress(
    chain: Chain, home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    few = {
        name: retention.Retention(keep.days, 40 if keep.limit else None) for name, keep in retention.RETENTION.items()
    }
    monkeypatch.setattr(retention, "RETENTION", few)
    # The first is the oldest, and goes on: however many come after it, it stays.
    alive = add_run(instance, home, DagsterRunStatus.STARTED)
    runs = [add_run(instance, home, DagsterRunStatus.SUCCESS) for _ in range(RUNS - 1)]
    removed = {what: count for what, count, _ in retention.prune(load_settings()) if count}
    left = {record.dagster_run.run_id for record in instance.get_run_records()}
    assert removed == {"Dagster runs": RUNS - 1 - 40, "log files": RUNS - 40, "dbt targets": RUNS - 40}
    assert left == {alive, *runs[-40:]}
    # Their events, captured output, logs and build folders went with them.
    assert set(chain.ask("select distinct run_id from dagster.event_logs")) == {(run,) for run in left}
    assert {path.name for path in (home / "dagster" / "storage").iterdir()} == left
    assert files(home) == 41 + 40 + 40


def test_a_run_older_than_its_days_goes_with_its_output_and_a_dry_run_only_counts(
    chain: Chain, home: Path, instance: dg.DagsterInstance
):
    old, new = (add_run(instance, home, DagsterRunStatus.FAILURE) for _ in range(2))
    chain.ask(
        "update dagster.runs set create_timestamp = now() - interval '31 days' where run_id = %s", (old,)
    )  # fmt: skip
    for _ in range(2):
        assert ("Dagster runs", 1, 30) in list(retention.prune(load_settings(), dry_run=True))
    assert ("Dagster runs", 1, 30) in list(retention.prune(load_settings()))
    assert [record.dagster_run.run_id for record in instance.get_run_records()] == [new]
    assert [path.name for path in (home / "dagster" / "storage").iterdir()] == [new]


def test_retention_removes_no_pending_alert_and_no_open_incident(chain: Chain, home: Path):
    long_ago = datetime.now(UTC) - timedelta(days=400)
    for name, recovered, sent in (("over", long_ago, long_ago), ("open", None, long_ago), ("waiting", long_ago, None)):
        chain.ask(
            """
            with made as (
                insert into ops.incidents (fingerprint, kind, severity, title, detail, opened_at, recovered_at)
                values (%s, 'run_failed', 'warn', '', '', %s, %s) returning incident_id
            )
            insert into ops.alerts (incident_id, channel, event, dedup_key, message, created_at, sent_at)
            select incident_id, 'slack', 'opened', %s, '{}', %s, %s from made
            """,
            (name, long_ago, recovered, name, long_ago, sent),
        )
    assert ("alerts", 1, 180) in list(retention.prune(load_settings()))
    assert {row[0] for row in chain.ask("select fingerprint from ops.incidents")} == {"open", "waiting"}
    assert {row[0] for row in chain.ask("select dedup_key from ops.alerts")} == {"open", "waiting"}


def test_a_run_whose_process_has_gone_is_closed_and_one_that_lives_is_not(
    chain: Chain, home: Path, instance: dg.DagsterInstance
):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    orphan = add_run(instance, home, DagsterRunStatus.STARTED, **{PID_TAG: str(ended.pid)})
    alive = add_run(instance, home, DagsterRunStatus.STARTED, **{PID_TAG: str(os.getpid())})
    daemons = add_run(instance, home, DagsterRunStatus.STARTING)
    chain.ask("insert into ops.runs (run_id, job, started_at, status) values (%s, 'j', now(), 'running')", (orphan,))
    # A code server may be alive, and its children with it.
    assert close_orphans(instance, chain.connection) == [orphan]
    stati = {r.run_id: r.status for r in instance.get_runs()}
    assert stati == {
        orphan: DagsterRunStatus.FAILURE, alive: DagsterRunStatus.STARTED, daemons: DagsterRunStatus.STARTING,
    }  # fmt: skip
    assert chain.one("select status from ops.runs") == "failed"


def test_a_command_killed_before_dagster_calls_its_run_started_is_closed(
    chain: Chain, home: Path, instance: dg.DagsterInstance
):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    created = add_run(instance, home, DagsterRunStatus.NOT_STARTED, **{PID_TAG: str(ended.pid)})
    begins = add_run(instance, home, DagsterRunStatus.NOT_STARTED, **{PID_TAG: str(os.getpid())})
    waits = add_run(instance, home, DagsterRunStatus.NOT_STARTED)  # somebody else's to launch
    now = datetime.now(UTC)
    for run_id, beat_at in (
        (created, now), (begins, now),
        ("unknown to Dagster", now - timedelta(minutes=4)), ("not yet known to Dagster", now),
    ):  # fmt: skip
        chain.ask(
            "insert into ops.runs (run_id, job, started_at, status, beat_at) values (%s, 'j', now(), 'running', %s)",
            (run_id, beat_at),
        )
    assert set(close_orphans(instance, chain.connection)) == {created, "unknown to Dagster"}
    assert {row[0] for row in chain.ask("select run_id from ops.runs where status = 'running'")} == {
        begins, "not yet known to Dagster",
    }  # fmt: skip
    stati = {r.run_id: r.status for r in instance.get_runs()}
    assert stati == {
        created: DagsterRunStatus.FAILURE, begins: DagsterRunStatus.NOT_STARTED, waits: DagsterRunStatus.NOT_STARTED,
    }  # fmt: skip


def test_a_silent_run_of_another_container_is_closed_and_releases_its_pools(
    chain: Chain, home: Path, instance: dg.DagsterInstance
):
    elsewhere = {PID_TAG: str(os.getpid()), HOST_TAG: "another-container"}
    beats = {"silent": timedelta(minutes=4), "beating": timedelta(minutes=2), "never beat": None}
    runs = {name: add_run(instance, home, DagsterRunStatus.STARTED, **elsewhere) for name in beats}
    for name, run_id in runs.items():
        beat_at = None if (age := beats[name]) is None else datetime.now(UTC) - age
        chain.ask(
            "insert into ops.runs (run_id, job, started_at, status, beat_at) values (%s, 'j', now(), 'running', %s)",
            (run_id, beat_at),
        )
    storage = instance.event_log_storage
    storage.set_concurrency_slots("raw_klines", 1)
    assert storage.claim_concurrency_slot("raw_klines", runs["silent"], "load").is_claimed

    result = close_dead_runs(dg.build_sensor_context(instance=instance))
    assert runs["silent"] in result.skip_message
    assert {r.run_id for r in instance.get_runs() if r.status == DagsterRunStatus.FAILURE} == {runs["silent"]}
    assert chain.ask("select run_id from ops.runs where status = 'failed'") == [(runs["silent"],)]
    assert storage.claim_concurrency_slot("raw_klines", runs["beating"], "load").is_claimed


def test_the_sensor_closes_what_an_earlier_code_server_launched_and_nothing_of_the_one_it_runs_in(
    chain: Chain, home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    died = {status: add_run(instance, home, status) for status in (DagsterRunStatus.STARTING, DagsterRunStatus.STARTED)}
    instance.report_dagster_event(
        dg.DagsterEvent("PIPELINE_START", "market_refresh"), run_id=died[DagsterRunStatus.STARTED]
    )
    monkeypatch.setenv(CODE_SERVER_SINCE, str(time.time()))
    launched_since = add_run(instance, home, DagsterRunStatus.STARTING)
    commands = add_run(instance, home, DagsterRunStatus.STARTED, **{PID_TAG: str(os.getpid())})

    result = close_dead_runs(dg.build_sensor_context(instance=instance))
    assert all(run_id in result.skip_message for run_id in died.values())
    left = {r.run_id for r in instance.get_runs() if r.status != DagsterRunStatus.FAILURE}
    assert left == {launched_since, commands}
    # Dagster is to try them once more; what somebody typed is his to type again.
    assert {instance.get_run_by_id(run_id).tags["dagster/will_retry"] for run_id in died.values()} == {"true"}


def test_a_commands_process_shows_that_it_lives_until_its_run_has_ended(
    chain: Chain, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runner, "HEARTBEAT_EVERY_S", 0.01)
    chain.ask("insert into ops.runs (run_id, job, started_at, status) values ('r', 'j', now(), 'running')")
    ended = runner.start_heartbeat(Stores(), "r")
    beats = {chain.one("select beat_at from ops.runs")}
    while len(beats - {None}) < 3:
        beats.add(chain.one("select beat_at from ops.runs"))
    ended.set()


def test_every_tick_of_a_schedule_or_sensor_has_an_age_at_which_the_daemon_purges_it(instance: dg.DagsterInstance):
    for kind in (InstigatorType.SCHEDULE, InstigatorType.SENSOR):
        kept_days = instance.get_tick_retention_settings(kind)
        # -1 would mean for ever, which is Dagster's own choice for most of them.
        assert all(0 < days <= 30 for days in kept_days.values()), (kind, kept_days)
    # A sensor that ticks each minute mostly skips.
    assert instance.get_tick_retention_settings(InstigatorType.SENSOR)[TickStatus.SKIPPED] == 1
