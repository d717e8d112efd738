"""The client and the export of all hourly bars, beside bare COPY and pandas on the same database in the same run."""

import io
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.measuring import TICKMART, Measure, child, dbt_seconds, fill, median_of
from ingestion.database import connections
from ingestion.settings import Settings
from ingestion.universe import Asset

# What tm.bars(None) reads. The peers send the same rows and columns in the same order.
BARS = (
    "select crypto_id, opened_at, open, high, low, close, volume, quote_volume, trade_count from marts.fct_prices "
    "order by crypto_id, opened_at"
)


class Discard(io.RawIOBase):
    """Counts bytes and keeps none."""

    count = 0

    def write(self, content: Any) -> int:
        self.count += len(content)
        return len(content)


def build_marts(settings: Settings, table: pa.Table, assets: list[Asset]) -> None:
    """Build what the client and the export read: hourly bars and coins."""
    fill(settings, table, assets)
    dbt_seconds(settings, "run", "--full-refresh", "--select", "+fct_prices", "+dim_crypto")


def child_client(way: str) -> dict[str, Any]:
    """Read all hourly bars in one way."""
    url = os.environ["BENCH_READER_URL"]
    if way == "client":
        import tickmart as tm  # not above: each way imports only its own library, whose memory counts

        with tm.connect(url) as source:
            began = time.perf_counter()
            found = source.bars(None)
            seconds = time.perf_counter() - began
            frame = found.to_pandas()
            return {"seconds": seconds, "frame_seconds": time.perf_counter() - began, "rows": len(frame)}
    import pandas as pd
    from sqlalchemy import create_engine

    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:", 1))
    with engine.connect() as connection:
        began = time.perf_counter()
        frame = pd.read_sql(BARS, connection)
        return {"seconds": time.perf_counter() - began, "rows": len(frame)}


def copy_out_seconds(settings: Settings, query: str) -> float:
    """Return the seconds of a bare COPY whose bytes are discarded."""
    with connections.connected(settings.postgres, "quality_ro") as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        cursor.copy_expert(f"copy ({query}) to stdout (format csv)", Discard())
        return time.perf_counter() - began


def bench_client(settings: Settings) -> Iterator[Measure]:
    from orchestration.cli.connect import Reader

    server = settings.postgres
    reader = Reader(server.host, server.port, server.database, os.environ["TICKMART_PG_READER_PASSWORD"])
    os.environ["BENCH_READER_URL"] = reader.url()
    copies, reads = [], []
    for _ in range(3):  # each in turn, so that a noisy machine troubles all alike
        copies.append(copy_out_seconds(settings, BARS))
        reads.append(child("client", way="client"))
    pandas = child("client", way="pandas")
    assert pandas["rows"] == reads[0]["rows"]
    seconds = statistics.median(read["seconds"] for read in reads)
    frame = statistics.median(read["frame_seconds"] for read in reads)
    ratio = pandas["seconds"] / frame
    yield Measure(
        "client, all hourly bars as a pandas frame", reads[0]["rows"], frame, max(read["peak_mb"] for read in reads),
        f"pandas.read_sql {pandas['seconds']:.1f} s, {pandas['peak_mb']:.0f} MB", ratio, ">= 5 x pandas", ratio >= 5,
    )  # fmt: skip
    yield Measure(
        "  as an Arrow table", reads[0]["rows"], seconds, None,
        f"bare COPY, bytes discarded {statistics.median(copies):.1f} s",
        statistics.median(copy / read["seconds"] for copy, read in zip(copies, reads, strict=True)),
    )  # fmt: skip


def bench_export(settings: Settings) -> Iterator[Measure]:
    with connections.connected(settings.postgres, "quality_ro") as connection:
        ((rows,),) = connections.fetch(connection, "select count(*) from marts.fct_prices")
    with tempfile.TemporaryDirectory(prefix="tickmart-bench-export-") as folder:
        call = [TICKMART, "export", "--format", "parquet", str(Path(folder) / "bars")]

        def export() -> float:
            began = time.perf_counter()
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - began

        seconds = median_of(3, export)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    copy = copy_out_seconds(settings, "select * from marts.fct_prices order by crypto_id, opened_at")
    yield Measure(
        "tickmart export --format parquet, all hourly bars with their metrics", rows, seconds, None,
        f"bare COPY, bytes discarded {copy:.1f} s", copy / seconds, "< 20 s", seconds < 20, f"{size >> 20} MB written",
    )  # fmt: skip
