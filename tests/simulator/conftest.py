"""A running simulator for the tests of its HTTP surface, and a client that speaks to it like any other."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3

from ingestion.simulator.faults import moment_ms
from ingestion.simulator.server import Simulator, simulator

NOW = "2026-11-20T16:37:12Z"


@pytest.fixture(scope="session")
def http() -> urllib3.PoolManager:
    return urllib3.PoolManager(retries=False, timeout=60)


@pytest.fixture(scope="session")
def shared_sim() -> Iterator[Simulator]:
    with simulator(seed=1, now=NOW, weight_limit=10_000_000) as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: Simulator) -> Iterator[Simulator]:
    """The shared simulator, without faults and at NOW."""
    yield shared_sim
    shared_sim.faults.clear()
    shared_sim.clock.set(moment_ms(NOW))


@pytest.fixture
def klines(sim: Simulator, http: urllib3.PoolManager) -> Callable[..., list[list[Any]]]:
    """Rows of /api/v3/klines for the parameters given; startTime and endTime may be ISO texts."""

    def get(symbol: str = "BTCUSDT", interval: str = "1h", **parameters: Any) -> list[list[Any]]:
        fields = {"symbol": symbol, "interval": interval}
        fields |= {k: str(moment_ms(v)) if isinstance(v, str) else str(v) for k, v in parameters.items()}
        reply = http.request("GET", f"{sim.binance_url}/api/v3/klines", fields=fields)
        assert reply.status == 200, reply.data
        return json.loads(reply.data)

    return get
