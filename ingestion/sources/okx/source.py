"""The declarations of OKX's trades and tickers.

The stream fetches them (``ingestion.stream``); runs load what it left.
"""

from __future__ import annotations

from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context
from ingestion.datasets import Dataset
from ingestion.sources.http import HttpClient
from ingestion.sources.okx.checks import TRADE_CHECKS
from ingestion.sources.okx.client import CONVENTIONS
from ingestion.sources.okx.dataset import OKX_TICKERS, OKX_TRADES
from ingestion.sources.okx.load import load_objects
from ingestion.sources.rate_limit import Limits
from ingestion.sources.source import Api, FetchRequest, LoadCheck, Source, probe_of

# OKX allows 20 requests of history in two seconds and address; half of it leaves the rest to other programs.
REQUESTS_PER_MINUTE = 300
API = Api(
    name="OKX",
    setting="OKX_BASE_URL",
    limits=lambda _: Limits(REQUESTS_PER_MINUTE),
    conventions=CONVENTIONS,
    probe=probe_of("/api/v5/public/time", lambda _: "no key needed"),
)


def _declare(
    name: str, dataset: Dataset, apis: tuple[Api, ...], what: str, checks: tuple[LoadCheck, ...] = ()
) -> Source:
    def fetch(context: Context, request: FetchRequest, *clients: HttpClient) -> FetchResult:
        return FetchResult(dataset.name)

    return Source(
        name=name,
        dataset=dataset,
        apis=apis,
        fetch=fetch,
        description=f"OKX public WebSocket: {what}",
        bronze_description=f"{what.capitalize()} as OKX sent them, by UTC hour; the stream writes them.",
        raw_description=f"{what.capitalize()} of OKX, one row per message, of the newest days.",
        attribution="Live prices: OKX (https://www.okx.com)",
        load=load_objects,
        load_checks=checks,
    )


TRADES = _declare("okx_trades", OKX_TRADES, (API,), "trades", TRADE_CHECKS)
TICKERS = _declare("okx_tickers", OKX_TICKERS, (), "tickers")
