"""Numbers and sentences that depend on what the visitor chose, as pure functions of DataFrames.

Belongs here: choosing bar sizes, risk over a chosen window, returns by month, readings in words. Does not: anything
that depends on the data alone (that is a mart's column), SQL, figures.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Literal

import numpy as np
import pandas as pd

from dashboard.formats import change, is_missing, money, percent, price, ratio, signed

Bar = Literal["1h", "4h", "1d", "1w"]
BAR_LENGTH: dict[Bar, timedelta] = {
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}
RANGES: dict[str, int | None] = {"1D": 1, "7D": 7, "1M": 30, "3M": 91, "1Y": 365, "All": None}
MOST_BARS = 720  # beyond about 1,000 candles the browser stutters when zooming


@dataclass(frozen=True)
class BarChoice:
    """The bar size of a range, and how many days it spans (None: all there are)."""

    bar: Bar
    days: int | None


def choose_bar(span: str, history_days: int) -> BarChoice:
    """Return the bar size for a range, so that at most MOST_BARS bars are drawn: 1D and 7D 1h, 1M 4h, then 1d, 1w."""
    days = RANGES[span]
    if days is None:
        return BarChoice("1d" if history_days <= MOST_BARS else "1w", None)
    return BarChoice("1h" if days <= 7 else "4h" if days <= 31 else "1d", days)


def with_gaps(bars: pd.DataFrame, bar: Bar) -> pd.DataFrame:
    """Return the bars with an empty row for each missing one, so that a line breaks where the market was silent."""
    if len(bars) < 2:
        return bars
    grid = pd.date_range(bars["opened_at"].iloc[0], bars["opened_at"].iloc[-1], freq=BAR_LENGTH[bar], name="opened_at")
    return bars.set_index("opened_at").reindex(grid).reset_index()


def similar_coins(wanted: str, coins: pd.DataFrame, limit: int = 3) -> list[str]:
    """Return up to `limit` crypto_ids that are spelled like `wanted`, by id, symbol or name; the largest if none is."""
    spelled: dict[str, list[str]] = {}  # one spelling can be that of several coins
    for column in ("crypto_id", "symbol", "name"):
        for text, crypto_id in zip(coins[column], coins["crypto_id"], strict=True):
            spelled.setdefault(str(text).lower(), []).append(crypto_id)
    near = get_close_matches(wanted.lower().strip(), spelled, n=limit * 3, cutoff=0.5)
    found = list(dict.fromkeys(crypto_id for text in near for crypto_id in spelled[text]))[:limit]
    return found or coins["crypto_id"].head(limit).tolist()


def market_sentence(market: pd.Series, fear_greed: pd.Series | None) -> str:
    """Say in one sentence where the market stands: size, direction, breadth, mood."""
    move = market["market_cap_change_24h_pct"]
    if is_missing(move):
        direction = "change over 24 h unknown"
    elif round(abs(move), 2) == 0:
        direction = "unchanged in 24 h"
    else:
        direction = f"{'up' if move > 0 else 'down'} {percent(abs(move))} in 24 h"
    rose, fell, same = (int(market[name]) for name in ("advancers", "decliners", "unchanged"))
    if rose == fell == 0:
        breadth = f"none of {same} coins moved" if same else "no coin's change is known"
    else:
        breadth = f"{max(rose, fell)} of {rose + fell + same} coins {'rose' if rose >= fell else 'fell'}"
    mood = "" if fear_greed is None else f"; {fear_greed['classification'].lower()} at {int(fear_greed['value'])}"
    return f"The market is worth {money(market['total_market_cap_usd'])}, {direction}; {breadth}{mood}."


def losers(top: pd.DataFrame, limit: int = 5, least_volume_usd: float = 1_000_000) -> pd.DataFrame:
    """Return the coins of the top 100 that fell most in 24 h; like gainers, only with 1 M USD traded."""
    fell = top[(top["change_24h_pct"] < 0) & (top["volume_24h_usd"] >= least_volume_usd)]
    return fell.nsmallest(limit, "change_24h_pct")


def is_flat(values: pd.Series) -> bool:
    """Tell whether a series has no two known values that differ by more than rounding: nothing ranks or correlates."""
    known = values.dropna()
    return known.empty or bool(np.isclose(known.min(), known.max(), rtol=1e-9, atol=1e-12))


def percentile_of_last(values: pd.Series, window: int) -> float | None:
    """Return the percentile rank of the newest of the last `window` known values, ties counted half (mid-rank).

    None below 60 known values, and where all are alike.
    """
    known = values.dropna().tail(window)
    if len(known) < 60 or is_missing(values.iloc[-1]) or is_flat(known):
        return None
    last = known.iloc[-1]
    return float(((known < last).mean() + (known <= last).mean()) / 2 * 100)


def unchanged_since(daily: pd.DataFrame) -> pd.Series:
    """Return the first of the newest days whose closes are all the same."""
    moved = daily["close"].ne(daily["close"].iloc[-1])
    return daily.loc[moved[moved].index[-1] :].iloc[1] if moved.any() else daily.iloc[0]


RSI_DAYS = 14
UNCHANGED_DAYS = 30  # closes that have been one for so long leave the indicators below without a meaning


def coin_readings(name: str, daily: pd.DataFrame) -> list[str]:
    """Say in neutral words what the newest finished day shows: trend, RSI zone, volatility, drawdown."""
    if daily.empty or is_missing(daily["close"].iloc[-1]):
        return []
    last, said = daily.iloc[-1], []
    first = unchanged_since(daily)
    alike = daily[daily["date"] >= first["date"]]
    if len(alike) >= UNCHANGED_DAYS:
        traded = "" if alike["volume"].iloc[1:].any() else "; nothing was traded since"
        return [f"{name} has closed at {price(last['close'])} every day since {first['date']:%Y-%m-%d}{traded}."]
    if not is_missing(last["sma_30"]):
        gap = (last["close"] / last["sma_30"] - 1) * 100
        side = "above" if gap > 0 else "below"
        where = "at" if round(gap, 2) == 0 else f"{percent(abs(gap))} {side}"
        said.append(f"{name} closed {where} its 30-day average.")
    if not is_missing(last["rsi_14"]) and len(alike) <= RSI_DAYS:
        zone = "overbought" if last["rsi_14"] > 70 else "oversold" if last["rsi_14"] < 30 else "neither high nor low"
        said.append(f"RSI 14 is {last['rsi_14']:.0f}: by the usual reading {zone}.")
    rank = percentile_of_last(daily["volatility_30d"], 365)
    if rank is not None:
        days = int(min(365, daily["volatility_30d"].notna().sum()))
        said.append(
            f"30-day volatility is {percent(last['volatility_30d'] * 100)} a year, "
            f"percentile {rank:.0f} of the last {days} days."
        )
    if not is_missing(last["drawdown_pct"]):
        peak = daily.loc[daily["close"].idxmax()]
        said.append(
            "It closed at its highest since the data begins."
            if last["drawdown_pct"] == 0
            else f"It stands {percent(-last['drawdown_pct'])} below its highest close here, "
            f"{price(peak['close'])} on {peak['date']:%Y-%m-%d}."
        )
    return said


def monthly_returns(daily: pd.DataFrame) -> pd.DataFrame:
    """Return year × month of returns in percent, from month-end close to month-end close; the last month is to date.

    The first month is missing: it has no month-end before it.
    """
    closes = daily.set_index("date")["close"].groupby(lambda day: (day.year, day.month)).last()
    table = (closes / closes.shift() - 1) * 100
    table.index = pd.MultiIndex.from_tuples(table.index, names=["year", "month"])
    return table.unstack("month").reindex(columns=range(1, 13))


RISK_ROWS = {
    "return_pct": "Return",
    "volatility_pct": "Volatility, a year",
    "sharpe": "Sharpe ratio",
    "max_drawdown_pct": "Deepest drawdown",
    "beta_btc": "Beta to bitcoin",
    "correlation_btc": "Correlation with bitcoin",
}


def risk_over(daily: pd.DataFrame, bitcoin: pd.DataFrame, days: int) -> dict[str, float | None]:
    """Return the risk figures of the last `days` days by the marts' definitions; all None when a day is missing.

    Volatility is of log returns × √365, the Sharpe ratio of simple returns × √365 at a risk-free rate of 0; beta is the
    slope of simple returns on bitcoin's, correlation that of log returns.
    """
    window = daily.tail(days)
    unknown: dict[str, float | None] = dict.fromkeys(RISK_ROWS)
    if len(window) < days or window["return_pct"].isna().any():
        return unknown
    simple, logs = window["return_pct"] / 100, window["log_return"]
    start = window["close"].iloc[0] / (1 + simple.iloc[0])
    path = pd.concat([pd.Series([start]), window["close"]])
    found = unknown | {
        "return_pct": float((window["close"].iloc[-1] / start - 1) * 100),
        "volatility_pct": float(logs.std() * np.sqrt(365) * 100),
        "sharpe": None if is_flat(simple) else float(simple.mean() / simple.std() * np.sqrt(365)),
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


def risk_table(daily: pd.DataFrame, bitcoin: pd.DataFrame, windows: tuple[int, ...] = (30, 90, 365)) -> pd.DataFrame:
    """Return the risk figures as text, a column per window; a dash where the history is too short."""
    columns = {}
    for days in windows:
        risk = risk_over(daily, bitcoin, days)
        columns[f"{days} days"] = [
            (change if key == "return_pct" else percent if key.endswith("_pct") else ratio)(risk[key])
            for key in RISK_ROWS
        ]
    return pd.DataFrame(columns, index=list(RISK_ROWS.values()))


# -- sentiment -------------------------------------------------------------------------------------------------------

CLASSES = ("Extreme Fear", "Fear", "Neutral", "Greed", "Extreme Greed")
LEAST_DAYS = 60  # below this a correlation of daily changes says nothing


def daily_changes(sentiment: pd.DataFrame, volume: pd.DataFrame) -> pd.DataFrame:
    """Return, for each calendar day, the change of the index, bitcoin's return and the change of log volume.

    Columns mood (points), price (percent), volume (log); a day without data, or without a day before, is missing.
    """
    days = pd.date_range(sentiment["date"].min(), sentiment["date"].max(), name="date")
    by_day = sentiment.set_index("date").reindex(days)
    traded = volume.set_index("date")["btc_volume_usd"].astype(float).reindex(days)
    logs = np.log(traded.where(traded > 0))
    return pd.DataFrame({"mood": by_day["change_1d"], "price": by_day["btc_return_pct"], "volume": logs - logs.shift()})


def correlation(first: pd.Series, second: pd.Series) -> float | None:
    """Return the correlation of two series, None where one of them is flat: it then has none."""
    both = pd.DataFrame({"first": first, "second": second}).dropna()
    if len(both) < 3 or is_flat(both["first"]) or is_flat(both["second"]):
        return None
    return float(both["first"].corr(both["second"]))


def rolling_correlation(first: pd.Series, second: pd.Series, days: int) -> pd.Series:
    """Return the correlation of two daily series over the last `days` days, where at least 90 % of them are known."""
    return first.rolling(days, min_periods=int(days * 0.9)).corr(second)


def lead_lag(mood: pd.Series, other: pd.Series, reach: int = 14) -> pd.DataFrame:
    """Return the correlation of `mood` with `other` shifted by −reach … +reach days: lag, correlation, n, band.

    At lag k the mood of a day stands beside the other's k days later, so positive lags ask whether the mood leads.
    `band` is 1.96 / √n: independent series stay inside it nineteen times of twenty.
    """
    rows = []
    for lag in range(-reach, reach + 1):
        pair = pd.DataFrame({"mood": mood, "other": other.shift(-lag)}).dropna()
        n = len(pair)
        rows.append((lag, correlation(pair["mood"], pair["other"]), n, 1.96 / np.sqrt(n) if n else np.nan))
    return pd.DataFrame(rows, columns=["lag", "correlation", "n", "band"]).astype({"correlation": float})


def forward_by_index(sentiment: pd.DataFrame, days: int = 30) -> pd.DataFrame:
    """Return, for each day of the index, bitcoin's return in percent from its close to that of `days` days later.

    Columns date, value, classification, forward_pct; days whose later close is not known are left out.
    """
    closes = sentiment.set_index("date")["btc_close"].astype(float)
    later = closes.reindex(closes.index + pd.Timedelta(days=days)).to_numpy()
    found = sentiment[["date", "value", "classification"]].assign(forward_pct=(later / closes.to_numpy() - 1) * 100)
    return found.dropna(subset=["forward_pct"]).reset_index(drop=True)


def by_tens(forward: pd.DataFrame, least: int = 10) -> pd.DataFrame:
    """Return median, tenth and ninetieth percentile and n of the forward returns by tens of the index.

    Columns middle, low, median, high, n; tens with fewer than `least` days are left out.
    """
    tens = (forward["value"] // 10).clip(upper=9) * 10 + 5
    groups = forward["forward_pct"].groupby(tens)
    table = pd.DataFrame(
        {"low": groups.quantile(0.1), "median": groups.median(), "high": groups.quantile(0.9), "n": groups.size()}
    )
    return table[table["n"] >= least].rename_axis("middle").reset_index()


def overlap_band(n: int, days: int) -> float:
    """Return what the correlation of unrelated series stays within nineteen times of twenty.

    Windows of `days` days that begin on each of n days overlap: they are worth some n / days independent cases.
    """
    return float(min(1.0, 1.96 / np.sqrt(max(n / days, 1.0))))


def volume_trend(volume: pd.DataFrame) -> pd.DataFrame:
    """Return daily volume with its 7- and 30-day means, and how many deviations of the last 90 days it stands off."""
    traded = volume.set_index("date")["volume_usd"].astype(float)
    last = traded.rolling(90, min_periods=30)
    return pd.DataFrame(
        {
            "volume_usd": traded,
            "mean_7": traded.rolling(7).mean(),
            "mean_30": traded.rolling(30).mean(),
            "z": (traded - last.mean()) / last.std(),
        }
    ).reset_index()


# -- compare ---------------------------------------------------------------------------------------------------------


def indexed_to_100(closes: pd.DataFrame) -> pd.DataFrame:
    """Return closes (rows crypto_id, date, close) as a column per coin, 100 on the first day that all have."""
    table = closes.pivot(index="date", columns="crypto_id", values="close")
    whole = table.dropna()
    if whole.empty:
        return table.iloc[0:0]
    table = table.loc[whole.index[0] :]
    return table / whole.iloc[0] * 100


def correlation_matrix(pairs: pd.DataFrame, crypto_ids: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return correlations and their n as square tables in the given order; the diagonal is 1, unknown pairs missing."""
    correlations = pd.DataFrame(np.nan, index=crypto_ids, columns=crypto_ids)
    numbers = correlations.copy()
    for first, second, value, n in pairs[["crypto_id_a", "crypto_id_b", "correlation", "n"]].itertuples(index=False):
        correlations.loc[first, second] = correlations.loc[second, first] = value
        numbers.loc[first, second] = numbers.loc[second, first] = n
    for crypto_id in crypto_ids:
        correlations.loc[crypto_id, crypto_id] = 1.0
    return correlations, numbers


# -- data quality ----------------------------------------------------------------------------------------------------


def expected_band(counts: pd.DataFrame) -> pd.DataFrame:
    """Return bars per day with the band that its weekday usually keeps: median ± 3 median absolute deviations.

    A weekday whose days are all alike has a band of that one number.
    """
    weekday = counts["date"].dt.dayofweek
    median = counts["bars"].groupby(weekday).transform("median")
    deviation = (counts["bars"] - median).abs().groupby(weekday).transform("median")
    return counts.assign(low=(median - 3 * deviation).clip(lower=0), high=median + 3 * deviation)


def source_health(requests: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """Return, per API, what the last 24 h brought, and the hourly medians of the last 7 days as lists.

    `errors_pct` is the share of attempts that were refused, throttled, failed or not answered; latencies are of the
    hours: the median of their medians, and the worst of their 95th percentiles. Missing where nothing was asked.
    """
    parts = ["errors_4xx", "errors_429", "errors_5xx", "unanswered"]
    rows = []
    for source, hours in requests.groupby("source"):
        day = hours[hours["hour_started_at"] > now - timedelta(hours=24)]
        asked = int(day["requests"].sum())
        rows.append(
            {
                "source": source,
                "requests": asked,
                **{name: int(day[name].sum()) for name in [*parts, "retries", "bytes"]},
                "errors_pct": float(day[parts].to_numpy().sum() / asked * 100) if asked else np.nan,
                "latency_p50_ms": day["latency_p50_ms"].median(),
                "latency_p95_ms": day["latency_p95_ms"].max(),
                "latency_by_hour": hours["latency_p50_ms"].dropna().round(1).tolist(),
                "last_asked_at": hours["hour_started_at"].max(),
            }
        )
    return pd.DataFrame(rows)


def sample_rows(sample: str) -> pd.DataFrame | None:
    """Return a check's sample, a JSON list of rows, as a table with its digits as they are; None if it is no such list.

    A list of bare values is one column; a text that was cut off is no JSON any more.
    """
    try:
        rows = json.loads(sample, parse_float=str, parse_int=str)
    except json.JSONDecodeError:
        return None
    if not isinstance(rows, list) or not rows:
        return None
    if not all(isinstance(row, dict) for row in rows):
        rows = [{"value": row} for row in rows]
    return pd.DataFrame(rows).map(lambda cell: json.dumps(cell) if isinstance(cell, bool | list | dict) else cell)


def best_and_worst(final: pd.Series, names: dict[str, str], since: str) -> str:
    """Say which of the coins indexed to 100 did best and worst; of one coin, or of equals, only what they did."""
    gains = final.sort_values(ascending=False) - 100
    first, last = names[gains.index[0]], names[gains.index[-1]]
    if round(gains.iloc[0], 2) == round(gains.iloc[-1], 2):
        if len(gains) == 1:
            return f"{first}: {signed(gains.iloc[0])} since {since}."
        return f"All {len(gains)} coins did the same: {signed(gains.iloc[0])} since {since}."
    return f"{first} did best: {signed(gains.iloc[0])} since {since}; {last} worst, {signed(gains.iloc[-1])}."


def quality_sentence(datasets: pd.DataFrame, titles: dict[str, str], checks: pd.DataFrame) -> str:
    """Say in one sentence whether everything holds, or what does not."""
    held = int((checks["status"] == "passed").sum())
    bad = datasets[datasets["health"] != "Healthy"]
    checked = f"{held} of {len(checks)} checks hold" if len(checks) else "nothing has been checked yet"
    if datasets["last_data_at"].isna().all():
        return f"Nothing has been loaded yet; {checked}."
    if bad.empty:
        return f"All {len(datasets)} datasets are healthy; {checked}."
    named = ", ".join(f"{titles.get(row.dataset, row.dataset)} ({row.health.lower()})" for row in bad.itertuples())
    return f"Look at {named}; {checked}."
