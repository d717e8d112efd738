"""Sentiment: the Fear & Greed index, and its relation to bitcoin's price and volume."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis import sentiment as statistics
from dashboard.analysis.statistics import correlation, rolling_correlation
from dashboard.charts import base
from dashboard.charts import sentiment as figures
from dashboard.components import narrow
from dashboard.components.charts import BINANCE, FEAR_GREED, chart, heading
from dashboard.components.csv_download import download
from dashboard.components.explain_command import explain_command
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.tables import data_and_export, table
from dashboard.components.theme import palette
from dashboard.queries import sentiment
from dashboard.state.cache import cached
from dashboard.state.date_range import DATES, date_range
from dashboard.state.query_params import ON_OFF, check_query_params
from dashboard.text import escaped

SPANS = {"1Y": 365, "3Y": 1096, "All": None}
FORWARD_DAYS = 30
ONE_DAY = pd.Timedelta(days=1)
CHANGE_METRICS = [
    "fct_sentiment_daily.change_1d",
    "fct_sentiment_daily.btc_return_pct",
    "fct_daily_summary.quote_volume",
]
BOTH_SOURCES = f"computed from {FEAR_GREED} and {BINANCE}"


def history_section(history: pd.DataFrame) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Show the current index and the history; return the chosen first day and the day after the last."""
    loaded = tuple(day.tz_localize("UTC") for day in (history["date"].iloc[0], history["date"].iloc[-1] + ONE_DAY))
    left, right = st.columns([1, 2], gap="large")
    with left:
        current_index(history)
    with right:
        heading("Fear & Greed vs BTC price", ["fct_sentiment_daily.value", "fct_sentiment_daily.btc_close"])
        with narrow.controls("range", "Range"):
            period = date_range(SPANS, "1Y", (loaded[0], loaded[1]), "span", "Span")
        first, end = (at.tz_localize(None) for at in period.bounds(loaded[0], loaded[1]))
        priced = history.loc[history["btc_close"].notna(), "date"]
        if period.days and len(priced) and priced.iloc[0] > first:
            first = priced.iloc[0]  # a preset starts with the price; "All" and dates show the index without it
        shown = within(history, first, end)
        if shown.empty:
            st.info("The index has no value on these days. Choose other dates.", title="No data in this range")
        else:
            index_history(shown, f"{period}")
    return first, end


def within(days: pd.DataFrame, first: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    """Return the rows of the chosen days."""
    return days[(days["date"] >= first) & (days["date"] < end)]


def current_index(history: pd.DataFrame) -> None:
    heading("Current index", ["fct_sentiment_daily.value", "fct_sentiment_daily.classification"])
    last, by_day = history.iloc[-1], history.set_index("date")["value"]
    chart(
        cached(figures.fear_greed_gauge, float(last["value"]), palette()),
        "gauge",
        alt=f"Fear & Greed index {last['value']:.0f} of 100, {last['classification']}",
        caption="0: extreme fear, 100: extreme greed. Updated daily at 00:00 UTC.",
        source=FEAR_GREED,
    )
    with st.grid(3, min_column_width=80):
        for name, days in (("Yesterday", 1), ("7 days ago", 7), ("30 days ago", 30)):
            value = by_day.get(last["date"] - days * ONE_DAY)
            missing = "The source has no value for that day." if formats.is_missing(value) else None
            st.metric(name, formats.count(value), help=missing)
    st.info(
        "The index covers **bitcoin** and is built from its volatility (25%), momentum and volume (25%), dominance "
        "(10%), social media, surveys and search trends. It is partly built from BTC price data, so some correlation "
        "with price is by construction. Past relationships do not predict future returns.",
        title="Limitations",
        icon=":material/info:",
    )


@fragment
def index_history(shown: pd.DataFrame, scope: str) -> None:
    chart(
        cached(figures.sentiment_history, shown, palette()),
        "history",
        alt=f"Bitcoin's daily close and the Fear & Greed index from {shown['date'].iloc[0]:%Y-%m-%d} to "
        f"{shown['date'].iloc[-1]:%Y-%m-%d}",
        caption=f"Top: BTC close (log scale). Bottom: index, colored by class. Starts "
        f"{shown['date'].iloc[0]:%Y-%m-%d}; days without data are blank.",
        source=f"{FEAR_GREED}; {BINANCE}",
        range_scope=scope,
        redraw="index_history",
    )


def volume_anomalies(volume: pd.DataFrame, first: pd.Timestamp, end: pd.Timestamp) -> None:
    heading("Trading volume anomalies", ["fct_daily_summary.quote_volume"])
    trend = within(cached(statistics.volume_trend, volume), first, end)
    if trend.empty:
        st.info("No complete day of candles in this range.", title="No volume in this range")
        return
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


def rolling_correlations(changes: pd.DataFrame, n: int, first: pd.Timestamp, end: pd.Timestamp) -> None:
    heading("Rolling correlation: index change vs BTC return and volume", CHANGE_METRICS)
    lines = {
        f"{name}, {days}d": cached(rolling_correlation, changes["index_change"], changes[column], days)[
            first : end - ONE_DAY
        ]
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


def correlations(history: pd.DataFrame, volume: pd.DataFrame, first: pd.Timestamp, end: pd.Timestamp) -> None:
    every_change = cached(statistics.daily_changes, history, volume)
    loaded = paired_days(every_change)
    if loaded < statistics.MIN_DAYS:
        st.info(
            f"Correlations need {statistics.MIN_DAYS} days with index and price; {loaded} are loaded.",
            title="Not enough history for correlations",
        )
        raise PageFinished
    changes = every_change[first : end - ONE_DAY]
    if paired_days(changes) < statistics.MIN_DAYS:
        st.caption(
            f"Correlations use all loaded days: the range has fewer than {statistics.MIN_DAYS} with index and price."
        )
        changes, first, end = every_change, every_change.index[0], every_change.index[-1] + ONE_DAY
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            rolling_correlations(every_change, paired_days(changes), first, end)
        with st.container():
            lead_lag(changes)


def paired_days(changes: pd.DataFrame) -> int:
    return len(changes[["index_change", "btc_return"]].dropna())


def returns_by_class() -> None:
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
        caption="All loaded days. Mean return over the next day and week with 95% errors. Errors assume independent "
        "days; overlapping weeks make the true uncertainty larger.",
        source=f"{FEAR_GREED}; {BINANCE}",
    )


def index_and_forward_return(history: pd.DataFrame) -> None:
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
        caption=f"One point per day from {forward['date'].iloc[0]:%Y-%m-%d}. Line and band: median and middle 80% "
        f"per 10-point bin. {significance(forward)}",
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
def data_section(shown: pd.DataFrame) -> None:
    with data_and_export() as opened:
        if not opened:
            return
        days = shown.assign(date=shown["date"].dt.date)
        table(
            days.iloc[::-1],
            height=300,
            alt="The index by day, newest first",
            missing="No value for this day, or the period is not complete yet",
        )
        download(days, "tickmart_sentiment.csv", relation="fct_sentiment_daily")
        if len(shown):
            explain_command("bitcoin", "fct_sentiment_daily.mean_30d", f"{shown['date'].iloc[-1]:%Y-%m-%d}")


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
    history = sentiment.sentiment_history()
    if history.empty:
        st.title("Market sentiment", anchor=False)
        st.info(
            "Every `tickmart run` loads the index.",
            title="No Fear & Greed index loaded yet",
            icon=":material/hourglass_empty:",
        )
        raise PageFinished
    check_query_params(*DATES, span=SPANS, data=ON_OFF)
    st.title(escaped(summary(history.iloc[-1])), anchor=False)
    first, end = history_section(history)
    data_section(within(history, first, end))
    volume = sentiment.volume_per_day()
    if volume.empty:
        st.info("Volume and correlations need complete days of candles.", title="No candles loaded yet")
        raise PageFinished
    volume_anomalies(volume, first, end)
    correlations(history, volume, first, end)
    returns_by_class()
    chosen = within(history, first, end)
    enough = len(statistics.forward_returns(chosen, FORWARD_DAYS)) >= statistics.MIN_DAYS
    index_and_forward_return(chosen if enough else history)


page()
