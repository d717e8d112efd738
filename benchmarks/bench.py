"""`make bench`: how fast each stage is, beside its limit or a peer measured in the same run, as one table.

Here: the measures of docs/performance.md. Not here: tests (nothing is asserted; a machine's noise fails nothing).
Everything runs on loopback, on the simulator's data, in a home of its own that is removed afterwards. Measured work
runs in child processes (`--child`), so that each one's peak memory is its own.
"""

import argparse
import gc
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import urllib3

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ingestion.arrow import last_wins  # noqa: E402
from ingestion.bronze import write as bronze_write  # noqa: E402
from ingestion.bronze.lake import Lake, ObjectInfo  # noqa: E402
from ingestion.database import connections  # noqa: E402
from ingestion.datasets import Page  # noqa: E402
from ingestion.raw import loader  # noqa: E402
from ingestion.raw.binary_copy import Stream, binary_copy  # noqa: E402
from ingestion.settings import Settings, load_settings  # noqa: E402
from ingestion.simulator.coins import all_coins, read_universe  # noqa: E402
from ingestion.simulator.market import Market  # noqa: E402
from ingestion.simulator.shapes import Shapes  # noqa: E402
from ingestion.sources.binance import ingest, rest  # noqa: E402
from ingestion.sources.binance.dataset import KLINES, klines_key  # noqa: E402
from ingestion.sources.binance.parse import parse_klines  # noqa: E402
from ingestion.sources.binance.source import REST_API  # noqa: E402
from ingestion.universe import Asset  # noqa: E402
from orchestration.runner import session  # noqa: E402

HOUR_MS = 3_600_000
FIRST_HOUR = datetime(2023, 1, 1, tzinfo=UTC)
SYMBOLS = 50
WORKS = ("load", "api", "marts", "refresh", "run", "dashboard")
TICKMART = str(Path(sys.executable).with_name("tickmart"))
PEERS_LOCK = ROOT / "benchmarks" / "requirements.lock"


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
    call = [sys.executable, str(Path(__file__).resolve()), "--child", work, json.dumps(arguments)]
    done = subprocess.run(call, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def run_child(work: str, arguments: dict[str, Any]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    result = CHILDREN[work](**arguments)
    measured = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "peak_mb": peak_mb()}
    print(json.dumps({**measured, **result}))


def peak_mb() -> float:
    """This process's own peak; Linux counts its parent's into ru_maxrss, from before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


# -- rows from the simulator -------------------------------------------------------------------------------------------


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


# -- bronze to raw -----------------------------------------------------------------------------------------------------


def child_load() -> dict[str, Any]:
    """Load whatever is pending, as the asset does."""
    from ingestion.raw.loader import load_pending

    settings = load_settings()
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        began = time.perf_counter()
        loaded, damaged = load_pending(Lake(settings.object_store), connection, KLINES, "1" * 36)
        return {"seconds": time.perf_counter() - began, "damaged": damaged, **asdict(loaded)}


def copy_seconds(connection: connections.Connection, columns: list[str], content: bytes, form: str) -> float:
    """COPY rows whose bytes were made beforehand into a heap that has neither key nor index."""
    with connection, connection.cursor() as cursor:
        cursor.execute("create table raw.heap (like raw.binance_klines including defaults)")
    # In a transaction of its own: in the one that makes the table, wal_level minimal would write no log.
    with connection, connection.cursor() as cursor:
        began = time.perf_counter()
        statement = f"copy raw.heap ({', '.join(columns)}) from stdin with (format {form})"
        cursor.copy_expert(statement, Stream(iter([content])), size=1 << 20)
        connection.commit()
        seconds = time.perf_counter() - began
        cursor.execute("drop table raw.heap")
    return seconds


def size_of(connection: connections.Connection) -> int:
    with connection, connection.cursor() as cursor:
        # Not the maps of free and visible space: autovacuum writes those in its own time.
        cursor.execute(
            "select sum(pg_relation_size(relid) + pg_indexes_size(relid)) "
            "from pg_partition_tree('raw.binance_klines') where isleaf"
        )
        return int(cursor.fetchone()[0])


def mark_pending(connection: connections.Connection, *, rows: bool) -> None:
    """Make every object pending again, with or without the rows that it brought."""
    with connection, connection.cursor() as cursor:
        if rows:
            cursor.execute("truncate raw.binance_klines, ops.load_ledger, ops.restatements")
        else:
            cursor.execute("update ops.load_ledger set etag = 'another'")


def bench_load(settings: Settings, table: pa.Table, options: argparse.Namespace) -> Iterator[Measure]:
    copied = table.select([*(c.name for c in KLINES.columns), "batch_id"])
    sink = io.BytesIO()
    pyarrow.csv.write_csv(copied, sink, pyarrow.csv.WriteOptions(include_header=False))
    bytes_of = {"csv": sink.getvalue(), "binary": b"".join(binary_copy(copied))}
    runs: dict[str, list[Any]] = {name: [] for name in ("csv", "binary", "first", "again", "grown")}
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        for _ in range(3):  # each in turn, so that a noisy machine troubles all alike
            for form, content in bytes_of.items():
                runs[form].append(copy_seconds(connection, copied.schema.names, content, form))
            mark_pending(connection, rows=True)
            runs["first"].append(child("load"))
            before = size_of(connection)
            mark_pending(connection, rows=False)
            runs["again"].append(child("load"))
            runs["grown"].append(size_of(connection) - before)
        speeds = {form: len(table) / statistics.median(runs[form]) for form in bytes_of}
        peer = f"bare COPY (csv) {speeds['csv']:,.0f} rows/s; binary {speeds['binary']:,.0f}"
        for name, loads in (("bronze to raw, first load", runs["first"]), ("bronze to raw, unchanged", runs["again"])):
            seconds = statistics.median(r["seconds"] for r in loads)
            ratio = statistics.median(copy / r["seconds"] for copy, r in zip(runs["csv"], loads, strict=True))
            yield Measure(
                name, len(table), seconds, max(r["peak_mb"] for r in loads), peer, ratio, ">= 0.5 x COPY", ratio >= 0.5,
                f"CPU of ours {statistics.median(r['cpu'] for r in loads):.1f} s",
            )  # fmt: skip
        yield Measure(
            "  growth on disk when loaded again", reach="none", met=not any(runs["grown"]),
            note=f"{runs['grown']} bytes of {before >> 20} MB",
        )  # fmt: skip
        first = runs["first"]
        ours = len(table) / statistics.median(r["seconds"] for r in first)
        yield bench_dlt(settings, table, ours, options)


def bench_dlt(settings: Settings, table: pa.Table, ours: float, options: argparse.Namespace) -> Measure:
    """Dlt's merge of the same rows into the same server, from an environment of its own."""
    line = Measure("  dlt, merge of the same table", peer="our first load", reach=">= 3 x dlt's merge")
    if not options.peers:
        line.note = "skipped: --peers installs dlt into an environment of its own and measures it"
        return line
    digest = hashlib.sha256(PEERS_LOCK.read_bytes()).hexdigest()[:12]
    python = options.peers / digest / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(python.parent.parent)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(PEERS_LOCK)]
        if subprocess.run(install).returncode:
            line.note = f"skipped: pip could not install {PEERS_LOCK.name}"
            return line
    file = settings.home / "bench.parquet"
    pq.write_table(table.select([*(c.name for c in KLINES.columns), "batch_id"]), file)
    owner = settings.postgres
    url = f"postgresql://{owner.user}:{owner.password}@{owner.host}:{owner.port}/{owner.database}"
    code = """
import sys, time
import dlt, pyarrow.parquet as pq
_, url, file, state = sys.argv
table = pq.read_table(file)
made = dlt.pipeline("bench", pipelines_dir=state, destination=dlt.destinations.postgres(url), dataset_name="dlt_bench")
began = time.perf_counter()
made.run(table, table_name="bars", write_disposition="merge", primary_key=["symbol", "interval", "open_time"],
         loader_file_format="csv")
print(time.perf_counter() - began)
"""
    call = [str(python), "-c", code, url, str(file), str(settings.home / "dlt")]
    done = subprocess.run(
        call, stdout=subprocess.PIPE, check=True, env={**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "0"}
    )
    with connections.closing(connections.connect(owner)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("drop schema if exists dlt_bench cascade; drop schema if exists dlt_bench_staging cascade")
    line.rows, line.seconds = len(table), float(done.stdout.split()[-1])
    line.ratio = ours / (line.rows / line.seconds)
    line.met = line.ratio >= 3
    return line


# -- API to bronze -----------------------------------------------------------------------------------------------------


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


@contextmanager
def ready_pages(origin: str) -> Iterator[str]:
    """A loopback server that asks ``origin`` once for each page and from then on has its bytes ready, gzip and all.

    What it costs to invent a market is no part of what is measured: ten times of what it costs to send it.
    """
    kept: dict[str, tuple[int, dict[str, str], bytes]] = {}
    pool = urllib3.PoolManager(maxsize=8)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            found = kept.get(self.path)
            if found is None:
                answer = pool.request(
                    "GET", origin + self.path, headers={"Accept-Encoding": "gzip"}, decode_content=False
                )
                headers = {n: v for n, v in answer.headers.items() if n.lower() in ("content-type", "content-encoding")}
                found = answer.status, headers, answer.data
                if self.path.startswith("/api/v3/klines"):
                    kept[self.path] = found
            status, headers, body = found
            self.send_response_only(status)
            for name, value in (*headers.items(), ("Content-Length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def child_api(days: int, symbols: int) -> dict[str, Any]:
    """Ingest a range that ends with 2025 into an empty lake, as the asset does."""
    from orchestration.resources import Stores

    gc.freeze()  # as run_job does
    stores = Stores()
    lake = stores.lake()
    assets = sorted(stores.universe(), key=lambda a: a.binance_symbol)[:symbols]
    end = date(2026, 1, 1)
    with stores.connection("ingest") as connection, stores.client(REST_API, "bench") as client:
        exchange = rest.exchange_info(client, [a.binance_symbol for a in assets])
        client.limiter.set_limit(exchange.weight_per_minute or 6000)
        began, cpu = time.perf_counter(), time.process_time()
        report = ingest.ingest_klines(
            bronze_write.Context(lake, connection, "2" * 36), client, assets, end - timedelta(days=days), end
        )
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "rows": report.rows}


def bench_api(settings: Settings, options: argparse.Namespace) -> Iterator[Measure]:
    lake = Lake(settings.object_store)
    lake.ensure_bucket()
    _, symbol, shapes = next(series())
    start = int(FIRST_HOUR.timestamp() * 1000)
    pages = [shapes.klines(symbol, "1h", start + n * 1000 * HOUR_MS, None, 1000, 2 * start) for n in range(24)]

    def parse() -> float:
        began = time.perf_counter()
        for page in pages:
            orjson.loads(page)
        return time.perf_counter() - began

    alone = len(pages) * 1000 / median_of(5, parse)
    peaks = []
    with simulator() as urls, ready_pages(urls["BINANCE_BASE_URL"]) as ready:
        os.environ.update(urls | {"BINANCE_BASE_URL": ready})
        for years in (1,) if options.quick else (1, 3, 6):
            for _ in ("to make the pages ready", "measured"):
                clear(lake, "binance/")
                done = child("api", days=365 * years, symbols=SYMBOLS)
            peaks.append(done["peak_mb"])
            speed = done["rows"] / done["seconds"]
            yield Measure(
                f"API to bronze, {years} years", done["rows"], done["seconds"], done["peak_mb"],
                f"orjson alone {alone:,.0f} rows/s", speed / alone, ">= 150,000 rows/s", speed >= 150_000,
                f"{done['rows'] / done['cpu']:,.0f} rows per CPU second of ours",
            )  # fmt: skip
        for name in urls:
            del os.environ[name]
    clear(lake, "binance/")
    if len(peaks) > 1:
        yield Measure(
            "  peak memory, 6 years to 1", ratio=peaks[-1] / peaks[0], reach="flat (<= 1.15), < 700 MB",
            met=peaks[-1] / peaks[0] <= 1.15 and max(peaks) < 700,
        )  # fmt: skip


def clear(lake: Lake, prefix: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lake.remove, (o.key for o in lake.list(prefix))))


# -- warehouse ---------------------------------------------------------------------------------------------------------


def dbt_seconds(settings: Settings, *arguments: str) -> float:
    """Seconds of a dbt of its own, its start included, as a run calls it."""
    from orchestration.assets.dbt import DBT, PROJECT_DIR

    target = settings.home / "dbt" / "bench"
    env = {**os.environ, "DBT_TARGET_PATH": str(target), "DBT_PROJECT_DIR": str(PROJECT_DIR)}
    began = time.perf_counter()
    subprocess.run([DBT, *arguments, "--log-level", "none"], env=env, check=True, stdout=sys.stderr)
    return time.perf_counter() - began


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


def bench_marts(
    settings: Settings, table: pa.Table, assets: list[Asset], options: argparse.Namespace
) -> Iterator[Measure]:
    """All models as a full refresh, and the hourly windows alone beside the same windows as one writes them first."""
    fill(settings, table, assets)
    seconds = dbt_seconds(settings, "run", "--full-refresh")
    yield Measure("all marts, full rebuild", len(table), seconds, reach="< 60 s", met=seconds < 60)
    line = Measure("hourly windows of fct_prices", len(table), reach=">= 7 x naive")
    if options.quick:
        line.note = "skipped (--quick)"
        yield line
        return
    dbt_seconds(settings, "compile", "--select", "fct_prices", "--full-refresh")
    ours = settings.home / "dbt" / "bench" / "compiled" / "tickmart" / "models" / "marts" / "prices" / "fct_prices.sql"
    times = []
    with connections.closing(connections.connect(settings.postgres)) as connection, connection.cursor() as cursor:
        for file in (ours, ROOT / "tests" / "dbt" / "naive_hourly_windows.sql"):
            began = time.perf_counter()
            cursor.execute(f"create temp table measured as {file.read_text()}")
            times.append(time.perf_counter() - began)
            connection.rollback()
    line.seconds, naive = times
    line.peer, line.ratio, line.met = f"naive float8 windows {naive:.1f} s", naive / times[0], naive / times[0] >= 7
    yield line


def bench_refresh(settings: Settings, table: pa.Table, assets: list[Asset]) -> Iterator[Measure]:
    """One new hour of every asset, models and tests as a run builds them, after a tenth of the history and all."""
    times = {}
    last = pc.max(table["open_time"])
    tenth = len(table) // SYMBOLS // 10
    for share, since in (("1 x", last.as_py() - timedelta(hours=tenth)), ("10 x", FIRST_HOUR)):
        held = table.filter(pc.greater_equal(table["open_time"], pa.scalar(since, table["open_time"].type)))
        news = [pc.greater_equal(held["open_time"], pa.scalar(last.as_py() - timedelta(hours=n))) for n in range(3)]
        fill(settings, held.filter(pc.invert(news[2])), assets)
        dbt_seconds(settings, "run", "--full-refresh")
        runs = []
        for hour in (2, 1, 0):
            at = last.as_py() - timedelta(hours=hour)
            rows = held.filter(pc.equal(held["open_time"], pa.scalar(at, held["open_time"].type))).combine_chunks()
            info = ObjectInfo(f"bench/{at:%Y%m%d%H}", "etag", 1)
            with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
                loader.load(connection, KLINES, [loader.BronzeObject(info, "0", rows)], "bench")
            runs.append(dbt_seconds(settings, "build", "--exclude-resource-type", "unit_test"))
        times[share] = statistics.median(runs)
        yield Measure(
            f"hourly refresh at {share} history, dbt's part", len(held), times[share], reach="< 12 s",
            met=times[share] < 12,
        )  # fmt: skip
    ratio = times["10 x"] / times["1 x"]
    yield Measure("  refresh at 10 x to 1 x", ratio=ratio, reach="<= 1.3 x the time", met=ratio <= 1.3)


# -- the whole ---------------------------------------------------------------------------------------------------------


def bench_run(options: argparse.Namespace) -> Iterator[Measure]:
    """Three years of five symbols from the API to the marts and checks, then a run with nothing new, in a new home."""
    with tempfile.TemporaryDirectory(prefix="tickmart-bench-") as folder:
        given = "BINANCE_BASE_URL" in os.environ
        universe = Path(folder) / "universe.csv"
        lines = (ROOT / "ingestion" / "universe.csv").read_text().splitlines()
        universe.write_text("\n".join(lines[:6]) + "\n")
        clean = {
            n: v for n, v in os.environ.items() if not n.startswith(("PG", "MINIO_", "TICKMART_", "DAGSTER", "DBT"))
        }
        env = {**clean, "TICKMART_HOME": f"{folder}/home"}
        with simulator() as urls:
            if given:
                env["TICKMART_UNIVERSE"] = options.universe or str(universe)
            else:
                env |= {**urls, "TICKMART_UNIVERSE": str(universe)}
            source = "the servers of BINANCE_BASE_URL" if given else "the simulator"
            years = ["--start", "2024-01-01" if options.quick else "2022-01-01", "--end", "2025-01-01"]
            for name, call, limit in (
                ("backfill, 5 symbols, 3 years", ["backfill", *years, "--json"], 90),
                ("tickmart run, first", ["run", "--json"], None),
                ("tickmart run, nothing new", ["run", "--json"], 40),
            ):
                began = time.perf_counter()
                done = subprocess.run([TICKMART, *call], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                seconds = time.perf_counter() - began
                summary = json.loads(done.stdout) if done.stdout else {"status": "no output", "stages": []}
                rows = sum(s["rows"] for s in summary["stages"] if s["stage"] == "bronze")
                parts = ", ".join(f"{s['stage']} {s['dataset']} {s['seconds']:.1f} s" for s in summary["stages"])
                line = Measure(name, rows, seconds, peer=source, note=f"{summary['status']}; {parts}")
                if limit:
                    line.ratio, line.reach, line.met = seconds / limit, f"< {limit} s", seconds < limit
                yield line


def bench_pages(settings: Settings, table: pa.Table, assets: list[Asset], quick: bool) -> Iterator[Measure]:
    """The dashboard on these bars, ended this hour: queries, pages in a browser, many visitors."""
    from benchmarks import dashboard_pages  # not above: Streamlit's 50 MB would count in every child's peak

    fill(settings, dashboard_pages.until_now(table), assets)
    with connections.closing(connections.connect(settings.postgres)) as connection:
        dashboard_pages.fill_market(connection)
    subprocess.run([TICKMART, "dbt", "run", "--quiet", "--full-refresh"], check=True, stdout=sys.stderr)
    asked = child("queries", times=20 if quick else 100)
    for line in dashboard_pages.query_lines(asked["times"], asked["missing"]):
        yield Measure(**line)
    for line in dashboard_pages.page_lines(settings.home, quick):
        yield Measure(**line)


def child_queries(times: int) -> dict[str, Any]:
    from benchmarks import dashboard_pages

    return dashboard_pages.query_times(times)


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {
    "load": child_load,
    "api": child_api,
    "queries": child_queries,
}


# -- the table ---------------------------------------------------------------------------------------------------------


def show(lines: list[Measure]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, side in (
        ("work", "left"), ("rows", "right"), ("seconds", "right"), ("rows/s", "right"), ("peak MB", "right"),
        ("beside", "left"), ("ratio", "right"), ("reach", "left"), ("met", "left"), ("", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=side, overflow="fold")
    for line in lines:
        table.add_row(
            line.work,
            f"{line.rows:,}" if line.rows else "",
            f"{line.seconds:.2f}" if line.seconds else "",
            f"{line.rows_per_s:,.0f}" if line.rows_per_s else "",
            f"{line.peak_mb:.0f}" if line.peak_mb else "",
            line.peer,
            f"{line.ratio:.2f}" if line.ratio else "",
            line.reach,
            "" if line.met is None else "yes" if line.met else "NO",
            line.note,
        )
    (Console() if sys.stdout.isatty() else Console(width=250)).print(table)


def works(settings: Settings, options: argparse.Namespace) -> Iterator[Measure]:
    table, assets = bars(options.rows) if options.only - {"api"} else (None, [])
    if "load" in options.only:
        lake = Lake(settings.object_store)
        lake.ensure_bucket()
        write_days(lake, table)
        yield from bench_load(settings, table, options)
        clear(lake, "binance/")
    if "api" in options.only:
        yield from bench_api(settings, options)
    if "marts" in options.only:
        yield from bench_marts(settings, table, assets, options)
    if "refresh" in options.only and not options.quick:
        yield from bench_refresh(settings, table, assets)
    if "dashboard" in options.only:
        yield from bench_pages(settings, table, assets, options.quick)


def measure(options: argparse.Namespace) -> Iterator[Measure]:
    """The measures one by one, each in the order of the table."""
    if "run" in options.only:
        yield from bench_run(options)
    if options.only - {"run"}:
        stray = [n for n in os.environ if n.startswith(("PG", "MINIO_"))]
        for name in stray:
            del os.environ[name]
        with tempfile.TemporaryDirectory(prefix="tickmart-bench-") as folder:
            # The embedded Postgres runs as another user when root starts it: the way to it must be open.
            Path(folder).chmod(0o711)
            os.environ["TICKMART_HOME"] = f"{folder}/home"
            with session() as settings:
                yield from works(settings, options)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(WORKS), help=f"comma list of {', '.join(WORKS)}")
    parser.add_argument("--rows", type=int, help="bars for load, marts and refresh (default 1,314,000)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, no naive peer, one year")
    parser.add_argument("--peers", type=Path, nargs="?", const=ROOT / "bench-results" / "peers",
                        help="also measure dlt, installed into this folder")  # fmt: skip
    parser.add_argument("--universe", help="universe of the servers behind BINANCE_BASE_URL (default: five symbols)")
    parser.add_argument("--json", type=Path, help="write the results here, too")
    parser.add_argument("--child", nargs=2, metavar=("WORK", "ARGUMENTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options.child[0], json.loads(options.child[1]))
        return 0
    options.only = set(options.only.split(","))
    if stray := options.only - set(WORKS):
        parser.error(f"--only: {', '.join(sorted(stray))} is none of {', '.join(WORKS)}")
    options.rows = options.rows or (131_400 if options.quick else 1_314_000)
    lines = []
    load = os.getloadavg()[0]
    for line in measure(options):
        lines.append(line)
        print(f"measured: {line.work.strip()}", file=sys.stderr, flush=True)
    show(lines)
    machine = {"cores": os.cpu_count(), "load_before": load, "load_after": os.getloadavg()[0]}
    print(f"{machine['cores']} cores; load average {load:.2f} before, {machine['load_after']:.2f} after")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        results = [{**asdict(line), "rows_per_s": line.rows_per_s} for line in lines]
        options.json.write_text(json.dumps({"machine": machine, "measures": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
