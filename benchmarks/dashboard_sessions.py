"""Fifty visitors at once: what they wait for, and the memory and connections that they cost."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from threading import Thread
from typing import Any

import numpy as np
import psutil
import psycopg2

from benchmarks import browser
from benchmarks.dashboard_browser import pick
from benchmarks.dashboard_server import (
    CHANGE_S,
    CHART_BYTES,
    PAGES,
    WARM_S,
    Line,
    limit_line,
    megabytes,
    server,
)
from benchmarks.visitor import Run, Visitor

SESSIONS = 50
LOADS = 4000  # Python's collector runs when a quarter has been added: the first thousand tell nothing
FACTOR = 3  # what fifty sessions may cost
KEPT_S = 60  # disconnectedSessionTTL of dashboard/.streamlit/config.toml
CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("range", {"string_array_value": ["7D"]}),
    ("panes", {"string_array_value": ["Volume", "RSI", "MACD"]}),
    ("log", {"bool_value": True}),
    ("range", {"string_array_value": ["3M"]}),
)


async def wander(address: str, pause: Callable[[], Awaitable[None]]) -> list[tuple[str, Run]]:
    """Visit four pages and make four choices on one of them, resting before each."""
    runs = []
    async with Visitor(address) as visitor:
        for page in ("", "price", "compare", "sentiment"):
            await pause()
            runs.append(("first chart", await visitor.visit(page)))
            for key, value in CHOICES if page == "price" else ():
                await pause()
                runs.append(("change", await visitor.choose(key, **value)))
    return runs


async def crowd(address: str, together: bool) -> list[tuple[str, Run]]:
    """Fifty visitors: arriving within half a minute and resting 5 s at the mean, or each step of all in one moment."""
    barrier = asyncio.Barrier(SESSIONS)

    async def one(number: int) -> list[tuple[str, Run]]:
        rest = np.random.default_rng(number)

        async def alone() -> None:
            await asyncio.sleep(float(rest.exponential(5)))

        async def at_once() -> None:
            await barrier.wait()

        if not together:
            await asyncio.sleep(number * 30 / SESSIONS)
        return await wander(address, at_once if together else alone)

    return [run for runs in await asyncio.gather(*map(one, range(SESSIONS))) for run in runs]


class Watch:
    """The most memory of the server and the most connections of its role while it looks, twice a second."""

    def __init__(self, process: psutil.Process, connections: Callable[[], int]) -> None:
        self.process, self.connections = process, connections
        self.peak_mb, self.most, self.cpu_s = 0.0, 0, 0.0
        self._over = False
        self._thread = Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over:
            self.peak_mb = max(self.peak_mb, megabytes(self.process))
            self.most = max(self.most, self.connections())
            time.sleep(0.5)

    def __enter__(self) -> "Watch":
        self._began = sum(self.process.cpu_times()[:2])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()
        self.cpu_s = sum(self.process.cpu_times()[:2]) - self._began


def browser_in_a_crowd(env: dict[str, str]) -> Iterator[Line]:
    """What one more visitor sees in Chromium while fifty wander about: drawn charts, and not only sent ones."""
    charts: list[float] = []
    choices: list[float] = []
    with server(env) as (address, _process), browser.chromium() as tab:
        tab().first_chart(f"{address}/price")  # warm
        wandering = Thread(target=lambda: asyncio.run(crowd(address, together=False)), daemon=True)
        wandering.start()
        while wandering.is_alive():
            opened = tab()
            for page in ("", "price?coin=bitcoin"):
                charts.append(opened.first_chart(f"{address}/{page}"))
            for name in ("7D", "3M", "1Y"):
                choices.append(opened.change(pick(name)))
            opened.context.close()
    for kind, found, limit in (("first chart", charts, WARM_S), ("change", choices, CHANGE_S)):
        yield limit_line(
            f"a browser beside {SESSIONS} sessions: {kind}",
            found,
            limit * FACTOR,
            f"{len(found)} times; 2 pages, ranges",
        )


def load(address: str, page: str) -> Run:
    """One visit to a page, alone."""

    async def visit() -> Run:
        async with Visitor(address) as visitor:
            return await visitor.visit(page)

    return asyncio.run(visit())


def largest_chart(address: str) -> Line:
    alone = {page: load(address, page) for _ in range(2) for page in PAGES}
    charts = {f"{page or 'overview'}: {alt[:40]}": n for page, run in alone.items() for alt, n in run.charts.items()}
    heaviest = max(charts, key=charts.__getitem__)
    return {
        "work": "largest chart as sent", "ratio": charts[heaviest] / CHART_BYTES, "reach": "<= 300 KB",
        "met": charts[heaviest] <= CHART_BYTES, "note": f"{charts[heaviest] / 1000:.0f} KB, {heaviest}",
    }  # fmt: skip


def waits(name: str, runs: list[tuple[str, Run]], cpu_s: float) -> Iterator[Line]:
    """What the visitors of one crowd waited for, a line for each kind of step."""
    failed = sum(bool(run.error) for _, run in runs)
    for kind, limit in (("first chart", WARM_S), ("change", CHANGE_S)):
        seconds = [run.first_chart or run.seconds for step, run in runs if step == kind]
        whole = [run.seconds for step, run in runs if step == kind]
        p95 = float(np.percentile(seconds, 95))
        yield {
            "work": f"{SESSIONS} sessions, {name}: {kind} sent, p95", "rows": len(seconds), "seconds": p95,
            "ratio": p95 / limit / FACTOR, "reach": f"<= {limit * FACTOR:g} s",
            "met": p95 <= limit * FACTOR and not failed,
            "note": f"median {statistics.median(seconds):.2f} s; whole page p95 {np.percentile(whole, 95):.2f} s; "
            f"{failed} failed; {cpu_s / len(runs):.3f} CPU s of the server a run",
        }  # fmt: skip


def growth(address: str, process: psutil.Process) -> Line:
    """The server's memory after thousands of page loads, beside that after half of them."""
    sizes = []
    for number in range(LOADS):
        load(address, PAGES[number % len(PAGES)])
        if number in (LOADS // 2 - 1, LOADS - 1):
            time.sleep(KEPT_S * 2.2)
            sizes.append(megabytes(process))
    grown = sizes[1] - sizes[0]
    return {
        "work": f"  growth from page load {LOADS // 2} to {LOADS}", "reach": "< 10 MB", "met": grown < 10,
        "peak_mb": sizes[1], "note": f"{sizes[0]:.1f} MB, then {sizes[1]:.1f} MB, each two minutes after",
    }  # fmt: skip


def crowd_lines(env: dict[str, str], owner: dict[str, str], quick: bool) -> Iterator[Line]:
    """Fifty sessions by websocket, as a browser holds them but without drawing; their memory, before and after.

    The quick bench leaves out thousands of page loads, which take half an hour.
    """
    with closing(psycopg2.connect(**owner)) as connection, server(env) as (address, process):
        connection.autocommit = True

        def connections() -> int:
            with connection.cursor() as cursor:
                cursor.execute("select count(*) from pg_stat_activity where application_name = 'tickmart dashboard'")
                return int(cursor.fetchone()[0])

        yield largest_chart(address)
        before = megabytes(process)
        watches = []
        for name, together in (("at their own pace", False), ("every step in the same moment", True)):
            with Watch(process, connections) as watch:
                runs = asyncio.run(crowd(address, together))
            watches.append(watch)
            yield from waits(name, runs, watch.cpu_s)
        most = max(watch.most for watch in watches)
        yield {
            "work": "  connections to Postgres", "reach": "<= 5", "met": most <= 5, "note": f"{most} at most",
        }  # fmt: skip
        time.sleep(KEPT_S * 2.2)  # sessions are kept for a minute after their visitor has gone, and looked after then
        peak = max(watch.peak_mb for watch in watches)
        yield {
            "work": "  memory of the server", "peak_mb": peak,
            "note": f"{before:.0f} MB before, {peak:.0f} MB at most, {megabytes(process):.0f} MB two minutes after",
        }  # fmt: skip
        if not quick:
            yield growth(address, process)
