"""Faults of the exchange, of the broker and of the stores: the stream goes on, and nothing is lost or doubled."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.simulator.server import simulator
from support.live_stream import IMPATIENT, LiveStream, live_stream, until
from support.tcp_proxy import tcp_proxy

UNIVERSE = "crypto_id,binance_symbol,name,category\n" + "".join(
    f"{name},{symbol}USDT,{symbol},Layer 1\n"
    for name, symbol in (("bitcoin", "BTC"), ("ethereum", "ETH"), ("solana", "SOL"), ("dogecoin", "DOGE"))
)
# What ends a connection, and the word with which its reason begins.
ENDING = {
    "drop": "connection lost", "notice": "notice 64008", "silence": "silence", "no_pong": "silence",
    "garbage": "garbage", "binary": "garbage", "half_frame": "connection lost", "subscription_error": "error 60014",
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStream]:
    folder = tmp_path_factory.mktemp("live")
    universe = folder / "universe.csv"
    universe.write_text(UNIVERSE)
    with (
        simulator(universe=universe, live_rate=0) as exchange,
        live_stream(folder / "home", exchange, TICKMART_UNIVERSE=str(universe)) as started,
    ):
        started.collector = IMPATIENT
        started.start()
        started.connected()
        yield started


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LiveStream]:
    """A stream of which nothing runs yet."""
    universe = tmp_path / "universe.csv"
    universe.write_text(UNIVERSE)
    with (
        simulator(universe=universe, live_rate=0) as exchange,
        live_stream(tmp_path / "home", exchange, TICKMART_UNIVERSE=str(universe)) as started,
    ):
        yield started


def test_connections_that_fail_are_replaced_and_their_trades_are_filled(shared: LiveStream) -> None:
    ended = "select reason from ops.stream_connections where ended_at is not null order by connection_id"
    for fault, reason in ENDING.items():
        before = len(shared.ask(ended))
        until(lambda: shared.simulator.exchange.stats()["listeners"] > 0, "a connection", shared)
        shared.trade(0.7)
        shared.simulator.exchange.obey({"do": fault})
        found = until(lambda before=before: shared.ask(ended)[before:], f"the end by {fault}", shared)
        assert found[0][0].startswith(reason), (fault, found)
    shared.settle()
    assert shared.stored() == shared.sent()
    assert shared.ask("select * from ops.stream_gaps where not is_filled") == []


def test_messages_that_are_lost_doubled_or_out_of_order_change_nothing(shared: LiveStream) -> None:
    until(lambda: shared.simulator.exchange.stats()["listeners"] > 0, "a connection", shared)
    shared.simulator.exchange.rate = 400
    for fault in ("lose", "duplicate", "reorder") * 2:
        shared.simulator.exchange.obey({"do": fault})
        time.sleep(0.3)
    shared.settle()
    assert shared.stored() == shared.sent()
    assert shared.ask("select * from ops.stream_gaps where not is_filled") == []


def test_a_clock_that_is_an_hour_off_is_reported_and_its_trades_are_kept(shared: LiveStream) -> None:
    shared.simulator.exchange.obey({"clock_ms": 3_600_000, "rate": 100})
    problem = "select problem from ops.stream_status"
    until(lambda: "3600" in (shared.one(problem) or "").replace(",", ""), "a report of the clock", shared)
    shared.settle()
    assert shared.stored() == shared.sent()
    assert shared.one("select sum(rejected) from ops.stream_minutes") == 0


def test_an_instrument_that_is_delisted_is_named_and_the_others_go_on(shared: LiveStream) -> None:
    shared.simulator.exchange.obey({"delist": "DOGE-USDT", "rate": 100})
    missing = "select missing_assets from ops.stream_status"
    until(lambda: shared.one(missing) == ["dogecoin"], "the missing asset", shared)
    newest = shared.one("select max(trade_id) from raw.okx_trades where inst_id = 'BTC-USDT'")
    newer = "select max(trade_id) > %s from raw.okx_trades where inst_id = 'BTC-USDT'"
    until(lambda: shared.one(newer, (newest,)), "trades of others", shared)
    shared.simulator.exchange.rate = 0


@pytest.mark.slow
def test_a_full_broker_holds_the_collector_back_and_the_gap_is_filled(own: LiveStream) -> None:
    own.environment["TICKMART_LIVE_BROKER_MB"] = "1"
    own.start("collect")
    own.connected()
    own.trade(0, rate=1500)
    until(lambda: "broker is full" in own.log("collect"), "a full broker", own)
    # The exchange ends the connection of a client that does not read.
    own.simulator.exchange.obey({"do": "drop"})
    own.start("sink")
    until(lambda: "full" in own.log("sink"), "the sink's warning", own)
    own.simulator.exchange.rate = 100
    own.settle()
    assert own.stored() == own.sent()


@pytest.mark.parametrize("store", ["postgres", pytest.param("s3", marks=pytest.mark.slow)])
def test_a_store_that_is_away_loses_nothing(own: LiveStream, store: str) -> None:
    host, port = ("PGHOST", "PGPORT") if store == "postgres" else ("MINIO_ENDPOINT", "")
    address = own.environment["MINIO_ENDPOINT"].split(":") if store == "s3" else [own.environment[host], ""]
    with tcp_proxy(address[0], int(address[1] or own.environment[port or "PGPORT"])) as proxy:
        direct = dict(own.environment)
        if store == "postgres":
            own.environment["PGPORT"] = str(proxy.port)
        else:
            own.environment["MINIO_ENDPOINT"] = f"127.0.0.1:{proxy.port}"
        own.start()
        own.connected()
        own.environment.update(direct)
        own.trade(2)
        proxy.sever()
        own.trade(6, rate=500)
        until(lambda: "keeps the messages meanwhile" in own.log("sink"), "the sink's report", own)
        proxy.toxics = dataclasses.replace(proxy.toxics, reset_on_connect=False)
        own.settle()
        assert own.stored() == own.sent()
        tickers = own.simulator.exchange.counts["tickers"]
        until(lambda: own.one("select count(*) from raw.okx_tickers") == tickers, "all tickers in raw", own)
        assert own.ask("select * from ops.stream_gaps") == []


def test_without_an_exchange_there_is_one_line_a_minute(own: LiveStream) -> None:
    own.environment |= {"OKX_WS_URL": "ws://127.0.0.1:9/ws/v5/public", "OKX_BASE_URL": "http://127.0.0.1:9"}
    own.start()

    def lines() -> list[str]:
        return [line for line in own.log("collect").splitlines() if "connecting again" in line or "OKX" in line]

    until(lines, "a line")
    time.sleep(6)  # it tries again after 0.5, 1 and 2 s
    assert len(lines()) == 1
    assert own.processes["collect"].poll() is None
