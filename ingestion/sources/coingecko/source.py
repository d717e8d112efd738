"""The declaration of CoinGecko's market list."""

from __future__ import annotations

from collections.abc import Mapping

from ingestion.settings import Settings
from ingestion.sources.coingecko.client import CONVENTIONS
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.coingecko.ingest import ingest_markets
from ingestion.sources.rate_limit import Limits
from ingestion.sources.source import Api, Source, probe_of


def _headers(settings: Settings) -> Mapping[str, str]:
    if not settings.coingecko_api_key:
        return {}
    plan = "pro" if "pro-api" in API.urls(settings)[0] else "demo"
    return {f"x-cg-{plan}-api-key": settings.coingecko_api_key}


def _limits(settings: Settings) -> Limits:
    per_month_setting = "TICKMART_COINGECKO_CALLS_PER_MONTH"
    return Limits(settings.coingecko_calls_per_minute, settings.coingecko_calls_per_month, per_month_setting)


API = Api(
    name="CoinGecko",
    setting="COINGECKO_BASE_URL",
    headers=_headers,
    limits=_limits,
    conventions=CONVENTIONS,
    probe=probe_of("/ping", lambda settings: "with a key" if settings.coingecko_api_key else "keyless"),
)
COINGECKO = Source(
    name="coingecko",
    dataset=MARKETS,
    apis=(API,),
    fetch=lambda context, request, client: ingest_markets(
        context, client, request.universe, request.at.replace(microsecond=0)
    ),
    description="CoinGecko v3",
    bronze_description="The market list of this moment: the universe and the top 250, each coin as CoinGecko sent it.",
    raw_description="Market snapshots, one row per coin and snapshot, with the complete object as JSON.",
    attribution="Data provided by CoinGecko (https://www.coingecko.com)",
    completeness_check=(
        "top_list_complete",
        "Every one of the largest coins by market cap is in the snapshot.",
        "every coin of the top list",
    ),
)
