"""CSV downloads: a header in line 1, the date first, no comment lines; a link to the definitions beside each."""

import re
from collections.abc import Callable
from decimal import Decimal

import pandas as pd
import streamlit as st

from dashboard.text import csv

TIME_NAME = re.compile(r"(date|\w+_(at|on))", re.ASCII)


def download(
    frame: pd.DataFrame | Callable[[], pd.DataFrame],
    file_name: str,
    label: str = "Download CSV",
    *,
    relation: str | None,
) -> None:
    """Show a button that downloads the rows; a function is called on click, without a rerun of the page.

    Beside it a link opens the definitions, units and sources of the columns of `relation`, which the rows have or are
    computed from.
    """
    name = re.sub(r"[^\w.-]", "_", file_name)
    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        st.download_button(
            label,
            lambda: csv_file(frame() if callable(frame) else frame),
            name,
            "text/csv",
            key=f"csv {name}",
            icon=":material/download:",
            on_click="ignore",
            help="Times are UTC.",
        )
        if relation:
            st.markdown(f"[:material/help: Columns](./dictionary?search={relation})", width="content")


def csv_file(frame: pd.DataFrame) -> bytes:
    """Return a CSV file in UTF-8 with the first column of dates or times in front.

    Timestamps are ISO 8601 in UTC with a Z, dates without a time are YYYY-MM-DD. Decimals and numbers in text keep all
    digits; no number has an exponent.
    """
    times = [name for name in frame.columns if _is_time(frame[name], str(name))][:1]
    ordered = frame[[*times, *(name for name in frame.columns if name not in times)]]
    return csv(ordered.apply(_written)).encode()


def _is_time(values: pd.Series, name: str) -> bool:
    return pd.api.types.is_datetime64_any_dtype(values) or TIME_NAME.fullmatch(name) is not None


def _written(values: pd.Series) -> pd.Series:
    """Return a column whose cells the CSV writer writes exactly."""
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert("UTC")
    if pd.api.types.is_datetime64_dtype(values):  # a column of Postgres' type date
        days = bool((values.dropna() == values.dropna().dt.normalize()).all())
        return values.dt.strftime("%Y-%m-%d" if days else "%Y-%m-%dT%H:%M:%SZ")
    return values.map(lambda cell: f"{cell:f}" if isinstance(cell, Decimal) else cell)
