"""The screener of the Overview: filters, sort and watchlist in the URL, and the table whose rows open a coin."""

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis.screener import Filters, ordered, select
from dashboard.components.charts import BINANCE, COINGECKO, heading
from dashboard.components.csv_download import download
from dashboard.components.definitions import definition
from dashboard.components.tables import table
from dashboard.components.theme import color_pair, palette, shows_logos
from dashboard.labels import labels
from dashboard.state.query_params import ON_OFF
from dashboard.state.remembered import remember, remembered
from dashboard.text import escaped, nbsp_units, visible

MINIMUMS = {"any": 0, "1M": 1e6, "10M": 1e7, "100M": 1e8, "1B": 1e9, "10B": 1e10}
ALL_CATEGORIES = "all"
# Column of the table -> column of v_screener. Price and 24h come first: a phone shows them without scrolling.
COLUMNS = {
    "Price": "price_usd",
    "24h": "change_24h_pct",
    "1h": "change_1h_pct",
    "7d": "change_7d_pct",
    "30d": "change_30d_pct",
    "1y": "change_1y_pct",
    "Market cap": "market_cap_usd",
    "24h volume": "volume_24h_usd",
    "Volume / cap": "turnover",
    "FDV": "fully_diluted_valuation_usd",
    "Supply": "circulating_supply",
    "From ATH": "ath_change_pct",
}
CHANGES = ("24h", "1h", "7d", "30d", "1y")
SORTABLE = {"Market cap": "market_cap_usd", **COLUMNS, "Coin": "name"}
ORDERS = ("descending", "ascending")
KEY = "screener"
# Names of the URL parameters with any value, and those with a fixed choice.
FREE_PARAMETERS = ("search", "watch")
CHOICES = {
    "volume": MINIMUMS,
    "cap": MINIMUMS,
    "sort": SORTABLE,
    "order": ORDERS,
    "tracked": ON_OFF,
    "unpegged": ON_OFF,
    "watchlist": ON_OFF,
}

SAVED = "overview_parameters"


def categories(coins: pd.DataFrame) -> list[str]:
    """Return the choices of the category filter."""
    return [ALL_CATEGORIES, *sorted(coins["category"].dropna().unique(), key=str.lower)]


def restore_parameters() -> None:
    """Restore the Overview's URL parameters after Back from a coin.

    A page link with parameters leaves `/?coin=...` in the browser's history, between the Overview and the coin. The
    page reruns, because after Back Streamlit takes the controls from that address alone.
    """
    saved = st.session_state.get(SAVED)
    if saved is not None and set(st.query_params) - {"colors"} == {"coin"}:
        st.query_params.from_dict(saved)
        st.rerun()


def save_parameters() -> None:
    """Keep the Overview's URL parameters for `restore_parameters`."""
    st.session_state[SAVED] = {name: st.query_params.get_all(name) for name in st.query_params}


def screener(coins: pd.DataFrame, sparklines: pd.DataFrame) -> None:
    """Show the filters and the table of all coins of the snapshot; a click on a row opens the coin."""
    heading("Screener", [f"v_screener.{name}" for name in ("price_usd", "market_cap_usd", "turnover")])
    filters = _filters(coins)
    column, ascending = SORTABLE[st.session_state["sort"]], st.session_state["order"] == "ascending"
    shown = ordered(select(coins, filters), column, ascending=ascending)
    st.caption(
        f"{len(shown)} of {len(coins)} coins, sorted by {st.session_state['sort']}, {st.session_state['order']}. "
        "A click on a row opens the coin, a click on a column title sorts."
    )
    if shown.empty:
        st.info("No coin passes all filters.", title="No results")
    else:
        opened = _table(shown, coins, sparklines)
        if opened is not None:
            st.switch_page("views/price.py", query_params={"coin": opened})
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "Prices are CoinGecko's average over exchanges at "
            f"{nbsp_units(formats.instant(coins['snapshot_at'].iloc[0]))}; the Price page shows Binance. "
            f"Source: {COINGECKO}; 30d, 1y and sparklines {BINANCE}, tracked coins only."
        )
        download(shown.drop(columns=["image_url", "is_pegged"]), "tickmart_screener.csv", relation="v_screener")
    remember("watchlist", ",".join(st.session_state["watch"]))


def _filters(coins: pd.DataFrame) -> Filters:
    """Show the controls and return what they select."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input("Search", key="search", bind="query-params", placeholder="Name, ticker or id", width=220)
        with st.popover("Filters", icon=":material/filter_list:"):
            filters = _filter_controls(coins)
        with st.popover("Sort", icon=":material/sort:"):
            st.selectbox("Sort by", list(SORTABLE), key="sort", bind="query-params")
            st.segmented_control("Order", ORDERS, default=ORDERS[0], required=True, key="order", bind="query-params")
        with st.popover("Watchlist", icon=":material/star:"):
            watched = _watchlist(coins)
    only = watched if st.session_state["watchlist"] else None
    return replace(filters, search=search, only=only)


def _filter_controls(coins: pd.DataFrame) -> Filters:
    volume = st.selectbox("24h volume, at least (USD)", list(MINIMUMS), key="volume", bind="query-params")
    cap = st.selectbox("Market cap, at least (USD)", list(MINIMUMS), key="cap", bind="query-params")
    category = st.selectbox("Category", categories(coins), key="category", bind="query-params", format_func=visible)
    tracked = st.toggle(
        "Tracked coins only", key="tracked", bind="query-params", help=definition("v_screener", "is_tracked")
    )
    unpegged = st.toggle(
        "Exclude stablecoins and wrapped tokens",
        key="unpegged",
        bind="query-params",
        help=definition("v_screener", "is_pegged"),
    )
    return Filters(
        min_volume_usd=MINIMUMS[volume],
        min_cap_usd=MINIMUMS[cap],
        category=None if category == ALL_CATEGORIES else category,
        tracked_only=tracked,
        without_pegged=unpegged,
    )


def _watchlist(coins: pd.DataFrame) -> list[str]:
    """Show the watchlist, which the URL and this browser keep; return its crypto_ids."""
    known = coins["crypto_id"].tolist()
    if "watch" not in st.session_state and "watch" not in st.query_params:
        saved = (remembered("watchlist") or "").split(",")
        st.session_state["watch"] = [crypto_id for crypto_id in saved if crypto_id in known]
    names = labels(coins, "name", "symbol", min_parts=2)
    watched = st.multiselect(
        "Coins",
        known,
        key="watch",
        bind="query-params",
        placeholder="Add a coin",
        help="Coins by CoinGecko's id. Kept in the address and in this browser.",
    )
    st.caption(escaped(", ".join(names[crypto_id] for crypto_id in watched)) or "No coins yet.")
    st.toggle("Watchlist only", key="watchlist", bind="query-params")
    return list(watched)


def _table(shown: pd.DataFrame, coins: pd.DataFrame, sparklines: pd.DataFrame) -> str | None:
    """Show the table and return the crypto_id of the row that was clicked."""
    with_logos = shows_logos()
    config: dict[str, Any] = {
        name: st.column_config.Column(help=definition("v_screener", column), width=74 if name in CHANGES else 84)
        for name, column in COLUMNS.items()
    }
    config["#"] = st.column_config.NumberColumn(width=38, help=definition("v_screener", "position"))
    config["Logo"] = st.column_config.ImageColumn("", width=36)
    config["Coin"] = st.column_config.TextColumn(width=132, pinned=True)
    config["Last 7 days"] = st.column_config.LineChartColumn(
        width=96,
        color="auto" if color_pair() == "green / red" else "gray",  # auto is green and red
        help="Binance closes of the last 7 days, every fourth hour; blank for untracked coins.",
    )
    with st.container(key=KEY):
        event = table(
            _styled(shown, coins, sparklines, with_logos=with_logos),
            column_config=config,
            height=560,
            missing="No value: CoinGecko reports none, or the coin is untracked (30d, 1y) or younger than the window",
            on_select=_sort_by_selected_column,
            selection_mode=["single-column", "single-cell"],
            key=_table_key(),
            alt=f"Table of {len(shown)} coins with price, changes, market cap, volume and supply",
        )
    cells = event["selection"]["cells"]
    return shown["crypto_id"].iloc[cells[0][0]] if cells and cells[0][0] < len(shown) else None


def _table_key() -> str:
    """Return the element key: a new one per order, so that no column stays selected after a click on its title."""
    return f"{KEY} {st.session_state['sort']} {st.session_state['order']}"


def _sort_by_selected_column() -> None:
    """Sort by the column whose title was clicked; a second click turns the order around."""
    columns = st.session_state[_table_key()]["selection"]["columns"]
    if not columns:
        return
    name = "Market cap" if columns[0] == "#" else columns[0]
    if name not in SORTABLE:
        return
    first = ORDERS[1] if name == "Coin" else ORDERS[0]
    again = st.session_state["sort"] == name and st.session_state["order"] == first
    st.session_state["order"] = next(order for order in ORDERS if order != first) if again else first
    st.session_state["sort"] = name


def _styled(shown: pd.DataFrame, coins: pd.DataFrame, sparklines: pd.DataFrame, *, with_logos: bool) -> Any:
    """Return the coins as a formatted and colored table."""
    frame = pd.DataFrame(
        {
            "#": shown["position"],
            **({"Logo": shown["image_url"]} if with_logos else {}),
            "Coin": shown["crypto_id"].map(labels(coins, "name", "symbol", min_parts=2)),
            **{name: shown[column] for name, column in COLUMNS.items()},
            "Last 7 days": shown["crypto_id"].map(sparklines.set_index("crypto_id")["closes"]),
        }
    )
    frame["Volume / cap"] *= 100
    colors = palette()

    def change_style(value: float) -> str:
        if formats.is_missing(value) or round(value, 2) == 0:
            return ""
        return f"color: {colors.up if value > 0 else colors.down}"

    return frame.style.format(
        {
            "Price": formats.price,
            **dict.fromkeys(("Market cap", "24h volume", "FDV"), formats.money),
            "Volume / cap": formats.percent,
            "Supply": formats.amount,
            "From ATH": formats.percent,
            **dict.fromkeys(CHANGES, formats.change),
        },
        na_rep=formats.MISSING,
    ).map(change_style, subset=list(CHANGES))
