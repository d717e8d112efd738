"""One-line summaries of the market, a coin, a comparison and the data quality."""

import pandas as pd

from dashboard.analysis.statistics import percentile_of_last
from dashboard.formats import is_missing, money, ordinal, percent, price, signed

RSI_DAYS = 14
UNCHANGED_DAYS = 30  # indicators mean nothing after so many equal closes


def market_summary(market: pd.Series, fear_greed: pd.Series | None) -> str:
    """Return total market cap, its 24h change, market breadth and sentiment."""
    move = market["market_cap_change_24h_pct"]
    parts = [
        f"Total market cap {money(market['total_market_cap_usd'])}, "
        + ("24h change not available." if is_missing(move) else f"{signed(move)} (24h).")
    ]
    rose, fell, same = (int(market[name]) for name in ("advancers", "decliners", "unchanged"))
    if rose or fell:
        parts.append(f"{max(rose, fell)} of {rose + fell + same} coins {'up' if rose >= fell else 'down'}.")
    elif same:
        parts.append(f"{same} coins unchanged.")
    if fear_greed is not None:
        parts.append(f"Fear & Greed: {int(fear_greed['value'])} ({fear_greed['classification']}).")
    return " ".join(parts)


def unchanged_since(daily: pd.DataFrame) -> pd.Series:
    """Return the first of the newest days that all have the same close."""
    moved = daily["close"].ne(daily["close"].iloc[-1])
    return daily.loc[moved[moved].index[-1] :].iloc[1] if moved.any() else daily.iloc[0]


def coin_summary(name: str, daily: pd.DataFrame) -> list[str]:
    """Return sentences on the newest complete day: trend, RSI, volatility, drawdown; one sentence if nothing moves."""
    if daily.empty or is_missing(daily["close"].iloc[-1]):
        return []
    last, sentences = daily.iloc[-1], []
    first = unchanged_since(daily)
    unchanged = daily[daily["date"] >= first["date"]]
    if len(unchanged) >= UNCHANGED_DAYS:
        no_trades = "" if unchanged["volume"].iloc[1:].any() else "; no trades since"
        return [f"{name}: close unchanged at {price(last['close'])} since {first['date']:%Y-%m-%d}{no_trades}."]
    if not is_missing(last["sma_30"]):
        gap = (last["close"] / last["sma_30"] - 1) * 100
        side = "above" if gap > 0 else "below"
        sentences.append(f"Close {'at' if round(gap, 2) == 0 else f'{percent(abs(gap))} {side}'} its 30-day average.")
    if not is_missing(last["rsi_14"]) and len(unchanged) <= RSI_DAYS:
        zone = "overbought" if last["rsi_14"] > 70 else "oversold" if last["rsi_14"] < 30 else "neutral"
        sentences.append(f"RSI({RSI_DAYS}) {last['rsi_14']:.0f} ({zone}).")
    rank = percentile_of_last(daily["volatility_30d"], 365)
    if rank is not None:
        days = int(min(365, daily["volatility_30d"].notna().sum()))
        sentences.append(
            f"30-day volatility {percent(last['volatility_30d'] * 100)} (annualized), "
            f"{ordinal(rank)} percentile of the past {days} days."
        )
    if not is_missing(last["drawdown_pct"]):
        peak = daily.loc[daily["close"].idxmax()]
        sentences.append(
            "Highest close in the loaded history."
            if last["drawdown_pct"] == 0
            else f"{percent(-last['drawdown_pct'])} below the highest close in the loaded history "
            f"({price(peak['close'])} on {peak['date']:%Y-%m-%d})."
        )
    return sentences


def best_and_worst(final: pd.Series, names: dict[str, str], since: str, until: str = "") -> str:
    """Return the best and worst of the coins rebased to 100; for one coin, or equal ones, only the return."""
    gains = final.sort_values(ascending=False) - 100
    first, last = names[gains.index[0]], names[gains.index[-1]]
    dates = f"{since} to {until}" if until else f"since {since}"
    if round(gains.iloc[0], 2) == round(gains.iloc[-1], 2):
        label = first if len(gains) == 1 else f"All {len(gains)} coins"
        return f"{label}: {signed(gains.iloc[0])} ({dates})"
    return f"Best: {first} {signed(gains.iloc[0])}, worst: {last} {signed(gains.iloc[-1])} ({dates})"


def quality_summary(datasets: pd.DataFrame, titles: dict[str, str], checks: pd.DataFrame) -> str:
    """Return the number of healthy datasets and passed checks, and name unhealthy datasets."""
    passed = int((checks["status"] == "passed").sum())
    check_text = f"{passed}/{len(checks)} checks passed" if len(checks) else "no check has run yet"
    if datasets["last_data_at"].isna().all():
        return f"No data loaded yet, {check_text}"
    bad = datasets[datasets["health"] != "Healthy"]
    if bad.empty:
        return f"All {len(datasets)} datasets healthy, {check_text}"
    named = ", ".join(f"{titles.get(row.dataset, row.dataset)} ({row.health.lower()})" for row in bad.itertuples())
    return f"{len(bad)} of {len(datasets)} datasets need attention: {named}; {check_text}"
