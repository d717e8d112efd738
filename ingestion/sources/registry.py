"""The declared sources, in the order in which a run refreshes them."""

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
DATASETS = tuple(source.dataset for source in SOURCES)
# Names of the datasets that a run does not need.
OPTIONAL = frozenset(source.dataset.name for source in SOURCES if source.optional)
