"""URL parameters: normalizes and checks their values, and names the ignored ones."""

from collections.abc import Collection

import streamlit as st

from dashboard.state import chart_range
from dashboard.text import inline_code

ON_OFF = ("true", "false")
SWITCH_VALUES = dict.fromkeys(("true", "1", "yes"), "true") | dict.fromkeys(("false", "0", "no"), "false")
MULTI_VALUED = ("over", "panes", "live")
MAX_NOTES = 5


def check_query_params(*free: str, **choices: Collection[str]) -> None:
    """Normalize the values of `choices` and list invalid values and unknown parameters in a warning.

    Letter case and spaces do not matter; switches (ON_OFF) also accept 1, 0, yes and no. `free` parameters can have any
    value. Must run before the widgets: Streamlit removes invalid values of bound widgets from the URL.
    """
    notes = []
    for name, valid in choices.items():
        values = [value for value in st.query_params.get_all(name) if value]
        accepted = [normalized(value, valid) for value in values]
        if accepted != values and accepted[0] in valid:
            # Not st.query_params: Streamlit seeds bound widgets from the URL as requested.
            state = [value == "true" for value in accepted] if valid is ON_OFF else accepted
            st.session_state[name] = state if name in MULTI_VALUED else state[0]
        notes += [
            f"Unknown {name} {inline_code(value)}. Valid: {', '.join(valid)}"
            for value in accepted
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


def normalized(value: str, valid: Collection[str]) -> str:
    """Return the valid spelling of a value, or the value as it is."""
    known = SWITCH_VALUES if valid is ON_OFF else {_key(name): name for name in valid}
    return known.get(_key(value), value)


def _key(value: str) -> str:
    return value.casefold().replace(" ", "")


def ignored_warning(reason: str) -> None:
    """Show which URL parameters are ignored and why."""
    st.warning(reason, title="Ignored URL parameters", icon=":material/link_off:")
