"""Constant prices, a single bar, no known values: figures have valid axes, statistics are undefined."""

import json
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from dashboard.analysis import quality, returns, statistics, summaries
from dashboard.analysis import sentiment as index
from dashboard.charts import base, compare, data_quality, overview, price, sentiment
from dashboard.charts import returns as return_figures
from dashboard.labels import labels
from tests.dashboard.frames import DAILY_COLUMNS, SNAPSHOT, candles, days, sentiment_days

LIGHT = base.palette()


def constant(frame: pd.DataFrame, value: float) -> pd.DataFrame:
    """The same rows with a constant price and no trades; with NaN, no known value at all."""
    zero = 0.0 if value == value else np.nan
    prices = {"open", "high", "low", "close", "vwap", "sma_7", "sma_30", *DAILY_COLUMNS} & set(frame)
    others = {"volume", "quote_volume", "return_pct", "log_return", "drawdown_pct", "atr_14", "macd"} & set(frame)
    others |= {c for c in frame if c.startswith(("volatility", "macd"))}
    return frame.assign(**dict.fromkeys(prices, value), **dict.fromkeys(others - prices, zero)).assign(
        **dict.fromkeys(others & prices, zero)
    )


COINS = SNAPSHOT.head(2).assign(change_24h_pct=0.0, volume_24h_usd=0.0, market_cap_usd=1.0, volume_share_pct=0.0)
RISK = COINS.assign(volatility_90d=0.0, return_90d_pct=0.0, quote_volume=0.0, beta_btc_90d=0.0)
APART = COINS.assign(divergence_pct=0.0, close=1.0, opened_at=pd.Timestamp("2026-01-01", tz="UTC"))
WEEK = COINS.assign(opened_at=pd.Timestamp("2026-01-01", tz="UTC"), index_100=100.0)
NONE = {"change_24h_pct": np.nan, "volume_24h_usd": np.nan, "divergence_pct": np.nan, "index_100": np.nan}
SQUARE = pd.DataFrame(np.nan, index=["bitcoin", "pepe"], columns=["bitcoin", "pepe"])
RETURNS = pd.DataFrame(
    {
        "classification": ["Fear"], "horizon": ["1 day"], "n": [1], "mean_return_pct": [0.0],
        "median_return_pct": [0.0], "stddev_return_pct": [np.nan], "positive_pct": [0.0], "mean_error_95_pct": [np.nan],
    }
)  # fmt: skip
RUNS = pd.DataFrame(
    {
        "run_id": ["a"], "job": ["j"], "started_at": [pd.Timestamp("2026-01-01", tz="UTC")], "seconds": [0.0],
        "status": ["ok"], "fetched_rows": [0], "changed_rows": [0],
    }
)  # fmt: skip
MISSING = COINS.assign(date=pd.Timestamp("2026-01-01"), missing=24)


def volume(frame: pd.DataFrame) -> pd.DataFrame:
    traded = frame["quote_volume"]
    return index.volume_trend(pd.DataFrame({"date": frame["date"], "volume_usd": traded, "btc_volume_usd": traded}))


def counts(frame: pd.DataFrame) -> pd.DataFrame:
    return quality.expected_band(pd.DataFrame({"date": frame["date"], "bars": 0, "assets": 1}))


def flat_sentiment(n: int) -> pd.DataFrame:
    return sentiment_days(n).assign(value=50.0, change_1d=0.0, btc_close=0.5, btc_return_pct=0.0)


def lags(n: int) -> pd.DataFrame:
    changes = flat_sentiment(n)
    return index.lead_lag(changes["change_1d"], changes["btc_return_pct"])


def forward(n: int) -> pd.DataFrame:
    return index.forward_returns(flat_sentiment(n + 30))


def indexed(n: int) -> pd.DataFrame:
    return pd.DataFrame({"bitcoin": 100.0}, index=days(n)["date"])


def traded(n: int, at: float, *, bar: str = "1d", candle: bool = True, log: bool = False) -> object:
    bars, daily = candles(n, "h" if bar == "1h" else "D"), days(n)
    display = price.Display(candle, log, tuple(price.OVERLAYS), tuple(price.PANES))
    return price.price_chart(constant(bars, at), constant(daily, at), bar, LIGHT, display)


# Each takes the number of bars and the price that they all have.
FIGURES = {
    "price 1h candles": partial(traded, bar="1h"),
    "price 1d candles": traded,
    "price 1d candles log": partial(traded, log=True),
    "price 1h line": partial(traded, bar="1h", candle=False),
    "price 1d line log": partial(traded, candle=False, log=True),
    "volatility": lambda n, at: return_figures.volatility_lines(constant(days(n), at), LIGHT),
    "drawdown": lambda n, at: return_figures.drawdown_area(constant(days(n), at), LIGHT),
    "calendar": lambda n, at: return_figures.return_calendar(returns.monthly_returns(constant(days(n), at)), LIGHT),
    "histogram": lambda n, at: return_figures.return_histogram(constant(days(n), at), LIGHT),
    "volume": lambda n, at: sentiment.volume_lines(volume(constant(days(n), at)), LIGHT),
    "gauge": lambda n, at: sentiment.fear_greed_gauge(0.0, LIGHT),
    "sentiment": lambda n, at: sentiment.sentiment_history(flat_sentiment(n).assign(btc_close=at), LIGHT),
    "lags": lambda n, at: sentiment.lead_lag_bars(lags(n), LIGHT),
    "forward": lambda n, at: sentiment.forward_returns(RETURNS, index.CLASSES, LIGHT),
    "month after": lambda n, at: sentiment.index_and_forward_return(
        forward(n), index.by_index_bin(forward(n)), LIGHT
    ),
    "changes": lambda n, at: overview.change_bars(COINS.head(n), "change_24h_pct", LIGHT),
    "unknown changes": lambda n, at: overview.change_bars(COINS.assign(**NONE), "change_24h_pct", LIGHT),
    "treemap": lambda n, at: overview.market_treemap(COINS.head(n), LIGHT),
    "week": lambda n, at: overview.weekly_performance(WEEK.head(n), LIGHT),
    "unknown week": lambda n, at: overview.weekly_performance(WEEK.assign(**NONE), LIGHT),
    "shares": lambda n, at: overview.volume_bars(COINS.head(n), LIGHT),
    "unknown shares": lambda n, at: overview.volume_bars(COINS.assign(**NONE), LIGHT),
    "indexed": lambda n, at: compare.performance_lines(indexed(n), {"bitcoin": "Bitcoin"}, LIGHT, log=False),
    "risk": lambda n, at: compare.risk_return(RISK.head(n), ["bitcoin"], LIGHT),
    "correlations": lambda n, at: compare.correlation_heatmap(SQUARE, SQUARE, labels(COINS), LIGHT),
    "beta": lambda n, at: compare.beta_bars(RISK.head(n), ["bitcoin"], LIGHT),
    "rolling": lambda n, at: base.correlation_lines({"a": pd.Series(np.nan, index=days(n)["date"])}, LIGHT),
    "runs": lambda n, at: data_quality.run_history(RUNS, LIGHT),
    "rows": lambda n, at: data_quality.row_counts(counts(days(n)), LIGHT),
    "missing hours": lambda n, at: data_quality.missing_heatmap(MISSING.head(n), pd.Timestamp("2026-01-02"), LIGHT),
    "divergence": lambda n, at: data_quality.divergence_bars(APART.head(n), 5.0, LIGHT),
    "unknown divergence": lambda n, at: data_quality.divergence_bars(APART.assign(**NONE), 5.0, LIGHT),
}  # fmt: skip


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("at", [0.5, 1e-8, math.nan], ids=["flat", "flat and tiny", "unknown"])
@pytest.mark.parametrize("n", [1, 130], ids=["one bar", "130 bars"])
@pytest.mark.parametrize("figure", FIGURES)
def test_figures_of_constant_series_have_axis_ranges_of_nonzero_length(figure, n, at):
    layout = json.loads(FIGURES[figure](n, at).to_json())["layout"]
    for name, axis in layout.items():
        if "axis" not in name or not isinstance(axis.get("range"), list):
            continue
        ends = axis["range"]
        assert None not in ends, name  # NaN and infinities
        assert ends[0] != ends[1], name


def test_axes_of_prices_volumes_and_volatilities_do_not_go_below_zero():
    """By default Plotly draws a range of 1 around a single value, and -1 to 4 around none."""
    figure = FIGURES["price 1d candles"](130, 0.5)
    assert figure.layout.yaxis.rangemode == "nonnegative"
    assert figure.layout.yaxis.range == pytest.approx([0.445, 0.555])
    panes = dict(zip(price.PANES, range(2, 7), strict=True))
    below = [name for name, at in panes.items() if figure.layout[f"yaxis{at}"].rangemode is None]
    assert below == ["MACD"]
    assert FIGURES["volume"](130, 0.5).layout.yaxis.rangemode == "tozero"
    assert FIGURES["volatility"](130, 0.5).layout.yaxis.rangemode == "tozero"
    assert FIGURES["risk"](1, 0.5).layout.xaxis.rangemode == "nonnegative"
    assert FIGURES["drawdown"](130, 0.5).layout.yaxis.range == (-1, 0)


def test_tiny_prices_have_no_exponent():
    figure = FIGURES["price 1d candles"](130, 1e-8)
    assert figure.layout.yaxis.tickformat.endswith("r")
    assert figure.layout.yaxis.hoverformat.endswith("r")


@pytest.mark.parametrize("n", [60, 130, 400])
def test_coin_summary_of_a_coin_without_trades_is_one_sentence(n):
    (sentence,) = summaries.coin_summary("Dead Coin", constant(days(n), 0.5))
    assert "$0.5000 since 2025-01-01; no trades" in sentence
    assert summaries.coin_summary("x", constant(days(n), math.nan)) == []


def test_coin_summary_names_the_first_day_of_an_unchanged_price():
    daily = days(200)
    daily.loc[150:, "close"] = 7.0
    (sentence,) = summaries.coin_summary("X", daily.assign(rsi_14=100.0))
    assert "2025-05-31" in sentence
    assert "no trades" not in sentence  # volume is above 0 on these days
    daily.loc[180:, "close"] = np.linspace(7, 8, 20)
    assert len(summaries.coin_summary("X", daily.assign(rsi_14=50.0))) > 2


def test_percentile_of_last_counts_ties_half():
    assert statistics.percentile_of_last(pd.Series([0.0] * 50 + [1.0] * 50), 365) == 75
    assert statistics.percentile_of_last(pd.Series(range(100)), 365) == 99.5
    assert statistics.percentile_of_last(pd.Series([0.0] * 100), 365) is None
    assert statistics.percentile_of_last(pd.Series([0.1 + 0.2, 0.3] * 50), 365) is None


def test_statistics_of_constant_series_are_undefined():
    assert statistics.correlation(pd.Series([1.0] * 50), pd.Series(range(50))) is None
    assert lags(100)["correlation"].isna().all()
    risk = returns.risk_metrics(constant(days(100), 0.5), constant(days(100), 0.5), 30)
    assert (risk["return_pct"], risk["volatility_pct"]) == (0, 0)
    assert risk["sharpe"] is risk["beta_btc"] is risk["correlation_btc"] is None


@pytest.mark.parametrize(
    ("final", "compared"),
    [({"a": 100.0}, False), ({"a": 100.0, "b": 100.0}, False), ({"a": 100.0, "b": 110.0}, True)],
)
def test_best_and_worst_compares_only_different_coins(final, compared):
    text = summaries.best_and_worst(pd.Series(final), {"a": "A", "b": "B"}, "2026-01-01")
    assert ("Best: B +10.00%" in text) == ("worst: A 0.00%" in text) == compared
    assert "2026-01-01" in text


def test_market_summary_without_any_change_counts_unchanged_coins():
    market = pd.Series(
        {"market_cap_change_24h_pct": 0.0, "advancers": 0, "decliners": 0, "unchanged": 7, "total_market_cap_usd": 1e9}
    )
    assert "7 coins unchanged" in summaries.market_summary(market, None)
