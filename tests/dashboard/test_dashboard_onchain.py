"""The On-chain page: its statistics, its figures, and that it shows the values of its marts."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from dashboard.analysis import onchain as statistics
from dashboard.analysis.onchain import PAIRS
from dashboard.charts import base, onchain
from tests.dashboard.page_tools import figures, numbers, page_text

LIGHT = base.palette()
NAMES = ("Chain", "Market")
TRANSACTION_FIGURES = {
    "spans", "deviations", "fee_rates", "week_transaction_count", "week_trade_count", "distribution",
}  # fmt: skip
LAGS = pd.DataFrame({"lag_days": range(-14, 15), "correlation": 0.1, "band_95": 0.2, "n": 100})


def changes(n: int, slope: float = 0.5, seed: int = 3) -> pd.DataFrame:
    noise = np.random.default_rng(seed)
    chain = noise.normal(0, 0.2, n)
    days = pd.date_range("2025-01-01", periods=n)
    return pd.DataFrame({"date": days, "chain": chain, "market": 0.1 + slope * chain + noise.normal(0, 0.01, n)})


def test_fit_is_the_line_through_the_points_with_their_number():
    found = statistics.fit(changes(400))
    assert (found.slope, found.intercept) == pytest.approx((0.5, 0.1), abs=0.01)
    assert found.correlation > 0.99
    assert found.n == 400


@pytest.mark.parametrize("points", [changes(59), changes(0), changes(100).assign(market=1.0)])
def test_there_is_no_fit_of_few_days_or_of_a_series_that_does_not_change(points):
    assert statistics.fit(points) is None


def test_days_without_both_changes_are_not_paired():
    pair = PAIRS["Value and volume"]
    chain, market = pair.changes
    history = pd.DataFrame({"date": pd.date_range("2025-01-01", periods=4), chain: [1, None, 3, 4], market: 1.0})
    assert statistics.paired_changes(history, pair)["chain"].tolist() == [1, 3, 4]


def test_lines_break_at_missing_days_and_a_log_scale_leaves_out_zeros():
    history = pd.DataFrame(
        {"date": pd.to_datetime(["2025-01-01", "2025-01-02", "2025-01-04"]), "a": [5.0, 0, 7], "b": 1}
    )
    figure = onchain.two_panes(statistics.every_day(history), ("a", "b"), NAMES, LIGHT, log=True)
    assert np.array(figure.data[0].y, dtype=float) == pytest.approx([5, math.nan, math.nan, 7], nan_ok=True)
    assert {trace.connectgaps for trace in figure.data} == {False}
    assert (figure.layout.yaxis.type, figure.layout.yaxis2.type) == ("log", "log")
    assert figure.layout.yaxis2.domain[1] < figure.layout.yaxis.domain[0]


def test_correlations_outside_the_band_are_highlighted():
    lags = LAGS.assign(correlation=[0.3, *[0.1] * 28])
    bars = onchain.lead_lag_bars(lags, NAMES, LIGHT).data[1]
    assert [color == LIGHT.up for color in bars.marker.color] == [True, *[False] * 28]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "figure",
    [
        onchain.scatter(changes(0), None, NAMES, LIGHT),
        onchain.scatter(changes(3).assign(chain=0.0, market=0.0), None, NAMES, LIGHT),
        onchain.lead_lag_bars(LAGS.assign(correlation=math.nan, band_95=math.nan), NAMES, LIGHT),
        onchain.lead_lag_bars(LAGS.head(0), NAMES, LIGHT),
    ],
    ids=["no point", "no change", "unknown lags", "no lags"],
)
def test_figures_without_values_have_axis_ranges_of_nonzero_length(figure):
    for name, axis in json.loads(figure.to_json())["layout"].items():
        if "axis" in name and isinstance(axis.get("range"), list):
            assert None not in axis["range"], name
            assert axis["range"][0] != axis["range"][1], name


@pytest.mark.parametrize(("series", "key"), [(name, pair.key) for name, pair in PAIRS.items()])
def test_page_shows_the_values_of_its_marts(rendered, server, series, key):
    shown = figures(rendered("marts", "onchain", series=series, method="Spearman", range="All"))
    assert set(shown) == {"activity", "changes", "lags", "rolling", "fees"} | TRANSACTION_FIGURES
    rows = server.query(
        "tickmart",
        f"select correlation, n from marts.fct_onchain_lead_lag where pair = '{key}' order by lag_days",
    )
    assert numbers(shown["lags"]["data"][1]["y"]) == pytest.approx([row[0] for row in rows])
    [(newest,)] = server.query(
        "tickmart",
        f"select spearman_{key}_30d from marts.fct_onchain_market_daily where spearman_{key}_30d is not null"
        " order by date desc limit 1",
    )
    line = numbers(shown["rolling"]["data"][0]["y"])
    assert line[~np.isnan(line)][-1] == pytest.approx(newest)
    [(n,)] = server.query(
        "tickmart",
        f"select count(*) from marts.fct_onchain_market_daily where chain_change_{key} is not null"
        f" and market_change_{key} is not null",
    )
    assert len(numbers(shown["changes"]["data"][0]["x"])) == n


def test_page_states_n_and_that_correlation_is_not_cause(rendered, server):
    text = page_text(rendered("marts", "onchain"))
    [(n,)] = server.query(
        "tickmart",
        "select n from marts.fct_onchain_lead_lag where pair = 'transactions_trades' and lag_days = 0",
    )
    assert f"n = {n:,} days" in text
    for part in ("causes", "not users", "Gross output", "coinmetrics.io"):
        assert part in text


def test_page_explains_what_is_missing_when_only_the_chain_is_loaded(open_page, server):
    server.copy_database("chain_only", "tickmart")
    server.execute(
        "chain_only",
        "truncate marts.fct_onchain_lead_lag;"
        "update marts.fct_onchain_market_daily set market_change_transactions_trades = null,"
        " pearson_transactions_trades_30d = null, pearson_transactions_trades_90d = null, fee_btc = null",
    )
    app = open_page(server.reader("chain_only"), "onchain", range="All")
    assert not app.exception
    assert set(figures(app)) == {"activity"} | TRANSACTION_FIGURES
    assert {notice.title for notice in app.info} >= {
        "Not enough days",
        "No correlation in this range",
        "No fees in this range",
    }


def test_range_without_data_says_so(open_page, marts):
    app = open_page(marts, "onchain", **{"from": "2009-01-01", "to": "2009-01-02"})
    assert not app.exception
    assert any(notice.title == "No data in this range" for notice in app.info)


def test_page_shows_the_transactions_of_its_marts(rendered, server):
    shown = figures(rendered("marts", "onchain", range="All", timeframe="1D", measure="Type"))
    rows = server.query(
        "tickmart",
        "select transaction_count, trade_count, median_fee_rate from marts.fct_onchain_activity"
        " where timeframe = '1d' order by started_at",
    )
    for trace, column in zip(shown["spans"]["data"], (0, 1), strict=True):
        values = np.array([row[column] for row in rows], dtype=float)
        assert numbers(trace["y"]) == pytest.approx(values, nan_ok=True)
    assert numbers(shown["fee_rates"]["data"][1]["y"]) == pytest.approx([row[2] for row in rows])
    rows = server.query(
        "tickmart",
        "select sum(transaction_count), sum(output_btc) from marts.fct_onchain_distribution where measure = 'type'"
        " group by range_number order by range_number",
    )
    for trace, column in zip(shown["distribution"]["data"], (0, 1), strict=True):
        total = sum(row[column] for row in rows)
        assert numbers(trace["x"]) == pytest.approx([float(100 * row[column] / total) for row in rows])


def test_hours_of_the_week_are_their_difference_from_the_mean(rendered, server):
    shown = figures(rendered("marts", "onchain", range="All"))
    [(count, mean)] = server.query(
        "tickmart",
        "select avg(transaction_count) filter (where extract(isodow from started_at at time zone 'UTC') = 3"
        " and extract(hour from started_at at time zone 'UTC') = 5), avg(transaction_count)"
        " from marts.fct_onchain_activity where timeframe = '1h' and trade_count is not null",
    )
    grid = shown["week_transaction_count"]["data"][0]["z"]
    assert float(numbers(grid).reshape(7, 24)[2][5]) == pytest.approx(float(100 * (count / mean - 1)), abs=2)


def test_without_transactions_the_page_says_how_to_load_them(open_page, server):
    server.copy_database("no_transactions", "tickmart")
    server.execute("no_transactions", "truncate marts.fct_onchain_activity, marts.fct_onchain_distribution")
    app = open_page(server.reader("no_transactions"), "onchain")
    assert not app.exception
    assert not TRANSACTION_FIGURES & set(figures(app))
    assert any("--dataset bitcoin_transactions" in notice.value for notice in app.info)


def test_a_timeframe_with_too_many_spans_becomes_a_longer_one():
    assert statistics.choose_timeframe("15m", pd.Timedelta("7D")) == "15m"
    assert statistics.choose_timeframe("15m", pd.Timedelta("60D")) == "1h"
    assert statistics.choose_timeframe(None, pd.Timedelta("100D")) == "4h"
    assert statistics.choose_timeframe("15m", pd.Timedelta("9999D")) == "1d"


def test_a_common_weekly_cycle_alone_is_no_correlation():
    hours = pd.date_range("2026-01-05", periods=24 * 7 * 20, freq="h", tz="UTC")
    noise = np.random.default_rng(1)
    cycle = np.exp(np.sin(hours.dayofweek * 24 + hours.hour))
    spans = pd.DataFrame(
        {
            "started_at": hours,
            "a": cycle * np.exp(noise.normal(0, 0.1, len(hours))),
            "b": cycle * np.exp(noise.normal(0, 0.1, len(hours))),
        }
    )
    assert spans["a"].corr(spans["b"]) > 0.8
    changes = statistics.without_weekly_cycle(spans, "a", "b")
    assert abs(changes["chain"].corr(changes["market"])) < statistics.band(changes)
    together = statistics.without_weekly_cycle(spans.assign(b=spans["a"] ** 2), "a", "b")
    assert statistics.fit(together).slope == pytest.approx(2)


def test_the_band_grows_with_the_autocorrelation_of_both_series():
    noise = np.random.default_rng(2)
    white = pd.DataFrame(noise.normal(size=(4000, 2)), columns=["chain", "market"])
    smooth = white.rolling(20).mean().dropna()
    assert statistics.band(white) == pytest.approx(1.96 / 4000**0.5, rel=0.1)
    assert statistics.band(smooth) > 3 * statistics.band(white)
