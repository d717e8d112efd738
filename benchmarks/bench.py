"""`make bench`: how fast each stage is, beside its limit or a peer measured in the same run, as one table.

Here: the measures of docs/performance.md. Not here: tests (nothing is asserted; a machine's noise fails nothing).
Everything runs on loopback, on the simulator's data, in a home of its own that is removed afterwards. Measured work
runs in child processes (`--child`), so that each one's peak memory is its own.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.api import bench_api, child_api
from benchmarks.compaction import bench_compact, child_compact
from benchmarks.live import bench_live
from benchmarks.load import bench_load, child_load
from benchmarks.measuring import ROOT, Measure, bars, clear, peak_mb, write_days
from benchmarks.onchain import bench_onchain, child_bitcoin_load, child_fetch
from benchmarks.reading import bench_client, bench_export, build_marts, child_client
from benchmarks.warehouse import bench_marts, bench_refresh
from benchmarks.whole_run import add_options, bench_run
from ingestion.bronze.lake import Lake
from ingestion.settings import Settings
from orchestration.session import session

WORKS = ("load", "compact", "api", "marts", "refresh", "client", "export", "run", "dashboard", "onchain", "live")


def child_queries(times: int) -> dict[str, Any]:
    from benchmarks import dashboard_queries  # not above: Streamlit's 50 MB would count in every child's peak

    return dashboard_queries.query_times(times)


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {
    "load": child_load,
    "compact": child_compact,
    "api": child_api,
    "client": child_client,
    "queries": child_queries,
    "onchain_fetch": child_fetch,
    "onchain_load": child_bitcoin_load,
}


def run_child(work: str, arguments: dict[str, Any]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    result = CHILDREN[work](**arguments)
    measured = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "peak_mb": peak_mb()}
    print(json.dumps({**measured, **result}))


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
    table, assets = bars(options.rows) if options.only - {"api", "onchain", "live"} else (None, [])
    if "load" in options.only:
        lake = Lake(settings.object_store)
        lake.ensure_bucket()
        write_days(lake, table)
        yield from bench_load(settings, table, options)
        clear(lake, "binance/")
    if "compact" in options.only:
        yield from bench_compact(settings, table)
        clear(Lake(settings.object_store), "binance/")
    if "api" in options.only:
        yield from bench_api(settings, options)
    if "marts" in options.only:
        yield from bench_marts(settings, table, assets, options)
    if "refresh" in options.only and not options.quick:
        yield from bench_refresh(settings, table, assets)
    if options.only & {"client", "export"}:
        build_marts(settings, table, assets)
    if "client" in options.only:
        yield from bench_client(settings)
    if "export" in options.only:
        yield from bench_export(settings)
    if "onchain" in options.only:
        yield from bench_onchain(settings, options)
    if "live" in options.only:
        yield from bench_live(settings, options)
    if "dashboard" in options.only:
        from benchmarks.dashboard import bench_pages  # not above: see child_queries

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
    parser.add_argument("--rows", type=int, help="bars, or transactions, of all but api and run (default 1,314,000)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, no naive peer, one year")
    parser.add_argument("--peers", type=Path, nargs="?", const=ROOT / "bench-results" / "peers",
                        help="also measure dlt, installed into this folder")  # fmt: skip
    add_options(parser)
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
    try:
        for line in measure(options):
            lines.append(line)
            print(f"measured: {line.work.strip()}", file=sys.stderr, flush=True)
    finally:  # what was measured before a stage failed or was interrupted
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
