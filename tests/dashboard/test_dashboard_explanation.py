"""Explain a value on Price: the window of each formula, its completeness, and the command to recalculate it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from dashboard.analysis.windows import daily_window, hourly_window
from tests.dashboard.page_tools import page_text
from tests.dashboard.warehouse import HALTED_HOURS_AGO

DOCS = Path(__file__).parents[2] / "dbt_project/models/marts/prices/_prices__docs.md"
BLOCKS = [block.partition("{% enddocs %}")[0] for block in DOCS.read_text().split("{% docs ")[1:]]
FORMULAS = {block.split()[0]: found[1] for block in BLOCKS if (found := re.search(r"^Formula: (.+)$", block, re.M))}
AT, FIRST = pd.Timestamp("2026-03-05 10:00", tz="UTC"), pd.Timestamp("2025-03-01")


@pytest.mark.parametrize(
    ("metric", "bars"),
    [
        ("close", 1), ("vwap_1h", 1), ("return_1h_pct", 2), ("log_return_1h", 2), ("change_7d_pct", 2),
        ("vwap_session", 11), ("vwap_24h", 24), ("ma_7d", 168), ("volatility_24h", 25), ("volatility_30d_hourly", 721),
    ],
)  # fmt: skip
def test_the_window_of_an_hourly_metric_is_that_of_its_formula(metric, bars):
    window = hourly_window(FORMULAS[metric], AT)
    assert (len(window.bars), window.bars[-1]) == (bars, AT)


@pytest.mark.parametrize(
    ("metric", "days"),
    [
        ("open", 1), ("vwap", 1), ("return_pct", 2), ("log_return", 2), ("sma_7", 7), ("bb_upper_20", 20),
        ("volatility_30d", 31), ("beta_btc_90d", 91), ("sharpe_90d", 91), ("ema_12", 370), ("macd", 370),
        ("macd_signal", 370), ("rsi_14", 370), ("atr_14", 370), ("average_gain_14", 370), ("drawdown_pct", 370),
        ("highest_close", 370),
    ],
)  # fmt: skip
def test_the_window_of_a_daily_metric_is_that_of_its_formula(metric, days):
    assert len(daily_window(FORMULAS[metric], AT.tz_localize(None).normalize(), FIRST).bars) == days


def test_nothing_is_explained_until_the_user_opens_it(rendered):
    assert "tickmart explain" not in page_text(rendered("marts", "price", coin="bitcoin"))


def test_the_newest_value_is_explained_with_the_command(open_page, marts):
    app = open_page(marts, "price", coin="ethereum", explain="true")
    assert not app.exception
    text = page_text(app)
    newest = app.date_input(key="explained_Hour_date").value
    assert f"tickmart explain ethereum fct_prices.volatility_30d {newest:%Y-%m-%d}T" in text
    # Three hours of the last month are halted.
    assert "718 of 721 hours have a bar" in text
    assert "Formula: " in text


def test_a_daily_value_is_explained(open_page, marts):
    app = open_page(marts, "price", coin="bitcoin", explain="true")
    app.session_state["explained_bar"] = "Day"
    app.run()
    app.selectbox(key="explained_fct_daily_summary_metric").select("sma_7").run()
    assert not app.exception
    assert "165 of 168 hours have a bar" in page_text(app)
    assert "tickmart explain bitcoin fct_daily_summary.sma_7 20" in page_text(app)


def test_an_hour_without_a_bar_has_no_value(open_page, marts):
    app = open_page(marts, "price", coin="bitcoin", explain="true")
    newest = app.date_input(key="explained_Hour_date").value
    hour = app.selectbox(key="explained_hour").value
    halted = datetime(newest.year, newest.month, newest.day, hour, tzinfo=UTC) - timedelta(
        hours=HALTED_HOURS_AGO[0] - 1
    )
    app.date_input(key="explained_Hour_date").set_value(halted.date())
    app.selectbox(key="explained_hour").select(halted.hour).run()
    assert not app.exception
    assert "No value" in [info.title for info in app.info]


def test_the_data_of_the_index_has_the_command(rendered):
    text = page_text(rendered("marts", "sentiment", data="true"))
    assert re.search(r"tickmart explain bitcoin fct_sentiment_daily\.mean_30d 20\d\d-\d\d-\d\d", text)
