"""The declared datasets, in the order in which a run refreshes them.

Belongs here: the list, for those who read, check or show data. Does not: how datasets are fetched; ``registry`` lists
the sources, whose clients and parsers take as long to import as all datasets.
"""

from __future__ import annotations

from ingestion.datasets import Dataset
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.news.dataset import GDELT_TONE, HEADLINES
from ingestion.sources.okx.dataset import OKX_TICKERS, OKX_TRADES
from ingestion.sources.onchain.dataset import BLOCKCHAIN_DAILY, COINMETRICS_DAILY

DATASETS: tuple[Dataset, ...] = (
    KLINES,
    MARKETS,
    FEAR_GREED,
    COINMETRICS_DAILY,
    BLOCKCHAIN_DAILY,
    BITCOIN_TRANSACTIONS,
    OKX_TRADES,
    OKX_TICKERS,
    *HEADLINES,
    GDELT_TONE,
)
# Names of the datasets that a run does not need.
OPTIONAL = frozenset(dataset.name for dataset in DATASETS if dataset.optional)
