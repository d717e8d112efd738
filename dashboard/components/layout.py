"""Header and footer of every page: freshness banner, display options, attribution."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import streamlit as st

from dashboard import formats, health
from dashboard.components import narrow, theme
from dashboard.components.charts import BINANCE, BLOCKCHAIN, COIN_METRICS, COINGECKO, FEAR_GREED, OKX
from dashboard.components.messages import QUALITY_PAGE
from dashboard.components.theme import DEFAULT_PAIR, STREAMLIT_COLORS, color_pair, shows_logos
from dashboard.database import MartsError
from dashboard.pages import PAGES
from dashboard.queries import operations
from dashboard.state.query_params import ignored_warning
from dashboard.state.remembered import remember
from dashboard.text import inline_code, nbsp_units

BANNER_INTERVAL_S = 60
# The datasets with data of each hour.
HOURLY = ("binance_klines", "coingecko_markets")
# The datasets that the page Live shows by itself.
LIVE = ("okx_trades", "okx_tickers")


def header() -> None:
    """Show the freshness banner, the display options, and a warning for an unknown page or late data."""
    narrow.style()
    theme.style()
    _sync_color_pair()
    left, right = st.columns([5, 1], vertical_alignment="center")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        narrow.pages_menu()
        _display_options()
    datasets = _datasets()
    with left:
        _freshness_banner(_newest(datasets))
    _unknown_page()
    late = [] if datasets is None else datasets[datasets["freshness_health"].isin(["Warning", "Degraded"])].itertuples()
    if details := [f"{health.title(row.dataset)}: {age_and_sla(row)}" for row in late]:
        st.warning(
            ". ".join(details) + ". The pages show the newest data loaded.",
            title="Data is older than its SLA",
            icon=":material/schedule:",
        )


def _unknown_page() -> None:
    """Name the page of an address that does not exist; Streamlit shows the first page there."""
    name = unquote(urlsplit(st.context.url or "").path.rpartition("/")[2])
    if name and name not in {page.name for page in PAGES}:
        titles = ", ".join(page.title for page in PAGES)
        st.warning(
            f"There is no page {inline_code(name)}. This is {PAGES[0].title}. Pages: {titles}.",
            title="Page not found",
            icon=":material/link_off:",
        )


def _sync_color_pair() -> None:
    """Take the color pair from the URL, or write the chosen one into it.

    The choice is not bound to the URL by Streamlit, which drops bound parameters on a page change.
    """
    requested = st.query_params.get("colors")
    if requested in STREAMLIT_COLORS:
        st.session_state["color_pair"] = requested
    if color_pair() != DEFAULT_PAIR:
        st.query_params["colors"] = color_pair()
    elif requested is not None:
        del st.query_params["colors"]
    if requested and requested not in STREAMLIT_COLORS:
        ignored_warning(f"Unknown colors {inline_code(requested)}. Valid: {', '.join(STREAMLIT_COLORS)}.")


def _choose_color_pair() -> None:
    st.session_state["color_pair"] = st.query_params["colors"] = st.session_state["color_choice"]


def _display_options() -> None:
    st.session_state["color_choice"], st.session_state["logo_choice"] = color_pair(), shows_logos()
    with st.popover("Display", type="tertiary", icon=":material/palette:"):
        st.radio(
            "Up/down colors",
            list(STREAMLIT_COLORS),
            key="color_choice",
            on_change=_choose_color_pair,
            help="Blue and orange are distinguishable with color vision deficiency.",
        )
        st.toggle(
            "Coin logos",
            key="logo_choice",
            on_change=_choose_logos,
            help="Loads an image of each coin from CoinGecko. Needs internet access.",
        )
        st.caption("This browser remembers both. Light or dark follows your system; the ⋮ menu overrides it.")


def _choose_logos() -> None:
    st.session_state["logos"] = st.session_state["logo_choice"]


def _datasets() -> pd.DataFrame | None:
    """Return the health of the datasets, None without a database."""
    try:
        return operations.dataset_health()
    except MartsError:
        return None


def _newest(datasets: pd.DataFrame | None) -> tuple[Any, ...]:
    """Return what identifies the loaded data, without live prices, which are newer each second."""
    if datasets is None:
        return ()
    return tuple(datasets.loc[~datasets["dataset"].isin(LIVE), "last_data_at"].astype(str))


@st.fragment(run_every=BANNER_INTERVAL_S)
def _freshness_banner(shown: tuple[Any, ...]) -> None:
    """Show age and health of the data with a link to Data quality, and a button when newer data than `shown` is loaded.

    The banner updates itself every minute, so that the age of an open page is right.
    """
    try:
        datasets = operations.dataset_health()
    except MartsError as error:
        missing = "Marts not built yet" if health.has_data(health.read_status()) else "No data loaded yet"
        state = missing if error.reason == "empty" else "Database unavailable"
        st.page_link(QUALITY_PAGE, label=f":red[**{state}** · details]", icon=":material/error:")
        return
    level = health.worst(datasets["health"])
    updated_at = oldest_hourly(datasets)
    age = (
        f"Updated {formats.instant(updated_at)} · {formats.duration(datetime.now(UTC) - updated_at)} ago"
        if updated_at
        else "No data loaded yet"
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            QUALITY_PAGE,
            label=f"{age} · :{health.COLORS[level]}[**{level}**]",
            icon=health.ICONS[level],
            width="content",
            help="  \n".join(
                f"{health.title(row.dataset)}: {row.health}, {age_and_sla(row)}" for row in datasets.itertuples()
            ),
        )
        if _newest(datasets) != shown and st.button(
            "New data: show it", key="show_new_data", icon=":material/refresh:", type="primary"
        ):
            st.cache_data.clear()  # an expired result would be shown once more while it refreshes
            st.rerun()


def oldest_hourly(datasets: pd.DataFrame) -> datetime | None:
    """Return the older of the newest candle's end and the newest snapshot; daily datasets do not count."""
    known = datasets.loc[datasets["dataset"].isin(HOURLY), "last_data_at"].dropna()
    return None if known.empty else known.min().to_pydatetime()


def age_and_sla(row: Any) -> str:
    """Return the age of a dataset's newest data and its SLA."""
    if formats.is_missing(row.last_data_at):
        return "never loaded"
    sla = formats.duration(timedelta(seconds=row.sla_seconds))
    return f"newest data {formats.duration(datetime.now(UTC) - row.last_data_at)} old (SLA {sla})"


def footer() -> None:
    """Show the attribution of the sources and the disclaimer; let the browser remember the display choices."""
    st.divider()
    st.caption(
        nbsp_units(
            f"Exchange prices and volumes: {BINANCE} spot, in USDT; live prices: {OKX}. "
            f"Market capitalization, ranks and 24 h volumes: {COINGECKO}. Sentiment: {FEAR_GREED}. "
            f"On-chain: {COIN_METRICS}, {BLOCKCHAIN}. "
            "All times are UTC. **Not financial advice.**"
        )
    )
    with st.container(gap=None):
        remember("colors", "" if color_pair() == DEFAULT_PAIR else color_pair())
        remember("logos", "on" if shows_logos() else "")
