"""API to bronze: years of bars from a server that has its pages ready, beside a JSON parser alone."""

import argparse
import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import orjson
import urllib3

from benchmarks.measuring import (
    FIRST_HOUR,
    HOUR_MS,
    SYMBOLS,
    Measure,
    child,
    clear,
    median_of,
    series,
    simulator,
)
from ingestion.bronze import write as bronze_write
from ingestion.bronze.lake import Lake
from ingestion.settings import Settings
from ingestion.sources.binance import ingest, rest
from ingestion.sources.binance.source import REST_API


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
