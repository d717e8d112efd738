"""A run's bars against the simulated exchange and its archives: `Market`, with the requests that it has counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from ingestion.bronze.results import FetchResult
from ingestion.ops.requests import Attempt
from ingestion.simulator.server import Simulator
from ingestion.sources.binance import gaps
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.gap_classification import classify
from ingestion.sources.binance.ingest import sync_klines
from ingestion.sources.binance.plan import KlinesRequest
from ingestion.sources.http import HttpClient
from ingestion.universe import Asset
from support.pipeline import Chain


def asset(symbol: str, **fields: Any) -> Asset:
    return Asset(symbol.lower(), symbol, symbol, "", **fields)


@dataclass
class Market:
    """One test's way from the simulator to raw, as a run goes it."""

    chain: Chain
    simulator: Simulator
    client_of: Callable[..., HttpClient]
    assets: Sequence[Asset] = (asset("BTCUSDT"),)
    rest_url: str = ""
    archive_url: str = ""
    attempts: list[Attempt] = field(default_factory=list)

    def bring(self, start: str, end: str, **options: Any) -> FetchResult:
        """Fetch and load a half-open range of ISO days and classify its gaps."""
        first, last = date.fromisoformat(start), date.fromisoformat(end)
        rest = self.client_of(self.rest_url or self.simulator.binance_url)
        archive = self.client_of(self.archive_url or self.simulator.archive_url, source="Binance archive")
        report = sync_klines(self.chain.context(), rest, archive, KlinesRequest(self.assets, first, last, **options))
        self.attempts = [*rest.take_attempts(), *archive.take_attempts()]
        self.loaded = self.chain.load(KLINES)
        interval = options.get("interval", "1h")
        days = [(d, d + timedelta(days=1)) for days in self.chain_days() for d in days]
        days += [(a, b) for kind, a, b in gaps.answered_twice(self.chain.connection) if kind == interval]
        classify(self.chain.connection, interval, [(first, last), *days], self.assets)
        return report

    def chain_days(self) -> list[list[date]]:
        """The days of what the last load brought."""
        return self.chain.one(
            "select coalesce(array_agg(array[substring(object_key from 'date=([0-9-]{10})')::date]), '{}') "
            "from ops.load_ledger where loaded_at = (select max(loaded_at) from ops.load_ledger)"
        )

    def later(self, passed: str) -> None:
        """Let time pass for what is known of gaps: a Postgres interval."""
        self.chain.ask(
            f"update ops.gaps set found_at = found_at - interval '{passed}', "
            f"asked_again_at = asked_again_at - interval '{passed}' returning 1"
        )

    def rows(self) -> list[tuple[Any, ...]]:
        """Rows of raw without load time and batch, in order."""
        return self.chain.ask(
            "select to_jsonb(k) - 'loaded_at' - 'batch_id' from raw.binance_klines as k "
            "order by symbol, interval, open_time"
        )

    def gaps(self) -> list[tuple[Any, ...]]:
        """(symbol, first missing slot, bars, kind) of every gap."""
        return self.chain.ask(
            "select symbol, to_char(gap_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), bars, kind "
            "from ops.gaps order by 1, 2"
        )

    def ways(self) -> dict[str, int]:
        """Symbol-days by the way in which they were answered."""
        return dict(self.chain.ask("select source, count(*) from ops.coverage group by source"))

    def asked(self, ending: str) -> int:
        """How many requests of the last run were for paths with that ending."""
        return sum(attempt.endpoint.endswith(ending) for attempt in self.attempts)
