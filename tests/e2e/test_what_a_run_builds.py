"""A run builds what new rows reach and shows the rest as skipped; a run that dies leaves its build to the next."""

import json
import signal
import time
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from orchestration.local.client import local_services
from support.cli import Home, stages_of

pytestmark = pytest.mark.slow
OFF = {"int_onchain_activity", "fct_onchain_activity"}  # their dataset is off
HOURLY = {"fct_prices", "fct_daily_summary", "fct_candles", "fct_correlations_daily", "int_crypto_hourly"}


def as_owner(home: Home, *statements: str) -> list[tuple[Any, ...]]:
    """The rows of the last of these statements, as the owner of the database."""
    with local_services(home.path, postgres=True, s3=False) as servers:
        login = {key: servers[f"PG{key.upper()}"] for key in ("host", "port", "user", "password")}
        with closing(psycopg2.connect(dbname=servers["PGDATABASE"], **login)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []


def test_models_without_new_rows_are_skipped_with_the_reason_in_summary_and_dagster(served_home: Home) -> None:
    code, summary = served_home.run("run")
    assert (code, summary["status"]) == (0, "ok"), summary
    # A snapshot is new with every run; no hour has closed since the first one.
    stage = stages_of(summary)["dbt", "models"]
    assert set(stage["detail"]["unchanged"]) >= HOURLY | {"fct_sentiment_daily", "dim_date", "fct_runs"} | OFF
    assert "fct_market_snapshots" not in stage["detail"]["unchanged"]
    assert 0 < stage["files"] < 25
    observed = as_owner(
        served_home,
        "select event from dagster.event_logs where dagster_event_type = 'ASSET_OBSERVATION'"
        f" and run_id = '{summary['run_id']}' and asset_key = '[\"marts\", \"fct_prices\"]'",
    )
    assert len(observed) == 1
    assert "no new rows in raw.binance_klines, raw.universe" in observed[0][0]


def test_a_dropped_mart_and_a_changed_universe_are_built_by_the_next_run(served_home: Home) -> None:
    rows = as_owner(served_home, "select count(*) from marts.fct_prices")
    as_owner(served_home, "drop table marts.fct_prices cascade")
    served_home.universe.write_text(served_home.universe.read_text().replace("Solana", "Solana II"))
    code, summary = served_home.run("run")
    assert code == 0, summary
    assert as_owner(served_home, "select count(*) from marts.fct_prices") == rows
    names = as_owner(served_home, "select name from marts.dim_crypto where crypto_id = 'solana'")
    assert names == [("Solana II",)]
    assert as_owner(served_home, "select to_regclass('marts.v_trending') is not null") == [(True,)]


def test_a_run_killed_during_its_build_leaves_the_models_to_the_next_run(served_home: Home) -> None:
    served_home.universe.write_text(served_home.universe.read_text().replace("Solana", "Solana III"))
    process = served_home.start("run", "--json")
    logs = served_home.path / "dbt"
    known = set(logs.iterdir())
    deadline = time.monotonic() + 300
    # What dbt writes when it has read the project: it begins to build.
    while not any((new / "graph_summary.json").exists() for new in set(logs.iterdir()) - known):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    recorded = "select count(*) from ops.model_builds where node = 'model.tickmart.dim_crypto'"
    assert as_owner(served_home, recorded) == [(0,)]
    code, summary = served_home.run("run")
    assert code == 0, json.dumps(summary)[:2000]
    assert as_owner(served_home, recorded) == [(1,)]
    names = as_owner(served_home, "select name from marts.dim_crypto where crypto_id = 'solana'")
    assert names == [("Solana III",)]
