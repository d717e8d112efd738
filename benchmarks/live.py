"""Live prices: the simulated exchange's WebSocket to Postgres, at 2,000 messages a second and in bursts of 10,000."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measuring import ROOT, Measure
from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.settings import Settings
from orchestration.local.client import local_services

RATE, BURST_RATE, BURST_S, BURSTS = 2000, 10_000, 5, 3
MOST_DELAY_S = 3.0
# Memory of the second half of the time beside the first half; one batch more or less is 10 MB.
MOST_GROWTH_MB = 30


class Exchange:
    """The simulator in a process of its own, as the real exchange is."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "ingestion.simulator", "--live-rate", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        self.urls: dict[str, str] = json.loads(self._process.stdout.readline())

    def order(self, **order: Any) -> None:
        request = urllib.request.Request(f"{self.urls['url']}/_okx", data=json.dumps(order).encode())
        urllib.request.urlopen(request).close()

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.urls['url']}/_stats") as answer:
            return dict(json.load(answer)["okx"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def bench_live(settings: Settings, options: argparse.Namespace) -> Iterator[Measure]:
    seconds = 20 if options.quick else 180
    Lake(settings.object_store).ensure_bucket()
    exchange = Exchange()
    home = Path(os.environ["TICKMART_HOME"])
    with local_services(home, postgres=False, s3=False, nats=True) as nats:
        own = {name: value for name, value in exchange.urls.items() if name != "url"}
        env = {**os.environ, **nats, **own, "TICKMART_LIVE": "on"}
        roles = {
            role: subprocess.Popen(
                [sys.executable, "-P", "-m", "ingestion.stream", role], env=env, cwd=home, stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            for role in ("collect", "sink")
        }  # fmt: skip
        try:
            while not exchange.stats()["listeners"]:
                time.sleep(0.1)
            time.sleep(2)
            yield steady(settings, exchange, roles, seconds)
            yield bursts(settings, exchange, roles)
        finally:
            for process in roles.values():
                process.send_signal(signal.SIGTERM)
                process.wait()
            exchange.close()


def steady(settings: Settings, exchange: Exchange, roles: dict[str, Any], seconds: float) -> Measure:
    exchange.order(rate=RATE)
    began, memory = time.monotonic(), list[float]()
    processes = [psutil.Process(process.pid) for process in roles.values()]
    before = sum(sum(p.cpu_times()[:2]) for p in processes)
    while time.monotonic() - began < seconds:
        time.sleep(1)
        memory.append(sum(p.memory_info().rss for p in processes) / 1e6)
    cpu = sum(sum(p.cpu_times()[:2]) for p in processes) - before
    sent, lost = settled(settings, exchange)
    p50, p95 = delays(settings)
    half = len(memory) // 2
    grown = max(memory[half:]) - max(memory[:half])
    met = lost == 0 and p95 <= MOST_DELAY_S and grown <= MOST_GROWTH_MB
    return Measure(
        f"live: {RATE:,} messages/s to Postgres", sent, seconds, max(memory),
        reach=f"0 lost, p95 <= {MOST_DELAY_S:g} s",
        met=met, note=f"lost {lost}; delay p50 {p50:.2f}, p95 {p95:.2f} s; grown {grown:.0f} MB; "
        f"CPU of collector and sink {cpu / seconds:.0%} of a core",
    )  # fmt: skip


def bursts(settings: Settings, exchange: Exchange, roles: dict[str, Any]) -> Measure:
    before, began = messages(exchange), time.monotonic()
    processes = [psutil.Process(process.pid) for process in roles.values()]
    peak = 0.0
    for _ in range(BURSTS):
        exchange.order(rate=BURST_RATE)
        time.sleep(BURST_S)
        exchange.order(rate=100)
        for _ in range(10):
            peak = max(peak, sum(p.memory_info().rss for p in processes) / 1e6)
            time.sleep(1)
    sent, lost = settled(settings, exchange)
    made = sent - before
    return Measure(
        f"live: bursts of {BURST_RATE:,} messages/s for {BURST_S} s", made, time.monotonic() - began, peak,
        reach="0 lost",
        met=lost == 0, note=f"lost {lost}; {made / (BURSTS * BURST_S):,.0f} messages/s made in bursts",
    )  # fmt: skip


def messages(exchange: Exchange) -> int:
    stats = exchange.stats()
    return int(stats["trades"] + stats["tickers"])


def settled(settings: Settings, exchange: Exchange) -> tuple[int, int]:
    """Stop the exchange and wait until raw stops growing; return what was sent, and how much of it raw lacks."""
    exchange.order(rate=0)
    time.sleep(1)
    sent, rows = messages(exchange), -1
    query = "select (select count(*) from raw.okx_trades) + (select count(*) from raw.okx_tickers)"
    with connections.connected(settings.postgres, "ingest") as connection:
        while (found := int(connections.fetch(connection, query)[0][0])) > rows and found < sent:
            rows = found
            time.sleep(10)
    return sent, sent - found


def delays(settings: Settings) -> tuple[float, float]:
    """Return median and 95th percentile of the seconds from stamp to load, of the rows themselves."""
    query = """
        select percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from loaded_at - ts))
        from (select ts, loaded_at from raw.okx_trades union all select ts, loaded_at from raw.okx_tickers) as loaded
    """
    with connections.connected(settings.postgres, "ingest") as connection:
        [([p50, p95],)] = connections.fetch(connection, query)
    return float(p50), float(p95)
