"""Overview: market totals, price changes, heatmap, movers and the screener of all coins."""

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis.comparison import losers
from dashboard.analysis.market import gapless_tail
from dashboard.analysis.screener import OTHERS, heatmap_tiles
from dashboard.analysis.sentiment import volume_trend
from dashboard.analysis.summaries import market_summary
from dashboard.charts import overview as figures
from dashboard.charts import sentiment as sentiment_figures
from dashboard.components.charts import BINANCE, COINGECKO, chart, heading
from dashboard.components.definitions import definition
from dashboard.components.messages import empty_warehouse
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.theme import colored_change, delta_color, palette
from dashboard.labels import labels
from dashboard.queries import market, sentiment
from dashboard.sections.screener import (
    CHOICES,
    FREE_PARAMETERS,
    categories,
    restore_parameters,
    save_parameters,
    screener,
)
from dashboard.state.cache import cached
from dashboard.state.query_params import ON_OFF, check_query_params
from dashboard.state.tile_click import clicked_tile
from dashboard.text import escaped, nbsp_units

WINDOWS = {"1h": "change_1h_pct", "24h": "change_24h_pct", "7d": "change_7d_pct"}
NO_24H_CHANGE = "24h: not yet"  # a card is narrow


def kpi_card(
    label: str,
    value: str,
    delta: float | None,
    metric: str,
    *,
    unit: str = "%",
    digits: int = 2,
    history: list[float] | None = None,
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
        chart_data=history or None,
        chart_type="area",
        border=True,
        height="stretch",
    )


def unsigned(value: float, unit: str, digits: int) -> str:
    """Format a change without its sign, because the card draws an arrow."""
    size = f"{abs(value):,.{digits}f}"
    return f"{size}{unit.removesuffix('s') if size == '1' else unit}"


def kpi_cards(latest: pd.Series, fear_greed: pd.DataFrame) -> bool:
    """Show the cards; return whether the snapshots reach back far enough for their sparklines."""
    snapshots, day_ago = market.market_history(), market.market_24h_ago()
    history = {name: gapless_tail(snapshots["hour"], snapshots[name], "1h") for name in snapshots.columns.drop("hour")}
    moods = gapless_tail(fear_greed["date"], fear_greed["value"], "1D")
    if not all([*history.values(), moods]):  # then no card has a sparkline, so that all have the same height
        history, moods = {}, []
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
            history=moods,
            missing="not loaded yet" if last is None else "no value for the previous day",
        )
    if history:
        hours = max(map(len, history.values()))
        st.caption(nbsp_units(f"Sparklines: hourly snapshots of the last {hours} h; Fear & Greed {len(moods)} days."))
    return bool(history)


def window_and_stablecoins() -> tuple[str, bool]:
    """Show what the market's charts have in common; return the window and whether pegged coins are in them."""
    with st.container(horizontal=True, vertical_alignment="center"):
        window = st.segmented_control(
            "Window",
            list(WINDOWS),
            default="24h",
            required=True,
            key="change",
            bind="query-params",
            label_visibility="collapsed",
        )
        pegged = st.toggle(
            "Stablecoins and wrapped tokens in charts",
            key="stablecoins",
            bind="query-params",
            help=definition("v_screener", "is_pegged"),
        )
    return window, pegged


def top_10_changes(coins: pd.DataFrame, window: str) -> None:
    heading(f"Top 10 by market cap: price change ({window})", [f"v_screener.{WINDOWS[window]}"])
    ten = coins.head(10)
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


def heatmap(coins: pd.DataFrame, window: str) -> None:
    heading(
        f"Market heatmap (size: market cap, color: {window} change)",
        ["v_screener.market_cap_usd", f"v_screener.{WINDOWS[window]}"],
    )
    tiles = cached(heatmap_tiles, coins, WINDOWS[window])
    with st.container(key="map_tiles", gap=None):
        chart(
            cached(figures.market_treemap, tiles, palette(), window),
            "map",
            alt=f"Treemap of {len(coins)} coins: size by market cap, color by {window} change",
            caption="A click on a tile opens the coin. Small coins are one tile.",
            source=COINGECKO,
        )
        opened = clicked_tile("map_tiles", ignored=OTHERS)
    if opened in set(coins["crypto_id"]):
        st.switch_page("views/price.py", query_params={"coin": opened})


@fragment
def price_changes(coins: pd.DataFrame) -> None:
    """Show the charts of price changes; only they rerun on a change of their window."""
    window, pegged = window_and_stablecoins()
    save_parameters()
    charted = coins if pegged else coins[~coins["is_pegged"]]
    left, right = st.columns([2, 3], gap="large")
    with left:
        top_10_changes(charted, window)
    with right:
        heatmap(charted, window)


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
            losers(top[~top["is_pegged"]]),
            "change_24h_pct",
            "Among the 100 largest coins with at least 1 M USD of 24h volume, stablecoins and wrapped tokens aside.",
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


def top_volume(coins: pd.DataFrame) -> None:
    """Show the coins with the highest volume among `coins`."""
    volumes = market.top_volume()
    largest = volumes[volumes["crypto_id"].isin(coins["crypto_id"])].head(10)
    tickers = labels(largest)
    heading("Top coins by 24h volume", ["v_volume_24h.volume_24h_usd", "v_volume_24h.volume_share_pct"])
    chart(
        cached(figures.volume_bars, largest, palette()),
        "busiest",
        alt="The coins with the highest 24h volume: "
        + ", ".join(f"{tickers[row.crypto_id]} {formats.money(row.volume_24h_usd)}" for row in largest.itertuples()),
        caption="Volume on all exchanges and share of the total, without stablecoins and wrapped tokens.",
        source=COINGECKO,
    )


def volume_history(volume: pd.DataFrame) -> None:
    """Show the market's history from Binance, for the time before CoinGecko's snapshots have one."""
    if volume.empty:
        return
    heading("Market history: volume on Binance", ["fct_daily_summary.quote_volume"])
    first, last = volume["date"].iloc[0], volume["date"].iloc[-1]
    chart(
        cached(sentiment_figures.volume_lines, cached(volume_trend, volume), palette()),
        "market_history",
        alt=f"Daily volume of all tracked pairs on Binance from {first:%Y-%m-%d} to {last:%Y-%m-%d}; newest "
        f"{formats.money(volume['volume_usd'].iloc[-1])}",
        caption="Sum of the tracked pairs per complete day (USDT), not the whole market: CoinGecko's totals have no "
        "history before the first snapshot. Highlighted: more than 2 standard deviations from the 90-day mean.",
        source=BINANCE,
    )


@fragment
def coin_screener(coins: pd.DataFrame) -> None:
    """Show the screener; only it reruns on a change of its filters."""
    screener(coins, market.sparklines())
    save_parameters()


def page() -> None:
    latest = market.latest_market()
    if latest.empty:
        empty_warehouse()
        raise PageFinished
    restore_parameters()
    fear_greed, coins = sentiment.recent_sentiment(), market.screener()
    check_query_params(*FREE_PARAMETERS, change=WINDOWS, stablecoins=ON_OFF, category=categories(coins), **CHOICES)
    top = coins.head(100)
    st.title("Crypto market overview", anchor=False)
    st.markdown(escaped(market_summary(latest.iloc[0], None if fear_greed.empty else fear_greed.iloc[-1])))
    has_history, volume = kpi_cards(latest.iloc[0], fear_greed), sentiment.volume_per_day()
    price_changes(coins)
    mover_lists(top)
    coin_screener(coins)
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            weekly_performance()
        with st.container():
            top_volume(coins[~coins["is_pegged"]])
    if not has_history:
        volume_history(volume)


page()
