"""The cache of figures and statistics, shared by all sessions."""

import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

Result = TypeVar("Result")


def _qualified_name(function: FunctionType) -> str:
    """Return the name that identifies a module-level function; closures are rejected since they can capture values."""
    if "<" in function.__qualname__:
        raise ValueError(f"{function.__qualname__} is not a module-level function and cannot be cached")
    return f"{function.__module__}.{function.__qualname__}"


@st.cache_resource(
    ttl=300,
    max_entries=300,
    show_spinner=False,
    hash_funcs={FunctionType: _qualified_name, pd.DataFrame: pickle.dumps, pd.Series: pickle.dumps},
)
def cached(function: Callable[..., Result], *inputs: Any, **options: Any) -> Result:
    """Return the result of a pure function from a cache that all sessions share. Callers must not modify it.

    The key is the full content of the inputs, because Streamlit's own hash samples large tables. Figures and
    statistics are most of a page's cost: Sentiment takes 0.26 s of CPU without this cache.
    """
    return function(*inputs, **options)
