"""The cache of query results."""

from collections.abc import Callable
from typing import ParamSpec

import pandas as pd
import streamlit as st

Parameters = ParamSpec("Parameters")


def cached_query(ttl_s: int) -> Callable[[Callable[Parameters, pd.DataFrame]], Callable[Parameters, pd.DataFrame]]:
    """Cache up to 200 results per query for `ttl_s`; expired ones are served while a new one loads in the background.

    Errors are not cached.
    """
    return st.cache_data(ttl=ttl_s, refresh_mode="background", max_entries=200, show_spinner=False)


def live_query(ttl_s: int) -> Callable[[Callable[Parameters, pd.DataFrame]], Callable[Parameters, pd.DataFrame]]:
    """Cache results for `ttl_s`, without expired ones: the session that finds one expired loads it for all, which wait.

    Errors are not cached.
    """
    return st.cache_data(ttl=ttl_s, max_entries=50, show_spinner=False)
