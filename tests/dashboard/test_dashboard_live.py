"""The Live page: stale coins, gaps in lines, that all sessions share its queries, and what it says without a stream."""

import threading
import time

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from dashboard import database
from dashboard.analysis import live as analysis
from dashboard.analysis.live import RANGES
from dashboard.charts import base
from dashboard.charts import live as charts
from dashboard.components import layout
from dashboard.queries import live
from tests.dashboard.page_tools import figures, numbers, page_text

LIGHT = base.palette()
NOW = pd.Timestamp("2026-03-02 10:00", tz="UTC")
ENDS = (NOW - pd.Timedelta(hours=2), NOW)
NONE = pd.DataFrame({"crypto_id": [], "minute": pd.to_datetime([], utc=True), "last": []})


def minutes(**prices: dict[int, float]) -> pd.DataFrame:
    """Prices by coin and minutes before NOW."""
    rows = [
        (crypto_id, NOW - pd.Timedelta(minutes=ago), last)
        for crypto_id, found in prices.items()
        for ago, last in found.items()
    ]
    return pd.DataFrame(rows, columns=["crypto_id", "minute", "last"]).sort_values(["crypto_id", "minute"])


# -- computations -----------------------------------------------------------------------------------------------------


def test_a_line_breaks_at_a_minute_without_a_price():
    prices = analysis.prices_of(["a"], RANGES["30 min"], minutes(a={3: 1.0, 1: 3.0}), NONE, NOW)
    assert prices["a"].tolist() == pytest.approx([1, np.nan, 3], nan_ok=True)
    figure = charts.price_lines(prices, prices, {"a": "A"}, LIGHT, ENDS)
    assert {trace.connectgaps for trace in figure.data} == {False}


def test_a_long_range_has_the_last_price_of_each_span_and_older_rows_in_front():
    older = minutes(a={200: 5.0})
    prices = analysis.prices_of(["a"], RANGES["24 h"], minutes(a={9: 1.0, 8: 2.0, 0: 3.0}), older, NOW)
    assert (prices["a"].iloc[0], prices["a"].dropna().tolist()) == (5, [5, 2, 3])
    assert prices.index.to_series().diff().dropna().unique().tolist() == [pd.Timedelta(minutes=10)]


def test_changes_are_against_the_first_price_of_each_coin():
    prices = analysis.prices_of(["a", "b"], RANGES["2 h"], minutes(a={2: 10.0, 0: 11.0}, b={1: 4.0, 0: 3.0}), NONE, NOW)
    changes = analysis.changes_since_start(prices)
    assert changes.iloc[-1].tolist() == pytest.approx([10, -25])
    assert np.isnan(changes["b"].iloc[0])


def test_averages_have_the_mean_and_the_range_and_leave_out_coins_without_a_price():
    prices = analysis.prices_of(["a", "b"], RANGES["2 h"], minutes(a={2: 10.0, 1: 20.0, 0: 12.0}), NONE, NOW)
    [row] = analysis.averages(prices).to_dict("records")
    assert row == {"crypto_id": "a", "average": pytest.approx(14), "low": 10, "high": 20, "last": 12}


def test_the_watchlist_has_the_change_of_two_hours_and_a_mini_chart_of_every_fifth_minute():
    latest = pd.DataFrame(
        {"crypto_id": ["a", "b"], "last": [12.0, 1.0], "change_24h_pct": 1.0, "spread_bps": 2.0, "age_s": 3.0,
         "quote_volume_24h": 4.0}
    )  # fmt: skip
    trends = analysis.trends(minutes(a={119: 10.0, 6: 11.0, 5: 13.0, 0: 12.0}))
    rows = analysis.watchlist(latest, trends, {"a": "A", "b": "B"})
    assert rows["2h"].tolist() == pytest.approx([20, np.nan], nan_ok=True)
    assert rows["Last 2 hours"].iloc[0] == [10.0, 11.0, 13.0, 12.0]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_figures_without_values_are_drawn():
    prices = analysis.prices_of(["a"], RANGES["2 h"], NONE, NONE, NOW)
    assert prices.empty
    charts.price_lines(prices, analysis.changes_since_start(prices), {"a": "A"}, LIGHT, ENDS).to_json()
    charts.average_prices(analysis.averages(prices), {"a": "A"}, LIGHT).to_json()


def test_newer_live_prices_are_no_new_data_of_the_page():
    health = pd.DataFrame({"dataset": ["binance_klines", "okx_tickers"], "last_data_at": [NOW, NOW]})
    later = health.assign(last_data_at=[NOW, NOW + pd.Timedelta(seconds=1)])
    assert layout._newest(health) == layout._newest(later)
    assert layout._newest(health) != layout._newest(later.assign(last_data_at=NOW + pd.Timedelta(hours=1)))


# -- the page ---------------------------------------------------------------------------------------------------------


def test_page_shows_the_values_of_its_marts(rendered, server):
    app = rendered("marts", "live")
    assert not app.exception
    shown = figures(app)
    assert set(shown) == {"prices", "averages", "messages", "delays"}
    watchlist = next(table.value for table in app.dataframe if "Spread" in table.value)
    newest = dict(server.query("tickmart", "select name, last::float8 from marts.v_live_latest"))
    assert sorted(watchlist["Last"]) == pytest.approx(sorted(newest.values()))
    assert len(watchlist) == 9
    assert numbers(shown["messages"]["data"][0]["y"]).max() == 40


def test_a_coin_without_ticker_for_half_a_minute_is_gray_and_counted(open_page, server):
    server.copy_database("live_now", "tickmart")
    server.execute(
        "live_now",
        "update raw.okx_tickers set ts = ts + (now() - (select max(ts) from raw.okx_tickers))"
        " where ts > now() - interval '30 minutes'",
    )
    app = open_page(server.reader("live_now"), "live")
    assert not app.exception
    assert not any(notice.title == "Live prices have stopped" for notice in app.warning)
    assert "9 coins" in page_text(app)
    assert " 1 stale" in page_text(app)


def test_a_stopped_stream_is_named_with_its_problem(open_page, server):
    server.copy_database("live_stopped", "tickmart")
    server.execute(
        "live_stopped",
        "delete from raw.okx_tickers where ts > now() - interval '10 minutes';"
        "update ops.stream_status set problem = 'OKX cannot be reached (timed out)'",
    )
    app = open_page(server.reader("live_stopped"), "live")
    [warning] = [notice for notice in app.warning if notice.title == "Live prices have stopped"]
    assert "timed out" in warning.value


def test_page_without_live_prices_says_what_starts_them(open_page, server):
    server.copy_database("live_none", "tickmart")
    server.execute("live_none", "truncate raw.okx_tickers, raw.okx_trades, ops.stream_status, ops.stream_minutes")
    app = open_page(server.reader("live_none"), "live")
    assert not app.exception
    [notice] = [notice for notice in app.info if notice.title == "No live prices yet"]
    for part in ("tickmart up", "TICKMART_LIVE"):
        assert part in notice.value


def test_gaps_reconnects_and_assets_that_okx_lacks_are_named(rendered):
    text = page_text(rendered("marts", "live"))
    for part in ("notice 64008", "1 not filled", "tron"):
        assert part in text


def test_fifty_viewers_cost_one_query_per_second(use, marts, monkeypatch):
    use(marts)
    st.cache_data.clear()
    statements: list[str] = []
    fetch = database._fetch

    def record(statement, parameters):
        statements.append(statement)
        return fetch(statement, parameters)

    monkeypatch.setattr(database, "_fetch", record)
    started = time.monotonic()

    def watch() -> None:
        for _ in range(4):
            assert len(live.latest()) == 9
            time.sleep(0.5)

    viewers = [threading.Thread(target=watch) for _ in range(50)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert 2 <= len(statements) <= time.monotonic() - started + 1
