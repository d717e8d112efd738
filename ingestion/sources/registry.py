"""The declared sources, in the order in which a run refreshes them: one for each of ``datasets``."""

from __future__ import annotations

from ingestion.sources.binance.source import BINANCE
from ingestion.sources.bitcoin.source import BITCOIN
from ingestion.sources.coingecko.source import COINGECKO
from ingestion.sources.fear_greed.source import ALTERNATIVE_ME
from ingestion.sources.news.source import NEWS_SOURCES
from ingestion.sources.okx.source import TICKERS, TRADES
from ingestion.sources.onchain.source import BLOCKCHAIN, COINMETRICS
from ingestion.sources.source import Source

SOURCES: tuple[Source, ...] = (
    BINANCE,
    COINGECKO,
    ALTERNATIVE_ME,
    COINMETRICS,
    BLOCKCHAIN,
    BITCOIN,
    TRADES,
    TICKERS,
    *NEWS_SOURCES,
)
