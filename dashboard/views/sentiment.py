"""Sentiment: how fearful the crowd is, and whether that goes with price or volume."""

import pandas as pd
import streamlit as st

from dashboard import analysis, formats, queries, shell, zoom
from dashboard.charts import base
from dashboard.charts import sentiment as charts

SPANS = {"1Y": 365, "3Y": 1096, "All": None}


@shell.part
def through_time() -> None:
    """What depends on the chosen span: the index over bitcoin's price, and the volume. Beside them, the index now."""
    history, volume = queries.sentiment(), queries.volume_per_day()
    last = history.iloc[-1]
    left, right = st.columns([1, 2], gap="large")
    with left:
        shell.heading(
            "How does the crowd feel now?", ["fct_sentiment_daily.value", "fct_sentiment_daily.classification"]
        )
        by_day = history.set_index("date")["value"]
        earlier = {
            name: by_day.get(last["date"] - pd.Timedelta(days=n))
            for name, n in (("Yesterday", 1), ("7 d", 7), ("30 d", 30))
        }
        shell.chart(
            shell.once(charts.fear_greed_gauge, float(last["value"]), earlier["Yesterday"], shell.colours()),
            "gauge",
            alt=f"Fear & Greed index {last['value']:.0f} of 100, {last['classification']}",
            how="Zones from extreme fear to extreme greed; the mark is the day before. A new value comes at 00:00 UTC.",
            source=shell.FEAR_GREED,
        )
        with st.grid(3, min_column_width=80):
            for name, value in earlier.items():
                st.metric(
                    name,
                    formats.count(value),
                    help="That day is missing in the source." if formats.is_missing(value) else None,
                )
    with right:
        shell.heading(
            "How did mood and price go through time?", ["fct_sentiment_daily.value", "fct_sentiment_daily.btc_close"]
        )
        span = st.segmented_control(
            "Span",
            list(SPANS),
            default="1Y",
            required=True,
            key="span",
            bind="query-params",
            label_visibility="collapsed",
            on_change=zoom.forget,
        )
        days = SPANS[span]
        shown = history if days is None else history[history["date"] > last["date"] - pd.Timedelta(days=days)]
        shell.chart(
            shell.once(charts.sentiment_history, shown, shell.colours()),
            "history",
            alt=f"Bitcoin's daily close and the Fear & Greed index from {shown['date'].iloc[0]:%Y-%m-%d} to "
            f"{last['date']:%Y-%m-%d}",
            how="Above bitcoin's close (log scale), below the index, in the colour of its class. Days that the source "
            "lacks stay empty.",
            source=f"{shell.FEAR_GREED}; {shell.BINANCE}",
            zoomed=span,
        )
    if volume.empty:
        st.info("Volumes and correlations need finished days of candles.", title="No candles yet")
        return
    shell.heading("Is trading unusually busy?", ["fct_daily_summary.quote_volume"])
    trend = shell.once(analysis.volume_trend, volume).tail(days or len(volume))
    z = trend["z"].iloc[-1]
    shell.chart(
        shell.once(charts.volume_lines, trend, shell.colours()),
        "volume",
        alt="Daily volume of all tracked coins with 7- and 30-day means; newest "
        f"{formats.money(trend['volume_usd'].iloc[-1])}",
        how="Volume of all tracked coins, in USDT; full colour marks days more than 2 standard deviations off their "
        "last 90 "
        "days." + ("" if formats.is_missing(z) else f" Newest day: z = {formats.ratio(z)}."),
        source=shell.BINANCE,
    )


@shell.part
def rows() -> None:
    """The index by day as a table and a file."""
    with shell.data_and_export() as opened:
        if not opened:
            return
        days = queries.sentiment().assign(date=lambda history: history["date"].dt.date)
        shell.table(
            days.iloc[::-1],
            height=300,
            alt="The index by day, newest first",
            missing="the day or one that it is compared with is missing, or still to come",
        )
        shell.csv_button(
            "CSV",
            lambda: shell.export(
                days, "fct_sentiment_daily", "Fear & Greed index by day", "alternative.me and Binance spot"
            ),
            "tickmart_sentiment.csv",
        )


history = queries.sentiment()
if history.empty:
    st.info(
        "The index has not been loaded yet; it is part of every `tickmart run`.",
        title="No Fear & Greed index yet",
        icon=":material/hourglass_empty:",
    )
    raise shell.Finished
shell.check_address(span=SPANS, data=shell.ON_OFF)
volume = queries.volume_per_day()
last = history.iloc[-1]
mean = "" if formats.is_missing(last["mean_30d"]) else f"; its 30-day mean is {last['mean_30d']:.0f}"
moved = ""
if last["change_1d"] == 0:
    moved = ", unchanged from the day before"
elif not formats.is_missing(last["change_1d"]):
    points = f"{abs(last['change_1d']):.0f} {'point' if abs(last['change_1d']) == 1 else 'points'}"
    moved = f", {points} {'above' if last['change_1d'] > 0 else 'below'} the day before"
st.title(
    f"The crowd shows {shell.text(last['classification'].lower())}: {last['value']:.0f} of 100{moved}{mean}.",
    anchor=False,
)
st.info(
    "The index is **for bitcoin** and is made of bitcoin's own volatility (25%), momentum and volume (25%), "
    "dominance (10%), social media, surveys and search trends. That it goes with bitcoin's price is therefore partly "
    "arithmetic. Nothing on this page predicts anything.",
    title="What the index cannot show",
    icon=":material/info:",
)

through_time()
if volume.empty:
    raise shell.Finished
changes = shell.once(analysis.daily_changes, history, volume)
joined = int(changes[["mood", "price"]].dropna().shape[0])
if joined < analysis.LEAST_DAYS:
    st.info(
        f"Correlations need {analysis.LEAST_DAYS} days with index and price, there are {joined}.",
        title="Too little history for correlations",
    )
    raise shell.Finished
metrics = ["fct_sentiment_daily.change_1d", "fct_sentiment_daily.btc_return_pct", "fct_daily_summary.quote_volume"]
with st.grid(2, min_column_width=340, gap="medium"):
    with st.container():
        shell.heading("Do mood and market move together?", metrics)
        lines = {
            f"{name}, {days} d": shell.once(analysis.rolling_correlation, changes["mood"], changes[column], days)
            for name, column in (("price", "price"), ("volume", "volume"))
            for days in (30, 90)
        }
        newest = lines["price, 90 d"].dropna()
        shell.chart(
            shell.once(base.correlation_lines, lines, shell.colours()),
            "rolling",
            alt="Rolling correlation of daily changes of the index with bitcoin's return and with its change of volume",
            how="Correlation of the index's daily change with bitcoin's return and with the change of its log "
            "volume, over "
            f"30 and 90 days. n = {joined} days"
            + (f"; with price over the newest 90: {formats.ratio(newest.iloc[-1])}." if len(newest) else "."),
            source="computed from both sources",
        )
    with st.container():
        shell.heading("Which comes first?", metrics)
        lags = shell.once(analysis.lead_lag, changes["mood"], changes["price"])
        outside = int((lags["correlation"].abs() > lags["band"]).sum())
        shell.chart(
            shell.once(charts.lead_lag_bars, lags, shell.colours()),
            "lags",
            alt="Correlation of the index's change with bitcoin's return from 14 days before to 14 days after",
            how="Right of 0 the mood is ahead. Grey band: 95% of unrelated series stay inside; "
            + (
                f"{outside} of {len(lags)} lags lie outside, one or two would by chance. "
                if lags["correlation"].notna().any()
                else "no correlation, for the index or the price did not move. "
            )
            + f"n = {formats.between(lags['n'].min(), lags['n'].max())} days.",
            source="computed from both sources",
        )

returns = queries.sentiment_returns()
shell.heading(
    "What came after fear and after greed?",
    [f"fct_sentiment_returns.{column}" for column in ("mean_return_pct", "mean_error_95_pct", "n")],
)
shell.chart(
    shell.once(charts.forward_returns, returns, analysis.CLASSES, shell.colours()),
    "forward",
    alt="Mean return of bitcoin in the next day and week after days of each class of the index, with errors and "
    "number of days: "
    + ", ".join(
        f"{row.classification} {row.horizon} {formats.signed(row.mean_return_pct)} (n={row.n})"
        for row in returns.itertuples()
    ),
    how="Mean return of bitcoin the day and the week after; whiskers are 95% errors as if days were independent, "
    "but weeks "
    "overlap and moods last, so the true uncertainty is larger. A description of the past, not a forecast.",
    source=f"{shell.FEAR_GREED}; {shell.BINANCE}",
)
AHEAD = 30
forward = shell.once(analysis.forward_by_index, history, AHEAD)
shell.heading(
    "Did the index tell anything of the month after?", ["fct_sentiment_daily.value", "fct_sentiment_daily.btc_close"]
)
if len(forward) < analysis.LEAST_DAYS:
    st.info(f"Needs {analysis.LEAST_DAYS} days with a close {AHEAD} days later; there are {len(forward)}.")
else:
    tens = shell.once(analysis.by_tens, forward)
    together = analysis.correlation(forward["value"], forward["forward_pct"])
    band = analysis.overlap_band(len(forward), AHEAD)
    counts = ", ".join(f"{row.middle - 5:.0f} to {row.middle + 5:.0f}: {row.n}" for row in tens.itertuples())
    shell.chart(
        shell.once(charts.index_against_forward, forward, tens, shell.colours()),
        "month_after",
        alt=f"Index and bitcoin's return over the next {AHEAD} days, {len(forward)} days; medians by tens "
        "of the index: "
        + ", ".join(f"{row.middle:.0f} {formats.signed(row.median)} (n={row.n})" for row in tens.itertuples()),
        how=f"Each point is a day: the index, and bitcoin's return over the {AHEAD} days after. Line and band: median "
        f"and middle 80% by tens of the index (days by tens: {counts}). "
        + (
            "No correlation: the index or the price did not move."
            if together is None
            else f"Correlation {formats.ratio(together)}, n = {len(forward):,} days; their months overlap and are "
            f"worth about {len(forward) // AHEAD} separate ones, of which chance alone makes up to "
            f"± {formats.ratio(band)}. "
            + ("That is inside chance." if abs(together) <= band else "That is more than chance, in this one history.")
        ),
        source=f"{shell.FEAR_GREED}; {shell.BINANCE}",
    )
rows()
