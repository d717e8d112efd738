"""Fixtures of the dashboard's tests: a real Postgres with marts that dbt built from simulated raw data.

`marts` is the full warehouse; `empty_marts` has the tables without rows, `bare_database` only roles and schemas,
`stale_marts` data that stopped three days ago. Each is a dict of libpq variables for the read-only
role; `visit` opens pages on one.
"""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest
import streamlit as st
from psycopg2 import sql
from streamlit.testing.v1 import AppTest

from dashboard import database
from ingestion.database import migrate
from ingestion.ops import datasets
from ingestion.settings import ROLES, Postgres, load_settings
from ingestion.simulator.coins import UNIVERSE, all_coins, read_universe
from ingestion.simulator.market import DAY_MS, HOUR_MS, Market
from ingestion.simulator.shapes import Shapes
from ingestion.sources.registry import DATASETS
from orchestration.assets.dbt import dataset_assets
from orchestration.local.client import stack

ROOT = Path(__file__).parents[2]
COINS, DAYS = 10, 130
SWEEPS_HOURS_AGO = (25, 24, 12, 1, 0)
SWEEP_COLUMNS = (
    "name",
    "image",
    "current_price",
    "market_cap",
    "market_cap_rank",
    "total_volume",
    "high_24h",
    "low_24h",
    "price_change_24h",
    "price_change_percentage_24h",
    "market_cap_change_24h",
    "market_cap_change_percentage_24h",
    "circulating_supply",
    "total_supply",
    "max_supply",
    "ath",
    "ath_change_percentage",
    "ath_date",
    "last_updated",
    "price_change_percentage_1h_in_currency",
    "price_change_percentage_24h_in_currency",
    "price_change_percentage_7d_in_currency",
)
HALTED_HOURS_AGO = range(50, 53)


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def _copy(cursor, table: str, columns: str, rows) -> None:
    buffer = io.StringIO()
    for row in rows:
        buffer.write("\t".join("\\N" if cell is None else str(cell) for cell in row) + "\n")
    buffer.seek(0)
    cursor.copy_expert(f"copy {table} ({columns}) from stdin", buffer)


def load_simulated_raw(cursor) -> None:
    """Fill raw with ten coins over 130 days, a halt of three hours, a few sweeps and the index; ops with verdicts."""
    market = Market(3, all_coins(read_universe(UNIVERSE)))
    shapes, now = Shapes(market), int(time.time() * 1000)
    hour = now // HOUR_MS * HOUR_MS
    with UNIVERSE.open() as file:
        assets = list(csv.DictReader(file))[:COINS]
    _copy(
        cursor,
        "raw.universe",
        "crypto_id, binance_symbol, name, category, batch_id",
        [(a["crypto_id"], a["binance_symbol"], a["name"], a["category"], "test") for a in assets],
    )
    for symbol in (asset["binance_symbol"] for asset in assets):
        coin = market.listed[symbol]
        prices, lots = coin.price_decimals, coin.volume_decimals
        rows = []
        for bar in market.bars(symbol, "1h", hour - DAYS * DAY_MS, hour).T.tolist():
            if (hour - bar[0]) // HOUR_MS in HALTED_HOURS_AGO:
                continue
            money = [f"{value / 10**prices:.{prices}f}" for value in bar[1:5]]
            rows.append(
                (
                    symbol,
                    "1h",
                    _instant(bar[0]),
                    *money,
                    bar[5] / 10**lots,
                    _instant(bar[0] + HOUR_MS - 1),
                    bar[6] / 10 ** (prices + lots),
                    bar[7],
                    bar[8] / 10**lots,
                    bar[9] / 10 ** (prices + lots),
                    "test",
                )
            )
        _copy(
            cursor,
            "raw.binance_klines",
            "symbol, interval, open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, "
            "taker_buy_base_volume, taker_buy_quote_volume, batch_id",
            rows,
        )
    for hours in SWEEPS_HOURS_AGO:
        at = now - hours * HOUR_MS - 60_000
        sweep = shapes.coingecko_markets(at, None, ("1h", "24h", "7d"), False, "market_cap_desc")
        _copy(
            cursor,
            "raw.coingecko_markets",
            "crypto_id, snapshot_at, symbol, payload, batch_id, " + ", ".join(SWEEP_COLUMNS),
            [(r["id"], _instant(at), r["symbol"], "{}", "test", *(r[name] for name in SWEEP_COLUMNS)) for r in sweep],
        )
    _copy(
        cursor,
        "raw.fear_greed",
        "date, value, classification, batch_id",
        [
            (_instant(int(r["timestamp"]) * 1000)[:10], r["value"], r["value_classification"], "test")
            for r in shapes.fear_greed_rows(now, DAYS)
        ],
    )
    cursor.execute(
        """
        insert into ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
        select dataset, dataset, '', '', 1, 1, 0, 0, 'test'
        from unnest(array['binance_klines', 'coingecko_markets', 'fear_greed']) as dataset;
        insert into ops.check_results
            (run_id, asset, check_name, source, severity, status, observed, expected, failed_rows, sample, checked_at)
        select
            'run-' || run, asset, check_name, 'great_expectations', 'warn',
            case when run = 0 and check_name = 'hours_without_trades' then 'failed' else 'passed' end,
            '3 hours', '0 hours', 3, '[{"hour": "2026-01-01T00:00:00Z"}]', now() - run * interval '1 hour'
        from generate_series(0, 5) as run
        cross join (
            values
                ('raw/binance_klines', 'hours_without_trades'),
                ('raw/coingecko_markets', 'ranks_are_unique'),
                ('raw/fear_greed', 'value_is_0_to_100')
        ) as checks (asset, check_name);
        insert into ops.runs (run_id, job, started_at, ended_at, status)
        select
            'run-' || run, 'market_refresh', now() - run * interval '1 hour',
            now() - run * interval '1 hour' + (20 + run) * interval '1 second',
            case when run = 2 then 'failed' else 'ok' end
        from generate_series(0, 5) as run;
        insert into ops.source_requests
            (source, endpoint, host, requested_at, http_status, latency_ms, bytes, attempt, weight)
        select 'binance', '/api/v3/klines', 'host', now() - n * interval '10 minutes',
            case when n % 10 = 0 then 429 else 200 end, 40 + n, 1000, 1, 2
        from generate_series(1, 100) as n;
        insert into ops.incidents (fingerprint, kind, severity, title, detail, opened_at, recovered_at)
        values
            (
                'a', 'gap_stays', 'warn', 'Three hours of BTCUSDT stay missing', 'Backfill them.',
                now() - interval '5 hours', null
            ),
            ('b', 'run_failed', 'error', 'A run failed', 'It works again.', now() - interval '1 day', now())
        """
    )


class Server:
    """A running embedded Postgres: administrator's connections, copies of databases, the reader's variables."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.manifest = Path()

    def connect(self, name: str):
        given = self.environment
        connection = psycopg2.connect(
            host=given["PGHOST"], port=given["PGPORT"], user=given["PGUSER"], password=given["PGPASSWORD"], dbname=name
        )
        connection.autocommit = True
        return connection

    def execute(self, name: str, statement: str) -> None:
        with contextlib.closing(self.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def query(self, name: str, statement: str) -> list[tuple]:
        with contextlib.closing(self.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def copy_database(self, name: str, of: str) -> None:
        database.POOL.close()
        statement = "create database {} template {}"
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(of)))

    def bootstrap(self, name: str) -> None:
        given = self.environment
        owner = Postgres(given["PGHOST"], int(given["PGPORT"]), name, given["PGUSER"], given["PGPASSWORD"])
        migrate.bootstrap(owner, {role: given[f"TICKMART_PG_{role.upper()}_PASSWORD"] for role in ROLES})

    def reader(self, name: str) -> dict[str, str]:
        given = self.environment
        return {
            "PGHOST": given["PGHOST"],
            "PGPORT": given["PGPORT"],
            "PGDATABASE": name,
            "PGUSER": given["TICKMART_PG_DASHBOARD_RO_USER"],
            "PGPASSWORD": given["TICKMART_PG_DASHBOARD_RO_PASSWORD"],
        }


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """An embedded Postgres whose database `tickmart` has simulated raw data and the marts that dbt built from it."""
    with (
        tempfile.TemporaryDirectory(prefix="tickmart-dashboard-", ignore_cleanup_errors=True) as home,
        stack(Path(home) / "home", postgres=True, s3=False) as environment,
    ):
        running = Server(environment)
        running.bootstrap("tickmart")
        with contextlib.closing(running.connect("tickmart")) as connection, connection.cursor() as cursor:
            load_simulated_raw(cursor)
        target = Path(home) / "dbt"
        built = subprocess.run(
            [
                Path(sys.executable).with_name("dbt"),
                "run",
                "--project-dir",
                ROOT / "dbt_project",
                "--profiles-dir",
                ROOT / "dbt_project",
                "--target-path",
                target,
                "--log-path",
                target,
            ],
            env={**os.environ, **environment, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
            capture_output=True,
            text=True,
        )
        assert built.returncode == 0, built.stdout[-4000:]
        running.execute("tickmart", "analyze")
        running.manifest = target / "manifest.json"
        with contextlib.closing(running.connect("tickmart")) as connection:
            assets = dataset_assets(json.loads(running.manifest.read_bytes()))
            datasets.record_datasets(connection, load_settings({}), DATASETS, assets)
        yield running
        database.POOL.close()


@pytest.fixture(scope="session")
def marts(server: Server) -> dict[str, str]:
    return server.reader("tickmart")


@pytest.fixture(scope="session")
def manifest(server: Server) -> Path:
    """What dbt wrote about the models that it built."""
    return server.manifest


@pytest.fixture(scope="session")
def stale_marts(server: Server) -> dict[str, str]:
    """A copy whose newest candles, sweeps and index are three days old."""
    server.copy_database("stale", "tickmart")
    server.execute(
        "stale",
        """
        delete from marts.fct_prices where opened_at > now() - interval '3 days';
        update marts.dim_crypto set last_bar_at = date_trunc('hour', now()) - interval '3 days';
        delete from marts.fct_daily_summary where date > current_date - 4;
        update marts.fct_market_snapshots set snapshot_at = snapshot_at - interval '3 days';
        update marts.fct_market_global set snapshot_at = snapshot_at - interval '3 days';
        delete from marts.fct_sentiment_daily where date > current_date - 3;
        """,
    )
    return server.reader("stale")


@pytest.fixture(scope="session")
def empty_marts(server: Server) -> dict[str, str]:
    """A copy with every table of the marts and of ops emptied."""
    server.copy_database("empty", "tickmart")
    tables = server.query(
        "empty", "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('marts', 'ops')"
    )
    server.execute("empty", "truncate " + ", ".join(name for (name,) in tables))
    return server.reader("empty")


@pytest.fixture(scope="session")
def bare_database(server: Server) -> dict[str, str]:
    """A database with roles and schemas but without a single mart: before the first refresh."""
    server.execute("postgres", "create database bare")
    server.bootstrap("bare")
    return server.reader("bare")


@pytest.fixture(scope="session")
def no_database(server: Server) -> dict[str, str]:
    """Variables that point at a port where nothing listens, with a password that must show nowhere."""
    return server.reader("tickmart") | {"PGPORT": "1", "PGPASSWORD": "canary-secret"}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[dict[str, str]], None]]:
    """Point the dashboard at a database, with nothing remembered from another."""

    def point(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        database.POOL.close()
        st.cache_data.clear()
        st.cache_resource.clear()

    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    yield point
    database.POOL.close()
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def visit(use) -> Callable[..., AppTest]:
    """Open a page on a database: visit(marts, "price", coin="ethereum")."""

    def open_page(variables: dict[str, str], page: str = "overview", **query: str | list[str]) -> AppTest:
        use(variables)
        app = AppTest.from_file(str(ROOT / "dashboard/app.py"), default_timeout=60)
        app.switch_page(f"views/{page}.py")
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    return open_page
