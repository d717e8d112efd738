"""What the assets are given to work with: settings, connections, the lake and the API clients.

Belongs here: how each is made. Does not: what is done with them. Everything is made when an asset runs, from the
environment of that moment, so that nothing is opened when definitions are loaded.
"""

import ctypes
import gc
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

import dagster as dg
import psycopg2
import psycopg2.extensions
import pyarrow as pa

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.ops import requests
from ingestion.settings import Role, Settings, load_settings
from ingestion.sources.http import Deadline, HttpClient
from ingestion.sources.rate_limit import SharedRateLimiter
from ingestion.universe import Asset, UniverseError, read_universe
from orchestration.partitions import choose_refresh_days, needs_days
from orchestration.reconnect import MOST_RETRIES, SERVER, is_lost, may_come_back

# Until the exchange has said otherwise (exchangeInfo.rateLimits), its documented limit per minute and address.
BINANCE_WEIGHT_PER_MINUTE = 6000
# alternative.me states none; 60 a minute have been reported.
FEAR_GREED_CALLS_PER_MINUTE = 30
T = TypeVar("T")


class Stores(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Postgres, the lake and the sources, as the environment names them."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Give a run that was launched without days those of a refresh, before any of its steps."""
        run, instance = context.run, context.instance
        if run is None or instance is None or not needs_days(run):
            return
        # The step that needs what is missing says so.
        with (
            suppress(UniverseError, connections.WarehouseError, dg.Failure),
            connections.closing(self.connect("ingest")) as connection,
        ):
            choose_refresh_days(instance, run, connection, self.universe())

    @property
    def settings(self) -> Settings:
        """The settings of this moment."""
        return load_settings()

    def universe(self) -> list[Asset]:
        """The tracked assets."""
        return read_universe(self.settings.universe_path)

    def lake(self) -> Lake:
        """The bronze lake; its bucket exists."""
        store = self.settings.object_store
        if store is None:
            raise dg.Failure("No object store: set MINIO_ENDPOINT, or launch through the tickmart command.")
        lake = Lake(store)
        lake.ensure_bucket()
        return lake

    @contextmanager
    def connection(self, role: Role) -> Iterator[connections.Connection]:
        """Lend a connection in one of tickmart's roles; a step that loses it begins anew, on another.

        Every step may be repeated: ledger, coverage and the unions of bronze let count once what stands already.
        """
        try:
            with connections.closing(self.connect(role)) as connection:
                yield connection
        except psycopg2.Error as error:
            if not is_lost(error):
                raise
            # Closing what is closed already hides why it is.
            first = error.__context__ if isinstance(error.__context__, psycopg2.Error) else error
            raise dg.RetryRequested(max_retries=MOST_RETRIES) from first

    def connect(self, role: Role) -> connections.Connection:
        """Return a new connection in one of tickmart's roles, waiting for a server that is about to come back."""
        settings = self.settings
        postgres, patience_s = settings.postgres, settings.postgres_patience_s
        if postgres is None:
            raise dg.Failure("No database: set PGHOST, or launch through the tickmart command.")
        try:
            return SERVER.connect(lambda: connections.connect(postgres, role), patience_s)
        except connections.WarehouseError as error:
            if not may_come_back(error):
                raise
            raise connections.WarehouseError(
                f"{error} It was waited for {patience_s:g} s (TICKMART_POSTGRES_PATIENCE_SECONDS); "
                "run again when it is there, which goes on where this run stopped."
            ) from None

    @contextmanager
    def client(self, source: str, run_id: str) -> Iterator[tuple[HttpClient, SharedRateLimiter]]:
        """Lend the HTTP client of ``source`` with its shared budget; its attempts are booked at the end."""
        settings = self.settings
        headers: dict[str, str] = {}
        per_month: int | None = None
        if source == "Binance":
            urls, setting, per_minute = settings.binance_urls, "BINANCE_BASE_URL", BINANCE_WEIGHT_PER_MINUTE
        elif source == "CoinGecko":
            urls, setting = (settings.coingecko_url,), "COINGECKO_BASE_URL"
            per_minute, per_month = settings.coingecko_calls_per_minute, settings.coingecko_calls_per_month
            if settings.coingecko_api_key:
                plan = "pro" if "pro-api" in settings.coingecko_url else "demo"
                headers[f"x-cg-{plan}-api-key"] = settings.coingecko_api_key
        else:
            urls, setting = (settings.fear_greed_url,), "FEAR_GREED_BASE_URL"
            per_minute = FEAR_GREED_CALLS_PER_MINUTE
        budget = SharedRateLimiter(source, lambda: self.connect("ingest"), per_minute=per_minute, per_month=per_month)
        client = HttpClient(
            source,
            urls,
            setting=setting,
            headers=headers,
            budget=budget,
            deadline=Deadline(settings.http_deadline_s),
            connections=8,
        )
        with ExitStack() as at_end:
            at_end.callback(budget.close)
            at_end.callback(client.close)
            at_end.callback(self._book_attempts, client, run_id)
            yield client, budget

    def _book_attempts(self, client: HttpClient, run_id: str) -> None:
        if attempts := client.take_attempts():
            with self.connection("ingest") as connection:
                requests.record_attempts(connection, attempts, run_id)

    @contextmanager
    def archive(self, run_id: str) -> Iterator[HttpClient]:
        """Lend the HTTP client of Binance's bulk archives, which state no limit; its attempts are booked at the end."""
        settings = self.settings
        client = HttpClient(
            "Binance archive",
            (settings.binance_archive_url,),
            setting="BINANCE_ARCHIVE_URL",
            deadline=Deadline(settings.http_deadline_s),
            connections=8,
        )
        with ExitStack() as at_end:
            at_end.callback(client.close)
            at_end.callback(self._book_attempts, client, run_id)
            yield client


# macOS and musl keep their own behavior.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" else None


def limit_malloc_arenas() -> None:
    """Limit glibc to two arenas, with mmap for blocks from 1 MB on: a month of 1m bars takes 150 MB less memory.

    By default glibc keeps what threads have freed in an arena per thread, large blocks included.
    """
    if _LIBC is not None:
        m_mmap_threshold, m_arena_max = -3, -8
        _LIBC.mallopt(m_mmap_threshold, 1 << 20)
        _LIBC.mallopt(m_arena_max, 2)


def release_memory() -> None:
    """Give back to the system what a stage has freed, so that the next one's peak does not stand on top of it."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if _LIBC is not None:
        _LIBC.malloc_trim(0)
