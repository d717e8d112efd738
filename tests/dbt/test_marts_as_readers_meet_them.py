"""Guarantees to readers of the marts: relations during a build, grants, comments, constraints, contents of views."""

import contextlib
import itertools
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg2
import pytest
from dbt_warehouse import PROJECT, Warehouse, connect_arguments
from small_markets import KLINE_COLUMNS, UNIVERSE_COLUMNS, Bar, hours_between, random_walk, universe_rows

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


@pytest.fixture(scope="module")
def operations(warehouse: Warehouse) -> None:
    """The marts of runs, requests and incidents, which are views."""
    warehouse.run("--select", "+fct_runs", "+fct_source_requests", "+fct_incidents")


@pytest.mark.slow
def test_a_fresh_install_builds_green_with_no_data_and_with_one_source(warehouse: Warehouse) -> None:
    warehouse.execute(
        "insert into ops.datasets (dataset, source, sla_seconds, degraded_after_seconds)"
        " select dataset, 'a source', 7200, 28800"
        " from unnest(array['binance_klines', 'coingecko_markets', 'fear_greed']) as dataset"
    )
    result = warehouse.dbt("build")
    assert result.success, result.log[-4000:]
    assert "pass" in result.statuses.values()
    warehouse.copy("raw.fear_greed", ("date", "value", "classification", "batch_id"), [("2024-01-01", 5, "Fear", "b")])
    warehouse.run("--select", "stg_alternative_me__fear_greed+")
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
    warehouse.run("--exclude", "path:models/marts/operations")
    rows = warehouse.query("select crypto_id, symbol, first_bar_at is null, market_cap_rank from marts.dim_crypto")
    assert sorted(rows) == [("bitcoin", "BTC", False, 1), ("unlisted", "NONE", True, None)]


def test_each_view_reads_the_latest_snapshot(warehouse: Warehouse) -> None:
    def ids(view: str) -> list[str]:
        return [row[0] for row in warehouse.query(f"select crypto_id from marts.{view} order by position")]

    assert warehouse.query("select count(*), count(distinct snapshot_at) from marts.v_latest_snapshot") == [(4, 1)]
    assert warehouse.query("select count(*), count(*) filter (where is_latest) from marts.v_latest_partition") == [
        (4, 4)
    ]
    assert ids("v_market_cap") == ids("v_top_100") == ["bitcoin", "small", "falling", "idle"]
    assert ids("v_top_gainers") == ["small", "bitcoin"]
    assert ids("v_volume_24h") == ["bitcoin", "falling", "small", "idle"]
    totals = "select total_market_cap_usd, btc_dominance_pct, breadth_pct from marts.v_total_market_cap"
    assert warehouse.query(totals) == [(500, 60.0, 75.0)]
    [(bars, first)] = warehouse.query("select count(*), min(index_100) filter (where opened_at = '2024-01-05') "
                                      "from marts.v_trendline_core")  # fmt: skip
    assert (bars, first) == (168, 100.0)
    assert warehouse.query("select round(divergence_pct::numeric, 9) from marts.v_price_divergence") == [(0,)]


def days_of(symbol: str, swing: float, rise: float, million_a_day: float, times: float) -> list[Bar]:
    """One bar a day: 30 days that go up and down by `swing`, then 7 that rise by `rise` on `times` the volume."""
    prices = [100 * (1 + swing * (day % 2)) for day in range(30)]
    prices += [prices[-1] * (1 + rise) ** day for day in range(1, 8)]
    bars = []
    for day, price in enumerate(Decimal(f"{price:.4f}") for price in prices):
        quote = Decimal(str(million_a_day * (times if day >= 30 else 1))) * 10**6
        opened_at = datetime(2024, 1, 11, tzinfo=UTC) - timedelta(days=36 - day)
        bars.append(Bar(symbol, opened_at, price, price, price, price, quote / price, quote, 9))
    return bars


def test_trending_coins_rose_more_and_traded_more_than_usual(warehouse: Warehouse) -> None:
    markets = {
        "QUIET": days_of("QUIET", swing=0.01, rise=0.02, million_a_day=3, times=2),
        "SLOWER": days_of("SLOWER", swing=0.01, rise=0.01, million_a_day=3, times=2),
        "WILD": days_of("WILD", swing=0.2, rise=0.02, million_a_day=3, times=2),
        "FALLS": days_of("FALLS", swing=0.01, rise=-0.02, million_a_day=3, times=2),
        "IDLE": days_of("IDLE", swing=0.01, rise=0.02, million_a_day=3, times=0.9),
        "THIN": days_of("THIN", swing=0.01, rise=0.02, million_a_day=0.4, times=2),
        "YOUNG": days_of("YOUNG", swing=0.01, rise=0.02, million_a_day=3, times=2)[18:],
        "DOLLAR": days_of("DOLLAR", swing=0.01, rise=0.02, million_a_day=3, times=2),
    }
    rows = [(symbol.lower(), symbol, None, None) for symbol in markets]
    warehouse.copy("raw.universe", UNIVERSE_COLUMNS, universe_rows(rows))
    warehouse.execute("update raw.universe set category = 'Stablecoin' where crypto_id = 'dollar'")
    loaded_at = datetime(2024, 1, 21, tzinfo=UTC)
    for bars in markets.values():
        warehouse.copy("raw.binance_klines", KLINE_COLUMNS, [bar.row(loaded_at) for bar in bars])
    warehouse.run("--select", "+v_trending")
    found = warehouse.query(
        "select crypto_id, usual_days, change_7d_pct, volume_ratio, move_score, trend_score from marts.v_trending"
        " order by position"
    )
    assert [row[0] for row in found] == ["quiet", "slower"]
    closes = [float(bar.close) for bar in markets["QUIET"]]
    usual = statistics.stdev(math.log(after / before) for before, after in itertools.pairwise(closes[:29]))
    move = math.log(closes[36] / closes[29]) / (usual * math.sqrt(7))
    expected = (28, 100 * (closes[36] / closes[29] - 1), 2, move, 2 * move)
    assert found[0][1:] == pytest.approx(expected, rel=1e-9)


def test_runs_and_requests_show_without_a_build(warehouse: Warehouse, operations: None) -> None:
    warehouse.execute(
        "insert into ops.runs (run_id, job, started_at, ended_at, status, summary) values"
        " ('done', 'market_refresh', now() - interval '1 hour', now() - interval '59 minutes', 'failed',"
        "  '{\"error\": \"Binance: out of reach\"}'), ('now', 'rebuild', now(), null, 'running', null),"
        " ('old', 'rebuild', now() - interval '40 days', now() - interval '40 days', 'ok', null);"
        "insert into ops.run_stages (run_id, stage, dataset, status, rows, detail) values"
        " ('done', 'bronze', 'binance_klines', 'ok', 100, '{}'), ('done', 'bronze', 'fear_greed', 'ok', 5, '{}'),"
        " ('done', 'raw', 'binance_klines', 'ok', 100, '{\"inserted\": 7, \"updated\": 2}'),"
        " ('done', 'dbt', 'models', 'ok', 999, '{}')"
    )
    runs = (
        "select run_id, job, ended_at is null, seconds, status, fetched_rows, changed_rows, error"
        " from marts.fct_runs order by started_at"
    )
    assert warehouse.query(runs) == [
        ("done", "market_refresh", False, 60.0, "failed", 105, 9, "Binance: out of reach"),
        ("now", "rebuild", True, None, "running", 0, 0, None),
    ]
    columns = ("source", "endpoint", "host", "requested_at", "http_status", "error", "latency_ms", "bytes", "attempt",
               "weight")  # fmt: skip
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    asked = [
        ("Binance", hour, 200, None, 10, 1000, 1, 2),
        ("Binance", hour, 429, "answered 429", 30, 20, 1, 2),
        ("Binance", hour, 503, "answered 503", 20, 5, 2, 2),
        ("Binance", hour, None, "timed out", 15000, 0, 3, 2),
        ("Binance", hour, 400, "bad request", 20, 10, 1, 2),
        ("Binance", hour, 404, None, 20, 10, 1, 2),
        ("Binance", hour - timedelta(hours=30), None, "timed out", 15000, 0, 1, 1),
        ("CoinGecko", hour - timedelta(microseconds=1), 200, None, 7, 11, 1, 1),
        ("CoinGecko", hour - timedelta(days=8), 200, None, 7, 11, 1, 1),
    ]
    warehouse.copy("ops.source_requests", columns, [(row[0], "/x", "host", *row[1:]) for row in asked])
    requests = (
        "select source, hour_started_at, requests, errors_4xx, errors_429, errors_5xx, unanswered, retries, weight,"
        " bytes, latency_p50_ms, round(latency_p95_ms::numeric, 6)::float8"
        " from marts.fct_source_requests order by source, hour_started_at"
    )
    assert warehouse.query(requests) == [
        ("Binance", hour - timedelta(hours=30), 1, 0, 0, 0, 1, 0, 1, 0, None, None),
        ("Binance", hour, 6, 1, 1, 1, 1, 2, 12, 1045, 20.0, 28.0),
        ("CoinGecko", hour - timedelta(hours=1), 1, 0, 0, 0, 0, 0, 1, 11, 7.0, 7.0),
    ]


def test_incidents_and_their_alerts_show_without_a_build(warehouse: Warehouse, operations: None) -> None:
    warehouse.execute(
        """
        insert into ops.incidents (fingerprint, kind, severity, title, detail, opened_at, recovered_at) values
            ('a', 'stale_dataset', 'warn', 'late', '', now() - interval '200 days', null),
            ('b', 'run_failed', 'error', 'failed', '', now() - interval '2 hours', now()),
            ('c', 'run_failed', 'error', 'long ago', '', now() - interval '91 days', now() - interval '91 days');
        insert into ops.alerts (incident_id, channel, event, dedup_key, message, sent_at, refused_at, last_error)
        select incident_id, channel, 'opened', title, '{}', sent_at, refused_at, last_error
        from ops.incidents
        cross join (
            values ('slack', now(), null::timestamptz, null), ('email', null, null, 'timed out')
        ) as a (channel, sent_at, refused_at, last_error)
        where (title = 'late') = (last_error is not null)
        """
    )
    found = (
        "select title, is_open, sent_alerts, waiting_alerts, refused_alerts, alert_error"
        " from marts.fct_incidents order by title"
    )
    assert warehouse.query(found) == [("failed", False, 1, 0, 0, None), ("late", True, 0, 1, 0, "timed out")]
    warehouse.execute("update ops.alerts set refused_at = now() where last_error is not null")
    assert warehouse.query(found)[1] == ("late", True, 0, 0, 1, "timed out")


def test_the_dashboard_role_reads_every_mart_and_nothing_else_also_after_a_rebuild(warehouse: Warehouse) -> None:
    warehouse.run("--full-refresh")
    names = [name for (name,) in warehouse.query(RELATIONS)]
    assert len(names) > 20
    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("set role dashboard_ro")
        for name in names:
            cursor.execute(f"select * from marts.{name} limit 1")
        for table in ("raw.binance_klines", "intermediate.int_asset_watermarks", "staging.stg_binance__ohlcv"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"select * from {table} limit 1")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("delete from marts.fct_prices")


def test_every_column_of_the_marts_has_its_definition_as_a_comment(warehouse: Warehouse) -> None:
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


def test_relations_of_removed_models_are_dropped_unless_a_view_reads_them(warehouse: Warehouse) -> None:
    warehouse.execute(
        "set role transform;"
        "create table intermediate.int_series (crypto_id text); create table intermediate.int_market_days (date date);"
        "create aggregate intermediate.exact_sum(bigint) (sfunc = int8pl, stype = bigint, initcond = '0')"
    )
    warehouse.execute("create view public.reader as select * from intermediate.int_market_days")
    old = (
        "select relname from pg_class where relname in ('int_series', 'int_market_days')"
        " union all select proname from pg_proc where proname = 'exact_sum'"
    )
    warehouse.run("--select", "dim_date")
    assert warehouse.query(old) == [("int_market_days",)]
    warehouse.execute("drop view public.reader")
    warehouse.run("--select", "dim_date")
    assert warehouse.query(old) == []


@pytest.mark.parametrize("arguments", [(), ("--full-refresh",)], ids=["refresh", "full refresh"])
def test_no_mart_is_missing_or_empty_while_a_build_runs(warehouse: Warehouse, arguments: tuple[str, ...]) -> None:
    stop, faults, reads = threading.Event(), set(), [0]
    # Connected before the build: libpq reads the environment, which dbt's settings change (a crash of glibc otherwise).
    connection = psycopg2.connect(**connect_arguments(warehouse.variables), options="-c statement_timeout=3s")
    connection.autocommit = True
    names = {name for (name,) in warehouse.query(RELATIONS)}
    filled = {name for name in names if warehouse.query(f"select 1 from marts.{name} limit 1")}
    assert len(filled) > 20

    def read() -> None:
        with contextlib.closing(connection), connection.cursor() as cursor:
            while not stop.is_set():
                for name in sorted(filled):
                    try:
                        cursor.execute(f"select 1 from marts.{name} limit 1")
                        if cursor.fetchone() is None:
                            faults.add(f"{name} is empty")
                    except psycopg2.Error as error:
                        faults.add(f"{name}: {error}")
                reads[0] += 1
                time.sleep(0.005)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        warehouse.run(*arguments)
    finally:
        stop.set()
        reader.join()
    assert reads[0] > 3
    assert faults == set()
    assert {name for (name,) in warehouse.query(RELATIONS)} == names
    assert warehouse.query("select relname from pg_class where relname like 'aside%'") == []


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
    aggregates = "select proname, oid, xmin from pg_proc where proname in ('ema', 'wilder') order by 1"
    created = warehouse.query(aggregates)
    assert [row[0] for row in created] == ["ema", "wilder"]
    assert warehouse.dbt("run", "--select", "stg_tickmart__runs").success
    assert warehouse.query(aggregates) == created
