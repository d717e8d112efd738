"""Price: how one coin behaved, and what the indicators say."""

import pandas as pd
import streamlit as st

from dashboard import analysis, formats, queries, shell, zoom
from dashboard.charts import price as charts
from dashboard.labels import coins_called, labels
from dashboard.text import decimals

DRAWN = ["Candles", "Line"]
OVERLAYS_SHOWN = ["SMA 7", "SMA 30", "VWAP"]
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


def unknown_coin(wanted: str, coins: pd.DataFrame) -> None:
    """Say that a coin of the address is not tracked, what CoinGecko says of it, and which may be meant."""
    snapshot, meant = queries.coin_snapshot(wanted), coins_called(wanted, coins)
    if meant:
        st.info(
            f"A link names a coin by its id: {', '.join(map(shell.quoted, meant))}.",
            title=f"{len(meant)} coins have the ticker {shell.quoted(wanted)}",
        )
    elif snapshot.empty:
        st.info(
            "Perhaps it is spelled differently; these come nearest.",
            title=f"There is no coin {shell.quoted(wanted)} here",
        )
    else:
        coin = snapshot.iloc[0]
        st.title(
            f"{shell.text(coin['name'])} {shell.text(formats.price(coin['price_usd']))} "
            f"{shell.coloured_change(coin['change_24h_pct'])} {formats.unbroken('in 24 h')}",
            anchor=False,
        )
        st.info(
            shell.text(
                f"Rank {formats.count(coin['market_cap_rank'])}, market cap {formats.money(coin['market_cap_usd'])}, "
                f"volume {formats.money(coin['volume_24h_usd'])} at {formats.instant(coin['snapshot_at'])}. "
            )
            + f"Its candles are not loaded: add it to the universe file to have "
            f"its history. Source: {shell.COINGECKO}.",
            title=f"{shell.text(coin['name'])} is not among the tracked coins",
        )
    with st.container(horizontal=True):
        names = labels(coins, "name", "symbol")
        for crypto_id in meant or analysis.similar_coins(wanted, coins):
            st.page_link("views/price.py", label=shell.text(names[crypto_id]), query_params={"coin": crypto_id})


def header(coin: pd.Series) -> None:
    """Price, change, rank and the range of the day."""
    last, snapshot = queries.coin_last_hour(coin["crypto_id"]).iloc[0], queries.coin_snapshot(coin["crypto_id"])
    day = queries.hourly(coin["crypto_id"], 1)
    price, move = shell.text(formats.price(last["close"])), shell.coloured_change(last["change_24h_pct"])
    st.title(
        f"{shell.text(coin['label'])} {price} {move} {formats.unbroken('in 24 h')}",
        anchor=False,
        help=shell.definitions_text(["fct_prices.close", "fct_prices.change_24h_pct"]),
    )
    closed_at, low, high = last["opened_at"] + pd.Timedelta(hours=1), day["low"].min(), day["high"].max()
    span = f"at {formats.price(low)}" if low == high else f"range {formats.price(low)} to {formats.price(high)}"
    told = [
        shell.text(f"Close of {formats.instant(closed_at)} on Binance ({coin['binance_symbol']})"),
        f"{formats.unbroken('7 d')} {shell.coloured_change(last['change_7d_pct'])}",
        shell.text(f"24 h {span}"),
    ]
    if not snapshot.empty:
        now = snapshot.iloc[0]
        below = "at" if now["ath_change_pct"] >= 0 else f"{formats.percent(-now['ath_change_pct'])} below"
        told += [
            f"rank {formats.count(now['market_cap_rank'])}",
            shell.text(f"market cap {formats.money(now['market_cap_usd'])}"),
        ]
        if not formats.is_missing(now["ath_change_pct"]):
            told.append(shell.text(f"{below} its all-time high of {formats.price(now['ath_usd'])}"))
    st.markdown(" · ".join(told))


def load_bars(crypto_id: str, choice: analysis.BarChoice, daily: pd.DataFrame) -> pd.DataFrame:
    """Return the candles of the chosen range, with opened_at in UTC."""
    if choice.bar == "1h":
        return queries.hourly(crypto_id, choice.days)
    if choice.bar == "4h":
        return queries.four_hourly(crypto_id, choice.days)
    if choice.bar == "1w":
        return queries.weekly(crypto_id)
    days = daily if choice.days is None else daily[daily["date"] > daily["date"].max() - pd.Timedelta(days=choice.days)]
    return days.assign(opened_at=days["date"].dt.tz_localize("UTC"), hours=days["bar_count"]).reset_index(drop=True)


def choose_coin() -> None:
    """Write the chosen coin into the address, from where the page reads it."""
    st.query_params["coin"] = st.session_state["coin"]
    zoom.forget()


@shell.part
def trading(coin: pd.Series, names: dict[str, str]) -> None:
    """The chart with its choices, and its rows: nothing below it depends on any of them but the coin."""
    crypto_id = coin["crypto_id"]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        asked = st.selectbox("Coin", list(names), format_func=names.get, key="coin", on_change=choose_coin, width=260)
        if asked != crypto_id:
            st.rerun()  # the whole page
        span = shell.choose_range()
        kind = st.segmented_control("Draw", DRAWN, default="Candles", required=True, key="draw", bind="query-params")
        log = st.toggle("Log scale", key="log", bind="query-params")
    daily = queries.daily(crypto_id)
    header(coin)

    overlays = st.pills(
        "Over the price",
        list(charts.OVERLAYS),
        selection_mode="multi",
        default=OVERLAYS_SHOWN,
        key="over",
        bind="query-params",
        label_visibility="collapsed",
    )
    panes = st.pills(
        "Panes below",
        list(charts.PANES),
        selection_mode="multi",
        default=["Volume"],
        key="panes",
        bind="query-params",
        label_visibility="collapsed",
    )
    choice = analysis.choose_bar(span, len(daily))
    bars = load_bars(crypto_id, choice, daily)
    shell.heading(
        f"How did {shell.text(coin['label'])} trade?",
        [
            "fct_prices.close",
            *(metric for name in overlays for metric in OVERLAY_METRICS[name]),
            *(metric for name in panes for metric in PANE_METRICS[name]),
        ],
    )
    if bars.empty:
        st.info(
            f"{shell.text(coin['label'])} has no finished day yet: choose 1D or 7D.", title="No candles in this range"
        )
    else:
        missing = len(analysis.with_gaps(bars, choice.bar)) - len(bars)
        bar_name = {"1h": "hour", "4h": "4 hours", "1d": "day", "1w": "week"}[choice.bar]
        shell.chart(
            shell.once(
                charts.price_chart,
                bars,
                daily,
                choice.bar,
                shell.colours(),
                candles=kind == "Candles",
                log=log,
                overlays=overlays,
                panes=[name for name in charts.PANES if name in panes],
            ),
            "price",
            alt=f"{kind} of {coin['label']} in USDT, one per {bar_name}, from "
            f"{formats.instant(bars['opened_at'].iloc[0])} to "
            f"{formats.instant(bars['opened_at'].iloc[-1])}; last close {formats.price(bars['close'].iloc[-1])}",
            how=f"One {'candle' if kind == 'Candles' else 'point'} per {bar_name} (UTC). Drag to pan, wheel to zoom, "
            "double click to reset. "
            + (f"{missing} without trading: a gap, not a line. " if missing else "")
            + ("Indicators counted in days step when a day is over." if choice.bar in ("1h", "4h") else ""),
            source=f"{shell.BINANCE} spot, {shell.text(coin['binance_symbol'])}",
            zoomed=f"{crypto_id} {span}",
        )
    with shell.data_and_export() as opened:
        if not opened:
            return
        table = bars.drop(columns=[column for column in ("date", "bar_count") if column in bars])
        shell.table(
            table.iloc[::-1],
            height=300,
            alt="The candles of the chart, newest first",
            missing="the window of the indicator reaches before the first candle, or holds an hour without one",
            column_config={
                name: st.column_config.NumberColumn(format=f"%.{decimals(table[name])}f")
                for name in table.select_dtypes("number").columns
            },
        )
        shell.csv_button(
            "CSV of this range, exact figures",
            lambda: shell.export(
                queries.export_hours(crypto_id, choice.days)
                if choice.bar in ("1h", "4h")
                else queries.export_days(crypto_id, choice.days),
                "fct_prices" if choice.bar in ("1h", "4h") else "fct_daily_summary",
                f"{coin['name']} ({coin['binance_symbol']}), range {span}, data to "
                f"{formats.instant(coin['last_bar_at'] + pd.Timedelta(hours=1))}",
                "Binance spot klines (binance.com), metrics by tickmart",
            ),
            f"tickmart_{crypto_id}_{span}.csv",
        )


coins = queries.coins()
tracked = coins.dropna(subset=["last_bar_at"])
if tracked.empty:
    shell.empty_warehouse()
    raise shell.Finished
asked_for = st.query_params.get("coin") or st.session_state.get("last_coin", tracked["crypto_id"].iloc[0])
meant = coins_called(asked_for, tracked)
if len(meant) != 1:
    unknown_coin(asked_for, tracked)
    raise shell.Finished
(wanted,) = meant
# Not bound to the address by Streamlit, which would write the label and not the id there.
st.session_state["coin"] = st.session_state["last_coin"] = st.query_params["coin"] = wanted
shell.check_address(
    range=analysis.RANGES, draw=DRAWN, log=shell.ON_OFF, over=charts.OVERLAYS, panes=charts.PANES, data=shell.ON_OFF
)
coin = coins[coins["crypto_id"] == wanted].iloc[0].copy()
coin["label"] = labels(tracked, "name", "symbol")[wanted]
trading(coin, labels(tracked, "name", "symbol", least=2))

daily = queries.daily(wanted)
readings = shell.once(analysis.coin_readings, coin["label"], daily)
if readings:
    with st.container(border=True):
        st.markdown(
            f"**In words**, as of {formats.instant(daily['date'].iloc[-1].date())}: " + shell.text(" ".join(readings)),
            help=shell.definitions_text(
                [f"fct_daily_summary.{column}" for column in ("sma_30", "rsi_14", "volatility_30d", "drawdown_pct")]
            ),
        )

source = f"computed from {shell.BINANCE} spot closes"
with st.grid(2, min_column_width=340, gap="medium"):
    with st.container():
        shell.heading(
            "How rough is the ride?",
            [f"fct_daily_summary.{column}" for column in ("volatility_7d", "volatility_30d", "volatility_90d")],
        )
        rank = analysis.percentile_of_last(daily["volatility_30d"], 365)
        shell.chart(
            shell.once(charts.volatility_lines, daily, shell.colours()),
            "volatility",
            alt=f"Realised volatility of {coin['label']} over 7, 30 and 90 days",
            how="Annualised volatility of daily log returns."
            + ("" if rank is None else f" The 30-day value is at percentile {rank:.0f} of its last year."),
            source=source,
        )
    with st.container():
        shell.heading("How far below its high?", ["fct_daily_summary.drawdown_pct"])
        shell.chart(
            shell.once(charts.drawdown_area, daily, shell.colours()),
            "drawdown",
            alt=f"Drawdown of {coin['label']}: percent below the highest close so far; now "
            f"{formats.percent(daily['drawdown_pct'].iloc[-1] if len(daily) else None)}",
            how="0% is a new highest close since the data begins; the deepest day is marked.",
            source=source,
        )
    with st.container():
        shell.heading("Which months were good?", ["fct_daily_summary.return_pct"])
        shell.chart(
            shell.once(charts.return_calendar, shell.once(analysis.monthly_returns, daily), shell.colours()),
            "calendar",
            alt=f"Heat map of the monthly returns of {coin['label']} in percent",
            how="Percent from month-end close to month-end close; the newest month is to date, the first has no start.",
            source=source,
        )
    with st.container():
        shell.heading("How large are its days?", ["fct_daily_summary.return_pct"])
        shell.chart(
            shell.once(charts.return_histogram, daily, shell.colours()),
            "days",
            alt=f"Histogram of the daily returns of {coin['label']} in percent",
            how=f"{daily['return_pct'].notna().sum():,} daily returns; the outermost bars hold everything beyond them.",
            source=source,
        )

shell.heading(
    "What did the risk pay?",
    [
        f"fct_daily_summary.{column}"
        for column in ("return_pct", "volatility_90d", "sharpe_90d", "drawdown_pct", "beta_btc_90d")
    ],
)
shell.table(
    shell.once(analysis.risk_table, daily, queries.daily("bitcoin")),
    hide_index=False,
    width="content",
    alt=f"Risk of {coin['label']} over 30, 90 and 365 days",
    missing="a day of the window is missing, or the price did not move in it",
)
st.caption(f"Over the newest finished days. Source: {source}.")
