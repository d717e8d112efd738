"""Date ranges and intervals: presets and dates of the URL are honored by charts, tables, sentences and CSV."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from dashboard.analysis import bars
from dashboard.queries import prices
from tests.dashboard.page_tools import figures, ignored_params_text, numbers

SINCE, UNTIL = pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-06-30 15:00", tz="UTC")
TODAY = datetime.now(UTC).date()
FIRST, LAST = TODAY - timedelta(days=60), TODAY - timedelta(days=20)
DATES = {"from": str(FIRST), "to": str(LAST)}


@pytest.mark.parametrize(
    ("period", "whole_days", "since", "until"),
    [
        (bars.Period("7D", 7), True, "2026-06-23", "2026-06-30"),
        (bars.Period("7D", 7), False, "2026-06-23 15:00", "2026-06-30 15:00"),
        (bars.Period("All"), True, "2026-01-01", "2026-06-30"),
        (bars.Period("", None, date(2026, 3, 1), date(2026, 3, 31)), True, "2026-03-01", "2026-04-01"),
        (bars.Period("", None, date(2026, 3, 1)), False, "2026-03-01", "2026-06-30 15:00"),
        (bars.Period("", None, None, date(2026, 1, 2)), True, "2026-01-01", "2026-01-03"),
        (bars.Period("", None, date(2020, 1, 1), date(2099, 1, 1)), False, "2026-01-01", "2026-06-30 15:00"),
    ],
)
def test_bounds_of_a_period(period, whole_days, since, until):
    expected = (pd.Timestamp(since, tz="UTC"), pd.Timestamp(until, tz="UTC"))
    assert period.bounds(SINCE, UNTIL, whole_days=whole_days) == expected


@pytest.mark.parametrize(("days", "bar"), [(3, "1h"), (31, "4h"), (32, "1d"), (720, "1d"), (721, "1w")])
def test_bar_of_free_dates_follows_their_length(days, bar):
    assert bars.choose_bar(bars.Period("", None, date(2020, 1, 1)), days) == bar


@pytest.mark.parametrize(("bar", "days", "shown"), [("1h", 40, "1h"), ("1h", 91, "4h"), ("1h", 3000, "1w")])
def test_interval_with_too_many_bars_becomes_the_next_larger_one(bar, days, shown):
    assert bars.limited(bar, days) == shown


def test_events_name_the_hours_without_trades_but_not_the_newest_bar():
    opened = pd.date_range("2026-01-01", periods=5, tz="UTC")
    frame = pd.DataFrame({"opened_at": opened, "hours": [24, 21, 24, 24, 3]}).drop(index=3)
    found = bars.events(frame, "1d", opened[0])
    assert [(event.at.day, event.letter) for event in found] == [(1, "S"), (2, "H"), (4, "H")]
    assert found[1].text.startswith("3 hours")
    assert found[2].text.startswith("24 hours")


def dates_of(spec, trace=0) -> list[str]:
    return [str(at)[:10] for at in spec["data"][trace]["x"]]


def test_price_chart_shows_exactly_the_chosen_days(open_page, marts):
    app = open_page(marts, "price", coin="bitcoin", interval="1D", **DATES)
    assert ignored_params_text(app) == ""
    shown = dates_of(figures(app)["price"])
    assert (shown[0], shown[-1], len(shown)) == (str(FIRST), str(LAST), 41)


@pytest.mark.parametrize(("interval", "freq"), [("1h", "h"), ("4h", "4h"), ("1D", "D"), ("1W", "W-MON"), ("1M", "MS")])
def test_bars_of_every_interval_equal_the_aggregated_hours(use, marts, interval, freq):
    use(marts)
    # the end of the newest complete day: in the first hour after midnight the newest bar is the last one of its day
    until = (prices.latest_bar("ethereum")["opened_at"].iloc[0] + timedelta(hours=1)).floor("D")
    since = until - timedelta(days=40)
    hours = prices.hourly("ethereum", since - timedelta(days=40), until).set_index("opened_at")
    rule = hours.resample(freq, label="left", closed="left")
    expected = pd.DataFrame(
        {
            "open": rule["open"].first(), "high": rule["high"].max(), "low": rule["low"].min(),
            "close": rule["close"].last(), "quote_volume": rule["quote_volume"].sum(), "hours": rule["hours"].sum(),
        }
    ).dropna()  # fmt: skip
    read = {
        "1h": lambda: prices.hourly("ethereum", since, until),
        "4h": lambda: prices.four_hourly("ethereum", since, until),
        "1D": lambda: prices.daily("ethereum").assign(
            opened_at=lambda days: days["date"].dt.tz_localize("UTC"), hours=lambda days: days["bar_count"]
        ),
        "1W": lambda: prices.candles("ethereum", "week", since, until),
        "1M": lambda: prices.candles("ethereum", "month", since, until),
    }[interval]()
    shown = read.set_index("opened_at")[list(expected)]
    shown = shown[(shown.index >= since - timedelta(days=31)) & (shown.index < until)]
    assert len(shown)
    assert shown.index[0] <= since or interval == "1D"
    np.testing.assert_allclose(shown, expected.loc[shown.index], rtol=1e-9)


@pytest.mark.parametrize("page", ["price", "compare", "sentiment"])
@pytest.mark.parametrize(("name", "value"), [("from", "yesterday"), ("to", "2026-13-01"), ("from", "0000-00-00")])
def test_invalid_date_is_named_and_ignored(open_page, marts, page, name, value):
    app = open_page(marts, page, **{name: value})
    assert not app.exception
    assert value in ignored_params_text(app)
    assert not app.query_params.get(name)


def test_dates_in_the_wrong_order_are_named(open_page, marts):
    app = open_page(marts, "price", **{"from": str(LAST), "to": str(FIRST)})
    text = ignored_params_text(app)
    assert str(LAST) in text
    assert str(FIRST) in text


@pytest.mark.parametrize("page", ["price", "compare", "sentiment"])
@pytest.mark.parametrize("dates", [("1999-01-01", "1999-02-01"), ("2999-01-01", "2999-02-01")])
def test_dates_outside_the_history_show_no_error(open_page, marts, page, dates):
    app = open_page(marts, page, **{"from": dates[0], "to": dates[1]})
    assert not app.exception
    assert not app.error


def test_choosing_a_preset_replaces_the_dates_in_the_url(open_page, marts):
    app = open_page(marts, "price", coin="bitcoin", **DATES)
    assert app.session_state["range"] is None
    next(group for group in app.button_group if group.key == "range").set_value("3M").run()
    assert app.query_params["range"] in ("3M", ["3M"])
    assert "from" not in app.query_params


def test_compare_is_rebased_at_the_chosen_start(open_page, marts, server):
    app = open_page(marts, "compare", coins=["bitcoin", "solana"], **DATES)
    lines = figures(app)["indexed"]["data"]
    assert dates_of(figures(app)["indexed"])[0] == str(FIRST)
    for crypto_id, line in zip(("bitcoin", "solana"), lines, strict=True):
        ((first, last),) = server.query(
            "tickmart",
            f"select max(close) filter (where date = '{FIRST}'), max(close) filter (where date = '{LAST}') "
            f"from marts.fct_daily_summary where crypto_id = '{crypto_id}'",
        )
        assert numbers(line["y"])[-1] == pytest.approx(float(last / first) * 100)
    assert f"{FIRST} to {LAST}" in app.title[0].value


def test_sentiment_shows_the_chosen_days(open_page, marts):
    app = open_page(marts, "sentiment", **DATES)
    shown = dates_of(figures(app)["history"])
    assert (shown[0], shown[-1]) == (str(FIRST), str(LAST))
