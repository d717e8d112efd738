"""Fixtures of the dashboard's tests: databases in several states, and pages rendered on them.

Each database fixture is a dict of libpq variables of the read-only role. `rendered` shares one AppTest per page and
query for tests that only read it; `open_page` gives a new one to tests that change it.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import database
from ingestion.ops import datasets
from ingestion.settings import load_settings
from ingestion.sources.datasets import DATASETS
from orchestration.assets.manifest import dataset_assets
from orchestration.local.client import local_services
from tests.dashboard.browser import browser, dashboard, open_tab  # noqa: F401 - fixtures
from tests.dashboard.warehouse import Warehouse, load_simulated_raw

ROOT = Path(__file__).parents[2]
MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Put pytest's `__main__` back: a page leaves its script there, which `multiprocessing` then runs in each child."""
    yield
    sys.modules["__main__"] = MAIN


@pytest.fixture(scope="session")
def server() -> Iterator[Warehouse]:
    """An embedded Postgres whose database `tickmart` has simulated raw data and the marts that dbt built from it."""
    with (
        tempfile.TemporaryDirectory(prefix="tickmart-dashboard-", ignore_cleanup_errors=True) as home,
        local_services(Path(home) / "home", postgres=True, s3=False) as environment,
    ):
        running = Warehouse(environment)
        running.bootstrap("tickmart")
        with contextlib.closing(running.connect("tickmart")) as connection, connection.cursor() as cursor:
            load_simulated_raw(cursor)
        project, target = ROOT / "dbt_project", Path(home) / "dbt"
        dbt = [Path(sys.executable).with_name("dbt"), "run", "--project-dir", project, "--profiles-dir", project]
        built = subprocess.run(
            [*dbt, "--target-path", target, "--log-path", target],
            env={**os.environ, **environment, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
            capture_output=True,
            text=True,
        )
        assert built.returncode == 0, built.stdout[-4000:]
        running.execute("tickmart", "analyze")
        running.manifest = target / "manifest.json"
        with contextlib.closing(running.connect("tickmart")) as connection:
            assets = dataset_assets(json.loads(running.manifest.read_bytes()))
            datasets.record_datasets(connection, load_settings({}), DATASETS, assets)
        yield running
        database.ENGINE.dispose()


@pytest.fixture(scope="session")
def marts(server: Warehouse) -> dict[str, str]:
    """The full warehouse."""
    return server.reader("tickmart")


@pytest.fixture(scope="session")
def manifest(server: Warehouse) -> Path:
    """The dbt manifest of the built models."""
    return server.manifest


@pytest.fixture(scope="session")
def stale_marts(server: Warehouse) -> dict[str, str]:
    """A copy whose newest candles, snapshots and index values are three days old."""
    server.copy_database("stale", "tickmart")
    server.execute(
        "stale",
        """
        delete from marts.fct_prices where opened_at > now() - interval '3 days';
        update marts.dim_crypto set last_bar_at = date_trunc('hour', now()) - interval '3 days';
        delete from marts.fct_daily_summary where date > current_date - 4;
        update marts.fct_market_snapshots set snapshot_at = snapshot_at - interval '3 days';
        update marts.fct_market_global set snapshot_at = snapshot_at - interval '3 days';
        delete from marts.fct_sentiment_daily where date > current_date - 3;
        delete from marts.fct_onchain_market_daily where date > current_date - 4;
        delete from marts.fct_headline_sentiment_daily where date > current_date - 4;
        """,
    )
    return server.reader("stale")


@pytest.fixture(scope="session")
def empty_marts(server: Warehouse) -> dict[str, str]:
    """A copy with every table of marts and ops empty."""
    server.copy_database("empty", "tickmart")
    tables = server.query(
        "empty", "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('marts', 'ops')"
    )
    server.execute("empty", "truncate " + ", ".join(name for (name,) in tables))
    return server.reader("empty")


@pytest.fixture(scope="session")
def bare_database(server: Warehouse) -> dict[str, str]:
    """A database with roles and schemas but no marts, as before the first refresh."""
    server.execute("postgres", "create database bare")
    server.bootstrap("bare")
    return server.reader("bare")


@pytest.fixture(scope="session")
def no_database(server: Warehouse) -> dict[str, str]:
    """Variables of a port where nothing listens, with a password that must not be shown."""
    return server.reader("tickmart") | {"PGPORT": "1", "PGPASSWORD": "canary-secret"}


class CurrentDatabase:
    """Points the dashboard at a database; caches are cleared only when it changes."""

    def __init__(self) -> None:
        self._variables: dict[str, str] = {}

    def use(self, variables: dict[str, str], set_variable: Callable[[str, str], None]) -> None:
        for name, value in variables.items():
            set_variable(name, value)
        if variables != self._variables:
            self.drop()
            self._variables = dict(variables)

    def drop(self) -> None:
        """Close the connections and clear every cache."""
        database.ENGINE.dispose()
        st.cache_data.clear()
        st.cache_resource.clear()
        self._variables = {}


@pytest.fixture(scope="session")
def current_database() -> CurrentDatabase:
    return CurrentDatabase()


@pytest.fixture
def use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, current_database: CurrentDatabase
) -> Callable[[dict[str, str]], None]:
    """Point the dashboard at a database."""
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    return lambda variables: current_database.use(variables, monkeypatch.setenv)


def run_page(page: str, query: dict[str, str | list[str]]) -> AppTest:
    app = AppTest.from_file(str(ROOT / "dashboard/app.py"), default_timeout=60)
    app.switch_page(f"views/{page}.py")
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


@pytest.fixture
def open_page(use) -> Callable[..., AppTest]:
    """Open a page on a database: open_page(marts, "price", coin="ethereum")."""

    def open_on(variables: dict[str, str], page: str = "overview", **query: str | list[str]) -> AppTest:
        use(variables)
        return run_page(page, query)

    return open_on


@pytest.fixture(scope="session")
def rendered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, current_database: CurrentDatabase
) -> Callable[..., AppTest]:
    """Return a page that all tests share: rendered("marts", "price", coin="ethereum"). Tests must not change it."""
    home = tmp_path_factory.mktemp("home")
    pages: dict[str, AppTest] = {}

    def page_on(state: str, page: str = "overview", **query: str | list[str]) -> AppTest:
        key = json.dumps([state, page, query])
        if key not in pages:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TICKMART_HOME", str(home))
                current_database.use(request.getfixturevalue(state), patch.setenv)
                pages[key] = run_page(page, query)
        return pages[key]

    return page_on
