"""The marts that the client's tests read: forty fixed days of four coins in a real Postgres, and a release of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import tickmart as tm
from ingestion.database import connections, migrate
from ingestion.ops import datasets
from ingestion.settings import ROLES, Postgres, load_settings
from ingestion.sources.datasets import DATASETS
from orchestration.assets.manifest import dataset_assets
from orchestration.exports.release import publish
from support.database import fresh_database

PROJECT = Path(__file__).parents[2] / "dbt_project"
# Bitcoin misses three hours of 1 January; prices have more digits than a double. Two coins have the ticker FLOW, one of
# them the name of another coin. There are no snapshots before 8 January.
RAW = """
insert into raw.universe (crypto_id, binance_symbol, name, category, batch_id) values
    ('bitcoin', 'BTCUSDT', 'Bitcoin', 'store of value', 'test'),
    ('ethereum', 'ETHUSDT', 'Ethereum', 'smart contracts', 'test'),
    ('flow-chain', 'FLOWUSDT', 'Flow', 'smart contracts', 'test'),
    ('copycat', 'COPYUSDT', 'Ethereum', 'defi', 'test');
insert into raw.binance_klines (
    symbol, interval, open_time, open, high, low, close, volume, close_time, quote_volume, trade_count,
    taker_buy_base_volume, taker_buy_quote_volume, batch_id
)
select
    symbol, '1h', hour, price, price + 2, price - 2, price + 1, volume, hour + interval '59 minutes 59 seconds',
    volume * price, 100, volume / 2, volume * price / 2, 'test'
from (values ('BTCUSDT', 42000), ('ETHUSDT', 2300), ('FLOWUSDT', 5), ('COPYUSDT', 3)) as coins (symbol, base)
cross join generate_series('2023-12-01 00:00Z'::timestamptz, '2024-01-09 23:00Z', '1 hour') as hour
cross join lateral (
    select
        base + 0.123456789012345678901 + extract(hour from hour) / 10 + (extract(doy from hour)::integer % 7) as price,
        10.5 as volume
) as bars
where not (symbol = 'BTCUSDT' and hour in ('2024-01-01 05:00Z', '2024-01-01 06:00Z', '2024-01-01 07:00Z'));
insert into raw.coingecko_markets
    (crypto_id, snapshot_at, symbol, name, market_cap_rank, current_price, payload, batch_id)
select crypto_id, day + interval '12 hours', symbol, name, rank, 1.5, '{}', 'test'
from (
    values
        ('bitcoin', 'btc', 'Bitcoin', 1), ('ethereum', 'eth', 'Ethereum', 2), ('flow-chain', 'flow', 'Flow', 3),
        ('copycat', 'flow', 'Ethereum', 4)
) as coins (crypto_id, symbol, name, rank)
cross join (values ('2024-01-08 00:00Z'::timestamptz), ('2024-01-09 00:00Z')) as days (day);
insert into raw.fear_greed (date, value, classification, batch_id)
select day::date, 20 + extract(day from day)::integer, 'Fear', 'test'
from generate_series('2023-12-01'::timestamp, '2024-01-09', '1 day') as day;
insert into ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
select dataset, dataset, '', '', 1, 1, 0, 0, 'test'
from unnest(array['binance_klines', 'coingecko_markets', 'fear_greed']) as dataset
"""


@pytest.fixture(scope="session")
def owner(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A database with the marts, and the login that may change them."""
    target = tmp_path_factory.mktemp("dbt")
    with fresh_database(stack_env) as postgres:
        migrate.bootstrap(postgres, {role: stack_env[f"TICKMART_PG_{role.upper()}_PASSWORD"] for role in ROLES})
        with closing(connections.connect(postgres)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(RAW)
        dbt = [Path(sys.executable).with_name("dbt"), "run", "--project-dir", PROJECT, "--profiles-dir", PROJECT]
        settings = {"PGDATABASE": postgres.database, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        built = subprocess.run(
            [*dbt, "--target-path", target, "--log-path", target],
            env={**os.environ, **stack_env, **settings},
            capture_output=True,
            text=True,
        )
        assert built.returncode == 0, built.stdout[-4000:]
        assets = dataset_assets(json.loads((target / "manifest.json").read_bytes()))
        with closing(connections.connect(postgres)) as connection:
            datasets.record_datasets(connection, load_settings({}), DATASETS, assets)
        yield postgres


@pytest.fixture(scope="session")
def url(owner: Postgres, stack_env: dict[str, str]) -> str:
    """The address that `tickmart connect --format url` prints."""
    password = stack_env["TICKMART_PG_READER_PASSWORD"]
    return f"postgresql://reader:{password}@{owner.host}:{owner.port}/{owner.database}"


@pytest.fixture(scope="session")
def database(url: str) -> Iterator[tm.Source]:
    source = tm.connect(url)
    yield source
    source.close()


@pytest.fixture(scope="session")
def release_folder(owner: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of releases with one release."""
    parent = tmp_path_factory.mktemp("published")
    with connections.connected(owner, "quality_ro") as connection:
        publish(connection, parent)
    return parent


@pytest.fixture(scope="session")
def release(release_folder: Path) -> tm.Source:
    return tm.open(release_folder)


@pytest.fixture(params=["database", "release"])
def source(request: pytest.FixtureRequest) -> tm.Source:
    """Each kind of source in turn."""
    found: tm.Source = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def unreachable(owner: Postgres) -> str:
    """The address of a port where nothing listens."""
    nowhere = replace(owner, port=1)
    return f"postgresql://reader:canary-secret@{nowhere.host}:{nowhere.port}/{nowhere.database}"
