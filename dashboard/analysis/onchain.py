"""Statistics of on-chain series against the market: pairs of series, straight-line fit, what the numbers show."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.analysis.statistics import is_flat

MIN_DAYS = 60  # a correlation of weekly changes over fewer days is noise


@dataclass(frozen=True)
class Pair:
    """An on-chain and a market series: key in the marts, columns, and how texts name them."""

    key: str
    chain: str
    market: str
    chain_name: str
    market_name: str

    @property
    def changes(self) -> tuple[str, str]:
        """The columns of the weekly log changes of both series."""
        return f"chain_change_{self.key}", f"market_change_{self.key}"

    def rolling(self, method: str, days: int) -> str:
        """Return the column of a rolling statistic: pearson, spearman or n."""
        return f"{method}_{self.key}_{days}d"


PAIRS = {
    "Transactions and trades": Pair(
        "transactions_trades", "transaction_count_coinmetrics", "trade_count", "Transactions", "Binance trades"
    ),
    "Value and volume": Pair("value_volume", "estimated_value_usd", "quote_volume", "Transfer value", "Binance volume"),
}


@dataclass(frozen=True)
class Fit:
    """Least-squares line of y on x, Pearson correlation, and number of points."""

    slope: float
    intercept: float
    correlation: float
    n: int


def paired_changes(history: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """Return the days on which both weekly changes are known: date, chain, market (log changes)."""
    chain, market = pair.changes
    found = history[["date", chain, market]].rename(columns={chain: "chain", market: "market"})
    return found.astype({"chain": float, "market": float}).dropna().reset_index(drop=True)


def fit(changes: pd.DataFrame) -> Fit | None:
    """Return the line through the changes, or None for under MIN_DAYS days or a series that does not change."""
    if len(changes) < MIN_DAYS or is_flat(changes["chain"]) or is_flat(changes["market"]):
        return None
    slope, intercept = np.polyfit(changes["chain"], changes["market"], 1)
    correlation = changes["chain"].corr(changes["market"])
    return Fit(float(slope), float(intercept), float(correlation), len(changes))


def every_day(history: pd.DataFrame) -> pd.DataFrame:
    """Return the history with a row for each calendar day, so that lines break where days are missing."""
    if history.empty:
        return history
    days = pd.date_range(history["date"].min(), history["date"].max(), name="date")
    return history.set_index("date").reindex(days).reset_index()


def same_day(lags: pd.DataFrame) -> pd.Series | None:
    """Return the row of lag 0, or None if it has no correlation."""
    rows = lags[(lags["lag_days"] == 0) & lags["correlation"].notna()]
    return None if rows.empty else rows.iloc[0]
