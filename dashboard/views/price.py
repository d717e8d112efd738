"""Price: one coin's price chart with indicators, risk metrics and data export."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis.bars import RANGES, BarChoice, choose_bar, with_gaps
from dashboard.analysis.comparison import similar_coins
from dashboard.analysis.returns import monthly_returns, risk_table
from dashboard.analysis.statistics import percentile_of_last
from dashboard.analysis.summaries import coin_summary
from dashboard.charts import price as figures
from dashboard.charts import returns as return_figures
from dashboard.components import chart_range
from dashboard.components.cache import cached
from dashboard.components.charts import BINANCE, COINGECKO, chart, heading
from dashboard.components.definitions import definitions_help
from dashboard.components.messages import empty_warehouse
from dashboard.components.query_params import ON_OFF, check_query_params, range_selector
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.tables import csv_button, data_and_export, table
from dashboard.components.theme import colored_change, palette
from dashboard.labels import labels, resolve_coin
from dashboard.queries import catalog, market, prices
from dashboard.text import decimals, escaped, inline_code, nbsp_units

CHART_TYPES = ["Candles", "Line"]
DEFAULT_OVERLAYS = ["SMA 7", "SMA 30", "VWAP"]
OVERLAY_METRICS = {
    "SMA 7": ["fct_daily_summary.sma_7"],
    "SMA 30": ["fct_daily_summary.sma_30"],
    "SMA 200": ["fct_daily_summary.sma_200"],
    "EMA": ["fct_daily_summary.ema_12", "fct_daily_summary.ema_26"],
    "Bollinger": ["fct_daily_summary.bb_upper_20", "fct_daily_summary.bb_lower_20"],
    "VWAP": ["fct_prices.vwap_session", "fct_prices.vwap_24h", "fct_daily_summary.vwap"],
}
PANE_METRICS = {
    "Volume": ["fct_daily_summary.quote_volume"],
    "RSI": ["fct_daily_summary.rsi_14"],
    "MACD": ["fct_daily_summary.macd", "fct_daily_summary.macd_signal", "fct_daily_summary.macd_histogram"],
    "ATR": ["fct_daily_summary.atr_14"],
    "Volatility": ["fct_daily_summary.volatility_30d", "fct_daily_summary.volatility_90d"],
}
BAR_NAMES = {"1h": "hour", "4h": "4 hours", "1d": "day", "1w": "week"}
SOURCE = f"computed from {BINANCE} spot closes"


@dataclass(frozen=True)
class ChartOptions:
    """What the user chose for the price chart."""

    range_name: str
    bars: BarChoice
    chart_type: str
    log: bool
    overlays: list[str]
    panes: list[str]


def unknown_coin(wanted: str, coins: pd.DataFrame) -> None:
    """Show why a coin of the URL has no page, and links to coins that may be meant."""
    snapshot, candidates = market.coin_snapshot(wanted.lower()), resolve_coin(wanted, coins)
    if candidates:
        st.title("Ambiguous ticker", anchor=False)
        st.info(
            f"Use a coin id instead: {', '.join(map(inline_code, candidates))}.",
            title=f"{len(candidates)} coins match {inline_code(wanted)}",
        )
    elif snapshot.empty:
        st.title("Coin not found", anchor=False)
        st.info("Did you mean one of these?", title=f"No tracked coin matches {inline_code(wanted)}")
    else:
        untracked_coin(snapshot.iloc[0])
    with st.container(horizontal=True):
        names = labels(coins, "name", "symbol")
        for crypto_id in candidates or similar_coins(wanted, coins):
            st.page_link("views/price.py", label=escaped(names[crypto_id]), query_params={"coin": crypto_id})


def untracked_coin(coin: pd.Series) -> None:
    """Show the newest CoinGecko snapshot of a coin without candles."""
    st.title(
        f"{escaped(coin['name'])} {escaped(formats.price(coin['price_usd']))} "
        f"{colored_change(coin['change_24h_pct'])} (24h)",
        anchor=False,
    )
    st.info(
        escaped(
            f"Rank {formats.count(coin['market_cap_rank'])}, market cap {formats.money(coin['market_cap_usd'])}, "
            f"24h volume {formats.money(coin['volume_24h_usd'])} at {formats.instant(coin['snapshot_at'])}. "
        )
        + f"Add it to `TICKMART_UNIVERSE` to load its price history. Source: {COINGECKO}.",
        title=f"{escaped(coin['name'])} is not tracked",
    )


def header(coin: pd.Series) -> None:
    """Show price, changes, day range, rank and distance from the all-time high."""
    last, snapshot = prices.latest_bar(coin["crypto_id"]).iloc[0], market.coin_snapshot(coin["crypto_id"])
    day = prices.hourly(coin["crypto_id"], 1)
    price, change = escaped(formats.price(last["close"])), colored_change(last["change_24h_pct"])
    st.title(
        f"{escaped(coin['label'])} {price} {change} (24h)",
        anchor=False,
        help=definitions_help(["fct_prices.close", "fct_prices.change_24h_pct"]),
    )
    closed_at, low, high = last["opened_at"] + pd.Timedelta(hours=1), day["low"].min(), day["high"].max()
    facts = [
        escaped(f"Last close {formats.instant(closed_at)}, Binance {coin['binance_symbol']}"),
        f"7d {colored_change(last['change_7d_pct'])}",
        escaped(f"24h range {formats.price(low)} to {formats.price(high)}"),
    ]
    if not snapshot.empty:
        newest = snapshot.iloc[0]
        facts += [
            f"rank {formats.count(newest['market_cap_rank'])}",
            escaped(f"market cap {formats.money(newest['market_cap_usd'])}"),
        ]
        if not formats.is_missing(newest["ath_change_pct"]):
            below = f"{formats.percent(max(0.0, -newest['ath_change_pct']))} below"
            facts.append(escaped(f"{below} the all-time high of {formats.price(newest['ath_usd'])} (CoinGecko)"))
    st.markdown(" · ".join(facts))


def load_bars(crypto_id: str, choice: BarChoice, daily: pd.DataFrame) -> pd.DataFrame:
    """Return the candles of the chosen range, with opened_at in UTC as the first column."""
    if choice.bar == "1h":
        return prices.hourly(crypto_id, choice.days)
    if choice.bar == "4h":
        return prices.four_hourly(crypto_id, choice.days)
    if choice.bar == "1w":
        return prices.weekly(crypto_id)
    days = daily if choice.days is None else daily[daily["date"] > daily["date"].max() - pd.Timedelta(days=choice.days)]
    bars = days.drop(columns=["date", "bar_count"]).assign(hours=days["bar_count"])
    bars.insert(0, "opened_at", days["date"].dt.tz_localize("UTC"))
    return bars.reset_index(drop=True)


def choose_coin() -> None:
    """Write the chosen coin into the URL, from where the page reads it."""
    st.query_params["coin"] = st.session_state["coin"]
    chart_range.clear()


@fragment
def price_section(coin: pd.Series, names: dict[str, str]) -> None:
    """Show the price chart with its controls and data. A fragment: the rest of the page depends on the coin only."""
    crypto_id = coin["crypto_id"]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        chosen = st.selectbox("Coin", list(names), format_func=names.get, key="coin", on_change=choose_coin, width=260)
        if chosen != crypto_id:
            st.rerun()  # the full page, not only this fragment
        range_name = range_selector()
        chart_type = st.segmented_control(
            "Chart type", CHART_TYPES, default="Candles", required=True, key="draw", bind="query-params"
        )
        log = st.toggle("Log scale", key="log", bind="query-params")
    daily = prices.daily(crypto_id)
    header(coin)
    overlays = indicator_pills("Overlays", list(figures.OVERLAYS), DEFAULT_OVERLAYS, "over")
    panes = indicator_pills("Indicators", list(figures.PANES), ["Volume"], "panes")
    options = ChartOptions(range_name, choose_bar(range_name, len(daily)), chart_type, log, overlays, panes)
    bars = load_bars(crypto_id, options.bars, daily)
    heading(
        f"{escaped(coin['ticker'])}/USDT price",
        [
            "fct_prices.close",
            *(metric for name in overlays for metric in OVERLAY_METRICS[name]),
            *(metric for name in panes for metric in PANE_METRICS[name]),
        ],
    )
    if bars.empty:
        st.info(f"{escaped(coin['label'])} has no complete day yet. Choose 1D or 7D.", title="No candles in this range")
    else:
        price_chart(coin, bars, daily, options)
    with data_and_export() as opened:
        if opened:
            data_table(coin, bars, options)


def indicator_pills(label: str, names: list[str], default: list[str], key: str) -> list[str]:
    """Show a row of indicators to choose from; return the chosen ones."""
    return st.pills(
        label,
        names,
        selection_mode="multi",
        default=default,
        key=key,
        bind="query-params",
        label_visibility="collapsed",
    )


def price_chart(coin: pd.Series, bars: pd.DataFrame, daily: pd.DataFrame, options: ChartOptions) -> None:
    """Show the candles with overlays and indicator panes."""
    bar = options.bars.bar
    missing = len(with_gaps(bars, bar)) - len(bars)
    caption = [f"One {'candle' if options.chart_type == 'Candles' else 'point'} per {BAR_NAMES[bar]} (UTC)."]
    caption.append("Drag to zoom, double-click to reset.")
    if missing:
        caption.append(f"{missing} without trades are left blank.")
    if bar in ("1h", "4h"):
        caption.append("Daily indicators update at 00:00 UTC.")
    chart(
        cached(
            figures.price_chart,
            bars,
            daily,
            bar,
            palette(),
            candles=options.chart_type == "Candles",
            log=options.log,
            overlays=options.overlays,
            panes=[name for name in figures.PANES if name in options.panes],
        ),
        "price",
        alt=f"{options.chart_type} of {coin['label']} in USDT, one per {BAR_NAMES[bar]}, from "
        f"{formats.instant(bars['opened_at'].iloc[0])} to {formats.instant(bars['opened_at'].iloc[-1])}; "
        f"last close {formats.price(bars['close'].iloc[-1])}",
        caption=" ".join(caption),
        source=f"{BINANCE} spot, {escaped(coin['binance_symbol'])}",
        range_scope=f"{coin['crypto_id']} {options.range_name}",
    )


def data_table(coin: pd.Series, bars: pd.DataFrame, options: ChartOptions) -> None:
    """Show the candles of the chart, newest first, and the CSV with all digits of the database."""
    table(
        bars.iloc[::-1],
        height=300,
        alt="The candles of the chart, newest first",
        missing="Not enough history for the indicator",
        column_config={
            name: st.column_config.NumberColumn(format=f"%.{decimals(bars[name])}f")
            for name in bars.select_dtypes("number").columns
        },
    )
    crypto_id, choice = coin["crypto_id"], options.bars
    export = prices.export_hours if choice.bar in ("1h", "4h") else prices.export_days
    csv_button(
        "Download CSV",
        lambda: export(crypto_id, choice.days),
        f"tickmart_{crypto_id}_{options.range_name}.csv",
    )


def summary(coin: pd.Series, daily: pd.DataFrame) -> None:
    """Show what the newest complete day says about trend, RSI, volatility and drawdown."""
    sentences = cached(coin_summary, coin["label"], daily)
    if not sentences:
        return
    metrics = [f"fct_daily_summary.{column}" for column in ("sma_30", "rsi_14", "volatility_30d", "drawdown_pct")]
    with st.container(border=True):
        st.markdown(
            f"**Summary** ({formats.instant(daily['date'].iloc[-1].date())}): " + escaped(" ".join(sentences)),
            help=definitions_help(metrics),
        )


def volatility(coin: pd.Series, daily: pd.DataFrame) -> None:
    """Show realized volatility."""
    columns = ("volatility_7d", "volatility_30d", "volatility_90d")
    heading("Realized volatility", [f"fct_daily_summary.{column}" for column in columns])
    rank = percentile_of_last(daily["volatility_30d"], 365)
    chart(
        cached(return_figures.volatility_lines, daily, palette()),
        "volatility",
        alt=f"Realized volatility of {coin['label']} over 7, 30 and 90 days",
        caption="Volatility of daily log returns (annualized)."
        + ("" if rank is None else f" 30-day value: {formats.ordinal(rank)} percentile of the past year."),
        source=SOURCE,
    )


def drawdown(coin: pd.Series, daily: pd.DataFrame) -> None:
    """Show the drawdown from the highest close loaded."""
    heading("Drawdown", ["fct_daily_summary.drawdown_pct"])
    since = f" since {formats.instant(daily['date'].iloc[0].date())}" if len(daily) else ""
    chart(
        cached(return_figures.drawdown_area, daily, palette()),
        "drawdown",
        alt=f"Drawdown of {coin['label']} from its highest close so far; latest "
        f"{formats.percent(daily['drawdown_pct'].iloc[-1] if len(daily) else None)}",
        caption=f"From the highest close in the loaded history{since}; the maximum drawdown is labeled.",
        source=SOURCE,
    )


def return_calendar(coin: pd.Series, daily: pd.DataFrame) -> None:
    """Show monthly returns."""
    heading("Monthly returns", ["fct_daily_summary.return_pct"])
    chart(
        cached(return_figures.return_calendar, cached(monthly_returns, daily), palette()),
        "calendar",
        alt=f"Heat map of the monthly returns of {coin['label']} in percent",
        caption="Percent, month-end close to month-end close; the latest month is month-to-date.",
        source=SOURCE,
    )


def return_distribution(coin: pd.Series, daily: pd.DataFrame) -> None:
    """Show the distribution of daily returns."""
    heading("Daily return distribution", ["fct_daily_summary.return_pct"])
    chart(
        cached(return_figures.return_histogram, daily, palette()),
        "days",
        alt=f"Histogram of the daily returns of {coin['label']} in percent",
        caption=f"{daily['return_pct'].notna().sum():,} daily returns. First and last bin include outliers.",
        source=SOURCE,
    )


def risk(coin: pd.Series, daily: pd.DataFrame) -> None:
    """Show risk metrics over 30, 90 and 365 days."""
    columns = ("return_pct", "volatility_90d", "sharpe_90d", "drawdown_pct", "beta_btc_90d")
    heading("Risk metrics", [f"fct_daily_summary.{column}" for column in columns])
    table(
        cached(risk_table, daily, prices.daily("bitcoin")),
        hide_index=False,
        width="content",
        alt=f"Risk metrics of {coin['label']} over 30, 90 and 365 days",
        missing="Not enough history, or the price did not change",
    )
    st.caption(nbsp_units(f"Based on complete UTC days. Source: {SOURCE}."))


def page() -> None:
    """Show the page."""
    coins = catalog.coins()
    tracked = coins.dropna(subset=["last_bar_at"])
    if tracked.empty:
        empty_warehouse()
        raise PageFinished
    wanted = st.query_params.get("coin") or st.session_state.get("last_coin", tracked["crypto_id"].iloc[0])
    matches = resolve_coin(wanted, tracked)
    if len(matches) != 1:
        unknown_coin(wanted, tracked)
        raise PageFinished
    (crypto_id,) = matches
    # Not bound to the URL by Streamlit, which would write the label instead of the id.
    st.session_state["coin"] = st.session_state["last_coin"] = st.query_params["coin"] = crypto_id
    check_query_params(
        "coin",
        range=RANGES,
        draw=CHART_TYPES,
        log=ON_OFF,
        over=figures.OVERLAYS,
        panes=figures.PANES,
        data=ON_OFF,
    )
    coin = coins[coins["crypto_id"] == crypto_id].iloc[0].copy()
    coin["label"], coin["ticker"] = labels(tracked, "name", "symbol")[crypto_id], labels(tracked)[crypto_id]
    price_section(coin, labels(tracked, "name", "symbol", min_parts=2))
    daily = prices.daily(crypto_id)
    summary(coin, daily)
    with st.grid(2, min_column_width=340, gap="medium"):
        for section in (volatility, drawdown, return_calendar, return_distribution):
            with st.container():
                section(coin, daily)
    risk(coin, daily)


page()
