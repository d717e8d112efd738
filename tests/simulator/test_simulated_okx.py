"""The simulated OKX answers as the real one does: envelopes, single fills, errors with HTTP status 200."""

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import urllib3
from websockets.sync.client import connect

from ingestion.simulator.server import Simulator, simulator


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator(seed=1, live_rate=2000) as server:
        yield server


def ask(server: Simulator, path: str, **query: Any) -> dict[str, Any]:
    answer = urllib3.request("GET", f"{server.okx_url}{path}", fields={k: str(v) for k, v in query.items()})
    assert answer.status == 200
    body: dict[str, Any] = json.loads(answer.data)
    return body


def test_an_unknown_instrument_is_an_error_with_status_200(exchange: Simulator) -> None:
    assert ask(exchange, "/api/v5/market/trades", instId="NO-USDT")["code"] == "51001"


def test_messages_have_contiguous_ids_and_rest_has_their_single_fills(exchange: Simulator) -> None:
    with connect(exchange.okx_ws_url) as socket:
        socket.send("ping")
        assert socket.recv() == "pong"
        socket.send(json.dumps({"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]}))
        assert json.loads(socket.recv())["event"] == "subscribe"
        trades = [json.loads(socket.recv())["data"][0] for _ in range(20)]
    ids = [(int(t["tradeId"]) - int(t["count"]), int(t["tradeId"])) for t in trades]
    assert [first for first, _ in ids[1:]] == [last for _, last in ids[:-1]]
    wanted = set(range(ids[0][0] + 1, ids[-1][1] + 1))
    found: dict[int, str] = {}
    oldest = ids[-1][1] + 1
    while not wanted <= found.keys():
        page = ask(exchange, "/api/v5/market/history-trades", instId="BTC-USDT", type=1, after=oldest)["data"]
        assert page[0]["tradeId"] == str(oldest - 1)
        found |= {int(t["tradeId"]): t["px"] for t in page}
        oldest = min(found)
    assert {found[last] for _, last in ids} == {t["px"] for t in trades}


@pytest.mark.parametrize("channel", ["trades", "candle1m"])
def test_an_unknown_channel_or_instrument_is_rejected_alone(exchange: Simulator, channel: str) -> None:
    inst_id = "NO-USDT" if channel == "trades" else "BTC-USDT"
    with connect(exchange.okx_ws_url) as socket:
        socket.send(json.dumps({"op": "subscribe", "args": [{"channel": channel, "instId": inst_id}]}))
        answer = json.loads(socket.recv())
    assert (answer["event"], answer["code"]) == ("error", "60018")
    assert inst_id in answer["msg"]


def test_candles_are_newest_first_and_the_open_one_is_not_confirmed(exchange: Simulator) -> None:
    rows = ask(exchange, "/api/v5/market/candles", instId="BTC-USDT", bar="1H", limit=3)["data"]
    assert [int(a[0]) - int(b[0]) for a, b in pairwise(rows)] == [3_600_000] * 2
    assert [row[8] for row in rows] == ["0", "1", "1"]
    assert all(len(row) == 9 for row in rows)


def test_the_rate_can_be_changed_and_what_is_not_known_is_rejected(exchange: Simulator) -> None:
    def order(body: dict[str, Any]) -> int:
        return urllib3.request("POST", f"{exchange.base_url}/_okx", body=json.dumps(body)).status

    assert order({"rate": 0}) == 200
    time.sleep(0.1)
    before = exchange.exchange.stats().get("trades", 0)
    time.sleep(0.3)
    assert exchange.exchange.stats().get("trades", 0) == before
    assert order({"do": "explode"}) == 400
    assert order({"speed": 1}) == 400
