"""Overview: market totals, price changes, heatmap, movers and the 100 largest coins."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis.comparison import losers
from dashboard.analysis.summaries import market_summary
from dashboard.charts import overview as figures
from dashboard.components.cache import cached
from dashboard.components.charts import BINANCE, COINGECKO, chart, heading
from dashboard.components.definitions import definition
from dashboard.components.messages import empty_warehouse
from dashboard.components.query_params import check_query_params
from dashboard.components.rendering import PageFinished
from dashboard.components.tables import csv_button, table
from dashboard.components.theme import colored_change, delta_color, palette
from dashboard.labels import labels
from dashboard.queries import market, sentiment
from dashboard.text import escaped, nbsp_units

WINDOWS = {"1h": "change_1h_pct", "24h": "change_24h_pct", "7d": "change_7d_pct"}
NO_24H_CHANGE = "24h change not available yet"
MIN_HISTORY = 24  # snapshots; a sparkline through fewer points misleads


def kpi_card(
    label: str,
    value: str,
    delta: float | None,
    metric: str,
    *,
    unit: str = "%",
    digits: int = 2,
    history: pd.Series | None = None,
    missing: str = NO_24H_CHANGE,
) -> None:
    unknown = formats.is_missing(delta)
    st.metric(
        label,
        value,
        f"{formats.MISSING} {missing}" if unknown else unsigned(delta, unit, digits),
        delta_color=delta_color(delta),
        delta_arrow="off" if unknown or round(delta, 2) == 0 else "up" if delta > 0 else "down",
        delta_description=None if unknown else "24h",
        help=definition(*metric.split(".")),
        chart_data=None if history is None else history.dropna().tolist(),
        chart_type="area",
        border=True,
        height="stretch",
    )


def unsigned(value: float, unit: str, digits: int) -> str:
    """Format a change without its sign, because the card draws an arrow."""
    size = f"{abs(value):,.{digits}f}"
    return f"{size}{unit.removesuffix('s') if size == '1' else unit}"


def kpi_cards(latest: pd.Series, fear_greed: pd.DataFrame) -> None:
    snapshots, day_ago = market.market_history(), market.market_24h_ago()
    has_history = len(snapshots) >= MIN_HISTORY  # else no card has a sparkline, so that all have the same height
    history = snapshots if has_history else {}
    volume, dominance = latest["total_volume_24h_usd"], latest["btc_dominance_pct"]
    volume_change = dominance_change = None
    if not day_ago.empty:
        volume_change = (volume / day_ago.iloc[0]["total_volume_24h_usd"] - 1) * 100
        dominance_change = dominance - day_ago.iloc[0]["btc_dominance_pct"]
    with st.grid(4, min_column_width=150):
        kpi_card(
            "Total market cap",
            formats.money(latest["total_market_cap_usd"]),
            latest["market_cap_change_24h_pct"],
            "fct_market_global.total_market_cap_usd",
            history=history.get("total_market_cap_usd"),
        )
        kpi_card(
            "24h volume",
            formats.money(volume),
            volume_change,
            "fct_market_global.total_volume_24h_usd",
            history=history.get("total_volume_24h_usd"),
        )
        kpi_card(
            "BTC dominance",
            formats.percent(dominance),
            dominance_change,
            "fct_market_global.btc_dominance_pct",
            unit=" points",
            history=history.get("btc_dominance_pct"),
        )
        last = None if fear_greed.empty else fear_greed.iloc[-1]
        kpi_card(
            "Fear & Greed",
            formats.MISSING if last is None else escaped(f"{last['value']:.0f} · {last['classification']}"),
            None if last is None else last["change_1d"],
            "fct_sentiment_daily.value",
            unit=" points",
            digits=0,
            history=fear_greed["value"] if has_history and last is not None else None,
            missing="not loaded yet" if last is None else "no value for the previous day",
        )


def top_10_changes(top: pd.DataFrame) -> None:
    heading("Top 10 by market cap: price change", [f"v_top_100.{column}" for column in WINDOWS.values()])
    window = st.segmented_control(
        "Window",
        list(WINDOWS),
        default="24h",
        required=True,
        key="change",
        bind="query-params",
        label_visibility="collapsed",
    )
    ten = top.head(10)
    known = ten.dropna(subset=[WINDOWS[window]])
    missing, tickers = len(ten) - len(known), labels(known)
    chart(
        cached(figures.change_bars, ten, WINDOWS[window], palette()),
        "top_10",
        alt=f"Bar chart of the {window} change of the ten largest coins: "
        + ", ".join(
            f"{tickers[crypto_id]} {formats.change(move)}"
            for crypto_id, move in zip(known["crypto_id"], known[WINDOWS[window]], strict=True)
        ),
        caption=f"Coins without a value: {missing}." if missing else "",
        source=COINGECKO,
    )


def heatmap(top: pd.DataFrame) -> None:
    heading(
        "Market heatmap (size: market cap, color: 24h change)", ["v_top_100.market_cap_usd", "v_top_100.change_24h_pct"]
    )
    chart(
        cached(figures.market_treemap, top, palette()),
        "map",
        alt="Treemap of the 100 largest coins: size by market cap, color by 24h change",
        caption="Click a tile to enlarge it; the bar above leads back.",
        source=COINGECKO,
    )


def movers(title: str, coins: pd.DataFrame, column: str, rule: str, empty: str, *, top: pd.DataFrame) -> None:
    """Show a list of coins; the labels are distinct among `top` too, so that a ticker means one coin on the page."""
    with st.container(border=True, gap="xxsmall", height="stretch"):
        st.markdown(f"**{title}**", help=rule)
        if coins.empty:
            st.caption(empty)
        shown = pd.concat([coins, top])[["crypto_id", "symbol", "name"]].drop_duplicates("crypto_id")
        tickers, names = labels(shown), labels(shown, "name", "symbol")
        for coin in coins.to_dict("records"):
            crypto_id = coin["crypto_id"]
            with st.container(
                horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", wrap=False
            ):
                st.page_link(
                    "views/price.py",
                    label=f"{escaped(tickers[crypto_id])} :gray[{escaped(formats.price(coin['price_usd']))}]",
                    query_params={"coin": crypto_id},
                    help=escaped(names[crypto_id]),
                )
                st.markdown(colored_change(coin[column]), width="content")


def mover_lists(top: pd.DataFrame) -> None:
    with st.grid(3, min_column_width=250):
        movers(
            "Top gainers (24h)",
            market.gainers(),
            "change_24h_pct",
            definition("v_top_gainers"),
            "No large coin gained.",
            top=top,
        )
        movers(
            "Top losers (24h)",
            losers(top),
            "change_24h_pct",
            "Among the 100 largest coins with at least 1 M USD of 24h volume.",
            "No large coin lost.",
            top=top,
        )
        movers(
            "Unusual momentum (7d)",
            market.trending(),
            "change_7d_pct",
            definition("v_trending"),
            "No coin currently shows unusual momentum.",
            top=top,
        )


def weekly_performance() -> None:
    heading(
        "7-day performance (rebased to 100)",
        ["v_trendline_core.index_100", "v_trendline_core.slope_pct_per_day"],
    )
    trends = market.core_trends()
    if trends.empty:
        st.caption("No candles loaded yet.")
        return
    slopes = trends.drop_duplicates("crypto_id")
    tickers = labels(slopes)
    trend = ", ".join(
        f"{tickers[row.crypto_id]} {formats.signed(row.slope_pct_per_day)}" for row in slopes.itertuples()
    )
    chart(
        cached(figures.weekly_performance, trends, palette()),
        "core",
        alt=f"Hourly closes of the five largest tracked coins over 7 days, rebased to 100; trend per day: {trend}",
        caption=f"Hourly closes. Linear trend, % per day: {escaped(trend)}.",
        source=BINANCE,
    )


def top_volume() -> None:
    coins = market.top_volume()
    tickers = labels(coins)
    heading("Top coins by 24h volume", ["v_volume_24h.volume_24h_usd", "v_volume_24h.volume_share_pct"])
    chart(
        cached(figures.volume_bars, coins, palette()),
        "busiest",
        alt="The ten coins with the highest 24h volume: "
        + ", ".join(f"{tickers[row.crypto_id]} {formats.money(row.volume_24h_usd)}" for row in coins.itertuples()),
        caption="Volume on all exchanges and share of the total.",
        source=COINGECKO,
    )


TABLE_COLUMNS = {
    "Price": "price_usd",
    **WINDOWS,
    "Market cap": "market_cap_usd",
    "24h volume": "volume_24h_usd",
    "Volume / market cap": "turnover",
    "From ATH": "ath_change_pct",
}


def styled_top_100(top: pd.DataFrame) -> object:
    """Return the 100 largest coins as a formatted and colored table."""
    sparklines = market.sparklines().set_index("crypto_id")["closes"]
    shown = pd.DataFrame(
        {
            "#": top["position"],
            "Coin": top["crypto_id"].map(labels(top, "name", "symbol", min_parts=2)),
            **{name: top[column] for name, column in TABLE_COLUMNS.items()},
            "Last 7 days": top["crypto_id"].map(sparklines),
        }
    )
    shown["Volume / market cap"] *= 100
    colors = palette()

    def change_style(value: float) -> str:
        if formats.is_missing(value) or round(value, 2) == 0:
            return ""
        return f"color: {colors.up if value > 0 else colors.down}"

    return shown.style.format(
        {
            "Price": formats.price,
            "Market cap": formats.money,
            "24h volume": formats.money,
            "Volume / market cap": formats.percent,
            "From ATH": formats.percent,
            **dict.fromkeys(WINDOWS, formats.change),
        },
        na_rep=formats.MISSING,
    ).map(change_style, subset=list(WINDOWS))


def top_100_table(top: pd.DataFrame) -> None:
    heading("Top 100 cryptocurrencies", [f"v_top_100.{name}" for name in ("price_usd", "market_cap_usd", "turnover")])
    config = {
        name: st.column_config.Column(help=definition("v_top_100", column)) for name, column in TABLE_COLUMNS.items()
    }
    config["#"] = st.column_config.NumberColumn(width=44, help=definition("v_top_100", "position"))
    config["Coin"] = st.column_config.TextColumn(width="medium", pinned=True)
    config["Last 7 days"] = st.column_config.LineChartColumn(
        color="gray", help="Binance closes of the last 7 days, every fourth hour; blank for untracked coins."
    )
    chosen = table(
        styled_top_100(top),
        column_config=config,
        height=560,
        missing="No value from CoinGecko, for example for coins younger than the window",
        on_select="rerun",
        selection_mode="single-row",
        key="top_100",
        alt="Table of the 100 largest coins with price, changes, market cap and volume",
    )
    if chosen["selection"]["rows"]:
        crypto_id = top["crypto_id"].iloc[chosen["selection"]["rows"][0]]
        st.switch_page("views/price.py", query_params={"coin": crypto_id})
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"Select a row to open the coin. Prices are CoinGecko's average over exchanges at "
            f"{nbsp_units(formats.instant(top['snapshot_at'].iloc[0]))}; the Price page shows Binance. "
            f"Source: {COINGECKO}, sparklines {BINANCE}."
        )
        csv_button("Download CSV", lambda: top, "tickmart_top_100.csv")


def page() -> None:
    latest = market.latest_market()
    if latest.empty:
        empty_warehouse()
        raise PageFinished
    check_query_params(change=WINDOWS)
    fear_greed, top = sentiment.recent_sentiment(), market.top_100()
    st.title("Crypto market overview", anchor=False)
    st.markdown(escaped(market_summary(latest.iloc[0], None if fear_greed.empty else fear_greed.iloc[-1])))
    kpi_cards(latest.iloc[0], fear_greed)
    left, right = st.columns([2, 3], gap="large")
    with left:
        top_10_changes(top)
    with right:
        heatmap(top)
    mover_lists(top)
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            weekly_performance()
        with st.container():
            top_volume()
    top_100_table(top)


page()
