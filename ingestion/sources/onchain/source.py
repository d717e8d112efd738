"""The declarations of the two providers of daily on-chain series."""

from __future__ import annotations

from functools import partial

from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context
from ingestion.sources.http import HttpClient
from ingestion.sources.onchain.client import CONVENTIONS, blockchain_series, coinmetrics_series
from ingestion.sources.onchain.dataset import (
    BLOCKCHAIN_DAILY,
    BLOCKCHAIN_METRICS,
    COINMETRICS_DAILY,
    COINMETRICS_METRICS,
)
from ingestion.sources.onchain.ingest import DailyOptions, Provider, ingest_daily
from ingestion.sources.rate_limit import Limits
from ingestion.sources.source import Api, FetchRequest, Source, probe_of

# Coin Metrics allows 10 requests in 6 seconds and address; a run makes five, one after the other.
COINMETRICS_PER_MINUTE = 100
# blockchain.com states no limit; a run makes three requests.
BLOCKCHAIN_PER_MINUTE = 30


def _fetch(provider: Provider, api: Api, context: Context, request: FetchRequest, client: HttpClient) -> FetchResult:
    """Fetch a provider's series; a refresh of recorded or simulated markets does not mix them with the public chain."""
    settings, options = request.settings, request.options or DailyOptions()
    if settings and options == DailyOptions() and settings.has_other_market() and settings.is_public(api.setting):
        note = f"{api.name} is not asked: the market sources have addresses of their own; set {api.setting} as well"
        return FetchResult(provider.dataset.name, notes=(note,))
    return ingest_daily(context, client, provider, request.at, options)


def _declare(provider: Provider, api: Api, description: str, attribution: str) -> Source:
    return Source(
        name=provider.source,
        dataset=provider.dataset,
        apis=(api,),
        fetch=partial(_fetch, provider, api),
        description=description,
        bronze_description=f"Days of {api.name}'s series that were new or restated, by the day on which it sent them.",
        raw_description=f"Daily on-chain series of Bitcoin by {api.name}, one row per metric and UTC day.",
        attribution=attribution,
        options=DailyOptions,
    )


COINMETRICS = _declare(
    Provider("coinmetrics", COINMETRICS_DAILY, COINMETRICS_METRICS, coinmetrics_series),
    Api(
        name="Coin Metrics",
        setting="COINMETRICS_BASE_URL",
        limits=lambda _: Limits(COINMETRICS_PER_MINUTE),
        conventions=CONVENTIONS,
        probe=probe_of(
            "/v4/timeseries/asset-metrics",
            lambda _: "no key needed",
            {"assets": "btc", "metrics": "TxCnt", "frequency": "1d", "page_size": 1},
        ),
    ),
    "Coin Metrics community API",
    "On-chain data: Coin Metrics community data (https://coinmetrics.io), CC BY-NC 4.0",
)
BLOCKCHAIN = _declare(
    Provider("blockchain", BLOCKCHAIN_DAILY, BLOCKCHAIN_METRICS, blockchain_series),
    Api(
        name="blockchain.com",
        setting="BLOCKCHAIN_BASE_URL",
        limits=lambda _: Limits(BLOCKCHAIN_PER_MINUTE),
        conventions=CONVENTIONS,
        probe=probe_of("/charts/n-transactions", lambda _: "no key needed", {"timespan": "2days", "format": "json"}),
    ),
    "blockchain.com charts",
    "On-chain charts: blockchain.com (https://www.blockchain.com/explorer/charts)",
)
