"""Selects and sorts the coins of the Overview: filters, search, the largest tiles of the heatmap."""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from dashboard.text import comparison_key

OTHERS = "others"  # id of the heatmap's tile of grouped coins
MAX_TILES = 24
MIN_TILE_SHARE = 0.005


@dataclass(frozen=True)
class Filters:
    """What the screener shows; the defaults show every coin."""

    search: str = ""
    min_volume_usd: float = 0
    min_cap_usd: float = 0
    category: str | None = None
    tracked_only: bool = False
    without_pegged: bool = False
    only: Collection[str] | None = None  # crypto_ids of the watchlist


def select(coins: pd.DataFrame, filters: Filters) -> pd.DataFrame:
    """Return the coins that pass every filter, in the given order.

    A coin without a volume or a market cap fails a minimum above 0. The search matches id, ticker and name.
    """
    kept = pd.Series(True, index=coins.index)
    for column, minimum in (("volume_24h_usd", filters.min_volume_usd), ("market_cap_usd", filters.min_cap_usd)):
        if minimum > 0:
            kept &= coins[column].astype(float) >= minimum
    if filters.category is not None:
        kept &= coins["category"] == filters.category
    if filters.tracked_only:
        kept &= coins["is_tracked"].astype(bool)
    if filters.without_pegged:
        kept &= ~coins["is_pegged"].astype(bool)
    if filters.only is not None:
        kept &= coins["crypto_id"].isin(filters.only)
    texts = coins[["crypto_id", "symbol", "name"]].fillna("").agg(" ".join, axis=1).map(comparison_key)
    for word in comparison_key(filters.search).split():
        kept &= texts.str.contains(word, regex=False)
    return coins[kept]


def ordered(coins: pd.DataFrame, column: str, *, ascending: bool) -> pd.DataFrame:
    """Return the coins sorted by a column; missing values come last, equal values keep their order."""
    values = coins[column].str.lower() if column == "name" else coins[column].astype(float)
    return coins.loc[values.sort_values(ascending=ascending, kind="stable", na_position="last").index]


def heatmap_tiles(coins: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the coins whose tile is large enough to read, and one row OTHERS that groups the rest.

    The group has the summed market cap and the change in percent weighted by market cap.
    """
    sized = coins[coins["market_cap_usd"] > 0]
    readable = sized["market_cap_usd"].rank(ascending=False, method="first") <= MAX_TILES
    readable &= sized["market_cap_usd"] >= MIN_TILE_SHARE * sized["market_cap_usd"].sum()
    rest = sized[~readable]
    tiles = sized[readable]
    if rest.empty:
        return tiles
    known = rest.dropna(subset=[column])
    weights = known["market_cap_usd"].astype(float)
    grouped = {
        "crypto_id": OTHERS,
        "symbol": f"{len(rest)} others",
        "name": f"{len(rest)} smaller coins, change weighted by market cap",
        "price_usd": None,
        "market_cap_usd": rest["market_cap_usd"].sum(),
        column: (known[column] * weights).sum() / weights.sum() if len(known) else None,
    }
    return pd.DataFrame([*tiles.to_dict("records"), grouped])
