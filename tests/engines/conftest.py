"""What the tests of engines share: a home whose bronze has what goes wrong.

Here: the home, made once. Not here: builds (`support.engines`), and what is expected of them.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from ingestion.simulator.bitcoin import make_day, write_daily
from ingestion.simulator.server import simulator
from support.cli import Home

# Luna stopped trading and its symbol has two assets; Tether has no bars.
UNIVERSE = """crypto_id,binance_symbol,name,category,valid_from,valid_to
bitcoin,BTCUSDT,Bitcoin,store of value,,
ethereum,ETHUSDT,Ethereum,smart contracts,,
pepe,PEPEUSDT,Pepe,meme,,
terra-luna,LUNAUSDT,Terra Classic,smart contracts,,2022-05-13
tether,,Tether,stablecoin,,
"""
TODAY = datetime.now(UTC).date()
# Spark builds for four minutes on two cores that nobody else uses.
ENGINE_TIMEOUT_S = 1800
# Builds of a few thousand rows: most of what a JVM does for them is compiling code that runs once.
SPARK_OPTIONS = (
    "spark.sql.shuffle.partitions=2 spark.sql.codegen.wholeStage=false "
    "'spark.driver.extraJavaOptions=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that build on an engine the time of two builds."""
    for item in items:
        if item.get_closest_marker("spark"):
            item.add_marker(pytest.mark.timeout(2 * ENGINE_TIMEOUT_S))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with gaps, a restated hour, rejected records, a delisted asset, two days of blocks, and a merged month."""
    folder = tmp_path_factory.mktemp("engines")
    with simulator(seed=3) as market:
        made = Home(folder / "home", market.urls(), UNIVERSE)
        made.timeout_s = ENGINE_TIMEOUT_S
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
