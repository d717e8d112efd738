"""The stream end to end on real servers: what the exchange sent is in raw once, whatever is killed meanwhile."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.simulator.server import simulator
from support.live_stream import LiveStream, live_stream, until

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


def test_every_message_is_in_raw_once_and_its_bronze_rebuilds_it(stream: LiveStream) -> None:
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
    assert stream.one("select sum(rows) from ops.load_ledger where dataset = 'okx_trades'") == counts["trades"]


@pytest.mark.parametrize("what", PARTS)
def test_a_killed_part_loses_and_doubles_no_trade(stream: LiveStream, what: str) -> None:
    kill_often(stream, what, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", PARTS)
def test_fifty_kills_lose_and_double_no_trade(stream: LiveStream, what: str) -> None:
    kill_often(stream, what, kills=50)


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
