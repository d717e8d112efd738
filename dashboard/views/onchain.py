"""On-chain: bitcoin's daily activity beside trading on Binance, and whether their changes go together."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis import onchain as statistics
from dashboard.analysis.onchain import PAIRS, TIMEFRAMES, Pair
from dashboard.charts import base
from dashboard.charts import onchain as figures
from dashboard.components import narrow
from dashboard.components.charts import BINANCE, BLOCKCHAIN, COIN_METRICS, chart, heading
from dashboard.components.csv_download import download
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.tables import data_and_export, table
from dashboard.components.theme import palette
from dashboard.queries import onchain
from dashboard.sections.onchain_transactions import COMPARED, MEASURES, transactions
from dashboard.state.cache import cached
from dashboard.state.date_range import DATES, date_range
from dashboard.state.query_params import ON_OFF, check_query_params

RANGES = {"1Y": 365, "3Y": 1096, "All": None}
METHODS = {"Pearson": "pearson", "Spearman": "spearman"}
WINDOWS = (30, 90, 365)
ONE_DAY = pd.Timedelta(days=1)
MART = "fct_onchain_market_daily"
PROVIDERS = {"transactions_trades": COIN_METRICS, "value_volume": BLOCKCHAIN}


def sources(pair: Pair) -> str:
    """Return the providers of a pair of series."""
    return f"{PROVIDERS[pair.key]}; {BINANCE}"


def definitions(*columns: str) -> list[str]:
    return [f"{MART}.{column}" for column in columns]


def within(days: pd.DataFrame, first: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    """Return the rows of the chosen days."""
    return days[(days["date"] >= first) & (days["date"] < end)]


def controls(history: pd.DataFrame) -> tuple[Pair, str, pd.Timestamp, pd.Timestamp]:
    """Show the range and the pair of series; return the pair, the range's name, its first day and the day after it."""
    loaded = tuple(day.tz_localize("UTC") for day in (history["date"].iloc[0], history["date"].iloc[-1] + ONE_DAY))
    with narrow.controls("range", "Range and series"):
        period = date_range(RANGES, "3Y", (loaded[0], loaded[1]))
        name = st.segmented_control(
            "Series", list(PAIRS), default="Transactions and trades", required=True, key="series", bind="query-params"
        )
    first, end = (at.tz_localize(None) for at in period.bounds(loaded[0], loaded[1]))
    return PAIRS[name], f"{name} {period}", first, end


@fragment
def activity(shown: pd.DataFrame, pair: Pair, scope: str) -> None:
    heading(f"{pair.chain_name} and {pair.market_name}", definitions(pair.chain, pair.market))
    log = st.toggle("Log scale", key="log", bind="query-params")
    names = (pair.chain_name, pair.market_name)
    chart(
        cached(figures.two_panes, statistics.every_day(shown), (pair.chain, pair.market), names, palette(), log),
        "activity",
        alt=f"{pair.chain_name} of bitcoin and {pair.market_name} per day from {shown['date'].iloc[0]:%Y-%m-%d} to "
        f"{shown['date'].iloc[-1]:%Y-%m-%d}",
        caption="Per UTC day; each pane has its own scale. Days without data are blank. Drag to zoom, double-click to "
        "reset.",
        source=sources(pair),
        range_scope=scope,
        redraw="activity",
    )


def not_enough(days: int) -> None:
    if days >= statistics.MIN_DAYS:
        st.info("One of the series does not change on these days.", title="No correlation in this range")
        return
    st.info(
        f"Needs {statistics.MIN_DAYS} days with the weekly change of both series; there are {days}.",
        title="Not enough days",
    )


def changes_scatter(changes: pd.DataFrame, pair: Pair) -> None:
    heading("Weekly changes", definitions(*pair.changes))
    line = statistics.fit(changes)
    if line is None:
        not_enough(len(changes))
        return
    chart(
        cached(figures.scatter, changes, line, (pair.chain_name, pair.market_name), palette()),
        "changes",
        alt=f"Weekly log changes of {pair.chain_name.lower()} and of {pair.market_name} on {line.n} days, correlation "
        f"{formats.ratio(line.correlation)}",
        caption=f"One point per day of the range: change against the same weekday of the week before. Line: least "
        f"squares, slope {formats.ratio(line.slope)}, r = {formats.ratio(line.correlation)}, n = {line.n:,} "
        f"overlapping (about {line.n // 7:,} independent) weeks.",
        source=sources(pair),
    )


@fragment
def rolling_correlation(pair_days: pd.DataFrame, pair: Pair) -> None:
    heading("Rolling correlation", definitions(*(pair.rolling(name, 90) for name in (*METHODS.values(), "n"))))
    method = st.segmented_control(
        "Method", list(METHODS), default="Pearson", required=True, key="method", bind="query-params"
    )
    columns = {f"{days} days": pair.rolling(METHODS[method], days) for days in WINDOWS}
    days = statistics.every_day(pair_days).set_index("date")
    lines = {label: days[column].astype(float) for label, column in columns.items()}
    if not any(values.notna().any() for values in lines.values()):
        st.info("No window of this range has enough days with both changes.", title="No correlation in this range")
        return
    newest = pair_days[pair_days[columns["90 days"]].notna()].tail(1)
    latest = "".join(
        f" Latest over 90 days ({row['date']:%Y-%m-%d}): {formats.ratio(row[columns['90 days']])}, "
        f"n = {formats.count(row[pair.rolling('n', 90)])}."
        for _, row in newest.iterrows()
    )
    chart(
        cached(base.correlation_lines, lines, palette()),
        "rolling",
        alt=f"{method} correlation of the weekly changes of {pair.chain_name.lower()} and {pair.market_name} over 30, "
        "90 and 365 days",
        caption=f"{method} correlation of weekly log changes; blank where under 80% of the window's days have both."
        f"{latest}",
        source=f"computed from {sources(pair)}",
    )


def lead_and_lag(lags: pd.DataFrame, pair: Pair) -> None:
    heading(
        "Lead and lag", [f"fct_onchain_lead_lag.{column}" for column in ("lag_days", "correlation", "band_95", "n")]
    )
    if lags["correlation"].notna().sum() == 0:
        not_enough(int(lags["n"].max()) if len(lags) else 0)
        return
    beyond = int(figures.outside(lags).sum())
    chart(
        cached(figures.lead_lag_bars, lags, (pair.chain_name, pair.market_name), palette()),
        "lags",
        alt=f"Correlation of the weekly changes of {pair.chain_name.lower()} with those of {pair.market_name} from 14 "
        "days before to 14 days after",
        caption=f"All days with both series ({lags['first_date'].iloc[0]:%Y-%m-%d} to "
        f"{lags['last_date'].iloc[0]:%Y-%m-%d}), n = {formats.count_range(lags['n'].min(), lags['n'].max())}. Gray: "
        f"95% band of independent series with the same autocorrelation (Bartlett). {beyond} of {len(lags)} lags are "
        "outside; 1 or 2 are expected by chance, and neighboring lags are alike.",
        source=f"computed from {sources(pair)}",
    )


def fees(shown: pd.DataFrame) -> None:
    heading("Fees", definitions("fee_btc", "fee_usd"))
    if not shown["fee_btc"].notna().any():
        st.info("Coin Metrics has no fees for these days.", title="No fees in this range")
        return
    log = st.toggle("Log scale", key="fee_log", bind="query-params")
    last = shown[shown["fee_btc"].notna()].iloc[-1]
    chart(
        cached(
            figures.two_panes,
            statistics.every_day(shown),
            ("fee_btc", "fee_usd"),
            ("Fees, BTC per day", "Fees, USDT per day"),
            palette(),
            log,
        ),
        "fees",
        alt=f"Fees of bitcoin transactions per day in BTC and USDT; newest {formats.amount(last['fee_btc'])} BTC",
        caption=f"All fees of a UTC day; in USDT at the day's average price on Binance. {last['date']:%Y-%m-%d}: "
        f"{formats.amount(last['fee_btc'])} BTC ({formats.money(last['fee_usd'])}).",
        source=f"{COIN_METRICS}; {BINANCE}",
    )


def findings(lags: pd.DataFrame, pair: Pair) -> None:
    """Say what the correlation of all days shows, and what it cannot show."""
    row = statistics.same_day(lags)
    if row is None:
        shows = "There are too few days with both series for a correlation."
    else:
        inside = abs(row["correlation"]) <= row["band_95"]
        shows = (
            f"Weekly changes of {pair.chain_name.lower()} and {pair.market_name} have a correlation of "
            f"{formats.ratio(row['correlation'])} from {row['first_date']:%Y-%m-%d} to {row['last_date']:%Y-%m-%d} "
            f"(n = {row['n']:,} days). Independent series would lie within ±{formats.ratio(row['band_95'])}, so this "
            + ("is no evidence of a relation." if inside else "is evidence that they move together.")
        )
    st.info(
        f"{shows} It is not evidence that one causes the other. Transactions and addresses are not users: one user can "
        "make many, and one transaction can pay many. Gross output contains change that returns to the sender, and the "
        "estimated value removes it by a method that is not published. Trades on Binance are not transactions of the "
        "chain.",
        title="What this shows, and what it cannot",
        icon=":material/info:",
    )


@fragment
def data_section(shown: pd.DataFrame, pair_days: pd.DataFrame) -> None:
    with data_and_export() as opened:
        if not opened:
            return
        days = shown.merge(onchain.other_series(), on="date", how="left").merge(pair_days, on="date", how="left")
        days["date"] = days["date"].dt.date
        table(
            days.iloc[::-1],
            height=300,
            alt="On-chain series and the market by day, newest first",
            missing="The provider has no complete value, Binance had no candle yet, or a window has too few days",
        )
        download(days, "tickmart_onchain.csv", relation=MART)


def summary(history: pd.DataFrame) -> str:
    """Return the newest count of transactions with its 7-day mean, and the newest fees."""
    counted = history[history["transaction_count_coinmetrics"].notna()]
    if counted.empty:
        return "Bitcoin on-chain activity"
    last = counted.iloc[-1]
    week = counted[counted["date"] > last["date"] - 7 * ONE_DAY]["transaction_count_coinmetrics"].mean()
    text = f"Bitcoin {last['date']:%Y-%m-%d}: {formats.count(last['transaction_count_coinmetrics'])} transactions"
    text += f" (7-day mean {formats.count(week)})"
    return text if formats.is_missing(last["fee_btc"]) else f"{text}, fees {formats.number(last['fee_btc'], 1)} BTC"


def page() -> None:
    history = onchain.onchain_history()
    if history.empty:
        st.title("On-chain activity", anchor=False)
        st.info(
            "Every `tickmart run` loads the series.",
            title="No on-chain data loaded yet",
            icon=":material/hourglass_empty:",
        )
        raise PageFinished
    check_query_params(
        *DATES,
        range=RANGES,
        series=PAIRS,
        method=METHODS,
        log=ON_OFF,
        fee_log=ON_OFF,
        data=ON_OFF,
        timeframe=TIMEFRAMES,
        compared=COMPARED,
        span_log=ON_OFF,
        rate_log=ON_OFF,
        measure=MEASURES,
        span_data=ON_OFF,
    )
    st.title(summary(history), anchor=False)
    pair, scope, first, end = controls(history)
    shown = within(history, first, end)
    lags = onchain.lead_lag()
    lags = lags[lags["pair"] == pair.key].reset_index(drop=True)
    findings(lags, pair)
    if shown.empty:
        st.info("There is no on-chain data on these days. Choose other dates.", title="No data in this range")
        raise PageFinished
    pair_days = within(onchain.pair_history(pair.key), first, end)
    activity(shown, pair, scope)
    data_section(shown, pair_days)
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            changes_scatter(statistics.paired_changes(pair_days, pair), pair)
        with st.container():
            lead_and_lag(lags, pair)
    rolling_correlation(pair_days, pair)
    fees(shown)
    transactions(first, end)


page()
