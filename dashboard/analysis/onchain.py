"""Statistics of on-chain activity against the market: pairs of series, timeframes, weekly cycle, straight-line fit."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.analysis.statistics import is_flat

MIN_DAYS = 60  # a correlation of weekly changes over fewer days is noise
MIN_WEEKS = 3  # a mean hour of the week over fewer weeks is noise
MAX_SPANS = 1_500  # more points in a chart are not visible
TIMEFRAMES: dict[str, str | None] = {"Auto": None, "15m": "15m", "1h": "1h", "4h": "4h", "1D": "1d"}
LENGTHS = {"15m": pd.Timedelta("15min"), "1h": pd.Timedelta("1h"), "4h": pd.Timedelta("4h"), "1d": pd.Timedelta("1D")}


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


def choose_timeframe(wanted: str | None, length: pd.Timedelta) -> str:
    """Return the wanted timeframe (None: the finest), or the next longer one with at most MAX_SPANS spans."""
    names = list(LENGTHS)
    fitting = (name for name in names[names.index(wanted or "15m") :] if length / LENGTHS[name] <= MAX_SPANS)
    return next(fitting, names[-1])


def every_span(spans: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """Return a row for each span from the first to the last, so that lines break where spans are missing."""
    if spans.empty:
        return spans
    grid = pd.date_range(spans["started_at"].min(), spans["started_at"].max(), freq=LENGTHS[timeframe])
    return spans.set_index("started_at").reindex(grid.rename("started_at")).reset_index()


def without_weekly_cycle(spans: pd.DataFrame, chain: str, market: str) -> pd.DataFrame:
    """Return date, chain and market: the log of each value minus the mean log of its time of the week.

    Spans without either value, and times of the week in fewer than MIN_WEEKS weeks, are left out.
    """
    found = spans.loc[(spans[chain] > 0) & (spans[market] > 0), ["started_at", chain, market]]
    logs = pd.DataFrame(
        {
            "date": found["started_at"],
            "chain": np.log(found[chain].astype(float)),
            "market": np.log(found[market].astype(float)),
        }
    )
    at = found["started_at"]
    slots = logs.groupby([at.dt.dayofweek, at.dt.hour, at.dt.minute])
    values = logs[["chain", "market"]] - slots[["chain", "market"]].transform("mean")
    kept = slots["chain"].transform("size") >= MIN_WEEKS
    return values.assign(date=logs["date"])[kept].reset_index(drop=True)


def band(changes: pd.DataFrame) -> float:
    """Return the 95% band of the correlation of independent series with the same autocorrelation at lag 1.

    Bartlett's formula for two first-order autoregressive series: 1.96 sqrt((1 + ab) / (1 - ab) / n).
    """
    a, b = (changes[column].autocorr(1) for column in ("chain", "market"))
    product = min(max(a * b, 0.0), 0.999) if np.isfinite(a * b) else 0.0
    return float(1.96 * np.sqrt((1 + product) / (1 - product) / len(changes)))


def week_grid(hours: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a column by weekday (1 is Monday) and UTC hour, in percent of its mean over the week minus 100."""
    grid = (
        hours.pivot_table(index="weekday", columns="hour", values=column)
        .reindex(range(1, 8))
        .reindex(columns=range(24))
    )
    return 100 * (grid / np.nanmean(grid.to_numpy()) - 1) if grid.notna().to_numpy().any() else grid


def shares(ranges: pd.DataFrame) -> pd.DataFrame:
    """Add the share of each range of a measure in all transactions and in all gross output, in percent."""
    totals = ranges[["transaction_count", "output_btc"]].sum()
    return ranges.assign(
        transactions_pct=100 * ranges["transaction_count"] / totals["transaction_count"],
        output_pct=100 * ranges["output_btc"] / (totals["output_btc"] or np.nan),
    )
