"""Marts built from recorded data are equal on Postgres and on the engines: real prices, series and blocks."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.raw.loader import load_universe
from ingestion.settings import Settings, load_settings
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.ingest import ingest_klines
from ingestion.sources.bitcoin.bucket import Bucket
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS
from ingestion.sources.bitcoin.ingest import ingest_days
from ingestion.sources.bitcoin.load import load_days
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.coingecko.ingest import ingest_markets
from ingestion.sources.conventions import PLAIN_HTTP
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.fear_greed.ingest import ingest_fear_greed
from ingestion.sources.http import HttpClient
from ingestion.sources.onchain.client import blockchain_series, coinmetrics_series
from ingestion.sources.onchain.dataset import (
    BLOCKCHAIN_DAILY,
    BLOCKCHAIN_METRICS,
    COINMETRICS_DAILY,
    COINMETRICS_METRICS,
)
from ingestion.sources.onchain.ingest import DailyOptions, Provider, ingest_daily
from ingestion.sources.registry import SOURCES
from ingestion.universe import Asset
from orchestration.assets.dbt import DBT, PROJECT_DIR
from orchestration.engines import build, parity
from orchestration.engines.installed import ENGINES
from orchestration.local.processes import free_port
from support.cli import clean_environment
from support.database import bucket_of, fresh_database
from support.engines import needs
from support.pipeline import Chain

REPLAY = Path(__file__).parents[2].parent / "shared/replay"
BLOCKS = REPLAY / "data/bitcoin/v1.0/btc"
ASSETS = [
    Asset(crypto_id, f"{ticker}USDT", ticker, "")
    for crypto_id, ticker in (("bitcoin", "BTC"), ("ethereum", "ETH"), ("solana", "SOL"), ("dogecoin", "DOGE"))
]
# The series of transfer value ends on 2022-04-29; the longest windows of prices that begin here are 90 days.
START, END = date(2022, 1, 1), date(2022, 5, 1)

PROVIDERS = (
    Provider("coinmetrics", COINMETRICS_DAILY, COINMETRICS_METRICS, coinmetrics_series),
    Provider("blockchain", BLOCKCHAIN_DAILY, BLOCKCHAIN_METRICS, blockchain_series),
)
CONVENTIONS = {api.name: api.conventions for declared in SOURCES for api in declared.apis}

pytestmark = [
    pytest.mark.spark,
    pytest.mark.slow,
    pytest.mark.recorded,
    pytest.mark.skipif(not REPLAY.exists(), reason="no recorded data"),
]


@contextlib.contextmanager
def replayed() -> Iterator[str]:
    """The recorded data, served as the real APIs serve it."""
    port = free_port(0)
    command = [sys.executable, REPLAY / "server.py", "--data", REPLAY / "data", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while server.poll() is None and socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def load(chain: Chain, url: str) -> None:
    """Fetch everything that was recorded into bronze, and load it."""

    def client(source: str, path: str) -> HttpClient:
        used = CONVENTIONS.get(source, PLAIN_HTTP)
        return HttpClient(source, [f"{url}/{path}"], setting="BINANCE_BASE_URL", conventions=used)

    now = datetime.now(UTC)
    ingest_klines(chain.context(), client("Binance", "binance"), ASSETS, START, END)
    ingest_markets(chain.context(), client("CoinGecko", "coingecko/api/v3"), ASSETS, datetime(2025, 1, 1, tzinfo=UTC))
    ingest_fear_greed(chain.context(), client("Fear & Greed", "alternative"), date(2024, 12, 31))
    for provider in PROVIDERS:
        of_provider = client(provider.dataset.source, provider.source)
        ingest_daily(chain.context(), of_provider, provider, now, DailyOptions(complete=True))
    days = sorted(date.fromisoformat(p.name.removeprefix("date=")) for p in (BLOCKS / "blocks").iterdir())
    ingest_days(chain.context(), Bucket(f"file://{BLOCKS}"), days, lambda: now)
    load_universe(chain.connection, ASSETS, "universe")
    for dataset in (KLINES, MARKETS, FEAR_GREED, COINMETRICS_DAILY, BLOCKCHAIN_DAILY):
        assert chain.load(dataset).inserted, dataset.name
    loaded, damaged = load_days(chain.lake, chain.connection, BITCOIN_TRANSACTIONS, chain.context().batch_id)
    assert (loaded.inserted > 0, damaged) == (True, [])


@pytest.fixture(scope="module")
def recorded(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chain, Settings]]:
    """The recorded data in bronze and raw, and the marts of Postgres."""
    folder = tmp_path_factory.mktemp("recorded")
    universe = folder / "universe.csv"
    universe.write_text(
        "crypto_id,binance_symbol,name,category\n"
        + "".join(f"{a.crypto_id},{a.binance_symbol},{a.name},{a.category}\n" for a in ASSETS)
    )
    store = bucket_of(stack_env)
    lake = Lake(store)
    lake.ensure_bucket()
    with (
        replayed() as url, fresh_database(stack_env) as owner,
        connections.closing(connections.connect(owner, "ingest")) as connection,
    ):  # fmt: skip
        chain = Chain(owner, lake, connection)
        load(chain, url)
        connection.commit()
        transform = {
            "PGHOST": owner.host, "PGPORT": str(owner.port), "PGDATABASE": owner.database,
            "TICKMART_PG_TRANSFORM_USER": owner.user, "TICKMART_PG_TRANSFORM_PASSWORD": owner.password,
            "TICKMART_PG_TRANSFORM_ROLE": "transform", "DBT_TARGET_PATH": str(folder / "dbt"),
            "DBT_LOG_PATH": str(folder / "dbt"), "DBT_PROJECT_DIR": str(PROJECT_DIR),
            "DBT_PROFILES_DIR": str(PROJECT_DIR),
        }  # fmt: skip
        done = subprocess.run(
            [DBT, "run", "--selector", "engines"], env={**clean_environment(), **transform}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        given: dict[str, Any] = {
            "TICKMART_HOME": str(folder / "home"), "TICKMART_UNIVERSE": str(universe),
            "MINIO_ENDPOINT": store.endpoint, "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key, "MINIO_BUCKET": store.bucket,
        }  # fmt: skip
        yield chain, load_settings(given)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_mart_of_recorded_data_equals_that_of_postgres(recorded: tuple[Chain, Settings], engine: str) -> None:
    needs(engine)
    chain, settings = recorded
    done = build.build(settings, engine)
    with connections.closing(connections.connect(chain.postgres)) as connection:
        found = {c.mart: c for c in parity.compare(connection, done.tables, done.marts)}
    assert {mart: c.as_json() for mart, c in found.items() if not c.is_equal} == {}
    # Four months, so each mart but that of the candles of 15m and 4h has rows.
    assert {mart for mart, c in found.items() if not c.identical} == {"fct_candles_intraday"}
    assert found["fct_prices"].identical > 11_000
    assert found["fct_onchain_transactions"].identical == chain.one("select count(*) from raw.bitcoin_transactions")
    assert os.path.realpath(settings.warehouse / engine / "current" / "tables") == str(done.tables.resolve())
