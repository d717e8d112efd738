"""The simulated on-chain providers answer as the real ones do: pages, sampled charts, errors, and have faults."""

import json
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import pytest
import urllib3

from ingestion.simulator.server import Simulator

GENESIS = date(2009, 1, 3)
CHARTS = ("n-transactions", "estimated-transaction-volume-usd", "output-volume")


def today(sim: Simulator) -> date:
    return datetime.fromtimestamp(sim.clock.now_ms() / 1000, UTC).date()


def ask(address: str, **query: Any) -> tuple[int, Any]:
    answer = urllib3.request("GET", address, fields={k: str(v) for k, v in query.items()})
    return answer.status, json.loads(answer.data)


def metrics(sim: Simulator, **query: Any) -> tuple[int, Any]:
    usual = {"assets": "btc", "metrics": "TxCnt", "frequency": "1d", "page_size": 10_000, "paging_from": "start"}
    return ask(f"{sim.coinmetrics_url}/v4/timeseries/asset-metrics", **{**usual, **query})


def chart(sim: Simulator, name: str = "n-transactions", **query: Any) -> list[dict[str, Any]]:
    status, body = ask(f"{sim.blockchain_url}/charts/{name}", **{"timespan": "all", "sampled": "false", **query})
    assert (status, body["status"], body["period"]) == (200, "ok", "day")
    values: list[dict[str, Any]] = body["values"]
    return values


def test_a_metric_has_every_day_since_the_genesis_block_and_no_value_of_today(simulator: Simulator) -> None:
    rows = metrics(simulator)[1]["data"]
    assert rows[0]["time"] == f"{GENESIS}T00:00:00.000000000Z"
    assert rows[-1] == {"asset": "btc", "time": f"{today(simulator)}T00:00:00.000000000Z", "TxCnt": None}
    assert len(rows) == (today(simulator) - GENESIS).days + 1
    assert all(isinstance(row["TxCnt"], str) for row in rows[:-1])


def test_pages_begin_at_the_end_unless_asked_otherwise(simulator: Simulator) -> None:
    first = metrics(simulator, page_size=10, paging_from="end")[1]
    second = metrics(simulator, page_size=10, paging_from="end", next_page_token=first["next_page_token"])[1]
    assert (second["data"] + first["data"])[-1]["time"][:10] == str(today(simulator))
    assert len({row["time"] for row in second["data"] + first["data"]}) == 20
    assert metrics(simulator, page_size=10)[1]["data"][0]["time"][:10] == str(GENESIS)


def test_one_day_is_the_same_in_every_window(simulator: Simulator) -> None:
    everything = {row["time"]: row["TxCnt"] for row in metrics(simulator)[1]["data"]}
    part = metrics(simulator, start_time="2024-01-01")[1]["data"]
    assert part[0]["time"][:10] == "2024-01-01"
    assert all(everything[row["time"]] == row["TxCnt"] for row in part)


@pytest.mark.parametrize(("query", "status"), [({"metrics": "TxTfrValAdjUSD"}, 403), ({"assets": "eth"}, 400)])
def test_what_the_free_tier_lacks_is_an_error(simulator: Simulator, query: dict[str, Any], status: int) -> None:
    found, body = metrics(simulator, **query)
    assert (found, set(body["error"])) == (status, {"type", "message"})


@pytest.mark.parametrize("name", CHARTS)
def test_a_long_chart_is_sampled_without_the_parameter(simulator: Simulator, name: str) -> None:
    days = (today(simulator) - GENESIS).days + 1
    assert len(chart(simulator, name)) == days
    assert len(chart(simulator, name, sampled="true")) <= 1500
    assert len(chart(simulator, name, timespan="30days", sampled="true")) == 30
    window = chart(simulator, name, timespan="10days", start="2024-01-01")
    assert [point["x"] for point in window] == [1704067200 + n * 86_400 for n in range(10)]


def test_the_chart_counts_the_transactions_of_miners_too(simulator: Simulator) -> None:
    counted = {row["time"][:10]: row["TxCnt"] for row in metrics(simulator)[1]["data"]}
    for point in chart(simulator)[:-1]:
        day = datetime.fromtimestamp(point["x"], UTC).date()
        assert 100 < point["y"] - int(counted[str(day)]) < 190


def test_each_fault_of_a_series_shows(simulator: Simulator) -> None:
    simulator.faults.set(
        [
            {"kind": "status", "status": 403, "match": "/coinmetrics", "contains": "HashRate"},
            {"kind": "silent", "last_day": "2022-04-29", "match": "estimated"},
            {"kind": "silent", "match": "output-volume"},
            {"kind": "sampled", "match": "n-transactions"},
        ]
    )
    status, body = metrics(simulator, metrics="HashRate")
    assert (status, body["error"]["type"]) == (403, "forbidden")
    assert metrics(simulator)[0] == 200
    assert chart(simulator, "estimated-transaction-volume-usd")[-1]["x"] == 1651190400
    assert chart(simulator, "output-volume") == []
    points = chart(simulator, timespan="40days")
    assert {b["x"] - a["x"] for a, b in pairwise(points)} == {2 * 86_400}
