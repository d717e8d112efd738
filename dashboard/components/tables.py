"""Tables with alternative text."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.text import nbsp_units, visible

UTC_MINUTE = "YYYY-MM-DD HH:mm z"


def table(frame: Any, *, alt: str, missing: str, **options: Any) -> Any:
    """Show a DataFrame or Styler with its alternative text; `missing` explains the dash below a table that has one."""
    if isinstance(frame, pd.DataFrame):
        texts = frame.select_dtypes(["object", "string"])
        frame = frame.assign(**{name: texts[name].map(_visible) for name in texts})
    options = {"hide_index": True, **options}
    shown = st.dataframe(frame, placeholder=formats.MISSING, alt=visible(alt), **options)
    if formats.has_missing_cells(getattr(frame, "data", frame)):
        st.caption(f"{formats.MISSING} {nbsp_units(missing)}.")
    return shown


def _visible(cell: Any) -> Any:
    return visible(cell, keep="\n") if isinstance(cell, str) else cell


def time_column(label: str, **options: Any) -> Any:
    """Return the configuration of a column of UTC timestamps."""
    return st.column_config.DatetimeColumn(label, format=UTC_MINUTE, timezone="UTC", **options)


@contextmanager
def data_and_export(key: str = "data", title: str = "Data table & export") -> Iterator[bool]:
    """Show the expander for rows and their CSV, bound to the URL; yield whether it is open.

    Rows are rendered only when open: on Price they are another 120 kB per interaction.
    """
    expander = st.expander(title, key=key, on_change="rerun", bind="query-params")
    with expander:
        yield bool(expander.open)
