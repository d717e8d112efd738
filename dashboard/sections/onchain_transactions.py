"""Bitcoin's transactions on the On-chain page: activity beside the candle, fee rates, hours of the week, ranges."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis import onchain as statistics
from dashboard.analysis.onchain import TIMEFRAMES
from dashboard.charts import onchain as figures
from dashboard.charts.base import HOVER_TIME
from dashboard.components import narrow
from dashboard.components.charts import BINANCE, BITCOIN_BUCKET, chart, heading
from dashboard.components.csv_download import download
from dashboard.components.rendering import fragment
from dashboard.components.tables import data_and_export, table
from dashboard.components.theme import palette
from dashboard.queries import onchain
from dashboard.state.cache import cached

ACTIVITY, DISTRIBUTION = "fct_onchain_activity", "fct_onchain_distribution"
MEASURES = {"Output": "output_btc", "Size": "virtual_bytes", "Fee rate": "fee_rate", "Type": "type"}
UNITS = {"output_btc": " BTC", "virtual_bytes": " vB", "fee_rate": " sat/vB", "type": ""}
COMPARED = {
    "Transactions and trades": ("transaction_count", "trade_count", ("Transactions", "Binance trades")),
    "Output and volume": ("output_btc", "volume", ("Gross output, BTC", "Binance volume, BTC")),
}
ONE_DAY = pd.Timedelta(days=1)


def _definitions(relation: str, *columns: str) -> list[str]:
    return [f"{relation}.{column}" for column in columns]


def transactions(first: pd.Timestamp, end: pd.Timestamp) -> None:
    """Show the sections on the days of [first, end) with loaded transactions, or how to load them."""
    st.header("Bitcoin transactions", anchor=False)
    loaded = onchain.activity_days()
    if loaded is None:
        st.info(
            "They are off by default, because a year takes about 35 GB of Postgres. Load days with `tickmart backfill "
            "--dataset bitcoin_transactions --start 2026-01-01`, or new days by `TICKMART_BITCOIN_TRANSACTIONS=true`.",
            title="No transactions loaded",
            icon=":material/hourglass_empty:",
        )
        return
    since, until = (day.tz_localize("UTC") for day in (max(first, loaded[0]), min(end, loaded[1] + ONE_DAY)))
    if since >= until:
        st.info(
            f"Transactions are loaded from {loaded[0]:%Y-%m-%d} to {loaded[1]:%Y-%m-%d}. Choose other dates.",
            title="No transactions in this range",
        )
        return
    span_activity(since, until)
    weekly_profile(since, until)
    value_ranges(since, until)


@fragment
def span_activity(since: pd.Timestamp, until: pd.Timestamp) -> None:
    """Show the spans of [since, until) in the chosen timeframe, their relation to the candle, and fee rates."""
    with narrow.controls("spans", "Timeframe and series"):
        wanted = st.segmented_control(
            "Timeframe", list(TIMEFRAMES), default="Auto", required=True, key="timeframe", bind="query-params"
        )
        name = st.segmented_control(
            "Compared", list(COMPARED), default="Transactions and trades", required=True, key="compared",
            bind="query-params",
        )  # fmt: skip
        log = st.toggle("Log scale", key="span_log", bind="query-params")
    timeframe = statistics.choose_timeframe(TIMEFRAMES[wanted], until - since)
    spans = onchain.activity_spans(timeframe, since, until)
    if spans.empty:
        st.info("No block lies in this range.", title="No transactions in this range")
        return
    too_fine = TIMEFRAMES[wanted] not in (None, timeframe)
    note = f" {wanted} has too many spans for this range." if too_fine else ""
    chain, market, names = COMPARED[name]
    heading(f"{names[0]} and {names[1]} per {timeframe}", _definitions(ACTIVITY, chain, market))
    span_days = f"{spans['started_at'].iloc[0]:%Y-%m-%d} to {spans['started_at'].iloc[-1]:%Y-%m-%d}"
    grid = statistics.every_span(spans, timeframe)
    missing = " The candle is missing where Binance bars of this timeframe are not loaded." * bool(
        spans[market].isna().any()
    )
    chart(
        cached(figures.two_panes, grid, (chain, market), names, palette(), log),
        "spans",
        alt=f"{names[0]} of bitcoin and {names[1]} per {timeframe} from {span_days}",
        caption=f"By the time of the block's header, UTC, without coinbases.{note}{missing} Blocks are found at "
        "random, so short spans vary by chance.",
        source=f"{BITCOIN_BUCKET}; {BINANCE}",
    )
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            without_cycle(spans, timeframe, name)
        with st.container():
            fee_rates(grid, spans)
    _data(spans)


def without_cycle(spans: pd.DataFrame, timeframe: str, name: str) -> None:
    """Show the deviations of a pair of series from their time of the week as scatter with fit, n and band."""
    chain, market, names = COMPARED[name]
    heading("Without the weekly cycle", _definitions(ACTIVITY, chain, market))
    changes = statistics.without_weekly_cycle(spans, chain, market)
    line = statistics.fit(changes)
    if line is None and len(changes) >= statistics.MIN_DAYS:
        st.info("One of the series does not vary within its time of the week.", title="No correlation in this range")
        return
    if line is None:
        st.info(
            f"Needs {statistics.MIN_DAYS} spans with both values, each time of the week in {statistics.MIN_WEEKS} "
            f"weeks; there are {len(changes)}. Choose a longer range.",
            title="Not enough spans",
        )
        return
    band = statistics.band(changes)
    shows = "no evidence of a relation" if abs(line.correlation) <= band else "evidence that they move together"
    chart(
        cached(figures.scatter, changes, line, names, palette(), "log deviation", HOVER_TIME),
        "deviations",
        alt=f"Log deviations of {names[0].lower()} and {names[1]} from their time of the week in {line.n} spans, "
        f"correlation {formats.ratio(line.correlation)}",
        caption=f"One point per {timeframe}: log of the value minus the mean of its time of the week. r = "
        f"{formats.ratio(line.correlation)}, n = {line.n:,}; independent series with the same autocorrelation lie "
        f"within ±{formats.ratio(band)}: {shows}. The number of blocks in a span varies by chance, which hides "
        "relations in short spans.",
        source=f"computed from {BITCOIN_BUCKET}; {BINANCE}",
    )


def fee_rates(grid: pd.DataFrame, spans: pd.DataFrame) -> None:
    """Show median and 90th percentile of the fee rate per span, and how full blocks are."""
    heading("Fee rate", _definitions(ACTIVITY, "median_fee_rate", "p90_fee_rate"))
    known = spans[spans["median_fee_rate"].notna()]
    if known.empty:
        st.info("The source knows no fees for these days.", title="No fee rates in this range")
        return
    log = st.toggle("Log scale", key="rate_log", bind="query-params")
    last = known.iloc[-1]
    fullness = spans["virtual_bytes"].sum() / spans["block_count"].sum() / 1e4
    chart(
        cached(figures.fee_rate_lines, grid, palette(), log),
        "fee_rates",
        alt=f"Median and 90th percentile of the fee rate of bitcoin transactions; newest median "
        f"{formats.number(last['median_fee_rate'], 1)} sat/vB",
        caption=f"Fee per virtual byte of the transactions in each span. {last['started_at']:%Y-%m-%d %H:%M} UTC: "
        f"median {formats.number(last['median_fee_rate'], 1)}, 90th percentile "
        f"{formats.number(last['p90_fee_rate'], 1)} sat/vB. Transactions fill "
        f"{formats.percent(fullness, 0)} of the blocks' 1 million virtual bytes.",
        source=BITCOIN_BUCKET,
    )


@fragment
def weekly_profile(since: pd.Timestamp, until: pd.Timestamp) -> None:
    """Show transactions beside trades by hour of the week, in percent of the mean."""
    hours = onchain.hours_of_week(since, until)
    if hours.empty or hours["n"].min() < statistics.MIN_WEEKS or len(hours) < 168:
        heading("Hours of the week", _definitions(ACTIVITY, "transaction_count", "trade_count"))
        st.info(
            f"Needs {statistics.MIN_WEEKS} weeks of transactions and hourly candles. Choose a longer range.",
            title="Not enough weeks",
        )
        return
    for column, (left, name) in zip(
        st.columns(2, gap="medium"), (("transaction_count", "Transactions"), ("trade_count", "Binance trades")),
        strict=True,
    ):  # fmt: skip
        grid = statistics.week_grid(hours, left)
        with column:
            heading(f"{name} by hour of the week", _definitions(ACTIVITY, left))
            chart(
                cached(figures.hour_of_week_heatmap, grid, palette()),
                f"week_{left}",
                alt=f"{name} by weekday and UTC hour, from {formats.change(float(grid.min().min()), 0)} to "
                f"{formats.change(float(grid.max().max()), 0)} of the mean",
                caption=f"Mean per hour against the mean of the week, {hours['n'].min()} to {hours['n'].max()} weeks.",
                source=BITCOIN_BUCKET if left == "transaction_count" else BINANCE,
            )


@fragment
def value_ranges(since: pd.Timestamp, until: pd.Timestamp) -> None:
    """Show the share of transactions and of gross output by output, size, fee rate or type."""
    heading("Distribution of transactions", _definitions(DISTRIBUTION, "measure", "transaction_count", "output_btc"))
    name = st.segmented_control(
        "Measure", list(MEASURES), default="Output", required=True, key="measure", bind="query-params"
    )
    first, end = since.tz_localize(None), until.tz_localize(None)
    found = onchain.distribution(first, end)
    measure = MEASURES[name]
    ranges = statistics.shares(found[found["measure"] == measure].reset_index(drop=True))
    if ranges.empty:
        st.info("There are blocks, but no transactions besides coinbases.", title="No transactions in this range")
        return
    labeled = ranges.assign(label=ranges["label"] + UNITS[measure])
    chart(
        cached(figures.range_bars, labeled, palette()),
        "distribution",
        alt=f"Share of transactions and of gross output by {name.lower()}, {len(ranges)} ranges",
        caption=f"{formats.count(ranges['transaction_count'].sum())} transactions with "
        f"{formats.amount(ranges['output_btc'].sum())} BTC of gross output from {first:%Y-%m-%d} to "
        f"{end - ONE_DAY:%Y-%m-%d}. Gross output contains change that returns to the payer.",
        source=BITCOIN_BUCKET,
    )


def _data(spans: pd.DataFrame) -> None:
    with data_and_export("span_data", "Transactions: data table & export") as opened:
        if not opened:
            return
        table(
            spans.iloc[::-1],
            height=300,
            alt="Bitcoin transactions and candle by span, newest first",
            missing="No fee is known, or the candle of the span is not complete",
        )
        download(spans, "tickmart_onchain_activity.csv", relation=ACTIVITY)
