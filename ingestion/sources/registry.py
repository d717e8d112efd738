"""The declared datasets, in the order in which a run refreshes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED

DATASETS = (KLINES, MARKETS, FEAR_GREED)
