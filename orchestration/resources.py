"""The resources of the assets: settings, connections, the lake and the API clients.

Belongs here: creating each. Does not: using them. Everything is created when an asset runs, from the environment of
that moment, so that loading the definitions opens nothing.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache

import dagster as dg
import psycopg2
import psycopg2.extensions

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.ops import requests
from ingestion.settings import ObjectStore, Role, Settings, load_settings
from ingestion.sources.http import HttpClient
from ingestion.sources.rate_limit import RateLimiter, SharedRateLimiter
from ingestion.sources.source import Api
from ingestion.universe import Asset, UniverseError, read_universe
from orchestration.partitions import choose_refresh_days, needs_days
from orchestration.reconnect import MOST_RETRIES, SERVER, is_lost, may_come_back


class Stores(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Postgres, the lake and the sources, as the environment configures them."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Give a run that was launched without days the days of a refresh, before any of its steps."""
        run, instance = context.run, context.instance
        if run is None or instance is None or not needs_days(run):
            return
        # The step that needs a missing server reports it.
        with (
            suppress(UniverseError, connections.WarehouseError, dg.Failure),
            connections.closing(self.connect("ingest")) as connection,
        ):
            choose_refresh_days(instance, run, connection, self.universe())

    @property
    def settings(self) -> Settings:
        """The settings in the present environment."""
        return load_settings()

    def universe(self) -> list[Asset]:
        """The tracked assets."""
        return read_universe(self.settings.universe_path)

    def lake(self) -> Lake:
        """The bronze lake; its bucket exists."""
        store = self.settings.object_store
        if store is None:
            raise dg.Failure("No object store: set MINIO_ENDPOINT, or launch through the tickmart command.")
        return _lake(store)

    @contextmanager
    def connection(self, role: Role) -> Iterator[connections.Connection]:
        """Yield a connection for a role. If the connection is lost, Dagster retries the step.

        Steps are idempotent: ledger, coverage and the merges of bronze count everything once.
        """
        try:
            with connections.closing(self.connect(role)) as connection:
                yield connection
        except psycopg2.Error as error:
            if not is_lost(error):
                raise
            # Closing a closed connection hides the first error.
            first = error.__context__ if isinstance(error.__context__, psycopg2.Error) else error
            raise dg.RetryRequested(max_retries=MOST_RETRIES) from first

    def connect(self, role: Role) -> connections.Connection:
        """Return a new connection for a role, waiting for a server that is about to restart."""
        settings = self.settings
        postgres, wait_s = settings.postgres, settings.postgres_wait_s
        if postgres is None:
            raise dg.Failure("No database: set PGHOST, or launch through the tickmart command.")
        try:
            return SERVER.connect(lambda: connections.connect(postgres, role), wait_s)
        except connections.WarehouseError as error:
            if not may_come_back(error):
                raise
            raise connections.WarehouseError(
                f"{error}. Waited {wait_s:g} s (TICKMART_POSTGRES_PATIENCE_SECONDS); "
                "run again when the server is up, and the run resumes."
            ) from None

    @contextmanager
    def client(self, api: Api, run_id: str, deadline_s: float | None = None) -> Iterator[HttpClient]:
        """Yield the HTTP client of an API with its shared rate limit; its attempts are recorded at the end."""
        settings = self.settings
        with ExitStack() as at_end:
            limiter = RateLimiter()
            if api.limits is not None:
                limiter = SharedRateLimiter(api.name, lambda: self.connect("ingest"), api.limits(settings))
            at_end.callback(limiter.close)
            client = api.client(settings, deadline_s=deadline_s, limiter=limiter)
            at_end.callback(client.close)
            at_end.callback(self._record_attempts, client, run_id)
            yield client

    def _record_attempts(self, client: HttpClient, run_id: str) -> None:
        if attempts := client.take_attempts():
            with self.connection("ingest") as connection:
                requests.record_attempts(connection, attempts, run_id)


@cache
def _lake(store: ObjectStore) -> Lake:
    """Return the lake of a store: the steps of a run share its connections, and its bucket is looked up once."""
    lake = Lake(store)
    lake.ensure_bucket()
    return lake
