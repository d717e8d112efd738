"""The On-chain page: its statistics, its figures, and that it shows the values of its marts."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from dashboard.analysis import onchain as statistics
from dashboard.analysis.onchain import PAIRS
from dashboard.charts import base, onchain
from tests.dashboard.support import figures, numbers, page_text

LIGHT = base.palette()
NAMES = ("Chain", "Market")
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
    assert set(shown) == {"activity", "changes", "lags", "rolling", "fees"}
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
    assert set(figures(app)) == {"activity"}
    assert {notice.title for notice in app.info} >= {
        "Not enough days",
        "No correlation in this range",
        "No fees in this range",
    }


def test_range_without_data_says_so(open_page, marts):
    app = open_page(marts, "onchain", **{"from": "2009-01-01", "to": "2009-01-02"})
    assert not app.exception
    assert any(notice.title == "No data in this range" for notice in app.info)
