"""Returns and risk metrics of one coin over chosen windows, by the same definitions as the marts."""

import numpy as np
import pandas as pd

from dashboard.analysis.statistics import correlation, is_flat
from dashboard.formats import change, percent, ratio

RISK_METRICS = {
    "return_pct": "Return",
    "volatility_pct": "Volatility (annualized)",
    "sharpe": "Sharpe ratio",
    "sortino": "Sortino ratio",
    "max_drawdown_pct": "Max drawdown",
    "beta_btc": "Beta to BTC",
    "correlation_btc": "Correlation with BTC",
}


def monthly_returns(daily: pd.DataFrame) -> pd.DataFrame:
    """Return a year × month table of returns in percent, month-end close to month-end close.

    The newest month is month-to-date. The first month is missing because it has no previous month-end.
    """
    closes = daily.set_index("date")["close"].groupby(lambda day: (day.year, day.month)).last()
    table = (closes / closes.shift() - 1) * 100
    table.index = pd.MultiIndex.from_tuples(table.index, names=["year", "month"])
    return table.unstack("month").reindex(columns=range(1, 13))


def risk_metrics(daily: pd.DataFrame, bitcoin: pd.DataFrame, days: int) -> dict[str, float | None]:
    """Return the RISK_METRICS of the last `days` days; all None if a day is missing.

    Volatility: standard deviation of log returns × √365. Sharpe ratio: mean over standard deviation of simple returns
    × √365, risk-free rate 0. Sortino ratio: mean of simple returns × 365 over the downside deviation
    √mean(min(return, 0)²) × √365, target 0. Maximum drawdown: from the highest
    close, the day before the window included. Beta: slope of simple returns on bitcoin's. Correlation: of log returns.
    """
    window = daily.tail(days)
    unknown: dict[str, float | None] = dict.fromkeys(RISK_METRICS)
    if days < 1 or len(window) < days or window["return_pct"].isna().any():
        return unknown
    simple, logs = window["return_pct"] / 100, window["log_return"]
    start = window["close"].iloc[0] / (1 + simple.iloc[0])
    path = pd.concat([pd.Series([start]), window["close"]])
    found = unknown | {
        "return_pct": float((window["close"].iloc[-1] / start - 1) * 100),
        "volatility_pct": float(logs.std() * np.sqrt(365) * 100),
        "sharpe": None if is_flat(simple) else float(simple.mean() / simple.std() * np.sqrt(365)),
        "sortino": None if is_flat(simple) else sortino(simple),
        "max_drawdown_pct": float((path / path.cummax() - 1).min() * 100),
    }
    both = (
        window[["date", "return_pct", "log_return"]]
        .merge(bitcoin[["date", "return_pct", "log_return"]], on="date", suffixes=("", "_btc"))
        .dropna()
    )
    if len(both) == days and not is_flat(both["return_pct_btc"]):
        covariance = both[["return_pct", "return_pct_btc"]].cov()
        found["beta_btc"] = float(covariance.iloc[0, 1] / covariance.iloc[1, 1])
        found["correlation_btc"] = correlation(both["log_return"], both["log_return_btc"])
    return found


def sortino(returns: pd.Series) -> float | None:
    """Return the annualized Sortino ratio of daily simple returns with target 0; None if no return is negative.

    Formula: mean(r) × 365 / (√mean(min(r, 0)²) × √365). Source: daily returns as fractions. Unit: ratio.
    """
    downside = float(np.sqrt((returns.clip(upper=0) ** 2).mean()))
    return float(returns.mean() / downside * np.sqrt(365)) if downside else None


def drawdown_from_ath(daily: pd.DataFrame, ath_usd: float, ath_at: pd.Timestamp) -> pd.Series:
    """Return each close's distance from an all-time high in percent, 0 at most; missing on days before the high.

    Formula: min(close / ath_usd − 1, 0) × 100. Sources: Binance closes in USDT, CoinGecko's high in USD.
    """
    below = ((daily["close"].astype(float) / ath_usd - 1) * 100).clip(upper=0)
    return below.where(daily["date"] >= ath_at.tz_localize(None).normalize())


def risk_table(
    daily: pd.DataFrame,
    bitcoin: pd.DataFrame,
    chosen: dict[str, int] | None = None,
    windows: tuple[int, ...] = (30, 90, 365),
) -> pd.DataFrame:
    """Return the formatted risk metrics, one column per window of days; a dash where the history is too short."""
    columns = {}
    for name, days in ((chosen or {}) | {f"{days} days": days for days in windows}).items():
        risk = risk_metrics(daily, bitcoin, days)
        columns[name] = [
            (change if key == "return_pct" else percent if key.endswith("_pct") else ratio)(risk[key])
            for key in RISK_METRICS
        ]
    return pd.DataFrame(columns, index=list(RISK_METRICS.values()))
