"""The stream end to end on real servers: what the exchange sent is in raw once, whatever is killed meanwhile."""

import random
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion.bronze.lake import Lake
from ingestion.database.connections import connected
from ingestion.raw.loader import empty
from ingestion.simulator.server import simulator
from ingestion.sources.okx.dataset import OKX_TICKERS, OKX_TRADES
from ingestion.sources.okx.load import load_objects
from ingestion.stream.compaction import compact
from support.live_stream import (
    KILLED_BEFORE_A_GAP_IS_CLOSED,
    KILLED_BEFORE_A_GAP_IS_STORED,
    LiveStream,
    live_stream,
    until,
)

PARTS = ("collect", "sink", "broker", "postgres", "s3")
UNIVERSE = "crypto_id,binance_symbol,name,category\n" + "".join(
    f"{name},{symbol}USDT,{symbol},Layer 1\n"
    for name, symbol in (("bitcoin", "BTC"), ("ethereum", "ETH"), ("solana", "SOL"), ("dogecoin", "DOGE"))
)


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[LiveStream]:
    """Servers, an exchange of four instruments that does not trade yet, and no process of the stream."""
    universe = tmp_path / "universe.csv"
    universe.write_text(UNIVERSE)
    with (
        simulator(universe=universe, live_rate=0) as exchange,
        live_stream(tmp_path / "home", exchange, TICKMART_UNIVERSE=str(universe)) as started,
    ):
        yield started


def test_every_message_is_in_raw_once_and_its_bronze_is_merged_by_the_hour(stream: LiveStream) -> None:
    stream.start()
    stream.connected()
    stream.trade(4, rate=500)
    stream.settle()
    counts = stream.simulator.exchange.counts
    until(lambda: stream.one("select count(*) from raw.okx_tickers") == counts["tickers"], "all tickers in raw", stream)
    assert stream.one("select count(*) from raw.okx_trades") == counts["trades"]
    assert stream.ask("select sum(trades), sum(tickers), sum(duplicates), sum(rejected) from ops.stream_minutes") == [
        (counts["trades"], counts["tickers"], 0, 0)
    ]
    assert stream.ask("select * from ops.stream_gaps") == []
    lake, ledger = Lake(stream.settings.object_store), "select sum(rows), sum(inserted) from ops.load_ledger"
    before = lake.list("okx/")
    with connected(stream.settings.postgres) as connection:
        later, small = datetime.now(UTC) + timedelta(hours=2), lake.get(before[0].key) or b""
        # An object that a killed sink wrote and did not load.
        lake.put(before[0].key.replace(".parquet", "-again.parquet"), small)
        assert compact(lake, connection, later).objects == len(before) + 1
        # An object that a killed compaction had merged and not removed.
        lake.put(before[0].key, small)
        assert compact(lake, connection, later).merged == 1
        assert {info.key.rpartition("/")[2] for info in lake.list("okx/")} == {"hour.parquet"}
        for dataset in (OKX_TRADES, OKX_TICKERS):
            assert load_objects(lake, connection, dataset, "again")[0].inserted == 0
            empty(connection, dataset)
            load_objects(lake, connection, dataset, "rebuilt")
    assert stream.stored() == stream.sent()
    assert stream.ask(ledger) == [(counts["trades"] + counts["tickers"],) * 2]


def test_a_killed_part_loses_and_doubles_no_trade(stream: LiveStream) -> None:
    stream.start()
    stream.connected()
    stream.trade(1)
    for what in PARTS:
        stream.kill(what)
        stream.trade(1)
    stream.settle()
    assert stream.stored() == stream.sent()
    assert stream.one("select count(*) from ops.stream_gaps where filled_trades > 0") > 0
    assert stream.ask("select * from ops.stream_gaps where not is_filled") == []


def test_a_collector_that_is_killed_while_it_records_a_gap_leaves_none_open(stream: LiveStream) -> None:
    stream.start()
    stream.connected()
    stream.trade(1)
    killed = stream.processes.pop("collect")
    killed.kill()
    killed.wait()
    for program in (KILLED_BEFORE_A_GAP_IS_STORED, KILLED_BEFORE_A_GAP_IS_CLOSED):
        stream.collector = program
        stream.start("collect")
        until(lambda: stream.processes["collect"].poll() is not None, "the death of a collector", stream)
    assert stream.processes["collect"].returncode == -signal.SIGKILL, stream.log("collect")
    stream.collector = ""
    stream.start("collect")
    stream.settle()
    assert stream.stored() == stream.sent()
    assert stream.one("select count(*) from ops.stream_gaps") > 0
    assert stream.ask("select * from ops.stream_gaps where not is_filled") == []


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [pytest.param(5, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.kills)])
@pytest.mark.parametrize("what", PARTS)
def test_many_kills_lose_and_double_no_trade(stream: LiveStream, what: str, kills: int) -> None:
    kill_often(stream, what, kills=kills)


def kill_often(stream: LiveStream, what: str, kills: int) -> None:
    moments = random.Random(what)
    stream.start()
    stream.connected()
    stream.trade(1)
    for _ in range(kills):
        stream.trade(moments.uniform(0.1, 2.5))
        stream.kill(what)
    stream.trade(1)
    stream.settle()
    assert stream.stored() == stream.sent()
    assert stream.ask("select * from ops.stream_gaps where not is_filled") == []
    if what == "collect":
        assert stream.one("select count(*) from ops.stream_gaps where filled_trades > 0") > 0
    if what not in ("collect", "broker"):
        tickers = stream.simulator.exchange.counts["tickers"]
        until(lambda: stream.one("select count(*) from raw.okx_tickers") == tickers, "all tickers in raw", stream)
