"""Compare: performance, risk and correlation of up to five coins."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis.bars import INTERVALS, INTRADAY, RANGES, Bar, Period, last_closes, limited
from dashboard.analysis.comparison import correlation_matrix, range_metrics, rebased_to_100, similar_coins
from dashboard.analysis.returns import RISK_METRICS
from dashboard.analysis.summaries import best_and_worst
from dashboard.charts import base
from dashboard.charts import compare as figures
from dashboard.components import narrow
from dashboard.components.charts import BINANCE, chart, heading
from dashboard.components.csv_download import download
from dashboard.components.messages import empty_warehouse
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.tables import data_and_export, table
from dashboard.components.theme import palette
from dashboard.labels import labels, resolve_coin
from dashboard.queries import catalog, prices
from dashboard.state import chart_range
from dashboard.state.cache import cached
from dashboard.state.date_range import DATES, date_range
from dashboard.state.query_params import ON_OFF, check_query_params, ignored_warning
from dashboard.text import escaped, inline_code, nbsp_units

MAX_COINS = 5
WINDOWS = {"30 days": 30, "90 days": 90, "365 days": 365}
MATRIX_SIZE = 12  # larger matrices are unreadable
RANGE_METRICS = ("return_pct", "volatility_90d", "sharpe_90d", "drawdown_pct", "beta_btc_90d")
SOURCE = f"computed from {BINANCE} closes"


def coins_from_url(coins: pd.DataFrame) -> list[str]:
    """Return the coins of the URL, else those chosen last, else the three largest; name unknown ones in a warning."""
    requested = st.query_params.get_all("coins")
    matches = {name: resolve_coin(name, coins) for name in requested}
    unknown = [name for name, found in matches.items() if len(found) != 1]
    if unknown:
        suggestions = matches[unknown[0]] or similar_coins(unknown[0], coins)
        ignored_warning(
            f"Unknown or ambiguous coins: {', '.join(map(inline_code, unknown[:MAX_COINS]))}. "
            f"Did you mean {' or '.join(map(escaped, suggestions))}?"
        )
    known = list(dict.fromkeys(found[0] for found in matches.values() if len(found) == 1))
    if len(known) > MAX_COINS:
        ignored_warning(f"Showing the first {MAX_COINS} of {len(known)} coins.")
    return known[:MAX_COINS] or st.session_state.get("last_coins", coins["crypto_id"].head(3).tolist())


def choose_coins() -> None:
    """Write the chosen coins into the URL, from where the page reads them."""
    st.query_params["coins"] = st.session_state["last_coins"] = st.session_state["coins"]
    chart_range.clear()


def controls(names: dict[str, str], loaded: tuple[pd.Timestamp, pd.Timestamp]) -> tuple[list[str], Period]:
    with narrow.controls("range", "Range"):
        with narrow.always("coins"):
            chosen = st.multiselect(
                f"Coins (up to {MAX_COINS})",
                list(names),
                format_func=names.get,
                max_selections=MAX_COINS,
                key="coins",
                on_change=choose_coins,
                width=420,
            )
        period = date_range(RANGES, "1Y", loaded)
    return chosen, period


def bar_of(period: Period, interval: str, days: int) -> Bar:
    """Return the bar size: the chosen interval, or hours up to a week and days beyond."""
    automatic: Bar = "1h" if (period.days or days) <= 7 else "1d"
    return limited(INTERVALS[interval] or automatic, days)


@fragment
def performance(
    chosen: list[str], names: dict[str, str], period: Period, loaded: tuple[pd.Timestamp, pd.Timestamp]
) -> None:
    title = st.empty()
    with narrow.controls("chart", "Chart options"):
        interval = st.segmented_control(
            "Interval", list(INTERVALS), default="Auto", required=True, key="interval", bind="query-params"
        )
        log = st.toggle("Log scale", key="log", bind="query-params")
    since, until = period.bounds(*loaded)
    bar = bar_of(period, interval, (until - since).days)
    if bar in INTRADAY:
        since, until = period.bounds(*loaded, whole_days=False)
    read = prices.hourly_closes if bar in INTRADAY else prices.daily_closes
    closes = cached(last_closes, read(tuple(chosen), since, until), bar)
    rebased = cached(rebased_to_100, closes).reindex(columns=chosen)
    if rebased.dropna(how="all").empty:
        title.title("No common history", anchor=False)
        st.info("The chosen coins have no common date in this range. Choose a longer one.")
        return
    final = rebased.ffill().iloc[-1].sort_values(ascending=False)
    start, end = (f"{at:%Y-%m-%d %H:%M}" if bar in INTRADAY else f"{at:%Y-%m-%d}" for at in rebased.index[[0, -1]])
    title.title(escaped(best_and_worst(final, names, start, end)), anchor=False)
    heading("Performance (rebased to 100)", ["fct_daily_summary.close"])
    chart(
        cached(figures.performance_lines, rebased, names, palette(), log),
        "indexed",
        alt="Closes rebased to 100: " + ", ".join(f"{names[key]} {value:.1f}" for key, value in final.items()),
        caption=f"100 = close of {start} UTC, the first one common to all chosen coins. Drag to zoom, double-click to "
        "reset; to rebase, choose dates.",
        source=BINANCE,
        range_scope=f"{chosen} {period}",
        redraw="performance",
    )
    with data_and_export() as opened:
        if opened:
            performance_table(rebased, names, bar)


def performance_table(rebased: pd.DataFrame, names: dict[str, str], bar: Bar) -> None:
    rows = rebased if bar in INTRADAY else rebased.set_axis(rebased.index.date)
    rows = rows.rename_axis("opened_at" if bar in INTRADAY else "date", axis=0).rename_axis(None, axis=1)
    rows = rows.reset_index()
    table(
        rows.iloc[::-1].rename(columns=names),
        height=300,
        alt="Closes rebased to 100, newest first",
        missing="No close at this time",
    )
    download(rows, "tickmart_performance.csv", relation="fct_daily_summary")


def metrics(
    chosen: list[str], names: dict[str, str], period: Period, loaded: tuple[pd.Timestamp, pd.Timestamp]
) -> None:
    heading("Risk and return in the range", [f"fct_daily_summary.{column}" for column in RANGE_METRICS])
    bounds = period.bounds(*loaded)
    days = prices.daily_closes(tuple(chosen), *bounds)
    values = cached(range_metrics, days, prices.daily_closes(("bitcoin",), *bounds), chosen)
    if values["n"].max() < 2:
        st.info("The chosen coins have fewer than three complete days in common.", title="Range too short for metrics")
        return
    shown = pd.DataFrame({"Coin": [names[crypto_id] for crypto_id in values.index]})
    for column, name in RISK_METRICS.items():
        write = (
            formats.change if column == "return_pct" else formats.percent if column.endswith("_pct") else formats.ratio
        )
        shown[name] = values[column].map(write).to_numpy()
    table(
        shown,
        alt="Return, volatility, Sharpe and Sortino ratio, maximum drawdown, beta and correlation to bitcoin of the "
        "chosen coins in the range",
        missing="Not enough complete days in the range, or the price did not change",
    )
    st.caption(
        nbsp_units(
            f"From the close of {formats.instant(values['first_day'].iloc[0].date())} to that of "
            f"{formats.instant(values['last_day'].iloc[0].date())}, the complete UTC days common to all chosen coins; "
            f"n = {formats.count(values['n'].max())} daily returns. Annualized with √365, risk-free rate 0. "
            f"Source: {SOURCE}."
        )
    )
    download(values.reset_index(), "tickmart_compare_metrics.csv", "Download metrics", relation="fct_daily_summary")


def risk_and_return(coins: pd.DataFrame, chosen: list[str]) -> None:
    heading("Risk vs return (90 days)", ["fct_daily_summary.volatility_90d", "fct_daily_summary.return_pct"])
    chart(
        cached(figures.risk_return, coins, chosen, palette()),
        "risk",
        alt="Scatter of 90-day volatility and 90-day return of all tracked coins, the chosen ones labeled",
        caption="Lower risk left, higher return up; size by latest daily volume. Coins with less than 90 days of "
        "history are not shown.",
        source=SOURCE,
    )


def beta(coins: pd.DataFrame, chosen: list[str], names: dict[str, str]) -> None:
    heading("Beta to BTC (90 days)", ["fct_daily_summary.beta_btc_90d"])
    values = [
        f"{names[row.crypto_id]} {formats.ratio(row.beta_btc_90d)}"
        for row in coins.itertuples()
        if row.crypto_id in chosen
    ]
    chart(
        cached(figures.beta_bars, coins, chosen, palette()),
        "beta",
        alt="Beta to bitcoin over 90 days of all tracked coins: " + ", ".join(values),
        caption="A beta of 2 means twice the move of BTC; dotted line: beta 1. Chosen coins in color.",
        source=SOURCE,
    )


@fragment
def correlation_section(chosen: list[str]) -> None:
    coins = prices.latest_risk()
    names, tickers = labels(coins, "name", "symbol"), labels(coins)
    heading("Correlation matrix", ["fct_correlations_daily.correlation", "fct_correlations_daily.n"])
    window = WINDOWS[
        st.segmented_control(
            "Window",
            list(WINDOWS),
            default="90 days",
            required=True,
            key="window",
            bind="query-params",
            label_visibility="collapsed",
        )
    ]
    rows = list(dict.fromkeys([*chosen, *coins["crypto_id"].head(MATRIX_SIZE)]))[:MATRIX_SIZE]
    pairs = prices.correlations(tuple(rows), window)
    if pairs.empty:
        st.info(f"No pair has {window} days of returns yet. Choose a shorter window.", title="Not enough history")
    else:
        matrix, counts = cached(correlation_matrix, pairs, rows)
        chart(
            cached(figures.correlation_heatmap, matrix, counts, tickers, palette()),
            "matrix",
            alt=f"Correlation matrix of daily log returns over {window} days",
            caption=f"Daily log returns over {window} days to {formats.instant(pairs['date'].max().date())}, "
            f"n = {formats.count_range(pairs['n'].min(), pairs['n'].max())} days. Chosen coins first, then the "
            "largest.",
            source=SOURCE,
        )
    if len(chosen) > 1:
        rolling_correlations(chosen, names, tickers, window)


def rolling_correlations(chosen: list[str], names: dict[str, str], tickers: dict[str, str], window: int) -> None:
    first, *others = chosen
    heading("Rolling correlation", ["fct_correlations_daily.correlation"])
    lines = {
        f"{tickers[first]} / {tickers[other]}": prices.correlation_history(first, other, window).set_index("date")[
            "correlation"
        ]
        for other in others
    }
    chart(
        cached(base.correlation_lines, lines, palette()),
        "pairs",
        alt=f"Rolling correlation of {names[first]} with the other chosen coins over {window} days",
        caption=f"Daily log returns, {window}-day window, first chosen coin with each other.",
        source=SOURCE,
    )


def page() -> None:
    coins = prices.latest_risk()
    if coins.empty:
        empty_warehouse()
        raise PageFinished
    names = labels(coins, "name", "symbol")
    selected = coins_from_url(coins)
    check_query_params("coins", *DATES, range=RANGES, interval=INTERVALS, log=ON_OFF, window=WINDOWS, data=ON_OFF)
    st.session_state["coins"] = st.session_state["last_coins"] = selected
    tracked = catalog.coins()
    loaded = (tracked["first_bar_at"].min(), tracked["last_bar_at"].max() + pd.Timedelta(hours=1))
    chosen, period = controls(names, loaded)
    if not chosen:
        st.info("Choose at least one coin.", title="No coins chosen")
        raise PageFinished
    st.query_params["coins"] = chosen
    performance(chosen, names, period, loaded)
    metrics(chosen, names, period, loaded)
    coins["return_90d_pct"] = (coins["close"] / coins["close_before"] - 1) * 100
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            risk_and_return(coins, chosen)
        with st.container():
            beta(coins, chosen, names)
    correlation_section(chosen)


page()
