"""Bitcoin's transactions: bucket to bronze to raw to marts, beside bare COPY; size per row and peak memory."""

import argparse
import contextlib
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring import Measure, child, dbt_seconds
from ingestion.bronze.lake import Lake
from ingestion.bronze.write import Context
from ingestion.database import connections
from ingestion.raw.binary_copy import Stream, binary_copies
from ingestion.settings import Settings, load_settings
from ingestion.simulator.bitcoin import make_day, write_daily
from ingestion.sources.bitcoin.bucket import Bucket
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS, transactions_key
from ingestion.sources.bitcoin.ingest import ingest_days
from ingestion.sources.bitcoin.load import load_days
from ingestion.sources.bitcoin.objects import read_transactions
from orchestration.local.processes import die_with_parent, free_port

FIRST, BLOCKS, PER_BLOCK = date(2024, 6, 1), 144, 4166
DAY_ROWS = BLOCKS * PER_BLOCK
# 32 million rows in six minutes.
LOAD_ROWS_PER_S, MARTS_ROWS_PER_S, DAY_S, MOST_MB, ROW_BYTES = 90_000, 133_000, 40, 700, 120


def days_of(rows: int) -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(max(2, rows // DAY_ROWS))]


@contextlib.contextmanager
def public_bucket(days: list[date]) -> Iterator[str]:
    """An S3 server on loopback that anybody may read, with these days in the layout of AWS; its address."""
    with tempfile.TemporaryDirectory(prefix="tickmart-bench-bucket-") as folder:
        for n, day in enumerate(days):
            made = make_day(day, first=850_000 + BLOCKS * n, blocks=BLOCKS, per_block=PER_BLOCK)
            write_daily(Path(folder) / "public" / "btc", made, parts=4)
        port = free_port(0)
        rclone = [Path(sysconfig.get_path("scripts")) / "rclone", "serve", "s3", "--config", ""]
        server = subprocess.Popen(
            [*rclone, "--addr", f"127.0.0.1:{port}", folder],
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        try:
            yield f"http://127.0.0.1:{port}/public/btc"
        finally:
            server.terminate()
            server.wait()


def child_fetch(url: str, days: list[str]) -> dict[str, Any]:
    settings = load_settings()
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        context = Context(Lake(settings.object_store), connection, "bench")
        began = time.perf_counter()
        result = ingest_days(
            context, Bucket(url), list(map(date.fromisoformat, days)), lambda: datetime(2026, 1, 1, tzinfo=UTC)
        )
        return {"seconds": time.perf_counter() - began, "rows": result.rows, "failed": [*result.failed, result.error]}


def child_bitcoin_load() -> dict[str, Any]:
    settings = load_settings()
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        began = time.perf_counter()
        loaded, damaged = load_days(Lake(settings.object_store), connection, BITCOIN_TRANSACTIONS, "bench")
        return {"seconds": time.perf_counter() - began, "damaged": damaged, **asdict(loaded)}


def copy_seconds(settings: Settings, days: list[date]) -> float:
    """Bare binary COPY of the same rows into a heap without index; the bytes of each day are made beforehand."""
    lake, seconds = Lake(settings.object_store), 0.0
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        connections.execute(connection, "create table raw.heap (like raw.bitcoin_transactions)")
        for day in days:
            key = transactions_key(day)
            body = lake.get(key)
            assert body is not None
            batches = list(read_transactions(body, key))
            columns = ", ".join(batches[0].schema.names)
            content = b"".join(binary_copies(batches))
            began = time.perf_counter()
            with connection, connection.cursor() as cursor:
                statement = f"copy raw.heap ({columns}) from stdin with (format binary)"
                cursor.copy_expert(statement, Stream(iter([content])), size=1 << 20)
            seconds += time.perf_counter() - began
        connections.execute(connection, "drop table raw.heap")
    return seconds


def bench_onchain(settings: Settings, options: argparse.Namespace) -> Iterator[Measure]:
    days = days_of(options.rows)
    rows = len(days) * DAY_ROWS
    Lake(settings.object_store).ensure_bucket()
    # Views and the tables of prices exist beforehand, as in any warehouse.
    dbt_seconds(settings, "run", "--select", "+fct_onchain_activity")
    with public_bucket(days) as url:
        fetched = child("onchain_fetch", url=url, days=[day.isoformat() for day in days])
    assert (fetched["rows"], fetched["failed"]) == (rows, [None]), fetched
    yield Measure(
        "Bitcoin: bucket to bronze", rows, fetched["seconds"], fetched["peak_mb"], reach=f"<= {MOST_MB} MB",
        met=fetched["peak_mb"] <= MOST_MB, note=f"{len(days)} days; CPU {fetched['cpu']:.1f} s",
    )  # fmt: skip
    loaded = child("onchain_load")
    assert loaded["inserted"] == rows, loaded
    copy = rows / copy_seconds(settings, days)
    speed = rows / loaded["seconds"]
    yield Measure(
        "Bitcoin: bronze to raw", rows, loaded["seconds"], loaded["peak_mb"], f"bare COPY (binary) {copy:,.0f} rows/s",
        speed / copy, ">= 0.6 x COPY", speed / copy >= 0.6, f"CPU of ours {loaded['cpu']:.1f} s",
    )  # fmt: skip
    both = fetched["seconds"] + loaded["seconds"]
    yield Measure(
        "  bucket to raw", rows, both, reach=f">= {LOAD_ROWS_PER_S:,} rows/s", met=rows / both >= LOAD_ROWS_PER_S
    )
    heap, total = sizes(settings)
    yield Measure(
        "  bytes per row with index", rows, reach=f"<= {ROW_BYTES}", met=total / rows <= ROW_BYTES,
        note=f"{total / rows:.1f}, of which heap {heap / rows:.1f}",
    )  # fmt: skip
    seconds = dbt_seconds(settings, "run", "--select", "int_onchain_activity", "fct_onchain_activity")
    yield Measure(
        "Bitcoin: marts of all days", rows, seconds, reach=f">= {MARTS_ROWS_PER_S:,} rows/s",
        met=rows / seconds >= MARTS_ROWS_PER_S,
    )  # fmt: skip
    yield new_day(settings, days)


def sizes(settings: Settings) -> tuple[int, int]:
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        [(heap, total)] = connections.fetch(
            connection,
            "select sum(pg_relation_size(relid))::bigint, sum(pg_relation_size(relid) + pg_indexes_size(relid))::bigint"
            " from pg_partition_tree('raw.bitcoin_transactions') where isleaf",
        )
    return heap, total


def new_day(settings: Settings, days: list[date]) -> Measure:
    """One more day, end to end but for the other steps of a run."""
    day = days[-1] + timedelta(days=1)
    with tempfile.TemporaryDirectory(prefix="tickmart-bench-day-") as folder:
        made = make_day(day, first=850_000 + BLOCKS * len(days), blocks=BLOCKS, per_block=PER_BLOCK)
        write_daily(Path(folder), made, parts=4)
        fetched = child("onchain_fetch", url=f"file://{folder}", days=[day.isoformat()])
        shutil.rmtree(Path(folder) / "blocks")
    loaded = child("onchain_load")
    marts = dbt_seconds(settings, "run", "--select", "int_onchain_activity", "fct_onchain_activity")
    parts = (fetched["seconds"], loaded["seconds"], marts)
    return Measure(
        "Bitcoin: a new day", DAY_ROWS, sum(parts), max(fetched["peak_mb"], loaded["peak_mb"]), reach=f"<= {DAY_S} s",
        met=sum(parts) <= DAY_S, note="fetch {:.1f}, load {:.1f}, marts {:.1f} s".format(*parts),
    )  # fmt: skip
