"""Colors of the current session: light or dark, and the chosen pair for up and down."""

import streamlit as st

from dashboard import formats
from dashboard.charts import base

DEFAULT_PAIR = "blue / orange"
STREAMLIT_COLORS = {
    "blue / orange": ("blue", "orange"),
    "green / red": ("green", "red"),
    "red / green": ("red", "green"),
}


def color_pair() -> str:
    """Return the name of the chosen colors for up and down."""
    return st.session_state.get("color_pair", DEFAULT_PAIR)


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
