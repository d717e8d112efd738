"""The cache of figures and statistics: keyed by the full content of the inputs."""

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from dashboard.charts import base
from dashboard.state.cache import cached

CALLS: list[int] = []


def first_value(frame: pd.DataFrame) -> float:
    CALLS.append(len(frame))
    return float(frame.iloc[0, 0])


def total(frame: pd.DataFrame, times: float = 1.0) -> float:
    return float(frame.to_numpy().sum()) * times


def description(frame: pd.DataFrame) -> str:
    return f"{list(frame.columns)} {list(frame.dtypes)} {list(frame.index)}"


@pytest.fixture(autouse=True)
def empty_cache():
    st.cache_resource.clear()
    CALLS.clear()
    yield
    st.cache_resource.clear()


def test_cached_calls_the_function_once_for_equal_inputs():
    found = [cached(first_value, pd.DataFrame({"value": [4.0, 5.0], "name": ["a", "b"]})) for _ in range(3)]
    assert found == [4.0] * 3
    assert CALLS == [2]


@pytest.mark.parametrize("rows", [3, 200_000])
def test_cached_distinguishes_inputs_that_differ_in_one_cell(rows):
    values = np.arange(float(rows))
    original = cached(total, pd.DataFrame({"value": values}))
    for position in (0, rows // 3, rows - 1):
        changed = values.copy()
        changed[position] += 7
        assert cached(total, pd.DataFrame({"value": changed})) == original + 7


def test_cached_distinguishes_column_names_types_indexes_functions_and_options():
    frame = pd.DataFrame({"value": [1.0, 2.0]})
    for other in (frame, frame.rename(columns={"value": "worth"}), frame.astype("int64"), frame.set_axis([3, 4])):
        assert cached(description, other) == description(other)
        assert cached(total, other) == 3
    assert cached(total, frame, times=2.0) == 6


def test_cached_rejects_closures():
    captured = 3.0
    with pytest.raises(Exception) as error:  # noqa: PT011 - Streamlit wraps the ValueError
        cached(lambda frame: total(frame) + captured, pd.DataFrame({"value": [1.0]}))
    assert isinstance(error.value.__cause__, ValueError)


def test_cached_distinguishes_palettes():
    lines = {"price": pd.Series([0.1, -0.2, 0.3], index=pd.date_range("2026-01-01", periods=3))}
    for mode in ("light", "dark"):
        for pair in base.UP_DOWN:
            colors = base.palette(mode, pair)
            figure = cached(base.correlation_lines, lines, colors)
            assert figure.to_json() == base.correlation_lines(lines, colors).to_json()
