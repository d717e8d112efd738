"""A whole run: a backfill from the API to the marts, and runs after it, in a new home."""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import (
    ROOT,
    TICKMART,
    Measure,
    simulator,
)


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
