"""Runs that somebody launches in Dagster: without days, with impossible ones, a part of the graph, once more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from ingestion.database import connections
from ingestion.ops import checks, coverage, runs
from ingestion.simulator.server import simulator
from ingestion.sources.binance.contract import INTERVAL_MS
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.source import KlinesOptions
from orchestration.assets.metadata import counted_runs
from orchestration.assets.raw import ASSETS
from orchestration.observability.attempts import newest_failure
from orchestration.orphans import PID_TAG, close_orphans
from orchestration.partitions import DAYS, PARTITION, RANGE_END, RANGE_START
from orchestration.progress import ignore_progress
from orchestration.quality.checks import BRONZE_CHECKS
from orchestration.resources import Stores
from orchestration.sensors import alert_sensor, build_ended_sensor, close_failed_runs
from support.cli import ONE_COIN
from support.pipeline import Chain

BARS = dg.AssetKey(["bronze", "binance_klines"])
TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def market() -> Iterator[dict[str, str]]:
    with simulator(seed=3, weight_limit=10_000_000, now_moves=True) as sim:
        yield sim.urls()


@pytest.fixture
def job(
    chain: Chain, market: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dg.JobDefinition:  # fmt: skip
    """A partitioned job of the bars in bronze and their checks, on real servers."""
    store, owner = chain.lake.store, chain.postgres
    universe = tmp_path / "universe.csv"
    universe.write_text(ONE_COIN)
    for name, value in {
        **market, "TICKMART_HOME": tmp_path, "TICKMART_UNIVERSE": universe, "PGHOST": owner.host,
        "PGPORT": owner.port, "PGUSER": owner.user, "PGPASSWORD": owner.password, "PGDATABASE": owner.database,
        "MINIO_ENDPOINT": store.endpoint, "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key, "MINIO_BUCKET": store.bucket,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    selection = dg.AssetSelection.assets(BARS)
    definitions = dg.Definitions(
        ASSETS, asset_checks=BRONZE_CHECKS, resources={"stores": Stores(), "progress": ignore_progress},
        jobs=[dg.define_asset_job("by_hand", selection, partitions_def=DAYS, executor_def=dg.in_process_executor)],
    )  # fmt: skip
    return definitions.resolve_job_def("by_hand")


def launch(job: dg.JobDefinition, tags: dict[str, str], **options: Any) -> tuple[dg.ExecuteInProcessResult, str]:
    """A run, and the messages of its failures."""
    with dg.instance_for_test() as instance:
        done = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False, **options)
        said = []
        for event in done.all_events:
            if event.is_step_failure:
                failed = event.step_failure_data
                said.append(failed.user_failure_data.description if failed.user_failure_data else failed.error.message)
        stored = instance.get_run_by_id(done.run_id)
        assert stored is not None
        assert done.dagster_run.tags.items() <= stored.tags.items()
    return done, "\n".join(said)


def covered(chain: Chain) -> list[date]:
    return [day for (day,) in chain.ask("select distinct date from ops.coverage order by 1")]


def test_a_run_without_days_takes_those_of_a_refresh(job, chain):
    today = datetime.now(UTC).date()  # the suite may have begun yesterday
    answered = [("BTCUSDT", today - timedelta(days=4), 24, True, "rest")]
    coverage.record_coverage(chain.connection, KLINES, "1h", answered, datetime.now(UTC))
    done, said = launch(job, {})
    assert done.success, said
    assert (done.dagster_run.tags[RANGE_START], done.dagster_run.tags[RANGE_END]) == (
        str(today - timedelta(days=3)), str(today)
    )  # fmt: skip
    assert covered(chain) == [TODAY - timedelta(days=ago) for ago in (4, 3, 2, 1, 0)]
    assert len(done.get_asset_check_evaluations()) == 4


@pytest.mark.parametrize(
    ("tags", "days"),
    [({PARTITION: 1}, [1]), ({RANGE_START: 3, RANGE_END: 1}, [3, 2, 1])],
    ids=["one partition", "a range of several days"],
)
def test_a_run_with_days_takes_these(job, chain, tags, days):
    done, said = launch(job, {name: str(TODAY - timedelta(days=ago)) for name, ago in tags.items()})
    assert done.success, said
    assert covered(chain) == [TODAY - timedelta(days=ago) for ago in days]


@pytest.mark.parametrize(
    "tags",
    [{PARTITION: -400}, {RANGE_START: 1, RANGE_END: -5}, {RANGE_START: 1, RANGE_END: 3}],
    ids=["a day to come", "a range that ends in the future", "a range that ends before it starts"],
)
def test_days_that_cannot_be_loaded_fail_in_one_line_that_says_what_to_choose(job, chain, tags):
    done, said = launch(job, {name: str(TODAY - timedelta(days=ago)) for name, ago in tags.items()})
    assert not done.success
    assert "choose days from 2017-08-17 to" in said
    assert "\n" not in said
    assert covered(chain) == []


def test_an_unknown_interval_is_rejected_before_anything_runs(job, chain):
    assert get_args(get_type_hints(KlinesOptions)["interval"]) == tuple(INTERVAL_MS)
    config = {"ops": {"bronze__binance_klines": {"config": {"interval": "7x"}}}}
    with pytest.raises(dg.DagsterInvalidConfigError, match="interval not in enum"):
        launch(job, {}, run_config=config)
    assert chain.one("select count(*) from ops.runs") == 0


# -- a part of a run, once more ----------------------------------------------------------------------------------------


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_a_run_of_only_the_failed_steps_counts_with_what_the_others_recorded(chain, instance):
    first = instance.add_run(dg.DagsterRun("j", status=DagsterRunStatus.FAILURE))
    part = dg.DagsterRun("j", parent_run_id=first.run_id, root_run_id=first.run_id, step_keys_to_execute=["load"])
    whole = dg.DagsterRun("j", parent_run_id=first.run_id, root_run_id=first.run_id)

    class Context:
        def __init__(self, run: dg.DagsterRun) -> None:
            self.run, self.instance = run, instance

    assert counted_runs(Context(first)) == [first.run_id]
    assert counted_runs(Context(whole)) == [whole.run_id]
    counted = counted_runs(Context(part))
    assert counted == [part.run_id, first.run_id]
    refused = {
        "asset": "bronze/x",
        "check_name": "sound",
        "source": "pipeline",
        "severity": "error",
        "status": "failed",
    }
    checks.record_checks(chain.connection, first.run_id, [{**refused, "blocking": True}])
    nothing = {"rows": 0, "files": 0, "seconds": 0.1, "detail": {}}
    runs.record_stage(chain.connection, first.run_id, "bronze", "x", status="failed", **nothing)
    runs.record_stage(chain.connection, first.run_id, "raw", "x", status="failed", **nothing)
    runs.record_stage(chain.connection, part.run_id, "raw", "x", status="ok", **nothing)
    # What the first run refused is not loaded, and its failed source does not turn into success.
    assert len(checks.failed_blocking_checks(chain.connection, counted, "bronze/x")) == 1
    summary = runs.summarize_run(chain.connection, counted[0], counted[1:])
    assert (summary["status"], summary["checks"]["failed"]) == ("failed", 1)
    assert {s["stage"]: s["status"] for s in summary["stages"]} == {"bronze": "failed", "raw": "ok"}


def test_a_command_run_that_dagster_retries_is_not_closed_with_the_command(chain, instance):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    tags = {PID_TAG: str(ended.pid)}
    first = instance.add_run(dg.DagsterRun("j", status=DagsterRunStatus.FAILURE, tags=tags))
    again = instance.add_run(
        dg.DagsterRun("j", status=DagsterRunStatus.STARTED, tags=tags, parent_run_id=first.run_id,
                      root_run_id=first.run_id)
    )  # fmt: skip
    assert close_orphans(instance, chain.connection) == []
    assert instance.get_run_by_id(again.run_id).status == DagsterRunStatus.STARTED


@pytest.mark.parametrize(
    ("ended", "stage", "status"),
    [
        (DagsterRunStatus.SUCCESS, "ok", "ok"), (DagsterRunStatus.SUCCESS, "partial", "partial"),
        (DagsterRunStatus.CANCELED, "ok", "failed"),
    ],
    ids=["a part of the graph", "a part that is partial", "canceled"],
)  # fmt: skip
def test_a_run_without_a_step_that_closes_it_is_closed_when_it_has_ended(job, chain, instance, ended, stage, status):
    run = instance.add_run(dg.DagsterRun("__ASSET_JOB", status=ended))
    runs.begin_run(chain.connection, run.run_id, run.job_name)
    runs.record_stage(
        chain.connection, run.run_id, "bronze", "x", status=stage, rows=1, files=1, seconds=0.1, detail={}
    )
    event = dg.DagsterEvent(
        "PIPELINE_SUCCESS" if ended is DagsterRunStatus.SUCCESS else "PIPELINE_CANCELED", run.job_name
    )
    context = dg.build_run_status_sensor_context("close", event, instance, run)
    build_ended_sensor(ended)(context)
    assert chain.ask("select status, ended_at is not null from ops.runs") == [(status, True)]
    assert os.environ["PGDATABASE"] == chain.postgres.database


def test_a_dagster_run_that_cannot_log_in_is_in_the_status(job, chain, instance, tmp_path, monkeypatch):
    run = instance.add_run(dg.DagsterRun("market_refresh", status=DagsterRunStatus.FAILURE))
    monkeypatch.setenv("TICKMART_PG_INGEST_USER", "ingest")
    monkeypatch.setenv("TICKMART_PG_INGEST_PASSWORD", "not-the-password")
    event = dg.DagsterEvent("PIPELINE_FAILURE", run.job_name)
    context = dg.build_run_status_sensor_context("close_failed_runs", event, instance, run).for_run_failure()
    with pytest.raises(connections.WarehouseError):
        close_failed_runs(context)
    with pytest.raises(connections.WarehouseError):
        alert_sensor(dg.build_sensor_context(instance=instance))
    failed = newest_failure(tmp_path, "run")
    assert (failed["job"], failed["run_id"]) == ("market_refresh", run.run_id)
    assert "TICKMART_PG_INGEST_PASSWORD" in failed["error"]
    assert newest_failure(tmp_path, "scheduler")["error"] == failed["error"]
