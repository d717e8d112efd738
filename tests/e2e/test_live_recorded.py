"""The stream on recorded messages of OKX, served by a server that is not ours."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.simulator.server import simulator
from orchestration.local.processes import free_port
from support.cli import ONE_COIN, ROOT
from support.live_stream import LiveStream, live_stream, until

REPLAY = ROOT.parent / "shared/replay"
pytestmark = [pytest.mark.recorded, pytest.mark.skipif(not REPLAY.exists(), reason="no recorded market data here")]


@pytest.fixture
def recorded() -> Iterator[str]:
    port = free_port(0)
    server = subprocess.Popen([sys.executable, REPLAY / "server.py", "--port", str(port)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()
    yield f"127.0.0.1:{port}"
    server.kill()
    server.wait()


def test_recorded_messages_are_in_raw_as_the_server_counted_them(recorded: str, tmp_path: Path) -> None:
    universe = tmp_path / "universe.csv"
    universe.write_text(ONE_COIN)
    own = {
        "TICKMART_UNIVERSE": str(universe), "OKX_WS_URL": f"ws://{recorded}/okx/ws/v5/public",
        "OKX_BASE_URL": f"http://{recorded}/okx",
    }  # fmt: skip
    with simulator(universe=universe) as unused, live_stream(tmp_path / "home", unused, **own) as stream:
        stream.start()
        stream_until(stream, recorded)
        stream.kill("sink")
        stream.kill("postgres")
        time.sleep(3)
        stream.processes["collect"].terminate()
        stream.processes["collect"].wait()
        sent = stats(recorded)
        counts = "select (select count(*) from raw.okx_trades), (select count(*) from raw.okx_tickers)"
        wanted = (sent["ws_sent_trades"], sent["ws_sent_tickers"])
        until(lambda: stream.ask(counts)[0] == wanted, f"{wanted} in raw", stream)
        assert stream.one("select min(price) > 30000 from raw.okx_trades")


def stream_until(stream: LiveStream, recorded: str) -> None:
    until(lambda: stats(recorded).get("ws_sent_trades", 0) > 30, "recorded trades", stream)


def stats(address: str) -> dict[str, int]:
    with urllib.request.urlopen(f"http://{address}/_stats") as answer:
        found: dict[str, int] = json.load(answer)
        return found
