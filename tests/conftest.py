"""Fixtures that more than one folder of tests uses: real servers, started once, and a fresh room on them for each test.

Here: the embedded Postgres and S3 server, a bootstrapped database, an empty bucket, the simulator, and `Chain`, the way
from a source through bronze to raw. Not here: what only one folder needs.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from ingestion import warehouse
from ingestion.bronze import Context
from ingestion.datasets import Dataset
from ingestion.http import Deadline, HttpClient
from ingestion.lake import Lake
from ingestion.settings import ObjectStore, Postgres
from ingestion.simulator.faults import moment_ms
from ingestion.simulator.server import Simulator
from ingestion.simulator.server import simulator as running_simulator
from orchestration.stack import stack

# The real simulator answers any moment; a fixed one makes every test see the same market.
NOW = "2026-11-20T16:37:12Z"


@pytest.fixture(scope="session")
def stack_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the embedded Postgres and S3 server, started once and stopped at the end."""
    home = tmp_path_factory.mktemp("stack") / "home"
    with stack(home, postgres=True, s3=True) as environment:
        yield environment


@contextlib.contextmanager
def fresh_database(environment: dict[str, str]) -> Iterator[Postgres]:
    """A new database on the session's server, with tickmart's roles, schemas and tables; dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    owner = Postgres(
        environment["PGHOST"], int(environment["PGPORT"]), name, environment["PGUSER"], environment["PGPASSWORD"]
    )
    _administrate(owner, sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        warehouse.bootstrap(owner)
        yield owner
    finally:
        _administrate(owner, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _administrate(owner: Postgres, statement: sql.Composed) -> None:
    with warehouse.closing(warehouse.connect(replace(owner, database="postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


@pytest.fixture
def postgres(stack_env: dict[str, str]) -> Iterator[Postgres]:
    """A bootstrapped database for one test."""
    with fresh_database(stack_env) as owner:
        yield owner


def bucket_of(environment: dict[str, str]) -> ObjectStore:
    """The session's S3 server with a bucket that nobody has used."""
    return ObjectStore(
        environment["MINIO_ENDPOINT"],
        environment["MINIO_ACCESS_KEY"],
        environment["MINIO_SECRET_KEY"],
        f"test-{secrets.token_hex(6)}",
    )


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


@dataclass
class Chain:
    """One test's bronze and raw on real servers, and the way between them; every step takes a batch id of its own."""

    postgres: Postgres
    lake: Lake
    connection: warehouse.Connection
    _steps: list[str] = field(default_factory=list)

    def context(self) -> Context:
        """What an ingestion needs, under the next batch id."""
        self._steps.append(f"batch-{len(self._steps) + 1}")
        return Context(self.lake, self.connection, self._steps[-1])

    def load(self, dataset: Dataset) -> warehouse.Loaded:
        """Load what is pending; the test fails if an object is damaged."""
        loaded, damaged = self.load_with_damage(dataset)
        assert damaged == []
        return loaded

    def load_with_damage(self, dataset: Dataset) -> tuple[warehouse.Loaded, list[str]]:
        """Load what is pending; return what changed, and what was damaged."""
        from orchestration.assets import load_pending

        return load_pending(self.lake, self.connection, dataset, self.context().batch_id)

    def ask(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one query, as the owner, in UTC."""
        with warehouse.closing(warehouse.connect(self.postgres)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters) or None)
            return list(cursor.fetchall()) if cursor.description else _commit(connection)

    def one(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """The single value of one query."""
        return self.ask(statement, parameters)[0][0]


def _commit(connection: psycopg2.extensions.connection) -> list[Any]:
    connection.commit()
    return []


@pytest.fixture
def chain(postgres: Postgres, lake: Lake) -> Iterator[Chain]:
    """Bronze and raw for one test, both empty."""
    with warehouse.closing(warehouse.connect(postgres, "ingest")) as connection:
        yield Chain(postgres, lake, connection)


class StoppedClock:
    """A clock that only sleeping moves: what was slept is written down, and nothing waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def client_of(clock: StoppedClock) -> Iterator[Callable[..., HttpClient]]:
    """Make clients for base URLs, which sleep by `clock`."""
    made: list[HttpClient] = []

    def make(*urls: str, source: str = "Binance", deadline_s: float = 900, **options: Any) -> HttpClient:
        usual = {"setting": "BINANCE_BASE_URL", "sleep": clock.sleep, "deadline": Deadline(deadline_s, clock)}
        made.append(HttpClient(source, urls, **{**usual, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()
