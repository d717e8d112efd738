"""The marts: their full rebuild beside naive windows, and the refresh of one hour."""

import argparse
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from benchmarks.measuring import (
    FIRST_HOUR,
    ROOT,
    SYMBOLS,
    Measure,
    dbt_seconds,
    fill,
)
from ingestion.bronze.lake import ObjectInfo
from ingestion.database import connections
from ingestion.raw import loader
from ingestion.settings import Settings
from ingestion.sources.binance.dataset import KLINES
from ingestion.universe import Asset


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
