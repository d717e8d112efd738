"""What the measurements of `make bench` share: a line of the table, child processes, the simulator, bars, raw.

Not here: what is measured (one module for each kind of work), and the command (`bench`).
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ingestion.arrow import last_wins
from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.datasets import Page
from ingestion.raw import loader
from ingestion.raw.binary_copy import Stream, binary_copy
from ingestion.settings import Settings
from ingestion.simulator.coins import all_coins, read_universe
from ingestion.simulator.market import Market
from ingestion.simulator.shapes import Shapes
from ingestion.sources.binance import rest
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import parse_klines
from ingestion.universe import Asset

ROOT = Path(__file__).resolve().parent.parent
HOUR_MS = 3_600_000
FIRST_HOUR = datetime(2023, 1, 1, tzinfo=UTC)
SYMBOLS = 50
TICKMART = str(Path(sys.executable).with_name("tickmart"))


@dataclass
class Measure:
    """A line of the table; ``ratio`` is ours to the peer's, or to the limit, in the sense of ``reach``."""

    work: str
    rows: int | None = None
    seconds: float | None = None
    peak_mb: float | None = None
    peer: str = ""
    ratio: float | None = None
    reach: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def rows_per_s(self) -> float | None:
        return self.rows / self.seconds if self.rows and self.seconds else None


def median_of(runs: int, measure: Callable[[], float]) -> float:
    """The median of several runs; one alone where it takes ten seconds or more."""
    times = [measure()]
    while len(times) < runs and times[0] < 10:
        times.append(measure())
    return statistics.median(times)


def child(work: str, **arguments: Any) -> dict[str, Any]:
    """Run a piece of work in a process of its own: its seconds, CPU seconds, peak memory, and what it reports."""
    call = [sys.executable, str(ROOT / "benchmarks" / "bench.py"), "--child", work, json.dumps(arguments)]
    done = subprocess.run(call, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def peak_mb() -> float:
    """This process's own peak; Linux counts its parent's into ru_maxrss, from before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


@contextmanager
def simulator() -> Iterator[dict[str, str]]:
    """The simulator in a process of its own, without a limit that a bench would wait for."""
    call = [sys.executable, "-m", "ingestion.simulator", "--weight-limit", "100000000"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            urls = json.loads(process.stdout.readline())
            yield {name: url for name, url in urls.items() if name.isupper()}
        finally:
            process.terminate()


def series() -> Iterator[tuple[Asset, str, Shapes]]:
    """Fifty assets listed before the first hour: the universe's, then those of a second market under other names."""
    count = 0
    for seed in (3, 4):
        market = Market(seed, all_coins(read_universe(ROOT / "ingestion" / "universe.csv")))
        shapes = Shapes(market)
        for symbol, coin in market.listed.items():
            if coin.listed_day * 24 * HOUR_MS > FIRST_HOUR.timestamp() * 1000 or count == SYMBOLS:
                continue
            count += 1
            suffix = "" if seed == 3 else str(seed)
            name = f"{symbol.removesuffix('USDT')}{suffix}USDT"
            yield Asset(f"{coin.crypto_id}{suffix and '-' + suffix}", name, coin.name, "bench"), symbol, shapes


def bars(rows: int) -> tuple[pa.Table, list[Asset]]:
    """About ``rows`` hourly bars of fifty assets, as bronze holds them, sorted by key."""
    hours, start = rows // SYMBOLS, int(FIRST_HOUR.timestamp() * 1000)
    end = start + hours * HOUR_MS
    pages, assets = [], []
    for asset, symbol, shapes in series():
        assets.append(asset)
        for at in range(start, end, rest.PAGE * HOUR_MS):
            last = min(at + rest.PAGE * HOUR_MS, end) - 1
            body = shapes.klines(symbol, "1h", at, last, rest.PAGE, end + HOUR_MS)
            fetched_at = datetime.fromtimestamp(end / 1000, UTC)
            page: Page = parse_klines(body, asset.binance_symbol, "1h", "http://127.0.0.1/api/v3/klines", fetched_at)
            pages.append(page.rows)
    table = pa.concat_tables(pages)
    return last_wins(table.append_column("batch_id", pa.repeat("0" * 36, len(table))), KLINES.key), assets


def write_days(lake: Lake, table: pa.Table) -> None:
    """One bronze object for each UTC day."""
    days = pc.cast(table["open_time"], pa.date32())
    order = pc.sort_indices(days)
    table, numbers = table.take(order), np.asarray(days.take(order).cast(pa.int32()))
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])

    def write(start: int, end: int) -> None:
        day = date(1970, 1, 1) + timedelta(days=int(numbers[start]))
        lake.write(klines_key("1h", day), table.slice(start, end - start).combine_chunks())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, starts.tolist(), [*starts[1:].tolist(), len(numbers)]))


def clear(lake: Lake, prefix: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lake.remove, (o.key for o in lake.list(prefix))))


def mark_pending(connection: connections.Connection, *, rows: bool) -> None:
    """Make every object pending again, with or without the rows that it brought."""
    with connection, connection.cursor() as cursor:
        if rows:
            cursor.execute("truncate raw.binance_klines, ops.load_ledger, ops.restatements")
        else:
            cursor.execute("update ops.load_ledger set etag = 'another'")


def fill(settings: Settings, table: pa.Table, assets: list[Asset]) -> None:
    """Make raw hold exactly these bars, and the universe that they belong to."""
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        mark_pending(connection, rows=True)
        copied = table.select([*(c.name for c in KLINES.columns), "batch_id"])
        with connection, connection.cursor() as cursor:
            columns = ", ".join(copied.schema.names)
            cursor.copy_expert(
                f"copy raw.binance_klines ({columns}) from stdin (format binary)",
                Stream(binary_copy(copied)), size=1 << 20,
            )  # fmt: skip
        loader.load_universe(connection, assets, "bench")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("vacuum analyze raw.binance_klines")


def dbt_seconds(settings: Settings, *arguments: str) -> float:
    """Seconds of a dbt of its own, its start included, as a run calls it."""
    from orchestration.assets.dbt import DBT, PROJECT_DIR

    target = settings.home / "dbt" / "bench"
    env = {**os.environ, "DBT_TARGET_PATH": str(target), "DBT_PROJECT_DIR": str(PROJECT_DIR)}
    began = time.perf_counter()
    subprocess.run([DBT, *arguments, "--log-level", "none"], env=env, check=True, stdout=sys.stderr)
    return time.perf_counter() - began
