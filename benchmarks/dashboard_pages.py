"""The dashboard's part of `make bench`: queries, pages in a real browser, fifty visitors at once, memory.

Belongs here: what is measured of the dashboard, and beside which limit. Does not: the bars in the warehouse and the
table that is printed (`bench`), how a page is asked (`visitor`, `browser`).
"""

import asyncio
import importlib.util
import inspect
import os
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import orjson
import psutil
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import browser
from benchmarks.visitor import Run, Visitor

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("", "price", "sentiment", "compare", "data_quality", "dictionary")
SESSIONS = 50
LOADS = 4000  # Python's collector runs when a quarter has been added: the first thousand tell nothing
COLD_S, WARM_S, CHANGE_S, QUERY_S, CHART_BYTES = 2.5, 1.5, 0.6, 0.05, 300_000
FACTOR = 3  # what fifty sessions may cost
KEPT_S = 60  # disconnectedSessionTTL of dashboard/.streamlit/config.toml

Line = dict[str, Any]  # a Measure of the table


# -- the warehouse -----------------------------------------------------------------------------------------------------


def until_now(bars: pa.Table) -> pa.Table:
    """Move the bars by whole hours so that the newest one has just closed: pages and their warnings are today's."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    shift = hour - timedelta(hours=1) - pc.max(bars["open_time"]).as_py()
    for name in ("open_time", "close_time"):
        number = bars.schema.get_field_index(name)
        bars = bars.set_column(number, name, pc.add(bars[name], pa.scalar(shift, pa.duration("us"))))
    return bars


def fill_market(connection: Any) -> None:
    """Put a month of hourly snapshots, three years of the index, and run metadata beside the candles."""
    from ingestion.simulator.coins import UNIVERSE, all_coins, read_universe
    from ingestion.simulator.market import Market
    from ingestion.simulator.shapes import Shapes

    shapes, now = Shapes(Market(3, all_coins(read_universe(UNIVERSE)))), int(time.time() * 1000)
    snapshot = shapes.coingecko_markets(now - 60_000, None, ("1h", "24h", "7d"), False, "market_cap_desc")
    snapshot = orjson.loads(orjson.dumps(snapshot, option=orjson.OPT_SERIALIZE_NUMPY))
    index = shapes.fear_greed_rows(now, 1095)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select column_name from information_schema.columns where table_schema = 'raw' "
            "and table_name = 'coingecko_markets'"
        )
        columns = [name for (name,) in cursor.fetchall() if name in snapshot[0] and name != "symbol"]
        rows = [{**dict.fromkeys(columns), **row} for row in snapshot]
        marks, named = ", ".join(f"%({c})s" for c in columns), ", ".join(columns)
        insert = f"insert into raw.coingecko_markets (crypto_id, snapshot_at, symbol, payload, batch_id, {named})"
        cursor.executemany(
            f"{insert} values (%(id)s, now() - interval '1 minute', %(symbol)s, '{{}}', 'bench', {marks})",
            [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in rows],
        )
        # Making a snapshot takes the simulator half a second: the others are the first one, a little cheaper or dearer.
        moved = [
            f"{c} * (1 + 0.05 * sin(hours / 24.0))::numeric"
            if c in ("current_price", "market_cap", "total_volume")
            else c
            for c in columns
        ]
        cursor.execute(
            f"{insert} select crypto_id, snapshot_at - hours * interval '1 hour', symbol, payload, batch_id, "
            f"{', '.join(moved)} from raw.coingecko_markets cross join generate_series(1, 744) as hours"
        )
        cursor.executemany(
            "insert into raw.fear_greed (date, value, classification, batch_id) values (%s, %s, %s, 'bench')",
            [
                (datetime.fromtimestamp(int(r["timestamp"]), UTC).date(), r["value"], r["value_classification"])
                for r in index
            ],
        )
        cursor.execute(
            """
            insert into ops.load_ledger
                (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
            select dataset, dataset, '', '', 1, 1, 0, 0, 'bench'
            from unnest(array['binance_klines', 'coingecko_markets', 'fear_greed']) as dataset;
            insert into ops.check_results
                (run_id, asset, check_name, source, severity, status, observed, expected, failed_rows, checked_at)
            select 'run-' || run, 'raw/binance_klines', 'check_' || n, 'great_expectations', 'warn',
                case when run + n = 0 then 'failed' else 'passed' end, '3', '0', 3, now() - run * interval '1 hour'
            from generate_series(0, 167) as run cross join generate_series(0, 59) as n;
            insert into ops.runs (run_id, job, started_at, ended_at, status)
            select 'run-' || run, 'market_refresh', now() - run * interval '1 hour',
                now() - run * interval '1 hour' + (20 + run % 9) * interval '1 second',
                case when run = 2 then 'failed' else 'ok' end
            from generate_series(0, 743) as run;
            insert into ops.source_requests
                (source, endpoint, host, requested_at, http_status, latency_ms, bytes, attempt, weight)
            select source, '/', 'host', now() - n * interval '1 minute', 200, 40 + n % 50, 1000, 1, 2
            from generate_series(1, 10080) as n cross join unnest(array['binance', 'coingecko']) as source
            """
        )


# -- queries -----------------------------------------------------------------------------------------------------------


COINS = ("bitcoin", "ethereum", "binancecoin", "ripple", "solana")
CHOICES_ASKED: dict[str, dict[str, Any]] = {  # the largest that a page asks for
    "hourly": {"days": 7},
    "hourly_closes": {"days": 7},
    "export_hours": {"days": 92},
    "four_hourly": {"days": 92},
    "daily_closes": {"days": None},
    "export_days": {"days": None},
}


def query_times(times: int) -> dict[str, Any]:
    """Every query as the dashboard asks it, its rows made into a table, without the cache, `times` times each."""
    role = "TICKMART_PG_DASHBOARD_RO"
    os.environ.update(PGUSER=os.environ[f"{role}_USER"], PGPASSWORD=os.environ[f"{role}_PASSWORD"])
    if os.environ.get(f"{role}_ROLE"):
        os.environ["PGOPTIONS"] = f"-c role={os.environ[f'{role}_ROLE']}"
    from dashboard.database import MartsError
    from dashboard.queries import catalog, market, operations, prices, sentiment

    usual = {"crypto_id": "bitcoin", "crypto_ids": COINS, "window_days": 365}
    usual |= {"crypto_id_a": "bitcoin", "crypto_id_b": "ethereum"}
    taken: dict[str, list[float]] = {}
    missing = []
    modules = (catalog, market, operations, prices, sentiment)
    for name, function in (item for module in modules for item in vars(module).items()):
        cached = hasattr(function, "__wrapped__") and hasattr(function, "clear")
        if not (cached or name.startswith("export_")):
            continue
        query = function.__wrapped__ if cached else function
        choices = usual | CHOICES_ASKED.get(name, {})
        asked = {p: choices[p] for p in inspect.signature(query).parameters}
        with suppress(MartsError):
            query(**asked)
            for _ in range(times):
                began = time.perf_counter()
                query(**asked)
                taken.setdefault(name, []).append(time.perf_counter() - began)
        if name not in taken:
            missing.append(name)
    return {"times": taken, "missing": missing}


def query_lines(times: dict[str, list[float]], missing: list[str]) -> Iterator[Line]:
    """Two lines: every query has to keep each limit, so the slowest one decides."""
    unanswered = f"; not answered: {', '.join(missing)}" if missing else ""
    for share, limit in ((95, QUERY_S), (99, 0.15)):
        found = {name: float(np.percentile(taken, share)) for name, taken in times.items()}
        slowest = sorted(found.items(), key=lambda item: -item[1])
        worst = slowest[0][1] if slowest else None
        over = [name for name, seconds in slowest if seconds > limit]
        detail = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in slowest[: max(4, len(over))])
        yield {
            "work": f"dashboard query, p{share} of the slowest of {len(times)}", "seconds": worst,
            "reach": f"<= {limit * 1000:.0f} ms", "ratio": worst and worst / limit,
            "met": None if missing or worst is None else worst <= limit,
            "note": f"{len(times) - len(over)} of {len(times)} keep it; slowest: {detail}{unanswered}",
        }  # fmt: skip


# -- the server --------------------------------------------------------------------------------------------------------


@contextmanager
def server(env: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    """The dashboard in a new process, as `tickmart up` starts it, once it answers."""
    from orchestration.cli.up import dashboard_command
    from orchestration.local.processes import free_port

    port = free_port(0)
    process = subprocess.Popen(
        dashboard_command(port), cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                break
            time.sleep(0.1)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def megabytes(process: psutil.Process) -> float:
    return process.memory_info().rss / (1 << 20)


def limit_line(work: str, values: list[float], limit: float, note: str, **more: Any) -> Line:
    """The median beside its limit, which the worst has to keep as well."""
    return {
        "work": work, "seconds": statistics.median(values), "ratio": max(values) / limit, "reach": f"<= {limit:g} s",
        "met": max(values) <= limit, "note": f"worst {max(values):.2f} s; {note}", **more,
    }  # fmt: skip


# -- one visitor with a browser ----------------------------------------------------------------------------------------


def pick(name: str) -> Callable[[Any], None]:
    def click(page: Any) -> None:
        page.get_by_role("radio", name=name, exact=True).or_(
            page.get_by_role("button", name=name, exact=True)
        ).first.click()

    return click


def open_list(page: Any) -> None:
    page.get_by_role("combobox").first.click()
    page.wait_for_timeout(300)


def coin(name: str) -> Callable[[Any], None]:
    return lambda page: page.get_by_role("option", name=name).first.click()


def changes(tab: browser.Tab, address: str) -> dict[str, list[float]]:
    """Seconds until a choice shows in its chart, three choices of each widget that changes one."""
    found: dict[str, list[float]] = {}
    tab.first_chart(f"{address}/price?coin=bitcoin")
    for name in ("7D", "3M", "All"):
        found.setdefault("range", []).append(tab.change(pick(name)))
    for name in ("RSI", "MACD", "ATR"):
        found.setdefault("pane", []).append(tab.change(pick(name)))
    for _ in range(3):
        found.setdefault("log", []).append(tab.change(lambda page: page.get_by_text("Log scale").first.click()))
    for name in ("Ethereum", "Solana", "Bitcoin"):
        open_list(tab.page)
        found.setdefault("coin", []).append(tab.change(coin(name)))
    tab.first_chart(f"{address}/")
    for name in ("7d", "1h", "24h"):
        found.setdefault("overview's window", []).append(tab.change(pick(name)))
    tab.first_chart(f"{address}/compare")
    for name in ("7D", "3M", "1Y"):
        found.setdefault("compare's range", []).append(tab.change(pick(name)))
    for name in ("30 days", "365 days", "90 days"):
        found.setdefault("correlation's window", []).append(tab.change(pick(name), chart=3))
    tab.first_chart(f"{address}/sentiment")
    for name in ("3Y", "1Y", "3Y"):
        found.setdefault("sentiment's span", []).append(tab.change(pick(name), chart=1))
    return found


def browser_lines(env: dict[str, str], repeats: int) -> Iterator[Line]:
    """First charts and changes in Chromium, alone: cold is a new server process and a browser that keeps nothing."""
    cold: dict[str, list[float]] = {}
    warm: dict[str, list[float]] = {}
    for _ in range(repeats):
        for page in PAGES:
            with server(env) as (address, _process), browser.chromium() as tab:
                opened = tab()
                cold.setdefault(page or "overview", []).append(opened.first_chart(f"{address}/{page}"))
                warm.setdefault(page or "overview", []).append(opened.first_chart(f"{address}/{page}"))
    with server(env) as (address, _process), browser.chromium() as tab:
        changed = [changes(tab(), address) for _ in range(repeats)]
    for name, found, limit in (("cold", cold, COLD_S), ("warm", warm, WARM_S)):
        detail = ", ".join(f"{page} {statistics.median(times):.2f}" for page, times in found.items())
        yield limit_line(f"first chart, {name} page", [t for times in found.values() for t in times], limit, detail)
    by_widget = {name: [t for run in changed for t in run[name]] for name in changed[0]}
    detail = ", ".join(f"{name} {statistics.median(times):.2f}" for name, times in by_widget.items())
    yield limit_line("a widget's change", [t for times in by_widget.values() for t in times], CHANGE_S, detail)


# -- many visitors -----------------------------------------------------------------------------------------------------

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


def crowd_lines(env: dict[str, str], owner: dict[str, str]) -> Iterator[Line]:
    """Fifty sessions by websocket, as a browser holds them but without drawing; their memory, before and after."""
    with closing(psycopg2.connect(**owner)) as connection, server(env) as (address, process):
        connection.autocommit = True

        def connections() -> int:
            with connection.cursor() as cursor:
                cursor.execute("select count(*) from pg_stat_activity where application_name = 'tickmart dashboard'")
                return int(cursor.fetchone()[0])

        async def load(page: str) -> Run:
            async with Visitor(address) as visitor:
                return await visitor.visit(page)

        alone = {page: asyncio.run(load(page)) for _ in range(2) for page in PAGES}
        charts = {
            f"{page or 'overview'}: {alt[:40]}": n for page, run in alone.items() for alt, n in run.charts.items()
        }
        heaviest = max(charts, key=charts.__getitem__)
        yield {
            "work": "largest chart as sent", "ratio": charts[heaviest] / CHART_BYTES, "reach": "<= 300 KB",
            "met": charts[heaviest] <= CHART_BYTES, "note": f"{charts[heaviest] / 1000:.0f} KB, {heaviest}",
        }  # fmt: skip
        before = megabytes(process)
        watches = {}
        for name, together in (("at their own pace", False), ("every step in the same moment", True)):
            with Watch(process, connections) as watches[name]:
                runs = asyncio.run(crowd(address, together))
            failed = sum(bool(run.error) for _, run in runs)
            for kind, limit in (("first chart", WARM_S), ("change", CHANGE_S)):
                seconds = [run.first_chart or run.seconds for step, run in runs if step == kind]
                whole = [run.seconds for step, run in runs if step == kind]
                p95 = float(np.percentile(seconds, 95))
                yield {
                    "work": f"{SESSIONS} sessions, {name}: {kind} sent, p95", "rows": len(seconds), "seconds": p95,
                    "ratio": p95 / limit / FACTOR, "reach": f"<= {limit * FACTOR:g} s",
                    "met": p95 <= limit * FACTOR and not failed,
                    "note": f"median {statistics.median(seconds):.2f} s; whole page p95 "
                    f"{np.percentile(whole, 95):.2f} s; {failed} failed; "
                    f"{watches[name].cpu_s / len(runs):.3f} CPU s of the server a run",
                }  # fmt: skip
        most = max(watch.most for watch in watches.values())
        yield {
            "work": "  connections to Postgres", "reach": "<= 5", "met": most <= 5, "note": f"{most} at most",
        }  # fmt: skip
        time.sleep(KEPT_S * 2.2)  # sessions are kept for a minute after their visitor has gone, and looked after then
        peak = max(watch.peak_mb for watch in watches.values())
        yield {
            "work": "  memory of the server", "peak_mb": peak,
            "note": f"{before:.0f} MB before, {peak:.0f} MB at most, {megabytes(process):.0f} MB two minutes after",
        }  # fmt: skip
        sizes = []
        for number in range(LOADS):
            asyncio.run(load(PAGES[number % len(PAGES)]))
            if number in (LOADS // 2 - 1, LOADS - 1):
                time.sleep(KEPT_S * 2.2)
                sizes.append(megabytes(process))
        grown = sizes[1] - sizes[0]
        yield {
            "work": f"  growth from page load {LOADS // 2} to {LOADS}", "reach": "< 10 MB", "met": grown < 10,
            "peak_mb": sizes[1], "note": f"{sizes[0]:.1f} MB, then {sizes[1]:.1f} MB, each two minutes after",
        }  # fmt: skip


def page_lines(home: Path, quick: bool) -> Iterator[Line]:
    """Pages and sessions, where the dashboard can be imported; those in a browser where there is one."""
    if importlib.util.find_spec("dashboard.queries") is None:
        yield {"work": "dashboard pages", "note": "skipped: dashboard.queries cannot be imported"}
        return
    from orchestration.cli.up import dashboard_env

    env = {**dashboard_env(dict(os.environ)), "TICKMART_HOME": str(home)}
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    owner = {key: os.environ[name] for key, name in names.items()}
    if browser.CHROMIUM is None:
        yield {"work": "dashboard pages in a browser", "note": "skipped: no chromium (Debian: apt install chromium)"}
    else:
        yield from browser_lines(env, 1 if quick else 3)
        yield from browser_in_a_crowd(env)
    yield from crowd_lines(env, owner)
