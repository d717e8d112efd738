"""Live: what each coin costs at this moment on OKX, and how late and how complete the stream is.

The watchlist updates each second and the charts every ten, each without the rest of the page.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis import live as analysis
from dashboard.analysis.live import RANGES, STALE_AFTER_S, STOPPED_AFTER_S, Span
from dashboard.charts import live as figures
from dashboard.components import narrow
from dashboard.components.charts import OKX, chart, heading
from dashboard.components.csv_download import download
from dashboard.components.definitions import definition
from dashboard.components.rendering import PageFinished, fragment, repeated
from dashboard.components.tables import data_and_export, table, time_column
from dashboard.components.theme import palette
from dashboard.labels import labels
from dashboard.queries import live
from dashboard.state.cache import cached
from dashboard.state.query_params import ON_OFF, check_query_params
from dashboard.text import escaped

MAX_COINS = 6
CHANGES = ("24h", "2h")
COLUMNS = {
    "Last": "last", "24h": "change_24h_pct", "Spread": "spread_bps", "Age": "age_s", "24h volume": "quote_volume_24h",
}  # fmt: skip
START = "`tickmart up` and `tickmart demo` start the collector unless `TICKMART_LIVE=off`."


@repeated(5)
def not_started() -> None:
    """Say why there is no live price and what starts the stream; show the page once there is one."""
    if not live.latest().empty:
        st.rerun()
    problem = stream_problem()
    if problem:
        st.warning(f"{escaped(problem)}. {START}", title="The stream has a problem", icon=":material/cloud_off:")
        return
    st.info(
        f"{START} Prices appear within seconds of its first connection to OKX.",
        title="No live prices yet",
        icon=":material/hourglass_empty:",
    )


def stream_problem() -> str:
    """Return what the stream reports to be wrong, or an empty text."""
    status = live.status()
    problem = None if status.empty else status["problem"].iloc[0]
    return problem.rstrip(".") if isinstance(problem, str) else ""


def controls(names: dict[str, str]) -> tuple[list[str], Span]:
    """Show the coins and the range of the charts."""
    with narrow.controls("range", "Coins and range"):
        chosen = st.multiselect(
            f"Coins of the charts (up to {MAX_COINS})", list(names), format_func=names.get, default=list(names)[:3],
            max_selections=MAX_COINS, key="live", bind="query-params", width=420,
        )  # fmt: skip
        name = st.segmented_control(
            "Range", list(RANGES), default="2 h", required=True, key="range", bind="query-params"
        )
    return chosen, RANGES[name]


def stopped_warning(latest: pd.DataFrame) -> None:
    """Warn when no coin has a new ticker."""
    age = latest["age_s"].min()
    if age <= STOPPED_AFTER_S:
        return
    problem = stream_problem()
    reason = f"{escaped(problem)}. " if problem else ""
    st.warning(
        f"The newest price is {formats.duration(timedelta(seconds=age))} old. {reason}The collector reconnects by "
        f"itself when OKX can be reached; `tickmart status` shows whether it runs. {START}",
        title="Live prices have stopped",
        icon=":material/cloud_off:",
    )


def styled(rows: pd.DataFrame, colors: Any) -> Any:
    """Return the watchlist as a formatted table; a stale coin is gray."""

    def row_style(row: pd.Series) -> list[str]:
        if row["Age"] > STALE_AFTER_S:
            return [f"color: {colors.muted}"] * len(row)
        return [
            f"color: {colors.up if row[name] > 0 else colors.down}"
            if name in CHANGES and abs(row[name]) >= 0.005
            else ""
            for name in row.index
        ]

    return rows.style.format(
        {
            "Last": price_text, "24h volume": formats.money, "Age": age_text, "Spread": spread_text,
            **dict.fromkeys(CHANGES, formats.change),
        },
        na_rep=formats.MISSING,
    ).apply(row_style, axis=1)  # fmt: skip


def age_text(seconds: float | None) -> str:
    """Format an age: seconds with one decimal below ten."""
    if formats.is_missing(seconds):
        return formats.MISSING
    return f"{formats.number(max(0.0, seconds), 1)} s" if seconds < 10 else formats.duration(timedelta(seconds=seconds))


def spread_text(bps: float | None) -> str:
    """Format a spread in basis points; that of a large pair is a few thousandths."""
    return formats.MISSING if formats.is_missing(bps) else f"{formats.number(bps, 2 if bps >= 1 else 4)} bp"


def price_text(value: float | None) -> str:
    """Format a price with the digits in which it moves from second to second."""
    if formats.is_missing(value) or value < 1:
        return formats.price(value)
    return f"${formats.number(value, 1 if value >= 10_000 else 2 if value >= 100 else 4)}"


@repeated(1)
def watchlist() -> None:
    latest = live.latest()
    if latest.empty:
        st.info(START, title="No live prices yet", icon=":material/hourglass_empty:")
        return
    stopped_warning(latest)
    heading("Watchlist", [f"v_live_latest.{column}" for column in COLUMNS.values()])
    trends = cached(analysis.trends, live.recent_minutes())
    rows = analysis.watchlist(latest, trends, labels(latest, "name", "symbol", min_parts=2))
    config: dict[str, Any] = {
        name: st.column_config.Column(help=definition("v_live_latest", column), width=88)
        for name, column in COLUMNS.items()
    }
    config["2h"] = st.column_config.Column(
        help="Change of the last price against the first minute of the last two hours.", width=88
    )
    config["Coin"] = st.column_config.TextColumn(width=150, pinned=True)
    config["Last 2 hours"] = st.column_config.LineChartColumn(
        width=130, color="gray", help="The last price of every fifth minute."
    )
    table(
        styled(rows, palette()),
        alt=f"Live prices of {len(rows)} coins with change, spread and age",
        missing="The order book has an empty side or is crossed, or there was no price two hours ago",
        column_config=config,
        height=min(420, 38 + 35 * len(rows)),
        key="live_watchlist",
    )
    stale = int((latest["age_s"] > STALE_AFTER_S).sum())
    st.caption(
        f"{len(rows)} coins, updated each second; newest {formats.duration(timedelta(seconds=latest['age_s'].min()))} "
        f"old, {stale} stale (gray: no ticker for {STALE_AFTER_S:.0f} s). Source: {OKX}."
    )


def time_range(span: Span, now: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the ends of the time axis: whole minutes, so that figures of one minute are the same."""
    end = now.ceil("min")
    return end - pd.Timedelta(minutes=span.minutes + 1), end


@repeated(10)
def price_charts(chosen: list[str], span: Span, names: dict[str, str], scope: str) -> None:
    now = pd.Timestamp(datetime.now(UTC))
    older = live.older_minutes(tuple(chosen), span.hours, span.bin_minutes)
    prices = analysis.prices_of(chosen, span, live.recent_minutes(), older, now)
    prices = prices.dropna(axis=1, how="all")
    if prices.empty:
        st.info("The chosen coins have no price in this range. Choose a longer one.", title="No prices in this range")
        return
    several = len(prices.columns) > 1
    heading("Price through time", ["v_live_minutes.last", "fct_live_1m.last"])
    shown = analysis.changes_since_start(prices) if several else prices
    chart(
        cached(figures.price_lines, prices, shown, names, palette(), time_range(span, now)),
        "prices",
        alt=f"Live prices of {', '.join(names[c] for c in prices.columns)}, {scope}",
        caption=("Change since the start of the range. " if several else "")
        + "The last price of each "
        + ("minute" if span.bin_minutes == 1 else f"{span.bin_minutes} minutes")
        + "; blank without one.",
        source=OKX,
    )
    averages = analysis.averages(prices)
    heading("Average price by symbol", ["v_live_minutes.last", "fct_live_1m.last"])
    chart(
        cached(figures.average_prices, averages, names, palette()),
        "averages",
        alt="Average prices: "
        + ", ".join(f"{names[row.crypto_id]} {formats.price(row.average)}" for row in averages.itertuples()),
        caption="Mean of the prices above with the lowest and highest, on a log scale.",
        source=OKX,
    )


@repeated(10)
def stream_charts(span: Span, scope: str) -> None:
    minutes, now = live.stream_minutes(span.hours, span.bin_minutes), pd.Timestamp(datetime.now(UTC))
    minutes = minutes[minutes["minute"] >= now - pd.Timedelta(minutes=span.minutes)]
    if minutes.empty:
        st.info("No message was loaded in this range.", title="No messages in this range")
        return
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            heading(
                "Records per minute",
                [f"v_live_stream_minutes.{name}" for name in ("trade_messages", "ticker_count", "duplicate_count")],
            )
            total = minutes[["trades", "tickers"]].sum(axis=1)
            chart(
                cached(figures.messages, minutes, palette(), time_range(span, now)),
                "messages",
                alt=f"Messages per minute, {scope}; newest {formats.count(total.iloc[-1])}",
                caption=f"Loaded trades and tickers. Duplicates: {formats.count(minutes['duplicates'].sum())}, "
                f"rejected: {formats.count(minutes['rejected'].sum())}.",
                source=OKX,
            )
        with st.container():
            heading("Delay", [f"v_live_stream_minutes.{name}" for name in ("delay_p50_s", "delay_p95_s")])
            newest = minutes.iloc[-1]
            chart(
                cached(figures.delays, minutes, palette(), time_range(span, now)),
                "delays",
                alt=f"Delay from exchange to database, {scope}: median {formats.number(newest['delay_p50_s'], 2)} s, "
                f"95th percentile {formats.number(newest['delay_p95_s'], 2)} s",
                caption="From the exchange's stamp to the commit in Postgres; the page follows within a second.",
                source=OKX,
            )


@repeated(10)
def completeness() -> None:
    gaps, connections, status = live.gaps(), live.connections(), live.status()
    heading("Gaps and reconnects", ["v_live_gaps.is_filled", "v_live_connections.reason"])
    since = pd.Timestamp(datetime.now(UTC)) - pd.Timedelta(hours=24)
    ended = connections[connections["ended_at"] >= since]
    recent = gaps[gaps["opened_at"] >= since]
    unfilled = int((~recent["is_filled"].astype(bool)).sum())
    with st.grid(3, min_column_width=150, gap="small"):
        st.metric("Reconnects in 24 h", formats.count(len(ended)))
        st.metric("Gaps in 24 h", formats.count(len(recent)), f"{unfilled} not filled" if unfilled else None, "off")
        if not status.empty:
            state = status.iloc[0]
            st.metric(
                "Broker", formats.percent(100 * state["broker_bytes"] / max(1, state["broker_max_bytes"]), 1),
                help=definition("v_live_status", "broker_bytes"),
            )  # fmt: skip
    if gaps.empty:
        st.caption("No gap in trade ids was found.")
    else:
        config = {"opened_at": time_column("opened_at"), "closed_at": time_column("closed_at")}
        table(
            gaps, alt="Newest gaps in trade ids", missing="The gap is still being filled",
            height=min(220, 38 + 35 * len(gaps)),
            column_config=config,
        )  # fmt: skip
    if len(connections):
        config = {"connected_at": time_column("connected_at"), "ended_at": time_column("ended_at")}
        table(
            connections, alt="Newest connections of the collector", missing="The connection lasts",
            height=min(180, 38 + 35 * len(connections)),
            column_config=config,
        )  # fmt: skip
    missing = None if status.empty else status["missing_assets"].iloc[0]
    if isinstance(missing, str) and missing:
        st.caption(f"OKX does not list: {escaped(missing)}.")


@fragment
def data_section(chosen: list[str], span: Span) -> None:
    with data_and_export() as opened:
        if not opened:
            return
        older = live.older_minutes(tuple(chosen), span.hours, span.bin_minutes)
        prices = analysis.prices_of(chosen, span, live.recent_minutes(), older, pd.Timestamp(datetime.now(UTC)))
        rows = prices.rename_axis(columns="crypto_id").stack().rename("last").reset_index()
        table(
            rows.iloc[::-1], height=300, alt="Live prices by minute, newest first", missing="No price",
            column_config={"minute": time_column("minute")},
        )  # fmt: skip
        download(rows, "tickmart_live.csv", relation="fct_live_1m")


def page() -> None:
    latest = live.latest()
    if latest.empty:
        check_query_params("live", range=RANGES, data=ON_OFF)
        st.title("Live prices", anchor=False)
        not_started()
        raise PageFinished
    names = labels(latest)
    check_query_params(live=list(names), range=RANGES, data=ON_OFF)
    st.title("Live prices", anchor=False)
    watchlist()
    chosen, span = controls(names)
    scope = f"last {st.session_state['range']}"
    if chosen:
        price_charts(chosen, span, names, scope)
        data_section(chosen, span)
    else:
        st.info("Choose at least one coin.", title="No coins chosen")
    stream_charts(span, scope)
    completeness()


page()
