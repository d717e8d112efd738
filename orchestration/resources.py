"""What the assets are given to work with: settings, connections, the lake and the API clients.

Belongs here: how each is made. Does not: what is done with them. Everything is made when an asset runs, from the
environment of that moment, so that nothing is opened when definitions are loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ingestion import books, warehouse
from ingestion.budget import SharedBudget
from ingestion.http import Deadline, HttpClient
from ingestion.lake import Lake
from ingestion.settings import Role, Settings, load_settings
from ingestion.universe import Asset, read_universe

# Until the exchange has said otherwise (exchangeInfo.rateLimits), its documented limit per minute and address.
BINANCE_WEIGHT_PER_MINUTE = 6000
# alternative.me states none; 60 a minute have been reported.
FEAR_GREED_CALLS_PER_MINUTE = 30


class Stores(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Postgres, the lake and the sources, as the environment names them."""

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
    def connection(self, role: Role) -> Iterator[warehouse.Connection]:
        """Lend a connection in one of tickmart's roles."""
        with warehouse.closing(self.connect(role)) as connection:
            yield connection

    def connect(self, role: Role) -> warehouse.Connection:
        """Return a new connection in one of tickmart's roles."""
        postgres = self.settings.postgres
        if postgres is None:
            raise dg.Failure("No database: set PGHOST, or launch through the tickmart command.")
        return warehouse.connect(postgres, role)

    @contextmanager
    def client(self, source: str, run_id: str) -> Iterator[tuple[HttpClient, SharedBudget]]:
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
        budget = SharedBudget(source, lambda: self.connect("ingest"), per_minute=per_minute, per_month=per_month)
        client = HttpClient(
            source,
            urls,
            setting=setting,
            headers=headers,
            budget=budget,
            deadline=Deadline(settings.http_deadline_s),
            connections=8,
        )
        try:
            yield client, budget
        finally:
            with self.connection("ingest") as connection:
                books.record_attempts(connection, client.take_attempts(), run_id)
            client.close()
            budget.close()

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
        try:
            yield client
        finally:
            if attempts := client.take_attempts():
                with self.connection("ingest") as connection:
                    books.record_attempts(connection, attempts, run_id)
            client.close()
