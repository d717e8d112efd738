"""Compaction of bronze: objects, bytes, time to list, read and load, before and after; the memory of a compaction."""

import io
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.candles import FIRST_DAY, candles
from benchmarks.measuring import SYMBOLS, Measure, child, mark_pending, median_of, write_days
from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.settings import Settings, load_settings
from ingestion.sources.binance.dataset import KLINES, klines_key

BTC = "BTCUSDT"


def child_compact() -> dict[str, Any]:
    """Compact the lake as `tickmart compact --remove-now` does."""
    from ingestion.bronze.compaction import compact

    settings = load_settings()
    lake = Lake(settings.object_store)
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        began = time.perf_counter()
        done = compact(lake, connection, [KLINES], datetime.now(UTC), "bench", remove_after=timedelta())
        return {"seconds": time.perf_counter() - began, **asdict(done)}


def read_symbol(lake: Lake) -> tuple[int, int]:
    """Read the closes of one symbol, object by object, as an engine does: by statistics; return rows and row groups."""
    rows = groups = 0
    for info in lake.list(f"{KLINES.prefix}/"):
        body = lake.get(info.key)
        assert body is not None
        file = pq.ParquetFile(io.BytesIO(body))
        column = file.schema_arrow.get_field_index("symbol")
        for at in range(file.num_row_groups):
            found = file.metadata.row_group(at).column(column).statistics
            if found.min <= BTC <= found.max:
                rows += len(file.read_row_group(at, ["close"]))
                groups += 1
    return rows, groups


def write_minutes(lake: Lake) -> int:
    """Write the days of a month of minute bars of fifty symbols; return their rows."""
    names, rows = [f"S{number:02}USDT" for number in range(SYMBOLS)], 0
    for day in range(31):
        first = day * 1440
        tables = [candles(name, at, FIRST_DAY, first, first + 1440) for at, name in enumerate(names)]
        table = pa.concat_tables(tables).combine_chunks()
        lake.write(klines_key("1m", FIRST_DAY + timedelta(days=day)), table)
        rows += len(table)
    return rows


def bench_compact(settings: Settings, table: pa.Table) -> Iterator[Measure]:
    """Measure days, compact them, and measure months."""
    lake = Lake(settings.object_store)
    lake.ensure_bucket()
    write_days(lake, table)
    yield from _measure(settings, lake, table, "daily objects")
    done = child("compact")
    note = f"{done['objects']:,} objects into {done['merged']:,}; CPU {done['cpu']:.1f} s"
    yield Measure("compaction", done["rows"], done["seconds"], done["peak_mb"], note=note)
    yield from _measure(settings, lake, table, "monthly objects")
    write_minutes(lake)
    done = child("compact")
    [size] = [info.size for info in lake.list(f"{KLINES.prefix}/interval=1m/")]
    note = f"{done['objects']:,} days of 1m bars into one month of {size / 1e6:.0f} MB; CPU {done['cpu']:.1f} s"
    yield Measure("compaction of a month of 1m bars", done["rows"], done["seconds"], done["peak_mb"], note=note)


def _measure(settings: Settings, lake: Lake, table: pa.Table, what: str) -> Iterator[Measure]:
    def seconds(work: Any) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    objects = lake.list(f"{KLINES.prefix}/")
    size = sum(info.size for info in objects)
    listing = median_of(5, lambda: seconds(lambda: lake.list(f"{KLINES.prefix}/")))
    yield Measure(f"{what}: list", seconds=listing, note=f"{len(objects):,} objects, {size / 1e6:.0f} MB")
    rows, groups = read_symbol(lake)
    reading = median_of(3, lambda: seconds(lambda: read_symbol(lake)))
    yield Measure(f"{what}: one symbol", rows, reading, note=f"{groups:,} row groups with {rows:,} rows read")
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        mark_pending(connection, rows=True)
        loaded = child("load")
    yield Measure(f"{what}: bronze to raw", len(table), loaded["seconds"], loaded["peak_mb"],
                  note=f"CPU {loaded['cpu']:.1f} s")  # fmt: skip
