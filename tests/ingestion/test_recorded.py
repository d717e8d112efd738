"""Recorded market data, served again: the invariants of the field hold from the API's bytes to the rows in raw."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from chain import Chain, bucket_of, fresh_database
from recorded import ASSETS, recorded_server

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.settings import Postgres
from ingestion.sources.binance import ingest
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko import ingest as coingecko_ingest
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed import ingest as fear_greed_ingest
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.http import HttpClient

START, END = date(2023, 3, 15), date(2023, 4, 1)
HALT = datetime(2023, 3, 24, 13, tzinfo=UTC)


@pytest.fixture(scope="module")
def replay() -> Iterator[str]:
    with recorded_server() as server:
        yield server.url


@pytest.fixture(scope="module")
def recorded(replay: str, stack_env: dict[str, str]) -> Iterator[Chain]:
    """Hourly and daily bars, a market snapshot and the sentiment index, loaded once for this module."""
    lake = Lake(bucket_of(stack_env))
    lake.ensure_bucket()
    with fresh_database(stack_env) as owner, connections.closing(connections.connect(owner, "ingest")) as connection:
        chain = Chain(owner, lake, connection)
        fill(chain, replay)
        yield chain


def client(source: str, url: str) -> HttpClient:
    return HttpClient(source, [url], setting="BINANCE_BASE_URL")


def fill(chain: Chain, replay: str) -> None:
    binance = client("Binance", f"{replay}/binance")
    report = ingest.ingest_klines(chain.context(), binance, ASSETS, START, END)
    daily = ingest.ingest_klines(chain.context(), binance, ASSETS, START, END, interval="1d")
    markets = client("CoinGecko", f"{replay}/coingecko/api/v3")
    sweep = coingecko_ingest.ingest_markets(chain.context(), markets, ASSETS, datetime(2025, 1, 1, tzinfo=UTC))
    index = fear_greed_ingest.ingest_fear_greed(
        chain.context(), client("Fear & Greed", f"{replay}/alternative"), date(2024, 12, 31)
    )
    for done in (report, daily, sweep, index):
        assert (done.rejected, done.failed, done.error) == (0, {}, None)
    for dataset in (KLINES, MARKETS, FEAR_GREED):
        chain.load(dataset)


VIOLATIONS = {
    "a price is not above zero": "open <= 0 or high <= 0 or low <= 0 or close <= 0",
    "the high is not the highest": "high < greatest(open, close, low)",
    "the low is not the lowest": "low > least(open, close, high)",
    "takers bought more than was traded": "taker_buy_base_volume > volume or taker_buy_quote_volume > quote_volume",
    "a volume without trades": "(trade_count = 0) <> (volume = 0)",
    "a bar opens off the grid": "interval = '1h' and open_time <> date_trunc('hour', open_time, 'UTC')",
    "a bar closes before it opens": "close_time <= open_time",
    "a bar closes elsewhere but at its end": f"interval = '1h' and close_time <> open_time + interval '1 hour' - "
    f"interval '1 millisecond' and open_time <> timestamptz '{HALT}' - interval '1 hour'",
    "the mean price lies outside the range": "volume > 0 and quote_volume / volume not between low and high",
    "a number is no number": "'NaN' in (open, high, low, close, volume, quote_volume)",
}  # fmt: skip


def test_the_invariants_of_the_field_hold(recorded: Chain) -> None:
    """All violations are collected and shown together."""
    found = {
        what: recorded.one(f"select count(*) from raw.binance_klines where {condition}")
        for what, condition in VIOLATIONS.items()
    }
    assert {what: n for what, n in found.items() if n} == {}


def test_every_hour_is_there_once_but_the_one_in_which_the_exchange_stood_still(recorded: Chain) -> None:
    hours = (END - START).days * 24
    counts = recorded.ask("select symbol, count(*) from raw.binance_klines where interval = '1h' group by 1 order by 1")
    assert counts == sorted((a.binance_symbol, hours - 1) for a in ASSETS)
    assert recorded.one("select count(*) from raw.binance_klines where interval = '1h' and open_time = %s", [HALT]) == 0


def test_the_hours_of_a_day_add_up_to_its_daily_bar_exactly(recorded: Chain) -> None:
    different = recorded.ask(
        """
        with hours as (
            select
                symbol, date_trunc('day', open_time, 'UTC') as day, sum(volume) as volume,
                sum(quote_volume) as quote_volume, sum(trade_count) as trade_count, max(high) as high, min(low) as low,
                (array_agg(open order by open_time))[1] as open, (array_agg(close order by open_time desc))[1] as close
            from raw.binance_klines where interval = '1h' group by 1, 2
        )
        select symbol, day from hours
        full join (select *, open_time as day from raw.binance_klines where interval = '1d') as d using (symbol, day)
        where (hours.volume, hours.quote_volume, hours.trade_count, hours.high, hours.low, hours.open, hours.close)
            is distinct from (d.volume, d.quote_volume, d.trade_count, d.high, d.low, d.open, d.close)
        """
    )
    assert different == []


def test_the_sentiment_index_has_its_known_holes_and_no_other(recorded: Chain) -> None:
    missing = recorded.ask(
        """
        select day::date from generate_series(date '2024-09-01', date '2024-12-31', interval '1 day') as day
        where not exists (select 1 from raw.fear_greed where date = day::date) order by 1
        """
    )
    assert [str(day) for (day,) in missing] == ["2024-10-26"]


def test_a_sweep_keeps_every_field_of_every_coin(recorded: Chain) -> None:
    rows = recorded.ask("select crypto_id, current_price, payload from raw.coingecko_markets")
    assert len(rows) == 100
    assert {a.crypto_id for a in ASSETS} <= {row[0] for row in rows}
    for crypto_id, price, payload in rows:
        assert (payload["id"], float(price)) == (crypto_id, float(payload["current_price"]))


SNAPSHOT = """
import json, sys
from dataclasses import asdict
from datetime import UTC, date, datetime
sys.path[:0] = sys.argv[4:]
import test_recorded
from chain import Chain
from ingestion.database import connections
from ingestion.bronze.lake import Lake
from ingestion.settings import ObjectStore, Postgres
postgres, store = Postgres(**json.loads(sys.argv[1])), ObjectStore(**json.loads(sys.argv[2]))
lake = Lake(store)
lake.ensure_bucket()
test_recorded.START = date(2023, 3, 20)
with connections.closing(connections.connect(postgres, "ingest")) as connection:
    test_recorded.fill(Chain(postgres, lake, connection), sys.argv[3])
"""


def fingerprint(owner: Postgres, lake: Lake) -> dict[str, Any]:
    """Everything that raw and bronze hold, but the moments at which it was fetched and loaded."""
    with connections.closing(connections.connect(owner)) as connection, connection.cursor() as cursor:
        tables = {}
        for dataset in (KLINES, MARKETS, FEAR_GREED):
            names = ", ".join(c.name for c in dataset.columns)
            cursor.execute(f"select {names} from raw.{dataset.name} order by {', '.join(dataset.key)}")
            tables[dataset.name] = [str(row) for row in cursor.fetchall()]
    keys = [o.key for o in lake.list("") if o.key.startswith("binance/")]
    bars = {key: str(held[0].select(KLINES.schema.names[:12]).to_pydict()) for key in keys if (held := lake.read(key))}
    return {**tables, "bronze": bars}


def test_the_zone_of_this_machine_changes_nothing(
    replay: str, stack_env: dict[str, str], make_postgres: Callable[[], Postgres]
) -> None:
    prints = []
    for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
        owner, store = make_postgres(), bucket_of(stack_env)
        arguments = [json.dumps(vars(owner)), json.dumps(vars(store)), replay]
        folders = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
        done = subprocess.run(
            [sys.executable, "-c", SNAPSHOT, *arguments, *folders],
            env={**os.environ, "TZ": zone, "PGTZ": zone}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        prints.append(fingerprint(owner, Lake(store)))
    assert len(prints[0][KLINES.name]) == len(ASSETS) * (12 * 24 - 1 + 12)
    assert prints[0] == prints[1] == prints[2]


@pytest.fixture
def make_postgres(stack_env: dict[str, str]) -> Iterator[Callable[[], Postgres]]:
    with ExitStack() as made:
        yield lambda: made.enter_context(fresh_database(stack_env))
