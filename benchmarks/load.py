"""Bronze to raw: the load of new and of unchanged objects, beside bare COPY and dlt."""

import argparse
import hashlib
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.measuring import (
    ROOT,
    Measure,
    child,
    mark_pending,
)
from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.raw.binary_copy import Stream, binary_copy
from ingestion.settings import Settings, load_settings
from ingestion.sources.binance.dataset import KLINES

PEERS_LOCK = ROOT / "benchmarks" / "requirements.lock"


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
