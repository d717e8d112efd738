"""Overview: where the market stands, by how much it moved, what moved it."""

import pandas as pd
import streamlit as st

from dashboard import analysis, formats, queries, shell
from dashboard.charts import overview as charts
from dashboard.labels import labels

CHANGES = {"1 h": "change_1h_pct", "24 h": "change_24h_pct", "7 d": "change_7d_pct"}


def cards(market: pd.Series, mood: pd.DataFrame) -> None:
    """Four figures of the whole market, each with its change over 24 hours and its last 30 days."""
    history, before = queries.market_history(), queries.market_day_ago()
    no_change = formats.unbroken("no sweep 24 h earlier")

    def trend(column: str) -> list[float] | None:
        values = history[column].dropna().tolist()
        return values if len(values) > 1 else None

    def card(
        label: str, value: str, delta: float | None, told: str, about: str, line: list[float] | None, note: str
    ) -> None:
        st.metric(
            label,
            value,
            f"{formats.MISSING} {note}" if formats.is_missing(delta) else told,
            delta_color=shell.delta_colour(delta),
            delta_arrow="off" if formats.is_missing(delta) or round(delta, 2) == 0 else "up" if delta > 0 else "down",
            delta_description="24 h" if not formats.is_missing(delta) else None,
            help=shell.definition(*about.split(".")),
            chart_data=line,
            chart_type="area",
            border=True,
            height="stretch",
        )

    volume, dominance = market["total_volume_24h_usd"], market["btc_dominance_pct"]
    volume_change = dominance_change = None
    if not before.empty:
        day_ago = before.iloc[0]
        volume_change = (volume / day_ago["total_volume_24h_usd"] - 1) * 100
        dominance_change = dominance - day_ago["btc_dominance_pct"]
    cap_change = market["market_cap_change_24h_pct"]
    with st.grid(4, min_column_width=150):
        card(
            "Total market cap",
            formats.money(market["total_market_cap_usd"]),
            cap_change,
            plain(cap_change, "%"),
            "fct_market_global.total_market_cap_usd",
            trend("total_market_cap_usd"),
            "change unknown",
        )
        card(
            "Volume, 24 h",
            formats.money(volume),
            volume_change,
            plain(volume_change, "%"),
            "fct_market_global.total_volume_24h_usd",
            trend("total_volume_24h_usd"),
            no_change,
        )
        card(
            "Bitcoin dominance",
            formats.percent(dominance),
            dominance_change,
            plain(dominance_change, " points"),
            "fct_market_global.btc_dominance_pct",
            trend("btc_dominance_pct"),
            no_change,
        )
        if mood.empty:
            st.metric(
                "Fear & Greed",
                formats.MISSING,
                "not loaded yet",
                delta_color="gray",
                delta_arrow="off",
                help=shell.definition("fct_sentiment_daily", "value"),
                border=True,
                height="stretch",
            )
        else:
            last = mood.iloc[-1]
            card(
                "Fear & Greed",
                shell.text(f"{last['value']:.0f} · {last['classification']}"),
                last["change_1d"],
                plain(last["change_1d"], " points", 0),
                "fct_sentiment_daily.value",
                mood["value"].tolist(),
                "the day before is missing",
            )


def plain(value: float | None, unit: str, digits: int = 2) -> str:
    """Write a change without its sign: the card draws the arrow."""
    if formats.is_missing(value):
        return ""
    size = f"{abs(value):,.{digits}f}"
    return f"{size}{unit.removesuffix('s') if size == '1' else unit}"


def movers(title: str, coins: pd.DataFrame, column: str, rule: str, empty: str) -> None:
    """A card with a short list of coins and their changes, each a link to its Price page."""
    with st.container(border=True, gap="xxsmall", height="stretch"):
        st.markdown(f"**{title}**", help=rule)
        if coins.empty:
            st.caption(empty)
        tickers, names = labels(coins), labels(coins, "name", "symbol")
        for coin in coins.to_dict("records"):
            crypto_id = coin["crypto_id"]
            with st.container(
                horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", wrap=False
            ):
                st.page_link(
                    "views/price.py",
                    label=f"{shell.text(tickers[crypto_id])} :gray[{shell.text(formats.price(coin['price_usd']))}]",
                    query_params={"coin": crypto_id},
                    help=shell.text(names[crypto_id]),
                )
                st.markdown(shell.coloured_change(coin[column]), width="content")


def top_table(top: pd.DataFrame) -> None:
    """The hundred largest coins: sortable, searchable, exported; a chosen row opens the coin."""
    lines = queries.sparklines().set_index("crypto_id")["closes"]
    shown = pd.DataFrame(
        {
            "#": top["position"],
            "Coin": top["crypto_id"].map(labels(top, "name", "symbol", least=2)),
            "Price": top["price_usd"],
            **{name: top[column] for name, column in CHANGES.items()},
            "Market cap": top["market_cap_usd"],
            "Volume 24 h": top["volume_24h_usd"],
            "Turnover": top["turnover"] * 100,
            "From high": top["ath_change_pct"],
            "Last 7 d": top["crypto_id"].map(lines),
        }
    )
    colours = shell.colours()
    moves = list(CHANGES)
    styled = shown.style.format(
        {
            "Price": formats.price,
            "Market cap": formats.money,
            "Volume 24 h": formats.money,
            "Turnover": formats.percent,
            "From high": formats.percent,
            **dict.fromkeys(moves, formats.change),
        },
        na_rep=formats.MISSING,
    ).map(
        lambda value: (
            ""
            if formats.is_missing(value) or round(value, 2) == 0
            else f"color: {colours.up if value > 0 else colours.down}"
        ),
        subset=moves,
    )
    described = {
        "Price": "price_usd",
        **CHANGES,
        "Market cap": "market_cap_usd",
        "Volume 24 h": "volume_24h_usd",
        "Turnover": "turnover",
        "From high": "ath_change_pct",
    }
    config = {
        name: st.column_config.Column(help=shell.definition("v_top_100", column)) for name, column in described.items()
    }
    config["#"] = st.column_config.NumberColumn(width=44, help=shell.definition("v_top_100", "position"))
    config["Coin"] = st.column_config.TextColumn(width="medium", pinned=True)
    config["Last 7 d"] = st.column_config.LineChartColumn(
        color="gray",
        help="Closes of the last 7 days on Binance, every fourth hour; blank for coins that are not tracked.",
    )
    chosen = shell.table(
        styled,
        column_config=config,
        height=560,
        missing="CoinGecko gives no value, as for a coin younger than the span",
        on_select="rerun",
        selection_mode="single-row",
        key="top_100",
        alt="Table of the hundred largest coins with price, changes, market cap and volume",
    )
    if chosen["selection"]["rows"]:
        crypto_id = top["crypto_id"].iloc[chosen["selection"]["rows"][0]]
        st.switch_page("views/price.py", query_params={"coin": crypto_id})
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"Select a row to open the coin; click a heading to sort. Source: {shell.COINGECKO}, the 7-day line "
            f"{shell.BINANCE}."
        )
        shell.csv_button(
            "CSV",
            lambda: shell.export(
                top, "v_top_100", f"top 100 coins at {formats.instant(top['snapshot_at'].iloc[0])}", "CoinGecko"
            ),
            "tickmart_top_100.csv",
        )


market = queries.market_now()
if market.empty:
    shell.empty_warehouse()
    raise shell.Finished
shell.check_address(change=CHANGES)
mood = queries.sentiment_now()
top = queries.top_100()
st.title(shell.text(analysis.market_sentence(market.iloc[0], None if mood.empty else mood.iloc[-1])), anchor=False)
cards(market.iloc[0], mood)

left, right = st.columns([2, 3], gap="large")
with left:
    shell.heading("How did the ten largest move?", [f"v_top_100.{column}" for column in CHANGES.values()])
    window = st.segmented_control(
        "Over",
        list(CHANGES),
        default="24 h",
        required=True,
        key="change",
        bind="query-params",
        label_visibility="collapsed",
    )
    ten = top.head(10)
    known = ten.dropna(subset=[CHANGES[window]])
    missing, tickers = len(ten) - len(known), labels(known)
    shell.chart(
        shell.once(charts.change_bars, ten, CHANGES[window], shell.colours()),
        "top_10",
        alt=f"Bar chart of the {window} change of the ten largest coins: "
        + ", ".join(
            f"{tickers[crypto_id]} {formats.change(move)}"
            for crypto_id, move in zip(known["crypto_id"], known[CHANGES[window]], strict=True)
        ),
        how="Largest market capitalisation on top." + (f" Without a figure: {missing}." if missing else ""),
        source=shell.COINGECKO,
    )
with right:
    shell.heading("Where is the money, and where does it go?", ["v_top_100.market_cap_usd", "v_top_100.change_24h_pct"])
    shell.chart(
        shell.once(charts.market_treemap, top, shell.colours()),
        "map",
        alt="Tree map of the hundred largest coins: area is market capitalisation, colour the change over 24 h",
        how="Area is market capitalisation; colour is the change over 24 h, full at 10%.",
        source=shell.COINGECKO,
    )

rule = "Among the hundred largest coins with at least 1 M USD of volume in 24 h, worst first."
with st.grid(3, min_column_width=250):
    movers(
        "Gainers, 24 h", queries.gainers(), "change_24h_pct", shell.definition("v_top_gainers"), "No large coin rose."
    )
    movers("Losers, 24 h", analysis.losers(top), "change_24h_pct", rule, "No large coin fell.")
    movers(
        "Trending, 7 d",
        queries.trending(),
        "change_7d_pct",
        shell.definition("v_trending"),
        "No coin rose beyond its usual week on more than its usual trading.",
    )

busiest, trends = queries.busiest(), queries.core_trends()
with st.grid(2, min_column_width=340, gap="medium"):
    with st.container():
        shell.heading(
            "Where did the core coins go this week?",
            ["v_trendline_core.index_100", "v_trendline_core.slope_pct_per_day"],
        )
        slopes = trends.drop_duplicates("crypto_id")
        tickers = labels(slopes)
        told = ", ".join(
            f"{tickers[row.crypto_id]} {formats.signed(row.slope_pct_per_day)}" for row in slopes.itertuples()
        )
        if trends.empty:
            st.caption("No candles yet.")
        else:
            shell.chart(
                shell.once(charts.core_lines, trends, shell.colours()),
                "core",
                alt="Hourly closes of the last 7 days of the five largest tracked coins, from 100; trend per day: "
                f"{told}",
                how=f"Hourly closes from 100. Slope of the straight line through them, per day: {shell.text(told)}.",
                source=shell.BINANCE,
            )
    with st.container():
        tickers = labels(busiest)
        shell.heading("Where is the trading?", ["v_volume_24h.volume_24h_usd", "v_volume_24h.volume_share_pct"])
        shell.chart(
            shell.once(charts.share_bars, busiest, shell.colours()),
            "busiest",
            alt="The ten coins with most volume in 24 h: "
            + ", ".join(
                f"{tickers[row.crypto_id]} {formats.money(row.volume_24h_usd)}" for row in busiest.itertuples()
            ),
            how="Volume of the last 24 h on all exchanges, and its share in that of all coins.",
            source=shell.COINGECKO,
        )

shell.heading(
    "What are the hundred largest coins doing?",
    ["v_top_100.price_usd", "v_top_100.market_cap_usd", "v_top_100.volume_24h_usd", "v_top_100.turnover"],
)
top_table(top)
