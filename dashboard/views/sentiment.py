"""Sentiment: the Fear & Greed index, and its relation to bitcoin's price and volume."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis import sentiment as statistics
from dashboard.analysis.statistics import correlation, rolling_correlation
from dashboard.charts import base
from dashboard.charts import sentiment as figures
from dashboard.components import chart_range
from dashboard.components.cache import cached
from dashboard.components.charts import BINANCE, FEAR_GREED, chart, heading
from dashboard.components.query_params import ON_OFF, check_query_params
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.tables import csv_button, data_and_export, table
from dashboard.components.theme import palette
from dashboard.queries import sentiment
from dashboard.text import escaped

SPANS = {"1Y": 365, "3Y": 1096, "All": None}
FORWARD_DAYS = 30
CHANGE_METRICS = [
    "fct_sentiment_daily.change_1d",
    "fct_sentiment_daily.btc_return_pct",
    "fct_daily_summary.quote_volume",
]
BOTH_SOURCES = f"computed from {FEAR_GREED} and {BINANCE}"


@fragment
def history_section() -> None:
    """Show the current index, its history over bitcoin's price, and volume; the latter two over a chosen span."""
    history, volume = sentiment.sentiment_history(), sentiment.volume_per_day()
    left, right = st.columns([1, 2], gap="large")
    with left:
        current_index(history)
    with right:
        heading("Fear & Greed vs BTC price", ["fct_sentiment_daily.value", "fct_sentiment_daily.btc_close"])
        span = st.segmented_control(
            "Span",
            list(SPANS),
            default="1Y",
            required=True,
            key="span",
            bind="query-params",
            label_visibility="collapsed",
            on_change=chart_range.clear,
        )
        index_history(history, span)
    if volume.empty:
        st.info("Volume and correlations need complete days of candles.", title="No candles loaded yet")
        return
    volume_anomalies(volume, SPANS[span])


def current_index(history: pd.DataFrame) -> None:
    """Show the newest value on its scale, and earlier values."""
    heading("Current index", ["fct_sentiment_daily.value", "fct_sentiment_daily.classification"])
    last, by_day = history.iloc[-1], history.set_index("date")["value"]
    earlier = {
        name: by_day.get(last["date"] - pd.Timedelta(days=days))
        for name, days in (("Yesterday", 1), ("7 days ago", 7), ("30 days ago", 30))
    }
    chart(
        cached(figures.fear_greed_gauge, float(last["value"]), earlier["Yesterday"], palette()),
        "gauge",
        alt=f"Fear & Greed index {last['value']:.0f} of 100, {last['classification']}",
        caption="The marker is yesterday's value. Updated daily at 00:00 UTC.",
        source=FEAR_GREED,
    )
    with st.grid(3, min_column_width=80):
        for name, value in earlier.items():
            missing = "The source has no value for that day." if formats.is_missing(value) else None
            st.metric(name, formats.count(value), help=missing)


def index_history(history: pd.DataFrame, span: str) -> None:
    """Show bitcoin's close and the index over the chosen span."""
    days, newest = SPANS[span], history["date"].iloc[-1]
    shown = history if days is None else history[history["date"] > newest - pd.Timedelta(days=days)]
    chart(
        cached(figures.sentiment_history, shown, palette()),
        "history",
        alt=f"Bitcoin's daily close and the Fear & Greed index from {shown['date'].iloc[0]:%Y-%m-%d} to "
        f"{newest:%Y-%m-%d}",
        caption="Top: BTC close (log scale). Bottom: index, colored by class. Days without data are blank.",
        source=f"{FEAR_GREED}; {BINANCE}",
        range_scope=span,
    )


def volume_anomalies(volume: pd.DataFrame, days: int | None) -> None:
    """Show the traded volume with unusual days highlighted."""
    heading("Trading volume anomalies", ["fct_daily_summary.quote_volume"])
    trend = cached(statistics.volume_trend, volume).tail(days or len(volume))
    z = trend["z"].iloc[-1]
    chart(
        cached(figures.volume_lines, trend, palette()),
        "volume",
        alt="Daily volume of all tracked coins with 7- and 30-day means; newest "
        f"{formats.money(trend['volume_usd'].iloc[-1])}",
        caption="Volume of all tracked coins (USDT). Highlighted: more than 2 standard deviations from the 90-day mean."
        + ("" if formats.is_missing(z) else f" Latest: z = {formats.ratio(z)}."),
        source=BINANCE,
    )


def rolling_correlations(changes: pd.DataFrame, n: int) -> None:
    """Show the rolling correlation of the index change with bitcoin's return and volume."""
    heading("Rolling correlation: index change vs BTC return and volume", CHANGE_METRICS)
    lines = {
        f"{name}, {days}d": cached(rolling_correlation, changes["index_change"], changes[column], days)
        for name, column in (("Price", "btc_return"), ("Volume", "volume_change"))
        for days in (30, 90)
    }
    newest = lines["Price, 90d"].dropna()
    chart(
        cached(base.correlation_lines, lines, palette()),
        "rolling",
        alt="Rolling correlation of daily index changes with bitcoin's return and with its change in volume",
        caption=f"Daily index change vs BTC return and vs change of log volume, 30- and 90-day windows, n = {n} days."
        + (f" Latest with price (90d): {formats.ratio(newest.iloc[-1])}." if len(newest) else ""),
        source=BOTH_SOURCES,
    )


def lead_lag(changes: pd.DataFrame) -> None:
    """Show the cross-correlation of the index change and bitcoin's return."""
    heading("Lead/lag (cross-correlation)", CHANGE_METRICS)
    lags = cached(statistics.lead_lag, changes["index_change"], changes["btc_return"])
    outside = int((lags["correlation"].abs() > lags["band"]).sum())
    if lags["correlation"].notna().any():
        result = f"{outside} of {len(lags)} lags are outside; 1 or 2 are expected by chance."
    else:
        result = "Correlation undefined: the index or the price did not change."
    chart(
        cached(figures.lead_lag_bars, lags, palette()),
        "lags",
        alt="Correlation of the index change with bitcoin's return from 14 days before to 14 days after",
        caption=f"Gray: 95% band of independent series. {result} "
        f"n = {formats.count_range(lags['n'].min(), lags['n'].max())} days.",
        source=BOTH_SOURCES,
    )


def correlations(history: pd.DataFrame, volume: pd.DataFrame) -> None:
    """Show rolling and lagged correlations; ends the page if there is too little history."""
    changes = cached(statistics.daily_changes, history, volume)
    n = int(changes[["index_change", "btc_return"]].dropna().shape[0])
    if n < statistics.MIN_DAYS:
        st.info(
            f"Correlations need {statistics.MIN_DAYS} days with index and price; {n} are loaded.",
            title="Not enough history for correlations",
        )
        raise PageFinished
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            rolling_correlations(changes, n)
        with st.container():
            lead_lag(changes)


def returns_by_class() -> None:
    """Show bitcoin's mean forward return after days of each sentiment class."""
    returns = sentiment.sentiment_returns()
    metrics = [f"fct_sentiment_returns.{column}" for column in ("mean_return_pct", "mean_error_95_pct", "n")]
    heading("Forward BTC returns by sentiment class", metrics)
    chart(
        cached(figures.forward_returns, returns, statistics.CLASSES, palette()),
        "forward",
        alt="Mean return of bitcoin in the day and week after days of each sentiment class, with errors and number of "
        "days: "
        + ", ".join(
            f"{row.classification} {row.horizon} {formats.signed(row.mean_return_pct)} (n={row.n})"
            for row in returns.itertuples()
        ),
        caption="Mean return over the next day and week with 95% errors. Errors assume independent days; overlapping "
        "weeks make the true uncertainty larger.",
        source=f"{FEAR_GREED}; {BINANCE}",
    )


def index_and_forward_return(history: pd.DataFrame) -> None:
    """Show the index level against bitcoin's return over the next 30 days."""
    heading(
        f"Index level vs next {FORWARD_DAYS}-day BTC return",
        ["fct_sentiment_daily.value", "fct_sentiment_daily.btc_close"],
    )
    forward = cached(statistics.forward_returns, history, FORWARD_DAYS)
    if len(forward) < statistics.MIN_DAYS:
        st.info(
            f"Needs {statistics.MIN_DAYS} days with a close {FORWARD_DAYS} days later; {len(forward)} are loaded.",
            title="Not enough history",
        )
        return
    bins = cached(statistics.by_index_bin, forward)
    chart(
        cached(figures.index_and_forward_return, forward, bins, palette()),
        "month_after",
        alt=f"Index and bitcoin's return over the next {FORWARD_DAYS} days, {len(forward)} days; median per 10-point "
        "bin: " + ", ".join(f"{row.middle:.0f} {formats.signed(row.median)} (n={row.n})" for row in bins.itertuples()),
        caption=f"One point per day. Line and band: median and middle 80% per 10-point bin. {significance(forward)}",
        source=f"{FEAR_GREED}; {BINANCE}",
    )


def significance(forward: pd.DataFrame) -> str:
    """Return correlation, sample size and significance of the forward returns."""
    r = correlation(forward["value"], forward["forward_pct"])
    if r is None:
        return "Correlation undefined: the index or the price did not change."
    band = statistics.significance_band(len(forward), FORWARD_DAYS)
    independent = len(forward) // FORWARD_DAYS
    return f"r = {formats.ratio(r)}, n = {len(forward):,} overlapping (about {independent} independent) windows; " + (
        "not statistically significant." if abs(r) <= band else "outside the 95% band of unrelated series."
    )


@fragment
def data_section() -> None:
    """Show the index by day as a table and a CSV."""
    with data_and_export() as opened:
        if not opened:
            return
        days = sentiment.sentiment_history().assign(date=lambda history: history["date"].dt.date)
        table(
            days.iloc[::-1],
            height=300,
            alt="The index by day, newest first",
            missing="No value for this day, or the period is not complete yet",
        )
        csv_button("Download CSV", lambda: days, "tickmart_sentiment.csv")


def summary(last: pd.Series) -> str:
    """Return the newest value, its change and its 30-day average."""
    parts = [f"Fear & Greed Index: {last['value']:.0f} ({last['classification']})"]
    if not formats.is_missing(last["change_1d"]):
        change = round(last["change_1d"])
        parts.append("unchanged vs yesterday" if change == 0 else f"{change:+d} vs yesterday".replace("-", "−"))
    if not formats.is_missing(last["mean_30d"]):
        parts.append(f"30-day average {last['mean_30d']:.0f}")
    return ", ".join(parts)


def page() -> None:
    """Show the page."""
    history = sentiment.sentiment_history()
    if history.empty:
        st.title("Market sentiment", anchor=False)
        st.info(
            "Every `tickmart run` loads the index.",
            title="No Fear & Greed index loaded yet",
            icon=":material/hourglass_empty:",
        )
        raise PageFinished
    check_query_params(span=SPANS, data=ON_OFF)
    st.title(escaped(summary(history.iloc[-1])), anchor=False)
    st.info(
        "The index covers **bitcoin** and is built from its volatility (25%), momentum and volume (25%), dominance "
        "(10%), social media, surveys and search trends. It is partly built from BTC price data, so some correlation "
        "with price is by construction. Past relationships do not predict future returns.",
        title="Limitations",
        icon=":material/info:",
    )
    history_section()
    volume = sentiment.volume_per_day()
    if volume.empty:
        raise PageFinished
    correlations(history, volume)
    returns_by_class()
    index_and_forward_return(history)
    data_section()


page()
