"""Price: one coin's price chart with indicators, risk metrics and data export."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard import formats
from dashboard.analysis.bars import INTERVALS, INTRADAY, RANGES, Bar, Period, choose_bar, events, limited, with_gaps
from dashboard.analysis.comparison import similar_coins
from dashboard.analysis.moving_averages import with_averages
from dashboard.charts import price as figures
from dashboard.components import narrow
from dashboard.components.charts import BINANCE, COINGECKO, chart, heading
from dashboard.components.csv_download import download
from dashboard.components.definitions import definitions_help
from dashboard.components.messages import empty_warehouse
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.tables import data_and_export, table
from dashboard.components.theme import colored_change, palette
from dashboard.labels import labels, resolve_coin
from dashboard.queries import catalog, market, prices
from dashboard.sections import coin_risk
from dashboard.sections.price_readout import readout
from dashboard.sections.value_explanation import value_explanation
from dashboard.state import chart_range
from dashboard.state.cache import cached
from dashboard.state.date_range import DATES, date_range
from dashboard.state.query_params import ON_OFF, check_query_params, normalized
from dashboard.text import decimals, escaped, inline_code

CHART_TYPES = ["Candles", "Line"]
DEFAULT_OVERLAYS = ["SMA 20", "SMA 50"]
MAX_OTHERS = 3
OVERLAY_METRICS = {
    "SMA 7": ["fct_daily_summary.sma_7"],
    "SMA 20": ["fct_daily_summary.sma_20"],
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
BAR_NAMES: dict[Bar, str] = {"1h": "hour", "4h": "4 hours", "1d": "day", "1w": "week", "1mo": "month"}
BAR_LABELS = {bar: name for name, bar in INTERVALS.items() if bar}
TIMEFRAMES: dict[Bar, str] = {"1w": "week", "1mo": "month"}
EXPORTED_FROM: dict[Bar, str] = {
    "1h": "fct_prices",
    "4h": "fct_prices",
    "1d": "fct_daily_summary",
    "1w": "fct_candles",
    "1mo": "fct_candles",
}


@dataclass(frozen=True)
class View:
    """What the user chose above the price chart: the range, its bounds in UTC and the bar size."""

    period: Period
    bar: Bar
    since: pd.Timestamp
    until: pd.Timestamp
    too_fine: str = ""  # the chosen interval, if it has too many bars for the range

    @property
    def days(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Return the bounds as dates without zone, as in daily data."""
        return self.since.tz_localize(None).normalize(), self.until.tz_localize(None)


def unknown_coin(wanted: str, coins: pd.DataFrame) -> None:
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
    names = labels(coins, "name", "symbol")
    with st.container(horizontal=True):
        for crypto_id in candidates or similar_coins(wanted, coins):
            st.page_link("views/price.py", label=escaped(names[crypto_id]), query_params={"coin": crypto_id})
    st.session_state.pop("coin", None)
    st.selectbox("Coin", list(names), index=None, format_func=names.get, key="coin", on_change=choose_coin, width=260)


def untracked_coin(coin: pd.Series) -> None:
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
    last, snapshot = prices.latest_bar(coin["crypto_id"]).iloc[0], market.coin_snapshot(coin["crypto_id"])
    day = prices.hourly(coin["crypto_id"], last["opened_at"] - pd.Timedelta(hours=23), coin["until"])
    price, change = escaped(formats.price(last["close"])), colored_change(last["change_24h_pct"])
    st.title(
        f"{escaped(coin['label'])} {price} {change} (24h)",
        anchor=False,
        help=definitions_help(["fct_prices.close", "fct_prices.change_24h_pct"]),
    )
    closed_at, low, high = last["opened_at"] + pd.Timedelta(hours=1), day["low"].min(), day["high"].max()
    facts = [
        escaped(f"Binance {coin['binance_symbol']} {formats.instant(closed_at)}"),
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
            below = formats.percent(max(0.0, -newest["ath_change_pct"]))
            facts.append(escaped(f"{below} below ATH {formats.price(newest['ath_usd'])}"))
        facts.append(escaped(f"CoinGecko {formats.price(newest['price_usd'])} at {newest['snapshot_at']:%H:%M}"))
    st.markdown(" · ".join(facts))


def load_bars(crypto_id: str, view: View, daily: pd.DataFrame) -> pd.DataFrame:
    """Return the candles of the chosen range, with opened_at in UTC as the first column."""
    if view.bar == "1h":
        return prices.hourly(crypto_id, view.since, view.until)
    if view.bar == "4h":
        return prices.four_hourly(crypto_id, view.since, view.until)
    if view.bar in TIMEFRAMES:
        return prices.candles(crypto_id, TIMEFRAMES[view.bar], view.since, view.until)
    days = within(daily, view)
    bars = days.drop(columns=["date", "bar_count"]).assign(hours=days["bar_count"])
    bars.insert(0, "opened_at", days["date"].dt.tz_localize("UTC"))
    return bars.reset_index(drop=True)


def within(daily: pd.DataFrame, view: View) -> pd.DataFrame:
    """Return the daily rows of the chosen range."""
    first, end = view.days
    return daily[(daily["date"] >= first) & (daily["date"] < end)]


def choose_coin() -> None:
    """Write the chosen coin into the URL, from where the page reads it."""
    st.query_params["coin"] = st.session_state["coin"]
    chart_range.clear()


def controls(coin: pd.Series, names: dict[str, str]) -> View:
    """Show coin, range, dates and interval; return what they select."""
    loaded = (coin["first_bar_at"], coin["until"])
    with narrow.controls("range", "Range and interval"):
        with narrow.always("coin"):
            st.selectbox("Coin", list(names), format_func=names.get, key="coin", on_change=choose_coin, width=200)
        period = date_range(RANGES, "1Y", loaded)
        interval = st.segmented_control(
            "Interval", list(INTERVALS), default="Auto", required=True, key="interval", bind="query-params"
        )
    since, until = period.bounds(*loaded)
    wanted = INTERVALS[interval] or choose_bar(period, (until - since).days)
    bar = limited(wanted, (until - since).days)
    if bar in INTRADAY:
        since, until = period.bounds(*loaded, whole_days=False)
    return View(period, bar, since, until, BAR_LABELS[wanted] if bar != wanted else "")


@fragment
def price_section(coin: pd.Series, names: dict[str, str], view: View) -> None:
    crypto_id = coin["crypto_id"]
    with narrow.controls("chart", "Chart options"):
        with narrow.always("chart"):
            title = st.container()
        chart_type = st.segmented_control(
            "Chart type", CHART_TYPES, default="Candles", required=True, key="draw", bind="query-params"
        )
        log = st.toggle("Log scale", key="log", bind="query-params")
        overlays = st.multiselect(
            "Overlays", list(figures.OVERLAYS), DEFAULT_OVERLAYS, key="over", bind="query-params", width=250
        )
        panes = st.pills(
            "Indicators",
            list(figures.PANES),
            selection_mode="multi",
            default=["Volume"],
            key="panes",
            bind="query-params",
        )
        others = compare_selector(crypto_id, names)
    with title:
        heading(
            f"{escaped(coin['ticker'])}/USDT price",
            [
                "fct_prices.close",
                *(metric for name in overlays for metric in OVERLAY_METRICS.get(name, ())),
                *(metric for name in panes for metric in PANE_METRICS[name]),
            ],
        )
    daily = cached(with_averages, prices.daily(crypto_id), overlay_columns(overlays))
    bars = load_bars(crypto_id, view, daily)
    if bars.empty:
        st.info(
            escaped(
                f"{coin['label']} has data from {formats.instant(coin['first_bar_at'])} to "
                f"{formats.instant(coin['until'])}, and candles of a day when it is complete."
            ),
            title="No candles in this range",
        )
    else:
        loaded = {names[other]: load_bars(other, view, prices.daily(other)) for other in others}
        figure = cached(
            figures.price_chart,
            bars,
            daily,
            view.bar,
            palette(),
            figures.Display(
                chart_type == "Candles", log, tuple(overlays), tuple(name for name in figures.PANES if name in panes)
            ),
            others=loaded,
            events=cached(events, bars, view.bar, coin["first_bar_at"]),
        )
        price_chart(coin, bars, view, figure, chart_type)
    with data_and_export() as opened:
        if opened and not bars.empty:
            data_table(coin, bars, view)


def overlay_columns(overlays: list[str]) -> tuple[str, ...]:
    return tuple(line.column for name in overlays for line in figures.OVERLAYS[name])


def compare_selector(crypto_id: str, names: dict[str, str]) -> list[str]:
    """Show the choice of coins to draw beside this one, kept in the URL by id; return their crypto_ids."""
    available = [name for name in names if name != crypto_id]
    known = [name for name in st.query_params.get_all("compare") if name in available]
    st.session_state["compare"] = known[:MAX_OTHERS]

    def choose() -> None:
        if st.session_state["compare"]:
            st.query_params["compare"] = st.session_state["compare"]
        else:
            st.query_params.pop("compare", None)

    if known[:MAX_OTHERS] != st.query_params.get_all("compare"):
        choose()

    return st.multiselect(
        "Compare with",
        available,
        format_func=names.get,
        max_selections=MAX_OTHERS,
        key="compare",
        on_change=choose,
        placeholder="Coins",
        width=200,
    )


def price_chart(coin: pd.Series, bars: pd.DataFrame, view: View, figure: go.Figure, chart_type: str) -> None:
    bar, newest = view.bar, bars.iloc[-1]
    first, time = bars["opened_at"].iloc[0], formats.instant(newest["opened_at"])
    readout(figure, "price", newest, time)
    chart(
        figure,
        "price",
        alt=f"{chart_type} of {coin['label']} in USDT, one per {BAR_NAMES[bar]}, from {formats.instant(first)} to "
        f"{time}; last close {formats.price(newest['close'])}",
        caption=escaped(" ".join(chart_caption(bars, view, chart_type))),
        source=f"{BINANCE} spot, {escaped(coin['binance_symbol'])}",
        range_scope=f"{coin['crypto_id']} {view.period} {bar}",
        redraw="price_section",
    )


def chart_caption(bars: pd.DataFrame, view: View, chart_type: str) -> list[str]:
    """Return what the chart shows: the return over the range, the bar size, and how to zoom."""
    first, newest = bars.iloc[0], bars.iloc[-1]
    gain = (newest["close"] / first["close"] - 1) * 100
    missing = len(with_gaps(bars, view.bar)) - len(bars)
    caption = [
        f"{formats.signed(gain)} from the close of the first candle ({first['opened_at']:%Y-%m-%d}) to the last "
        f"({newest['opened_at']:%Y-%m-%d}, {formats.price(newest['close'])}).",
        f"One {'candle' if chart_type == 'Candles' else 'point'} per {BAR_NAMES[view.bar]} (UTC).",
    ]
    if view.too_fine:
        caption.append(f"{view.too_fine} has too many candles for this range.")
    if missing:
        caption.append(f"{missing} without trades are left blank.")
    if view.bar in INTRADAY:
        caption.append("Daily indicators update at 00:00 UTC.")
    return [*caption, "H: hours without trades. Drag to zoom, double-click to reset."]


def data_table(coin: pd.Series, bars: pd.DataFrame, view: View) -> None:
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
    crypto_id, since, until = coin["crypto_id"], view.since, view.until
    exports: dict[Bar, Callable[[], pd.DataFrame]] = {
        "1h": lambda: prices.export_hours(crypto_id, since, until),
        "4h": lambda: prices.export_four_hours(crypto_id, since, until),
        "1d": lambda: prices.export_days(crypto_id, since, until),
        "1w": lambda: prices.export_candles(crypto_id, "week", since, until),
        "1mo": lambda: prices.export_candles(crypto_id, "month", since, until),
    }
    dates = f"{since:%Y-%m-%d}_{until - pd.Timedelta(hours=1):%Y-%m-%d}"
    download(
        exports[view.bar], f"tickmart_{crypto_id}_{BAR_LABELS[view.bar]}_{dates}.csv", relation=EXPORTED_FROM[view.bar]
    )


def page() -> None:
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
    accept_chart_parameter()
    check_query_params(
        "coin",
        *DATES,
        range=RANGES,
        interval=INTERVALS,
        draw=CHART_TYPES,
        log=ON_OFF,
        over=figures.OVERLAYS,
        panes=figures.PANES,
        compare=compare_ids(tracked),
        data=ON_OFF,
        explain=ON_OFF,
    )
    coin = coins[coins["crypto_id"] == crypto_id].iloc[0].copy()
    coin["label"], coin["ticker"] = labels(tracked, "name", "symbol")[crypto_id], labels(tracked)[crypto_id]
    coin["until"] = coin["last_bar_at"] + pd.Timedelta(hours=1)
    names = labels(tracked, "name", "symbol", min_parts=2)
    header(coin)
    view = controls(coin, names)
    price_section(coin, names, view)
    value_explanation(coin)
    coin_risk.show(coin, prices.daily(crypto_id), *view.days)


def accept_chart_parameter() -> None:
    """Accept `?chart=line`, as other sites write it, for `?draw=Line`."""
    chart_type = normalized(st.query_params.get("chart", ""), CHART_TYPES)
    if chart_type in CHART_TYPES:
        st.session_state["draw"] = chart_type
        st.query_params.pop("chart")


def compare_ids(tracked: pd.DataFrame) -> list[str]:
    """Write the ids of the coins that the URL names by ticker or name; return every valid id."""
    wanted = st.query_params.get_all("compare")
    found = [matches[0] if len(matches := resolve_coin(name, tracked)) == 1 else name for name in wanted]
    if found != wanted:
        st.query_params["compare"] = found
    return tracked["crypto_id"].tolist()


page()
