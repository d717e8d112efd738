"""Compare: performance, risk and correlation of up to five coins."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis.bars import RANGES
from dashboard.analysis.comparison import correlation_matrix, rebased_to_100, similar_coins
from dashboard.analysis.summaries import best_and_worst
from dashboard.charts import base
from dashboard.charts import compare as figures
from dashboard.components import chart_range
from dashboard.components.cache import cached
from dashboard.components.charts import BINANCE, chart, heading
from dashboard.components.messages import empty_warehouse
from dashboard.components.query_params import ON_OFF, check_query_params, ignored_warning, range_selector
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.theme import palette
from dashboard.labels import labels, resolve_coin
from dashboard.queries import prices
from dashboard.text import escaped, inline_code

MAX_COINS = 5
WINDOWS = {"30 days": 30, "90 days": 90, "365 days": 365}
MATRIX_SIZE = 12  # larger matrices are unreadable
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


def controls(names: dict[str, str]) -> tuple[list[str], str, bool]:
    """Show the controls; return the chosen coins, the range and whether the scale is logarithmic."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        chosen = st.multiselect(
            f"Coins (up to {MAX_COINS})",
            list(names),
            format_func=names.get,
            max_selections=MAX_COINS,
            key="coins",
            on_change=choose_coins,
            width=480,
        )
        range_name = range_selector()
        log = st.toggle("Log scale", key="log", bind="query-params")
    return chosen, range_name, log


def performance(chosen: list[str], names: dict[str, str], range_name: str, log: bool) -> None:
    """Show the coins rebased to 100; ends the page if they have no common date."""
    days = RANGES[range_name]
    read = prices.hourly_closes if days and days <= 7 else prices.daily_closes
    table = cached(rebased_to_100, read(tuple(chosen), days)).reindex(columns=chosen)
    if table.dropna(how="all").empty:
        st.info("The chosen coins have no common date in this range. Choose a longer one.", title="No common history")
        raise PageFinished
    final = table.ffill().iloc[-1].sort_values(ascending=False)
    since = formats.instant(table.index[0].date())
    st.title(escaped(best_and_worst(final, names, since)), anchor=False)
    heading("Performance (rebased to 100)", ["fct_daily_summary.close"])
    chart(
        cached(figures.performance_lines, table, names, palette(), log),
        "indexed",
        alt="Closes rebased to 100: " + ", ".join(f"{names[key]} {value:.1f}" for key, value in final.items()),
        caption=f"100 = close of {since}, the first date common to all chosen coins. Drag to zoom, double-click to "
        "reset.",
        source=BINANCE,
        range_scope=f"{chosen} {range_name}",
    )


def risk_and_return(coins: pd.DataFrame, chosen: list[str]) -> None:
    """Show 90-day volatility against 90-day return."""
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
    """Show the beta to bitcoin."""
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
    """Show the correlation matrix and rolling correlations over a chosen window."""
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
    """Show the correlation of the first chosen coin with the others through time."""
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
    """Show the page."""
    coins = prices.latest_risk()
    if coins.empty:
        empty_warehouse()
        raise PageFinished
    names = labels(coins, "name", "symbol")
    selected = coins_from_url(coins)
    check_query_params("coins", range=RANGES, log=ON_OFF, window=WINDOWS)
    st.session_state["coins"] = st.session_state["last_coins"] = selected
    chosen, range_name, log = controls(names)
    if not chosen:
        st.info("Choose at least one coin.", title="No coins chosen")
        raise PageFinished
    st.query_params["coins"] = chosen
    performance(chosen, names, range_name, log)
    coins["return_90d_pct"] = (coins["close"] / coins["close_before"] - 1) * 100
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            risk_and_return(coins, chosen)
        with st.container():
            beta(coins, chosen, names)
    correlation_section(chosen)


page()
