"""Compares coins: rebased performance, correlation matrix, losers, and suggestions for unknown names."""

from difflib import get_close_matches

import numpy as np
import pandas as pd

from dashboard.analysis.returns import risk_metrics


def similar_coins(wanted: str, coins: pd.DataFrame, limit: int = 3) -> list[str]:
    """Return up to `limit` crypto_ids whose id, symbol or name resembles `wanted`; the largest coins if none does."""
    by_name: dict[str, list[str]] = {}  # several coins can share a ticker or a name
    for column in ("crypto_id", "symbol", "name"):
        for text, crypto_id in zip(coins[column], coins["crypto_id"], strict=True):
            by_name.setdefault(str(text).lower(), []).append(crypto_id)
    near = get_close_matches(wanted.lower().strip(), by_name, n=limit * 3, cutoff=0.5)
    found = list(dict.fromkeys(crypto_id for text in near for crypto_id in by_name[text]))[:limit]
    return found or coins["crypto_id"].head(limit).tolist()


def losers(top: pd.DataFrame, limit: int = 5, min_volume_usd: float = 1_000_000) -> pd.DataFrame:
    """Return the coins with the largest 24h loss; like v_top_gainers, only those with 1 M USD of volume."""
    fell = top[(top["change_24h_pct"] < 0) & (top["volume_24h_usd"] >= min_volume_usd)]
    return fell.nsmallest(limit, "change_24h_pct")


def rebased_to_100(closes: pd.DataFrame) -> pd.DataFrame:
    """Return closes (rows crypto_id, date, close) as one column per coin, 100 at the first date common to all."""
    table = closes.pivot(index="date", columns="crypto_id", values="close")
    common = table.dropna()
    if common.empty:
        return table.iloc[0:0]
    table = table.loc[common.index[0] :]
    return table / common.iloc[0] * 100


def range_metrics(days: pd.DataFrame, bitcoin: pd.DataFrame, crypto_ids: list[str]) -> pd.DataFrame:
    """Return the risk metrics of each coin over the days that all coins have: one row per coin, numbers or missing.

    `days` has crypto_id, date, close, return_pct and log_return, `bitcoin` the same for bitcoin. The first common day
    is the start: its return is not counted. Formulas and units are those of `returns.risk_metrics`; `n` counts returns.
    """
    by_coin = {crypto_id: days[days["crypto_id"] == crypto_id].dropna(subset=["close"]) for crypto_id in crypto_ids}
    common = set.intersection(*(set(coin["date"]) for coin in by_coin.values())) if by_coin else set()
    rows = {}
    for crypto_id, coin in by_coin.items():
        window = coin[(coin["date"] > min(common)) & (coin["date"] <= max(common))] if common else coin.iloc[:0]
        rows[crypto_id] = {"n": len(window), **risk_metrics(window, bitcoin, len(window))}
    metrics = pd.DataFrame.from_dict(rows, orient="index").rename_axis("crypto_id").astype(float).astype({"n": int})
    metrics.insert(0, "first_day", min(common, default=pd.NaT))
    metrics.insert(1, "last_day", max(common, default=pd.NaT))
    return metrics


def correlation_matrix(pairs: pd.DataFrame, crypto_ids: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return correlations and their n as square tables in the given order; diagonal 1, unknown pairs missing."""
    correlations = pd.DataFrame(np.nan, index=crypto_ids, columns=crypto_ids)
    counts = correlations.copy()
    for first, second, value, n in pairs[["crypto_id_a", "crypto_id_b", "correlation", "n"]].itertuples(index=False):
        correlations.loc[first, second] = correlations.loc[second, first] = value
        counts.loc[first, second] = counts.loc[second, first] = n
    for crypto_id in crypto_ids:
        correlations.loc[crypto_id, crypto_id] = 1.0
    return correlations, counts
