"""URL parameters: normalizes and checks their values, and holds the controls that several pages bind to them."""

from collections.abc import Collection

import streamlit as st

from dashboard.analysis.bars import RANGES
from dashboard.components import chart_range
from dashboard.text import inline_code

ON_OFF = ("true", "false")
SWITCH_VALUES = dict.fromkeys(("true", "1", "yes"), "true") | dict.fromkeys(("false", "0", "no"), "false")
MAX_NOTES = 5


def check_query_params(*free: str, **choices: Collection[str]) -> None:
    """Normalize the values of `choices` and list invalid values and unknown parameters in a warning.

    Letter case and spaces do not matter; switches (ON_OFF) also accept 1, 0, yes and no. `free` parameters can have any
    value. Must run before the widgets: Streamlit removes invalid values of bound widgets from the URL.
    """
    notes = []
    for name, valid in choices.items():
        values = [value for value in st.query_params.get_all(name) if value]
        known = SWITCH_VALUES if valid is ON_OFF else {_key(value): value for value in valid}
        normalized = [known.get(_key(value), value) for value in values]
        if normalized != values:
            st.query_params[name] = normalized
        notes += [
            f"Unknown {name} {inline_code(value)}. Valid: {', '.join(valid)}"
            for value in normalized
            if value not in valid
        ]
    for name in set(st.query_params) - {*free, *choices, "colors", chart_range.PARAMETER}:
        notes.append(f"Unknown parameter {inline_code(name)}")
    if chart_range.PARAMETER in st.query_params and chart_range.from_url() is None:
        value = inline_code(st.query_params[chart_range.PARAMETER])
        notes.append(f"Invalid {chart_range.PARAMETER} {value}. Valid: from,until or from,until,low,high")
        chart_range.clear()
    if notes:
        ignored_warning(". ".join(notes[:MAX_NOTES]) + ".")


def _key(value: str) -> str:
    return value.casefold().replace(" ", "")


def ignored_warning(reason: str) -> None:
    """Show which URL parameters are ignored and why."""
    st.warning(reason, title="Ignored URL parameters", icon=":material/link_off:")


def range_selector() -> str:
    """Show the time range control of Price and Compare; return the chosen range."""
    return st.segmented_control(
        "Range",
        list(RANGES),
        default="1Y",
        required=True,
        key="range",
        bind="query-params",
        on_change=chart_range.clear,
    )
