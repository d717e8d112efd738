"""Whole commands in a home of their own: first backfill, refreshes, `status`, `sql`, and the demo to a page with data.

Each line is the median of `--times` calls beside its limit, the first backfill one call. CPU and memory are those of
the command and every process that it starts.
"""

import argparse
import csv
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measuring import ROOT, TICKMART, Measure
from orchestration.local.processes import free_port

# Seconds, and megabytes: the reach of issue 15, on two quiet cores.
BACKFILL_S, NOTHING_NEW_S, NEW_HOUR_S, FIRST_PAGE_S, QUERY_S, MEMORY_MB = 78, 10, 12, 30, 1, 600
SAMPLE_EVERY_S = 0.2
FIRST_PAGE_DEADLINE_S = 900
SERVERS = ("postgres", "rclone")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=int, default=3, help="calls of each command of a whole run (default 3)")
    parser.add_argument("--assets", type=int, default=5, help="symbols of a whole run, at most 50 (default 5)")
    parser.add_argument("--years", type=float, default=1, help="years of hourly bars of a whole run (default 1)")
    parser.add_argument("--minute-days", type=int, default=0,
                        help="also load so many days of 1m bars from the archives in a whole run")  # fmt: skip


@dataclass
class Memory:
    """The largest sums of the memory of a command's processes, in MB: with and without Postgres and the S3 server."""

    own: float = 0
    total: float = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self, pid: int) -> None:
        """Sample until the end: shared pages count in parts (PSS), elsewhere than on Linux in full (RSS)."""
        while not self.ended.wait(SAMPLE_EVERY_S):
            own = total = 0.0
            with suppress(psutil.Error):
                command = psutil.Process(pid)
                for process in (command, *command.children(recursive=True)):
                    with suppress(psutil.Error):
                        used = process.memory_full_info()
                        size = getattr(used, "pss", used.rss) / 1e6
                        total += size
                        own += 0 if process.name().startswith(SERVERS) else size
            self.own, self.total = max(self.own, own), max(self.total, total)


@dataclass
class Call:
    """One call of the command: what it cost and printed."""

    seconds: float
    cpu: float
    memory: Memory
    code: int
    output: bytes

    def summary(self) -> dict[str, Any]:
        return json.loads(self.output) if self.output else {"status": "no output", "stages": []}


def call(env: dict[str, str], *arguments: str) -> Call:
    """Run the command to its end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(
        [TICKMART, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        memory = Memory()
        sampler = threading.Thread(target=memory.watch, args=(process.pid,))
        sampler.start()
        output, _ = process.communicate()
    seconds = time.perf_counter() - began
    memory.ended.set()
    sampler.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Call(seconds, cpu, memory, process.returncode, output)


@dataclass
class Exchange:
    """The simulator with a clock that this process moves."""

    urls: dict[str, str]
    now: datetime

    def next_hour(self) -> None:
        self.now += timedelta(hours=1)
        body = json.dumps({"now": self.now.isoformat()}).encode()
        request = urllib.request.Request(f"{self.urls['url']}/_clock", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def exchange(now: datetime) -> Iterator[Exchange]:
    """Start the simulator at a moment, without a limit that a bench would wait for."""
    command = [sys.executable, "-m", "ingestion.simulator", "--weight-limit", "100000000", "--now", now.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield Exchange(json.loads(process.stdout.readline()), now)
        finally:
            process.terminate()


def line(work: str, calls: list[Call], limit: float, note: str = "") -> Measure:
    """The median of some calls beside their limit, with the peak of their memory."""
    seconds = statistics.median(c.seconds for c in calls)
    details = [f"CPU {statistics.median(c.cpu for c in calls):.1f} s", note]
    # The exit code of `status` is the health of the data.
    if failed := {c.code for c in calls if c.code and work != "status"}:
        details.append(f"exit codes {failed}")
    own = max(c.memory.own for c in calls)
    return Measure(
        work, None, seconds, own, ratio=seconds / limit, reach=f"<= {limit} s", met=seconds <= limit and not failed,
        note=", ".join(filter(None, details)),
    )  # fmt: skip


def memory_line(work: str, made: Call) -> Measure:
    """The peak memory of a call beside its limit."""
    own = made.memory.own
    return Measure(
        f"{work}: memory", None, None, own, ratio=own / MEMORY_MB, reach=f"<= {MEMORY_MB} MB", met=own <= MEMORY_MB,
        note=f"{made.memory.total:.0f} MB with Postgres and the S3 server",
    )  # fmt: skip


def backfill_lines(work: str, made: Call, limit: float | None) -> Iterator[Measure]:
    summary = made.summary()
    stages = ", ".join(f"{s['stage']} {s['dataset']} {s['seconds']:.1f} s" for s in summary["stages"])
    measured = line(work, [made], limit or 1, f"{summary['status']}; {stages}")
    measured.rows = sum(s["rows"] for s in summary["stages"] if s["stage"] == "raw")
    if limit is None:
        measured.ratio, measured.reach, measured.met = None, "", None
    yield measured
    yield memory_line(work, made)


def bench_run(options: argparse.Namespace) -> Iterator[Measure]:
    """Every command of the reach of a refresh, each in its usual order, in a new home."""
    with tempfile.TemporaryDirectory(prefix="tickmart-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the embedded Postgres of root runs as another user
        # The last hours of the past: the exchange's clock must not pass this host's.
        first = datetime.now(UTC).replace(minute=2, second=0, microsecond=0) - timedelta(hours=options.times + 2)
        with exchange(first) as market:
            yield from _refreshes(folder, market, options)
        yield from _demo(folder, options.times)


def _environment(folder: Path, home: str) -> dict[str, str]:
    settings = ("PG", "MINIO_", "TICKMART_", "DAGSTER", "DBT", "BINANCE_", "COINGECKO_", "FEAR_GREED_")
    ports = {f"TICKMART_{server}_PORT": str(free_port(0)) for server in ("DAGSTER", "DASHBOARD", "DATA_DOCS")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    kept["TICKMART_KEEP_SERVERS_SECONDS"] = "0"  # each call starts its servers, also on a terminal
    return {**kept, **ports, "TICKMART_HOME": str(folder / home), "TICKMART_COINGECKO_CALLS_PER_MINUTE": "600"}


def _refreshes(folder: Path, market: Exchange, options: argparse.Namespace) -> Iterator[Measure]:
    with (ROOT / "ingestion" / "universe.csv").open(newline="") as packaged:
        rows = list(csv.reader(packaged))[: options.assets + 1]
    with (folder / "universe.csv").open("w", newline="") as chosen:
        csv.writer(chosen).writerows(rows)
    env = {**_environment(folder, "home"), "TICKMART_UNIVERSE": str(folder / "universe.csv")}
    env |= {key: url for key, url in market.urls.items() if key.isupper()}
    size = f"{len(rows) - 1} assets, {options.years:g} years"
    start = market.now.date() - timedelta(days=round(365.25 * options.years))
    yield from backfill_lines(f"backfill, {size}", call(env, "backfill", "--start", f"{start}", "--json"), BACKFILL_S)
    call(env, "run")  # what the backfill has left, such as the day's own documents
    calls = [call(env, "run") for _ in range(options.times)]
    yield line(f"run, nothing new, {size}", calls, NOTHING_NEW_S)
    calls = []
    for _ in range(options.times):
        market.next_hour()
        calls.append(call(env, "run"))
    yield line(f"run, one new hour, {size}", calls, NEW_HOUR_S)
    for arguments in (("status",), ("sql", "select count(*) from marts.fct_prices")):
        calls = [call(env, *arguments) for _ in range(options.times)]
        yield line(arguments[0], calls, QUERY_S)
    if options.minute_days:
        day = market.now.date() - timedelta(days=options.minute_days + 2)
        days = ("--start", f"{day}", "--end", f"{day + timedelta(days=options.minute_days)}")
        made = call(env, "backfill", "--interval", "1m", "--source", "archive", *days, "--json")
        yield from backfill_lines(f"backfill, {len(rows) - 1} assets, {options.minute_days} days of 1m", made, None)


def _demo(folder: Path, times: int) -> Iterator[Measure]:
    calls = [_first_page(folder, f"demo-{number}") for number in range(times)]
    for work, seconds in zip(("to the first page", "to its data"), zip(*calls, strict=True), strict=True):
        median = statistics.median(seconds)
        yield Measure(
            f"demo, new home, {work}", None, median, ratio=median / FIRST_PAGE_S, reach=f"<= {FIRST_PAGE_S} s",
            met=median <= FIRST_PAGE_S,
        )  # fmt: skip


def _first_page(folder: Path, home: str) -> tuple[float, float]:
    """Start a demo; return the seconds until its dashboard answers a page, and until the first run ended; end it."""
    env = _environment(folder, home)
    address = f"http://127.0.0.1:{env['TICKMART_DASHBOARD_PORT']}"
    steps = (
        lambda: _answers(f"{address}/_stcore/health") and _answers(f"{address}/"),
        (folder / home / "demo" / "status.json").exists,
    )
    began, reached = time.perf_counter(), []
    with subprocess.Popen([TICKMART, "demo"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for is_reached in steps:
                while not is_reached():
                    if process.poll() is not None or time.perf_counter() - began > FIRST_PAGE_DEADLINE_S:
                        raise RuntimeError("the demo has shown no page; run `tickmart demo` to see why")
                    time.sleep(0.1)
                reached.append(time.perf_counter() - began)
            return reached[0], reached[1]
        finally:
            # A signal can be lost while a run ends.
            while process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
