"""SIGKILL and SIGTERM at random moments of fetch, write and load: nothing half is visible, and a rerun completes."""

import multiprocessing
import os
import random
import signal
import time
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import pytest

from ingestion.bronze import write
from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.raw.loader import load_pending
from ingestion.settings import ObjectStore, Postgres
from ingestion.simulator.server import Simulator
from ingestion.sources.binance import ingest
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.http import HttpClient
from ingestion.universe import Asset
from support.pipeline import Chain

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
START, DAYS = date(2026, 9, 1), 60
# A server process that has imported everything and is forked for each run: a run starts in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["orchestration.assets.raw"])


def fetch_and_load(url: str, store: dict[str, Any], postgres: dict[str, Any], start: date, end: date) -> None:
    """What a run does, in a process of its own: bars into bronze, bronze into raw."""
    lake = Lake(ObjectStore(**store))
    with connections.closing(connections.connect(Postgres(**postgres), "ingest")) as connection:
        client = HttpClient("Binance", [url], setting="BINANCE_BASE_URL")
        context = write.Context(lake, connection, f"pid-{os.getpid()}")
        report = ingest.ingest_klines(context, client, [Asset(s, s, s, "") for s in SYMBOLS], start, end)
        assert report.failed == {}
        assert report.error is None
        client.close()
        load_pending(lake, connection, KLINES, context.batch_id)


def begin(chain: Chain, simulator: Simulator, start: date, end: date) -> multiprocessing.process.BaseProcess:
    process = PROCESSES.Process(
        target=fetch_and_load,
        args=(simulator.binance_url, asdict(chain.lake.store), asdict(chain.postgres), start, end),
    )
    process.start()
    return process


def nothing_half(chain: Chain) -> None:
    """Every object can be read whole and has its own key; raw holds just what the ledger says was loaded."""
    objects = {o.key: o for o in chain.lake.list("")}
    days = {klines_key("1h", START + timedelta(days=n)): START + timedelta(days=n) for n in range(DAYS)}
    assert set(objects) <= set(days)
    sizes = {}
    for key in objects:
        held = chain.lake.read(key)
        assert held is not None
        assert len(held[0]) == len(SYMBOLS) * 24
        sizes[key] = len(held[0])
    ledger = dict(chain.ask("select object_key, rows from ops.load_ledger"))
    rows = dict(chain.ask("select (open_time at time zone 'UTC')::date, count(*) from raw.binance_klines group by 1"))
    assert rows == {days[key]: count for key, count in ledger.items()}
    assert all(sizes[key] == count for key, count in ledger.items())
    # Bronze is written first, so it has what coverage records.
    covered = chain.ask("select distinct date from ops.coverage where bars > 0")
    assert {klines_key("1h", day) for (day,) in covered} <= set(objects)


def complete(chain: Chain, simulator: Simulator) -> None:
    process = begin(chain, simulator, START, START + timedelta(days=DAYS))
    process.join()
    assert process.exitcode == 0
    nothing_half(chain)
    assert chain.one("select count(*) from raw.binance_klines") == len(SYMBOLS) * 24 * DAYS


def clear(chain: Chain) -> None:
    for held in chain.lake.list(""):
        chain.lake.remove(held.key)
    chain.clear_records()


def kill_at_random(chain: Chain, simulator: Simulator, kills: int, seed: int) -> list[int]:
    """Start runs over random ranges and kill them at random moments; return how far raw had come each time.

    It goes on until one of the kills came after something had been loaded, however slow the machine.
    """
    begin(chain, simulator, START, START + timedelta(days=1)).join()  # the first process waits for the imports
    started = time.monotonic()
    measured = begin(chain, simulator, START, START + timedelta(days=20))
    measured.join()
    assert measured.exitcode == 0
    longest = time.monotonic() - started
    chance, progress = random.Random(seed), []
    clear(chain)
    while len(progress) < kills or not any(progress):
        first = START + timedelta(days=chance.randrange(DAYS - 10))
        process = begin(chain, simulator, first, min(first + timedelta(days=20), START + timedelta(days=DAYS)))
        process.join(timeout=chance.uniform(0.01, longest))
        assert process.exitcode in {None, 0}  # None: it still runs
        if process.exitcode == 0:
            if chance.random() < 0.5:
                clear(chain)
            continue
        process.kill()
        process.join()
        longest *= 1.02
        nothing_half(chain)
        progress.append(chain.one("select count(*) from raw.binance_klines"))
    return progress


def test_a_run_killed_a_few_times_leaves_nothing_half_and_then_completes(chain: Chain, simulator: Simulator) -> None:
    kill_at_random(chain, simulator, 5, seed=1)
    complete(chain, simulator)


@pytest.mark.parametrize(
    ("kills", "seed"), [pytest.param(40, 2, marks=pytest.mark.slow), pytest.param(200, 3, marks=pytest.mark.kills)]
)
@pytest.mark.timeout(1800)
def test_a_run_killed_many_times_leaves_nothing_half_and_then_completes(
    chain: Chain, simulator: Simulator, kills: int, seed: int
) -> None:
    progress = kill_at_random(chain, simulator, kills, seed)
    # The kills came at different stages: before anything was loaded, and after.
    assert min(progress) == 0
    assert max(progress) > 0
    complete(chain, simulator)


def test_concurrent_runs_load_each_bar_once(chain: Chain, simulator: Simulator) -> None:
    middle = START + timedelta(days=30)
    runs = [
        begin(chain, simulator, START, middle),
        begin(chain, simulator, START + timedelta(days=20), START + timedelta(days=DAYS)),
        begin(chain, simulator, START, START + timedelta(days=DAYS)),
    ]
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    nothing_half(chain)
    assert chain.one("select count(*) from raw.binance_klines") == len(SYMBOLS) * 24 * DAYS
    assert chain.one("select count(*) from ops.restatements") == 0


def test_a_killed_run_releases_its_locks_and_queries(chain: Chain, simulator: Simulator) -> None:
    process = begin(chain, simulator, START, START + timedelta(days=DAYS))
    deadline = time.monotonic() + 30
    asking = "select count(*) from pg_stat_activity where datname = current_database() and usename = 'tickmart' " \
             "and pid <> pg_backend_pid() and application_name = 'tickmart ingest'"  # fmt: skip
    while chain.one(asking) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join()
    assert process.exitcode == -signal.SIGTERM
    deadline = time.monotonic() + 60
    while chain.one(asking) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert chain.one(asking) == 1
    assert chain.one("select count(*) from pg_locks where locktype = 'advisory'") == 0
    nothing_half(chain)
