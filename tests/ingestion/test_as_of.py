"""marts.bars_as_of returns at each moment what a database that stopped then would have."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.settings import Postgres
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import parse_klines
from support.database import fresh_database
from support.pipeline import Chain
from support.source_rows import bar, body_of

FIRST_DAY = date(2026, 1, 2)
FETCHED = datetime(2026, 1, 9, tzinfo=UTC)
COLUMNS = "opened_at, open, high, low, close, volume, quote_volume, trade_count, taker_buy_volume, binance_symbol"
NOW = """
    select crypto_id, open_time, open, high, low, close, volume, quote_volume, trade_count, taker_buy_base_volume,
        symbol, k.loaded_at
    from raw.binance_klines as k
    join raw.universe as u
        on binance_symbol = symbol and open_time >= coalesce(valid_from::timestamp at time zone 'UTC', '-infinity')
    where interval = '1h' and high < 1000
    order by 1, 2"""
THEN = f"select crypto_id, {COLUMNS}, known_at from marts.bars_as_of(%s) order by 1, 2"


def put(lake: Lake, chance: random.Random, step: int) -> None:
    """Merge some bars of some days into the lake: new, late, equal or corrected ones."""
    for _ in range(chance.randint(1, 3)):
        day, symbol = FIRST_DAY + timedelta(days=chance.randrange(4)), chance.choice(["BTCUSDT", "ETHUSDT"])
        fields: dict[str, Any] = {"close": f"{chance.randint(100, 103)}.{chance.randint(0, 9)}00"}
        body = body_of(bar(day, hour, **fields) for hour in sorted(chance.sample(range(24), chance.randint(1, 24))))
        fetched_at = FETCHED + timedelta(minutes=step)
        rows = parse_klines(body, symbol, "1h", "http://exchange/api/v3/klines", fetched_at).rows
        with_batch = rows.append_column("batch_id", [[f"fetch-{step}"] * len(rows)])
        lake.merge(KLINES, klines_key("1h", day), with_batch.combine_chunks())


def create_function(postgres: Postgres, home: Path) -> None:
    """Let dbt set up the database as a run does."""
    variables = {
        "PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGDATABASE": postgres.database,
        "PGUSER": postgres.user, "PGPASSWORD": postgres.password, "TICKMART_HOME": str(home),
    }  # fmt: skip
    command = [Path(sys.executable).with_name("tickmart"), "dbt", "run", "--select", "stg_binance__ohlcv"]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def database(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with fresh_database(stack_env) as made:
        create_function(made, tmp_path_factory.mktemp("home"))
        yield made


@pytest.fixture
def chain(database: Postgres, lake: Lake) -> Iterator[Chain]:
    with connections.connected(database, "ingest") as connection:
        made = Chain(database, lake, connection)
        made.clear_records()
        coins = [("bitcoin", "BTCUSDT", None), ("ethereum", "ETHUSDT", "2026-01-03")]
        for coin in coins:
            made.ask(
                "insert into raw.universe (crypto_id, binance_symbol, name, category, valid_from, batch_id) "
                "values (%s, %s, 'a', 'x', %s, 'b')",
                coin,
            )
        yield made


@pytest.mark.parametrize("seed", [1, 2])
def test_at_each_load_the_bars_are_those_of_a_database_that_stopped_after_it(chain: Chain, seed: int) -> None:
    chance = random.Random(seed)
    seen = [(datetime(2026, 1, 1, tzinfo=UTC), [])]
    for step in range(15):
        put(chain.lake, chance, step)
        chain.load(KLINES)
        seen.append((chain.one("select clock_timestamp()"), chain.ask(NOW)))
    assert chain.one("select count(*) from ops.restatements") > 20
    for moment, rows in seen:
        assert chain.ask(THEN, (moment,)) == rows, moment


def test_an_invalid_bar_is_not_returned_and_the_reader_reads_through_the_function_alone(chain: Chain) -> None:
    put(chain.lake, random.Random(3), 0)
    chain.load(KLINES)
    before = len(chain.ask(THEN, (datetime.now(UTC) + timedelta(days=1),)))
    chain.ask("update raw.binance_klines set close = 'NaN' where ctid = (select min(ctid) from raw.binance_klines)")
    with connections.connected(chain.postgres) as connection, connection.cursor() as cursor:
        cursor.execute("set role reader")
        cursor.execute("select count(*) from marts.bars_as_of('infinity')")
        assert cursor.fetchone() == (before - 1,)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("select count(*) from raw.binance_klines")
