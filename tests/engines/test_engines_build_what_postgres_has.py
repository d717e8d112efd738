"""Spark and Sail build the marts that Postgres has, row for row, from bronze alone."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.engines.installed import ENGINES
from support.cli import ROOT, TIMEOUT_S, Home
from support.engines import build, needs

pytestmark = pytest.mark.spark
MARTS = {
    "dim_crypto", "dim_crypto_history", "dim_date", "fct_candles", "fct_candles_intraday", "fct_correlations_daily",
    "fct_daily_summary", "fct_market_global", "fct_market_prices", "fct_market_snapshots", "fct_onchain_activity",
    "fct_onchain_distribution", "fct_onchain_lead_lag", "fct_onchain_market_daily", "fct_onchain_transactions",
    "fct_prices", "fct_sentiment_daily", "fct_sentiment_returns",
}  # fmt: skip
# What Dagster's daemon does with the job, in a process of its own.
DAGSTER_JOB = """
import json
import sys
from orchestration.environment import isolate
isolate()
from orchestration.session import session
with session(set_up=False):
    import dagster as dg
    from orchestration.definitions import build_defs
    job = build_defs().resolve_job_def("sail_build")
    results = []
    for config in ({}, {"start": sys.argv[1], "end": sys.argv[2]}):
        with dg.DagsterInstance.ephemeral() as instance:
            done = job.execute_in_process(
                instance=instance, raise_on_error=False, run_config={"ops": {"sail_build": {"config": config}}}
            )
        results.append({
            "success": done.success,
            "materialized": [event.asset_key.path for event in done.get_asset_materialization_events()],
            "checks": {check.check_name: check.passed for check in done.get_asset_check_evaluations()},
        })
    print(json.dumps(results))
"""
TODAY = datetime.now(UTC).date()


@pytest.mark.parametrize("engine", ENGINES)
def test_every_mart_equals_that_of_postgres(home: Home, engine: str) -> None:
    needs(engine)
    code, report = build(home, engine, "--compare", "--publish")
    assert {m["mart"]: m for m in report["marts"] if not m["equal"]} == {}
    assert code == 0
    assert {m["mart"] for m in report["marts"]} == MARTS
    # Thirty days have one return less than the shortest window of a correlation.
    assert {m["mart"] for m in report["marts"] if m["identical"] == 0} <= {"fct_correlations_daily"}
    assert set(report["models"].values()) == {"success"}
    assert set(report["tests"].values()) <= {"pass", "warn"}
    # Published, and readable by the login of other tools.
    [counts] = home.sql("select count(*) as n, sum(close) as total from marts_engine.fct_prices")
    assert home.sql("select count(*) as n, sum(close) as total from marts.fct_prices") == [counts]


def test_dagster_materializes_the_marts_with_dbts_tests_as_checks(home: Home) -> None:
    needs("sail")
    days = [str(TODAY - timedelta(days=5)), str(TODAY - timedelta(days=3))]
    done = subprocess.run(
        [sys.executable, "-c", DAGSTER_JOB, *days], env={**home.env, "TICKMART_ENGINES": "sail"}, cwd=ROOT,
        timeout=TIMEOUT_S, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    result, of_days = json.loads(done.stdout)
    assert result["success"]
    assert sorted(result["materialized"]) == [["sail", mart] for mart in sorted(MARTS)]
    # The hours that the fixture takes away are a gap in dbt's test, too.
    failed = {name for name, passed in result["checks"].items() if not passed}
    assert failed == {"no_gaps_fct_prices_opened_at"}
    assert len(result["checks"]) > len(MARTS)
    # A run of some days builds the tables by month.
    assert of_days["success"]
    assert sorted(of_days["materialized"]) == [["sail", "fct_market_prices"], ["sail", "fct_onchain_transactions"]]
    assert len(of_days["checks"]) == 2
    assert all(of_days["checks"].values())


def test_a_difference_is_found_and_named(home: Home) -> None:
    needs("sail")
    change = (
        "create table marts.kept as select * from marts.fct_candles where timeframe = 'month';"
        "delete from marts.fct_candles where timeframe = 'month';"
        "update marts.fct_market_global set coin_count = coin_count + 1"
    )
    undo = (
        "insert into marts.fct_candles select * from marts.kept; drop table marts.kept;"
        "update marts.fct_market_global set coin_count = coin_count - 1"
    )
    assert home.tickmart("psql", "--owner", "-c", change).returncode == 0
    try:
        code, report = build(home, "sail", "--compare")
    finally:
        assert home.tickmart("psql", "--owner", "-c", undo).returncode == 0
    differing = {m["mart"]: m for m in report["marts"] if not m["equal"]}
    assert code == 1
    assert differing.keys() == {"fct_market_global", "fct_candles"}
    assert differing["fct_market_global"]["columns"].keys() == {"coin_count"}
    assert differing["fct_candles"]["added"] > 0
    assert differing["fct_candles"]["samples"]


def test_a_damaged_object_is_named_and_the_tables_before_stay(home: Home) -> None:
    needs("sail")
    warehouse = home.path / "warehouse" / "sail"
    if not (warehouse / "current").exists():
        build(home, "sail")
    present = (warehouse / "current").readlink()
    key = f"binance/klines/interval=1h/date={TODAY - timedelta(days=7)}/bars.parquet"
    path = home.path / "lake" / "bronze" / key
    kept = path.with_name("kept")
    shutil.copy2(path, kept)
    try:
        path.write_bytes(path.read_bytes()[:-50])
        done = home.tickmart("build", "--engine", "sail")
    finally:
        shutil.move(kept, path)
    assert done.returncode == 1
    assert key in done.stderr
    assert "Traceback" not in done.stderr
    assert (warehouse / "current").readlink() == present
    assert sorted((warehouse / "current" / "tables" / "marts" / "fct_prices").glob("*.parquet"))
    assert json.loads((Path(warehouse) / "current" / "result.json").read_text())["results"]
