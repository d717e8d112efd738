"""Spark and Sail build the marts that Postgres has, row for row, from bronze alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.simulator.bitcoin import make_day, write_daily
from ingestion.simulator.server import simulator
from orchestration.engines.errors import EngineError
from orchestration.engines.installed import ENGINES, java, python_of
from support.cli import ROOT, TIMEOUT_S, Home

pytestmark = pytest.mark.spark
# Luna stopped trading and its symbol has two assets; Tether has no bars.
UNIVERSE = """crypto_id,binance_symbol,name,category,valid_from,valid_to
bitcoin,BTCUSDT,Bitcoin,store of value,,
ethereum,ETHUSDT,Ethereum,smart contracts,,
pepe,PEPEUSDT,Pepe,meme,,
terra-luna,LUNAUSDT,Terra Classic,smart contracts,,2022-05-13
tether,,Tether,stablecoin,,
"""
MARTS = {
    "dim_crypto", "dim_crypto_history", "dim_date", "fct_candles", "fct_candles_intraday", "fct_correlations_daily",
    "fct_daily_summary", "fct_market_global", "fct_market_snapshots", "fct_onchain_activity",
    "fct_onchain_distribution", "fct_onchain_lead_lag", "fct_onchain_market_daily", "fct_prices",
    "fct_sentiment_daily", "fct_sentiment_returns",
}  # fmt: skip
# What Dagster's daemon does with the job, in a process of its own.
DAGSTER_JOB = """
import json
from orchestration.environment import isolate
isolate()
from orchestration.session import session
with session(set_up=False):
    import dagster as dg
    from orchestration.definitions import build_defs
    with dg.DagsterInstance.ephemeral() as instance:
        done = build_defs().resolve_job_def("sail_build").execute_in_process(instance=instance, raise_on_error=False)
    print(json.dumps({
        "success": done.success,
        "materialized": [event.asset_key.path for event in done.get_asset_materialization_events()],
        "checks": {check.check_name: check.passed for check in done.get_asset_check_evaluations()},
    }))
"""
TODAY = datetime.now(UTC).date()
# Builds of a few thousand rows: most of what a JVM does for them is compiling code that runs once.
SPARK_OPTIONS = (
    "spark.sql.shuffle.partitions=2 spark.sql.codegen.wholeStage=false "
    "'spark.driver.extraJavaOptions=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'"
)


def installed(engine: str) -> bool:
    try:
        python_of(engine)
        if engine == "spark":
            java()
    except EngineError:
        return False
    return True


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with gaps, a restated hour, rejected records, a delisted asset, two days of blocks, and a merged month."""
    folder = tmp_path_factory.mktemp("engines")
    with simulator(seed=3) as market:
        made = Home(folder / "home", market.urls(), UNIVERSE)
        made.env |= {
            "BITCOIN_TRANSACTIONS_URL": f"file://{folder / 'bucket'}",
            "TICKMART_SPARK_OPTIONS": SPARK_OPTIONS,
            "TICKMART_SPARK_MEMORY": "1g",
        }
        for n in range(2):
            day = TODAY - timedelta(days=5 - n)
            write_daily(folder / "bucket", make_day(day, first=900_000 + 40 * n, blocks=40))
        first, hour = TODAY - timedelta(days=30), f"{TODAY - timedelta(days=3)}T05:00:00Z"
        market.faults.set([
            {"kind": "gap", "symbol": "ETHUSDT", "from": f"{first + timedelta(days=9)}T03:00:00Z",
             "to": f"{first + timedelta(days=9)}T09:00:00Z"},
            {"kind": "impossible", "what": "high_below_low", "match": "klines", "times": 1, "row": 3},
        ])  # fmt: skip
        made.run("run")
        backfill(made, "--interval", "1m", "--start", TODAY - timedelta(days=4), "--end", TODAY - timedelta(days=3))
        backfill(made, "--dataset", "bitcoin_transactions", "--start", TODAY - timedelta(days=5),
                 "--end", TODAY - timedelta(days=3))  # fmt: skip
        market.faults.set([{"kind": "correction", "symbol": "BTCUSDT", "open_time": hour, "close": 1234.5}])
        made.run("run")
        # The days of a closed month are in a merged object, too.
        assert made.tickmart("compact").returncode == 0
        yield made


def backfill(home: Home, *arguments: str | date) -> None:
    code, summary = home.run("backfill", *map(str, arguments))
    assert code in (0, 3), summary


def build(home: Home, engine: str, *options: str) -> tuple[int, dict[str, Any]]:
    code, report = home.run("build", "--engine", engine, *options)
    assert isinstance(report, dict)
    return code, report


@pytest.mark.parametrize("engine", ENGINES)
def test_every_mart_equals_that_of_postgres(home: Home, engine: str) -> None:
    if not installed(engine):
        pytest.skip(f"{engine} is not installed: make setup-{engine}, and Java for Spark")
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
    if not installed("sail"):
        pytest.skip("sail is not installed: make setup-sail")
    done = subprocess.run(
        [sys.executable, "-c", DAGSTER_JOB], env={**home.env, "TICKMART_ENGINES": "sail"}, cwd=ROOT, timeout=TIMEOUT_S,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["success"]
    assert sorted(result["materialized"]) == [["sail", mart] for mart in sorted(MARTS)]
    # The hours that the fixture takes away are a gap in dbt's test, too.
    failed = {name for name, passed in result["checks"].items() if not passed}
    assert failed == {"no_gaps_fct_prices_opened_at"}
    assert len(result["checks"]) > len(MARTS)


def test_a_difference_is_found_and_named(home: Home) -> None:
    if not installed("sail"):
        pytest.skip("sail is not installed: make setup-sail")
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
    if not installed("sail"):
        pytest.skip("sail is not installed: make setup-sail")
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
