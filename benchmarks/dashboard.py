"""The dashboard's part of `make bench`: queries, pages in a real browser, fifty visitors at once, memory."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from benchmarks import browser, dashboard_market, dashboard_queries
from benchmarks.dashboard_browser import browser_lines
from benchmarks.dashboard_server import Line
from benchmarks.dashboard_sessions import browser_in_a_crowd, crowd_lines
from benchmarks.measuring import TICKMART, Measure, child, fill
from ingestion.database import connections
from ingestion.settings import Settings
from ingestion.universe import Asset


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
        yield from browser_lines(env, 1 if quick else 3, quick)
        yield from browser_in_a_crowd(env)
    yield from crowd_lines(env, owner, quick)


def bench_pages(settings: Settings, table: pa.Table, assets: list[Asset], quick: bool) -> Iterator[Measure]:
    """The dashboard on these bars, ended this hour: queries, pages in a browser, many visitors."""
    fill(settings, dashboard_market.until_now(table), assets)
    with connections.closing(connections.connect(settings.postgres)) as connection:
        dashboard_market.fill_market(connection)
    subprocess.run([TICKMART, "dbt", "run", "--quiet", "--full-refresh"], check=True, stdout=sys.stderr)
    asked = child("queries", times=20 if quick else 100)
    for line in dashboard_queries.query_lines(asked["times"], asked["missing"]):
        yield Measure(**line)
    for line in page_lines(settings.home, quick):
        yield Measure(**line)
