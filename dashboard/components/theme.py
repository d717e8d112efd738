"""Display choices of the current session: light or dark, the pair of colors for up and down, coin logos."""

import streamlit as st

from dashboard import formats
from dashboard.charts import base
from dashboard.state.remembered import remembered

DEFAULT_PAIR = "blue / orange"
STREAMLIT_COLORS = {
    "blue / orange": ("blue", "orange"),
    "green / red": ("green", "red"),
    "red / green": ("red", "green"),
}

MULTISELECTS = ("coins", "over", "compare", "watch", "live")  # their element keys

HEALTH_COLORS = {  # contrast of at least 4.5:1 on the light and on the dark background
    "Healthy": ("#1A7F37", "#3DD68C"),
    "Unknown": ("#636B75", "#9AA0A8"),
    "Warning": ("#9A5B00", "#F0B93A"),
    "Degraded": ("#C62828", "#FF7B72"),
}


def style() -> None:
    """Make the chips of chosen coins and indicators readable: Streamlit writes white on the primary color.

    On the dark background no primary color has a contrast of 4.5:1 both to white and to the background.
    """
    if st.context.theme.type == "dark":
        chips = ", ".join(f".st-key-{key} span[title]" for key in MULTISELECTS)
        st.html(f"<style>:is({chips}) {{ color: #14161A; }}</style>")


def health_color(text: str) -> str:
    """Return the color of a level of health, with or without its symbol."""
    light, dark = HEALTH_COLORS.get(text.rpartition(" ")[2], HEALTH_COLORS["Unknown"])
    return dark if st.context.theme.type == "dark" else light


def color_pair() -> str:
    """Return the name of the colors for up and down: this session's choice, else the browser's last one."""
    chosen = st.session_state.get("color_pair") or remembered("colors")
    return chosen if chosen in STREAMLIT_COLORS else DEFAULT_PAIR


def shows_logos() -> bool:
    """Return whether tables load coin logos from CoinGecko. Off by default: without internet each one is an error."""
    return bool(st.session_state.get("logos", remembered("logos") == "on"))


def palette() -> base.Palette:
    """Return the chart colors of this session."""
    return base.palette(st.context.theme.type or "light", color_pair())


def delta_color(value: float | None) -> str:
    """Return Streamlit's color name for a change; gray for zero or unknown."""
    if formats.is_missing(value) or round(value, 2) == 0:
        return "gray"
    up, down = STREAMLIT_COLORS[color_pair()]
    return up if value > 0 else down


def colored_change(value: float | None) -> str:
    """Return a change as colored Markdown."""
    return f":{delta_color(value)}[{formats.change(value)}]"
