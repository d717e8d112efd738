"""Fixtures that more than one folder of tests uses, the isolation of the environment, and the marker `servers`.

Here: the embedded Postgres and S3 server (one pair per worker), a migrated database, an empty bucket, the simulator,
and `Chain`, which goes from a source through bronze to raw. Not here: what only one folder needs.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.settings import Postgres
from ingestion.simulator.faults import moment_ms
from ingestion.simulator.server import Simulator
from ingestion.simulator.server import simulator as running_simulator
from ingestion.sources.conventions import PLAIN_HTTP
from ingestion.sources.http import Deadline, HttpClient
from ingestion.sources.registry import SOURCES
from orchestration.local.client import local_services
from support.cli import clean_environment
from support.clock import StoppedClock
from support.database import bucket_of, fresh_database
from support.examples import THOROUGH
from support.pipeline import Chain

CONVENTIONS = {api.name: api.conventions for declared in SOURCES for api in declared.apis}
# The real simulator answers any moment; a fixed one makes every test see the same market.
NOW = "2026-11-20T16:37:12Z"
# A test that uses one of these, directly or through another fixture, has a server or runs dbt.
SERVER_FIXTURES = {
    "stack_env", "shared_simulator", "shared_sim", "server", "postgres", "replay", "initialized",
    "definitions", "open_page", "rendered",
}  # fmt: skip
# Modules and folders whose tests start the command or servers themselves, or load Great Expectations (7 s of CPU).
STARTS_PROCESSES = (
    "tests/compose/", "tests/e2e/", "tests/dashboard/test_dashboard_serving.py", "tests/orchestration/local/",
    "tests/orchestration/test_environment.py", "tests/orchestration/test_full_disk.py",
    "tests/orchestration/test_imports.py",
    "tests/orchestration/test_metrics.py", "tests/orchestration/test_quality", "tests/orchestration/test_status.py",
    "tests/test_install.py", "tests/infra/test_server_backup.py",
)  # fmt: skip
# The files that take longest, first: a worker that got one last would run alone.
LONGEST = (
    "tests/e2e/test_run_and_backfill.py", "tests/e2e/test_up.py", "tests/e2e/test_live_stream.py",
    "tests/dbt/test_incremental_equals_full_refresh.py", "tests/e2e/test_bitcoin_transactions.py",
    "tests/dbt/test_selective_builds.py", "tests/test_documentation.py", "tests/e2e/test_demo.py",
    "tests/e2e/test_optional_sources.py", "tests/dbt/test_onchain_marts.py", "tests/e2e/test_lost_postgres.py",
    "tests/e2e/test_hostile_environment.py", "tests/e2e/test_what_a_run_builds.py", "tests/e2e/test_services.py",
    "tests/dbt/test_degenerate_series.py", "tests/orchestration/test_quality.py", "tests/e2e/test_headlines.py",
    "tests/e2e/test_clock.py", "tests/e2e/test_compacted_home.py", "tests/e2e/test_live_faults.py",
)  # fmt: skip
# A machine that is busy is not a failure: pytest's own timeout is the limit.
hypothesis.settings.register_profile("tickmart", deadline=None)
hypothesis.settings.register_profile(THOROUGH, deadline=None)
hypothesis.settings.load_profile("tickmart")
HOME = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_configure(config: pytest.Config) -> None:
    """Leave no setting of the caller in the environment, and give each worker a home of its own, before any import."""
    kept = clean_environment()
    # Workers and processes of tests compile the libraries once.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.clear()
    os.environ.update(kept)
    config.stash[HOME] = tempfile.TemporaryDirectory(prefix="tickmart-tests-", ignore_cleanup_errors=True)
    os.environ["TICKMART_HOME"] = config.stash[HOME].name


def pytest_xdist_auto_num_workers() -> int:
    """A worker per core and at least two: much of the time of a test is waiting for processes."""
    return max(2, os.cpu_count() or 1)


def pytest_unconfigure(config: pytest.Config) -> None:
    if HOME in config.stash:
        config.stash[HOME].cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts servers or processes of tickmart, so that `-m "not servers"` is fast; put long files first."""
    for item in items:
        used = SERVER_FIXTURES & set(getattr(item, "fixturenames", ()))
        if used or item.nodeid.startswith(STARTS_PROCESSES):
            item.add_marker("servers")
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))


@pytest.fixture(scope="session")
def stack_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the embedded Postgres and S3 server, started once and stopped at the end."""
    home = tmp_path_factory.mktemp("stack") / "home"
    with local_services(home, postgres=True, s3=True) as environment:
        yield environment


@pytest.fixture
def postgres(stack_env: dict[str, str]) -> Iterator[Postgres]:
    """A bootstrapped database for one test."""
    with fresh_database(stack_env) as owner:
        yield owner


@pytest.fixture
def lake(stack_env: dict[str, str]) -> Lake:
    """An empty bucket for one test."""
    store = Lake(bucket_of(stack_env))
    store.ensure_bucket()
    return store


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[Simulator]:
    with running_simulator(seed=1, now=NOW, weight_limit=10_000_000) as server:
        yield server


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Iterator[Simulator]:
    """The simulated APIs at NOW, without faults."""
    shared_simulator.faults.clear()
    shared_simulator.clock.set(moment_ms(NOW))
    yield shared_simulator
    shared_simulator.faults.clear()
    shared_simulator.clock.set(moment_ms(NOW))


@pytest.fixture(scope="session")
def shared_database(stack_env: dict[str, str]) -> Iterator[Postgres]:
    """One database for all tests that only need it to be empty: creating and dropping one each costs a checkpoint."""
    with fresh_database(stack_env) as owner:
        yield owner


@pytest.fixture
def chain(shared_database: Postgres, lake: Lake) -> Iterator[Chain]:
    """Bronze and raw for one test, both empty."""
    with connections.closing(connections.connect(shared_database, "ingest")) as connection:
        made = Chain(shared_database, lake, connection)
        made.clear_records()
        yield made


@pytest.fixture(scope="module")
def chain_of_module(stack_env: dict[str, str]) -> Iterator[Chain]:
    """Bronze and raw for the properties of one module, which clear away what their examples leave."""
    store = Lake(bucket_of(stack_env))
    store.ensure_bucket()
    with fresh_database(stack_env) as owner, connections.closing(connections.connect(owner, "ingest")) as connection:
        yield Chain(owner, store, connection)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def client_of(clock: StoppedClock) -> Iterator[Callable[..., HttpClient]]:
    """Make clients for base URLs, which sleep by `clock`."""
    made: list[HttpClient] = []

    def make(*urls: str, source: str = "Binance", deadline_s: float = 900, **options: Any) -> HttpClient:
        usual = {
            "setting": "BINANCE_BASE_URL", "sleep": clock.sleep, "deadline": Deadline(deadline_s, clock),
            "conventions": CONVENTIONS.get(source, PLAIN_HTTP),
        }  # fmt: skip
        made.append(HttpClient(source, urls, **{**usual, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()
