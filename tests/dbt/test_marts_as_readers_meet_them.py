"""What a reader relies on: green on an empty warehouse, never half built, readable by its role, documented."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest
from dbt_warehouse import PROJECT, Warehouse, connect_arguments
from small_markets import KLINE_COLUMNS, UNIVERSE_COLUMNS, hours_between, random_walk, universe_rows

BARS = random_walk(
    "BTCUSDT",
    hours_between(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 12, tzinfo=UTC)),
    price=40000,
    decimals=2,
    seed=5,
)
RELATIONS = (
    "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname = 'marts' and c.relkind in ('r', 'v')"
)


def test_a_fresh_install_builds_green_with_no_data_and_with_one_source(warehouse: Warehouse) -> None:
    result = warehouse.dbt("build")
    assert result.success, result.log[-4000:]
    assert "pass" in result.statuses.values()
    warehouse.copy("raw.fear_greed", ("date", "value", "classification", "batch_id"), [("2024-01-01", 5, "Fear", "b")])
    warehouse.build()
    assert warehouse.query("select count(*) from marts.fct_sentiment_daily") == [(1,)]
    assert warehouse.query("select dataset, health from marts.fct_dataset_health where health = 'Unknown'") == [
        ("binance_klines", "Unknown"),
        ("coingecko_markets", "Unknown"),
    ]


def test_an_asset_without_data_is_in_dim_crypto(warehouse: Warehouse) -> None:
    warehouse.copy(
        "raw.universe",
        UNIVERSE_COLUMNS,
        universe_rows([("bitcoin", "BTCUSDT", None, None), ("unlisted", "NONEUSDT", None, None)]),
    )
    warehouse.copy("raw.binance_klines", KLINE_COLUMNS, [bar.row(datetime(2024, 1, 20, tzinfo=UTC)) for bar in BARS])
    warehouse.copy(
        "raw.coingecko_markets",
        ("crypto_id", "snapshot_at", "symbol", "name", "market_cap", "market_cap_rank", "current_price", "total_volume",
         "price_change_percentage_1h_in_currency", "price_change_percentage_24h_in_currency",
         "price_change_percentage_7d_in_currency", "payload", "batch_id"),
        [
            ("bitcoin", "2024-01-11 23:30+00", "btc", "Bitcoin", 100, 1, BARS[-2].close, 50e6, 1, 1, 1, "{}", "b"),
            ("bitcoin", "2024-01-12 00:05+00", "btc", "Bitcoin", 300, 1, BARS[-1].close, 60e6, 1, 2, 3, "{}", "b"),
            ("small", "2024-01-12 00:05+00", "sml", "Small", 100, 2, 1, 2e6, 1, 9, 1, "{}", "b"),
            ("falling", "2024-01-12 00:05+00", "fll", "Falling", 50, 3, 1, 9e6, 1, -4, 1, "{}", "b"),
            ("idle", "2024-01-12 00:05+00", "idl", "Idle", 50, 4, 1, 10, 1, 50, 1, "{}", "b"),
        ],
    )  # fmt: skip
    warehouse.build()
    rows = warehouse.query("select crypto_id, symbol, first_bar_at is null, market_cap_rank from marts.dim_crypto")
    assert sorted(rows) == [("bitcoin", "BTC", False, 1), ("unlisted", "NONE", True, None)]


def test_each_view_answers_its_question_from_the_latest_sweep(warehouse: Warehouse) -> None:
    def ids(view: str) -> list[str]:
        return [row[0] for row in warehouse.query(f"select crypto_id from marts.{view} order by position")]

    assert warehouse.query("select count(*), count(distinct snapshot_at) from marts.v_latest_snapshot") == [(4, 1)]
    assert warehouse.query("select count(*), count(*) filter (where is_latest) from marts.v_latest_partition") == [
        (4, 4)
    ]
    assert ids("v_market_cap") == ids("v_top_100") == ["bitcoin", "small", "falling", "idle"]
    assert ids("v_top_gainers") == ["small", "bitcoin"]
    assert ids("v_trending") == ["bitcoin", "small"]
    assert ids("v_volume_24h") == ["bitcoin", "falling", "small", "idle"]
    totals = "select total_market_cap_usd, btc_dominance_pct, breadth_pct from marts.v_total_market_cap"
    assert warehouse.query(totals) == [(500, 60.0, 75.0)]
    [(bars, first)] = warehouse.query("select count(*), min(index_100) filter (where opened_at = '2024-01-05') "
                                      "from marts.v_trendline_core")  # fmt: skip
    assert (bars, first) == (168, 100.0)
    assert warehouse.query("select round(divergence_pct::numeric, 9) from marts.v_price_divergence") == [(0,)]


def test_the_dashboard_role_reads_every_mart_and_nothing_else_also_after_a_rebuild(warehouse: Warehouse) -> None:
    warehouse.build("--full-refresh")
    names = [name for (name,) in warehouse.query(RELATIONS)]
    assert len(names) > 20
    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("set role dashboard_ro")
        for name in names:
            cursor.execute(f"select * from marts.{name} limit 1")
        for table in ("raw.binance_klines", "intermediate.int_series", "staging.stg_binance__ohlcv"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"select * from {table} limit 1")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("delete from marts.fct_prices")


def test_every_column_of_the_marts_carries_its_definition_as_a_comment(warehouse: Warehouse) -> None:
    without = warehouse.query(
        "select attrelid::regclass::text, attname from pg_attribute where attnum > 0 and not attisdropped"
        f" and attrelid::regclass::text in (select 'marts.' || relname from ({RELATIONS}) as relations)"
        " and col_description(attrelid, attnum) is null"
    )
    assert without == []


def test_constraints_of_the_marts_are_real(warehouse: Warehouse) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        warehouse.execute("update marts.fct_prices set close = 'NaN' where opened_at = '2024-01-02 00:00+00'")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        warehouse.execute("insert into marts.fct_prices select * from marts.fct_prices limit 1")


def test_readers_never_meet_a_missing_or_empty_mart_while_a_build_runs(warehouse: Warehouse) -> None:
    stop, faults, reads = threading.Event(), [], [0]
    views = [name for (name,) in warehouse.query(RELATIONS) if name.startswith(("v_", "dim_crypto", "fct_prices"))]

    def read() -> None:
        connection = psycopg2.connect(**connect_arguments(warehouse.variables))
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            while not stop.is_set():
                for view in views:
                    try:
                        cursor.execute(f"select count(*) from marts.{view}")
                        if view != "dim_crypto_history" and cursor.fetchone()[0] == 0:
                            faults.append(f"{view} is empty")
                    except psycopg2.Error as error:
                        faults.append(f"{view}: {error}")
                reads[0] += 1
                time.sleep(0.005)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        warehouse.build()
    finally:
        stop.set()
        reader.join()
    assert reads[0] > 3
    assert faults == []


@pytest.mark.slow
def test_builds_that_start_at_once_create_the_aggregates_once(warehouse: Warehouse, tmp_path: Path) -> None:
    for step in ("ema_step", "wilder_step"):
        warehouse.execute(f"drop function if exists intermediate.{step} cascade")

    def start(model: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dbt.cli.main", "run", "--select", model]
        command += ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
        command += ["--target-path", str(tmp_path / model), "--log-path", str(tmp_path / model)]
        environment = os.environ | warehouse.environment()
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    running = [start(model) for model in ("stg_tickmart__runs", "stg_tickmart__gaps", "stg_binance__ohlcv")]
    for process in running:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    aggregates = "select proname, oid, xmin from pg_proc where proname in ('ema', 'wilder', 'exact_sum') order by 1"
    created = warehouse.query(aggregates)
    assert [row[0] for row in created] == ["ema", "exact_sum", "wilder"]
    assert warehouse.dbt("run", "--select", "stg_tickmart__runs").success
    assert warehouse.query(aggregates) == created
