"""The time range of a page: presets and free dates, kept in the URL as `?range=3M` or `?from=2026-08-01&to=2026-09-01`.

Streamlit binds neither to the URL: dates and presets replace each other, and the URL is what the page reads.
"""

from collections.abc import Mapping
from datetime import date

import pandas as pd
import streamlit as st

from dashboard.analysis.bars import Period
from dashboard.state import chart_range
from dashboard.state.query_params import ignored_warning, normalized
from dashboard.text import inline_code

FIRST, LAST = "from", "to"
CUSTOM = "Custom"
DATES = (FIRST, LAST)  # for check_query_params, which leaves their values to this module


def period_from_url(presets: Mapping[str, int | None], default: str, parameter: str = "range") -> Period:
    """Return the range of the URL: dates, else a preset, else the default; name invalid dates in a warning."""
    first, last = (_date(name) for name in DATES)
    if first and last and first > last:
        _ignore(f"{FIRST} {inline_code(str(first))} is after {LAST} {inline_code(str(last))}.")
        first = last = None
    if first or last:
        return Period(CUSTOM, None, first, last)
    name = normalized(st.query_params.get(parameter, ""), presets)
    if name not in presets:
        st.query_params.pop(parameter, None)  # check_query_params names it
        name = default
    return Period(name, presets[name])


def _date(name: str) -> date | None:
    text = st.query_params.get(name, "")
    if not text:
        return None
    try:
        found = date.fromisoformat(text[:10])
        pd.Timestamp(found)  # the range of nanosecond timestamps
    except (ValueError, OverflowError):
        _ignore(f"Invalid {name} {inline_code(text)}. Valid: a date such as 2026-08-01.", name)
        return None
    return found


def _ignore(reason: str, *names: str) -> None:
    ignored_warning(reason)
    for name in names or DATES:
        st.query_params.pop(name, None)


def date_range(
    presets: Mapping[str, int | None],
    default: str,
    loaded: tuple[pd.Timestamp, pd.Timestamp],
    parameter: str = "range",
    label: str = "Range",
) -> Period:
    """Show the presets and the two dates; return the chosen range. `loaded` is the start and end of the history."""
    period = period_from_url(presets, default, parameter)
    since, until = period.bounds(*loaded, whole_days=False)
    start, end = loaded[0].date(), loaded[1].date()
    shown = tuple(min(max(day.date(), start), end) for day in (since, until - pd.Timedelta(seconds=1)))
    st.session_state[parameter] = None if period.is_custom else period.name
    st.session_state["dates"] = (min(shown), max(shown))
    st.segmented_control(label, list(presets), key=parameter, on_change=_choose_preset, args=(parameter, default))
    st.date_input(
        "Dates (UTC)",
        min_value=start,
        max_value=end,
        format="YYYY-MM-DD",
        key="dates",
        on_change=_choose_dates,
        args=(parameter,),
        width=230,
    )
    return period


def _choose_preset(parameter: str, default: str) -> None:
    """Write the preset into the URL in place of dates; a second click on the same one changes nothing."""
    chosen = st.session_state[parameter]
    if chosen is None:
        return
    _drop(*DATES, chart_range.PARAMETER)
    if chosen == default:
        _drop(parameter)
    else:
        st.query_params[parameter] = chosen


def _choose_dates(parameter: str) -> None:
    """Write both dates into the URL in place of a preset; the first of two clicks changes nothing."""
    chosen = st.session_state["dates"]
    if len(chosen) < 2:
        return
    _drop(parameter, chart_range.PARAMETER)
    st.query_params.update({name: day.isoformat() for name, day in zip(DATES, chosen, strict=True)})


def _drop(*names: str) -> None:
    for name in names:
        st.query_params.pop(name, None)
