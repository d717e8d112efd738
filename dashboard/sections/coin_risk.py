"""One coin's summary, volatility, drawdowns, returns and risk metrics in the range of the Price page."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis.returns import drawdown_from_ath, monthly_returns, risk_table
from dashboard.analysis.statistics import percentile_of_last
from dashboard.analysis.summaries import coin_summary
from dashboard.charts import returns as figures
from dashboard.components.charts import BINANCE, COINGECKO, chart, heading
from dashboard.components.csv_download import download
from dashboard.components.definitions import definitions_help
from dashboard.components.tables import table
from dashboard.components.theme import palette
from dashboard.queries import market, prices
from dashboard.state.cache import cached
from dashboard.text import escaped, nbsp_units

SOURCE = f"computed from {BINANCE} spot closes"
MIN_DAYS = 91  # shown even if the range is shorter: statistics of fewer days are noise


def show(coin: pd.Series, daily: pd.DataFrame, first: pd.Timestamp, end: pd.Timestamp) -> None:
    """Show the sections for the days in [first, end), or for the MIN_DAYS to the end if these are fewer."""
    known = daily[daily["date"] < end]
    chosen = known[known["date"] >= first]
    shown = chosen if len(chosen) >= MIN_DAYS else known.tail(MIN_DAYS)
    summary(coin, known)
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            volatility(coin, known, shown)
        with st.container():
            drawdown(coin, daily, shown)
        with st.container():
            return_calendar(coin, known, shown)
        with st.container():
            return_distribution(coin, shown)
    risk(coin, known, chosen)


def dates(shown: pd.DataFrame) -> str:
    """Return the first and last day shown."""
    if shown.empty:
        return "No complete day"
    return f"{shown['date'].iloc[0]:%Y-%m-%d} to {shown['date'].iloc[-1]:%Y-%m-%d}"


def summary(coin: pd.Series, known: pd.DataFrame) -> None:
    """Show one line on the newest day of the range."""
    sentences = cached(coin_summary, coin["label"], known)
    if not sentences:
        return
    metrics = [f"fct_daily_summary.{column}" for column in ("sma_30", "rsi_14", "volatility_30d", "drawdown_pct")]
    with st.container(border=True):
        st.markdown(
            f"**Summary** ({formats.instant(known['date'].iloc[-1].date())}): " + escaped(" ".join(sentences)),
            help=definitions_help(metrics),
        )


def volatility(coin: pd.Series, known: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Show realized volatility over three windows."""
    columns = ("volatility_7d", "volatility_30d", "volatility_90d")
    heading("Realized volatility", [f"fct_daily_summary.{column}" for column in columns])
    rank = percentile_of_last(known["volatility_30d"], 365)
    chart(
        cached(figures.volatility_lines, shown, palette()),
        "volatility",
        alt=f"Realized volatility of {coin['label']} over 7, 30 and 90 days",
        caption=f"{dates(shown)}. Volatility of daily log returns (annualized)."
        + ("" if rank is None else f" 30-day value: {formats.ordinal(rank)} percentile of the past year."),
        source=SOURCE,
    )


def drawdown(coin: pd.Series, daily: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Show the drawdowns from the highest close loaded and from the all-time high."""
    heading("Drawdown", ["fct_daily_summary.drawdown_pct", "fct_market_snapshots.ath_usd"])
    snapshot = market.coin_snapshot(coin["crypto_id"])
    ath = snapshot.iloc[0] if len(snapshot) and not formats.is_missing(snapshot["ath_usd"].iloc[0]) else None
    from_ath = None if ath is None else cached(drawdown_from_ath, shown, ath["ath_usd"], ath["ath_at"])
    start = f"{daily['date'].iloc[0]:%Y-%m-%d}" if len(daily) else ""
    parts = [f"From the highest close since {start}, where the loaded history starts."] if start else []
    if ath is not None:
        parts.append(
            f"From the all-time high of {formats.price(ath['ath_usd'])} on {ath['ath_at']:%Y-%m-%d} ({COINGECKO})."
        )
    chart(
        cached(figures.drawdown_area, shown, palette(), from_ath, start),
        "drawdown",
        alt=f"Drawdown of {coin['label']} from its highest close loaded and from its all-time high; latest "
        f"{formats.percent(shown['drawdown_pct'].iloc[-1] if len(shown) else None)}",
        caption=" ".join(parts).replace("$", r"\$"),
        source=SOURCE,
    )


def return_calendar(coin: pd.Series, known: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Show monthly returns by year."""
    heading("Monthly returns", ["fct_daily_summary.return_pct"])
    months = cached(monthly_returns, known)
    if len(shown):
        months = months.loc[shown["date"].iloc[0].year :]
    chart(
        cached(figures.return_calendar, months, palette()),
        "calendar",
        alt=f"Heat map of the monthly returns of {coin['label']} in percent",
        caption="Percent, month-end close to month-end close; the latest month is month-to-date.",
        source=SOURCE,
    )


def return_distribution(coin: pd.Series, shown: pd.DataFrame) -> None:
    """Show the histogram of daily returns."""
    heading("Daily return distribution", ["fct_daily_summary.return_pct"])
    chart(
        cached(figures.return_histogram, shown, palette()),
        "days",
        alt=f"Histogram of the daily returns of {coin['label']} in percent",
        caption=f"{dates(shown)}: {shown['return_pct'].notna().sum():,} daily returns. First and last bin include "
        "outliers.",
        source=SOURCE,
    )


def risk(coin: pd.Series, known: pd.DataFrame, chosen: pd.DataFrame) -> None:
    """Show the risk metrics of the range and of three windows."""
    columns = ("return_pct", "volatility_90d", "sharpe_90d", "drawdown_pct", "beta_btc_90d")
    heading("Risk metrics", [f"fct_daily_summary.{column}" for column in columns])
    bitcoin = prices.daily("bitcoin")
    metrics = cached(risk_table, known, bitcoin, {"Range": len(chosen) - 1})
    table(
        metrics.rename_axis("Metric").reset_index(),
        width="content",
        alt=f"Risk metrics of {coin['label']} over the range and over 30, 90 and 365 days",
        missing="Not enough history, or the price did not change",
    )
    last = f" to {known['date'].iloc[-1]:%Y-%m-%d}" if len(known) else ""
    st.caption(
        nbsp_units(f"Complete UTC days{last}; range: closes of {dates(chosen)}. Risk-free rate 0. Source: {SOURCE}.")
    )
    download(
        metrics.rename_axis("metric").reset_index(),
        f"tickmart_{coin['crypto_id']}_risk_metrics.csv",
        "Download risk metrics",
        relation="fct_daily_summary",
    )
