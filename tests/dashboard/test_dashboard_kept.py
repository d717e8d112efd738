"""What is kept between visitors is made of exactly what was read: never of older rows or another choice."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Event

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from dashboard import shell
from dashboard.charts import base
from tests.dashboard.test_dashboard_pages import figure

CALLS: list[int] = []


def count_and_first(frame: pd.DataFrame) -> float:
    CALLS.append(len(frame))
    return float(frame.iloc[0, 0])


def total(frame: pd.DataFrame, times: float = 1.0) -> float:
    return float(frame.to_numpy().sum()) * times


def described(frame: pd.DataFrame) -> str:
    return f"{list(frame.columns)} {list(frame.dtypes)} {list(frame.index)}"


@pytest.fixture(autouse=True)
def nothing_kept():
    st.cache_resource.clear()
    CALLS.clear()
    yield
    st.cache_resource.clear()


def test_equal_inputs_are_worked_on_once():
    found = [shell.once(count_and_first, pd.DataFrame({"value": [4.0, 5.0], "name": ["a", "b"]})) for _ in range(3)]
    assert found == [4.0] * 3
    assert CALLS == [2]


@pytest.mark.parametrize("rows", [3, 200_000])
def test_one_changed_cell_makes_another_result(rows):
    values = np.arange(float(rows))
    whole = shell.once(total, pd.DataFrame({"value": values}))
    for at in (0, rows // 3, rows - 1):
        changed = values.copy()
        changed[at] += 7
        assert shell.once(total, pd.DataFrame({"value": changed})) == whole + 7


def test_names_types_rows_functions_and_choices_are_part_of_what_is_kept():
    frame = pd.DataFrame({"value": [1.0, 2.0]})
    for other in (frame, frame.rename(columns={"value": "worth"}), frame.astype("int64"), frame.set_axis([3, 4])):
        assert shell.once(described, other) == described(other)
        assert shell.once(total, other) == 3
    assert shell.once(total, frame, times=2.0) == 6


def test_a_function_that_could_hide_a_value_is_refused():
    hidden = 3.0
    with pytest.raises(Exception) as refused:  # noqa: PT011 - Streamlit's own error around ours
        shell.once(lambda frame: total(frame) + hidden, pd.DataFrame({"value": [1.0]}))
    assert "cannot be kept" in str(refused.value.__cause__)


def test_each_palette_has_a_figure_of_its_own():
    days = pd.date_range("2026-01-01", periods=3)
    lines = {"price": pd.Series([0.1, -0.2, 0.3], index=days)}
    for mode in ("light", "dark"):
        for pair in shell.COLOUR_NAMES:
            colours = base.palette(mode, pair)
            kept = shell.once(base.correlation_lines, lines, colours)
            assert kept.to_json() == base.correlation_lines(lines, colours).to_json()


@pytest.mark.parametrize(
    ("page", "chart", "statement"),
    [
        ("price", "Drawdown", "update marts.fct_daily_summary set drawdown_pct = drawdown_pct - 1"),
        ("sentiment", "Bitcoin's daily close", "update marts.fct_sentiment_daily set btc_close = btc_close * 1.5"),
        (
            "compare",
            "Closes indexed",
            "update marts.fct_daily_summary set close = high",
        ),
    ],
)
def test_charts_follow_rows_that_are_read_anew(visit, server, page, chart, statement):
    name = f"restated_{page}"
    server.copy_database(name, "tickmart")
    app = visit(server.reader(name), page)
    before = figure(app, chart)
    app.run()
    assert figure(app, chart) == before
    server.execute(name, statement)
    st.cache_data.clear()  # as when the minutes are over for which rows are kept; what was made of them still stands
    app.run()
    assert not app.exception
    assert figure(app, chart) != before


def test_of_many_visits_at_once_few_are_worked_on():
    crowd = Barrier(4)

    def visit(_: int) -> bool:
        with shell.turn():
            try:
                crowd.wait(0.2)  # passes only where four are inside at the same time
            except BrokenBarrierError:
                return False
            return True

    with ThreadPoolExecutor(12) as visitors:
        assert not any(visitors.map(visit, range(12)))


def test_visits_that_hang_do_not_keep_others_out_and_faults_give_their_turn_back(monkeypatch):
    monkeypatch.setattr(shell, "PATIENCE_S", 0.05)
    released, inside = Event(), Barrier(4)

    def hang(_: int) -> None:
        with shell.turn():
            inside.wait(10)
            released.wait(10)

    with ThreadPoolExecutor(3) as visitors:
        hanging = [visitors.submit(hang, n) for n in range(3)]
        inside.wait(10)
        with shell.turn():
            released.set()
        for visit in hanging:
            visit.result()
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), shell.turn():
            1 / 0  # noqa: B018
    monkeypatch.setattr(shell, "PATIENCE_S", None)  # from here on a turn that was not given back hangs this test
    with shell.turn(), shell.turn(), shell.turn():
        pass
