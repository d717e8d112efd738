"""Numbers and summaries computed from DataFrames."""

import numpy as np
import pandas as pd
import pytest

from dashboard.analysis import bars, comparison, quality, returns, sentiment, summaries
from tests.dashboard.frames import SNAPSHOT, days, sentiment_days


@pytest.mark.parametrize(
    ("span", "history", "bar", "at_most"),
    [
        ("1D", 2000, "1h", 24),
        ("7D", 2000, "1h", 168),
        ("1M", 2000, "4h", 180),
        ("3M", 2000, "1d", 91),
        ("1Y", 2000, "1d", 365),
        ("All", 720, "1d", 720),
        ("All", 721, "1w", 103),
        ("All", 5000, "1w", 720),
    ],
)
def test_choose_bar_limits_every_range_to_max_bars(span, history, bar, at_most):
    period = bars.Period(span, bars.RANGES[span])
    assert bars.choose_bar(period, history) == bar
    drawn = min(history, period.days or history) * bars.BARS_PER_DAY[bar]
    assert drawn <= at_most <= bars.MAX_BARS


def test_monthly_returns_use_month_end_closes():
    daily = days(59)  # January and February 2025
    table = returns.monthly_returns(daily)
    closes = daily.set_index("date")["close"]
    assert np.isnan(table.loc[2025, 1])
    assert table.loc[2025, 2] == pytest.approx((closes["2025-02-28"] / closes["2025-01-31"] - 1) * 100)


def test_risk_metrics_are_unknown_if_a_day_is_missing():
    daily = days(100)
    daily.loc[95, ["return_pct", "log_return"]] = np.nan
    assert set(returns.risk_metrics(daily, daily, 30).values()) == {None}
    assert returns.risk_metrics(daily, daily, 4)["beta_btc"] == pytest.approx(1)
    assert set(returns.risk_metrics(daily.head(20), daily, 30).values()) == {None}


def test_max_drawdown_includes_the_first_day_of_the_window():
    daily = days(3)
    daily["close"] = [100.0, 50.0, 60.0]
    daily["return_pct"] = daily["close"].pct_change() * 100
    daily["log_return"] = np.log(daily["close"] / daily["close"].shift())
    risk = returns.risk_metrics(daily, daily, 2)
    assert risk["return_pct"] == pytest.approx(-40)
    assert risk["max_drawdown_pct"] == pytest.approx(-50)


def test_lead_lag_has_positive_lag_if_the_first_series_leads():
    index = pd.Series(np.random.default_rng(5).normal(size=300))
    later = index.shift(3)
    lags = sentiment.lead_lag(index, later)
    best = lags.loc[lags["correlation"].idxmax()]
    assert best["lag"] == 3
    assert best["correlation"] == pytest.approx(1)
    assert best["n"] == 297
    assert best["band"] == pytest.approx(1.96 / np.sqrt(297))


def test_daily_changes_do_not_bridge_a_missing_day():
    index = sentiment_days(10).drop(index=4)
    volume = pd.DataFrame({"date": pd.date_range("2025-01-01", periods=10), "btc_volume_usd": np.exp(np.arange(10.0))})
    volume = volume.drop(index=7)
    changes = sentiment.daily_changes(index, volume)
    assert len(changes) == 10
    assert changes["volume_change"].isna().tolist() == [True, *[False] * 6, True, True, False]


def test_rebased_to_100_starts_at_the_first_common_date():
    closes = pd.DataFrame(
        {
            "crypto_id": ["a", "a", "a", "b", "b"],
            "date": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-02", "2026-01-03"]),
            "close": [1.0, 2.0, 3.0, 50.0, 40.0],
        }
    )
    table = comparison.rebased_to_100(closes)
    assert table.index[0] == pd.Timestamp("2026-01-02")
    assert table.loc["2026-01-03"].to_dict() == {"a": 150.0, "b": 80.0}
    assert comparison.rebased_to_100(closes.iloc[[0, 4]]).empty


def test_similar_coins_matches_id_symbol_and_name():
    coins = pd.DataFrame(
        {
            "crypto_id": ["bitcoin", "ethereum", "binancecoin"],
            "symbol": ["btc", "eth", "bnb"],
            "name": ["Bitcoin", "Ethereum", "BNB"],
        }
    )
    assert comparison.similar_coins("etherium", coins)[0] == "ethereum"
    assert comparison.similar_coins("BTC", coins)[0] == "bitcoin"
    assert comparison.similar_coins("zzzzzzzzzz", coins) == ["bitcoin", "ethereum", "binancecoin"]


def test_market_summary_has_direction_breadth_and_sentiment():
    market = pd.Series(
        {
            "total_market_cap_usd": 2.35e12,
            "market_cap_change_24h_pct": -1.23,
            "advancers": 28,
            "decliners": 71,
            "unchanged": 1,
        }
    )
    index = pd.Series({"classification": "Greed", "value": 63})
    text = summaries.market_summary(market, index)
    assert "$2.35T, −1.23%" in text
    assert "71 of 100 coins down" in text
    assert "63 (Greed)" in text
    market["market_cap_change_24h_pct"] = None
    assert "%" not in summaries.market_summary(market, None)


def test_losers_excludes_gains_and_low_volume():
    top = SNAPSHOT.assign(volume_24h_usd=[3e10, 2e5, np.nan])
    assert comparison.losers(top).empty
    assert comparison.losers(SNAPSHOT)["crypto_id"].tolist() == ["pepe"]


def test_expected_band_is_computed_per_weekday():
    counts = pd.DataFrame({"date": pd.date_range("2026-01-05", periods=28), "bars": ([240] * 5 + [200] * 2) * 4})
    counts.loc[27, "bars"] = 100
    band = quality.expected_band(counts)
    assert band.loc[0, ["low", "high"]].tolist() == [240, 240]
    assert band.loc[26, ["low", "high"]].tolist() == [200, 200]
    assert band.loc[27, "low"] > 100


def test_forward_returns_use_the_close_thirty_calendar_days_later():
    dates = pd.date_range("2026-01-01", periods=100)
    closes = pd.Series(np.arange(100.0, 200.0))
    index = pd.DataFrame({"date": dates, "value": [20] * 40 + [80] * 60, "classification": "Fear", "btc_close": closes})
    complete = sentiment.forward_returns(index)
    assert len(complete) == 70
    assert complete["forward_pct"].iloc[0] == pytest.approx(30.0)
    with_gap = sentiment.forward_returns(index.drop(index=30))
    assert dates[0] not in set(with_gap["date"])
    assert with_gap["forward_pct"].iloc[0] == pytest.approx((131 / 101 - 1) * 100)
    bins = sentiment.by_index_bin(complete).set_index("middle")
    assert bins["n"].to_dict() == {25: 40, 85: 30}


def test_significance_band_counts_overlapping_windows_as_few():
    assert sentiment.significance_band(3000, 30) == pytest.approx(0.196)
    assert sentiment.significance_band(20, 30) == 1.0


def test_api_health_counts_errors_of_the_last_24_hours():
    now = pd.Timestamp("2026-01-02 12:30", tz="UTC")
    hours = pd.DataFrame(
        {
            "source": ["a", "a", "a", "b"],
            "hour_started_at": pd.to_datetime(
                ["2026-01-01 10:00", "2026-01-02 10:00", "2026-01-02 11:00", "2025-12-30 00:00"], utc=True
            ),
            "requests": [100, 10, 10, 5],
            "errors_4xx": [50, 1, 0, 0],
            "errors_429": [0, 1, 0, 0],
            "errors_5xx": [0, 0, 1, 0],
            "unanswered": [0, 0, 1, 0],
            "retries": [50, 2, 1, 0],
            "bytes": [1, 2, 3, 4],
            "latency_p50_ms": [900.0, 10.0, 30.0, 7.0],
            "latency_p95_ms": [900.0, 40.0, 60.0, 7.0],
        }
    )
    found = quality.api_health(hours, now.to_pydatetime()).set_index("source")
    assert found.loc["a", ["requests", "retries", "bytes"]].tolist() == [20, 3, 5]
    assert found.loc["a", "errors_pct"] == 20.0
    assert found.loc["a", ["latency_p50_ms", "latency_p95_ms"]].tolist() == [20.0, 60.0]
    assert found.loc["a", "latency_by_hour"] == [900.0, 10.0, 30.0]
    assert found.loc["b", "requests"] == 0
    assert np.isnan(found.loc["b", "errors_pct"])


@pytest.mark.parametrize(
    ("sample", "columns", "rows"),
    [
        ('[{"close": 0.10, "at": "2026-01-01"}]', ["close", "at"], [["0.10", "2026-01-01"]]),
        ('[{"a": 12345678901234567890.5}, {"b": null}]', ["a", "b"], [["12345678901234567890.5", None], [None, None]]),
        ('["XRP", 3]', ["value"], [["XRP"], ["3"]]),
        ('[{"bars": [1, 2], "ok": true}]', ["bars", "ok"], [['["1", "2"]', "true"]]),
    ],
)
def test_sample_rows_keeps_all_digits(sample, columns, rows):
    table = quality.sample_rows(sample)
    assert list(table.columns) == columns
    assert table.astype(object).where(table.notna(), None).to_numpy().tolist() == rows


@pytest.mark.parametrize("sample", ['[{"close": 1}, {"clo', "{}", "[]", '"words"'])
def test_sample_rows_is_none_for_invalid_samples(sample):
    assert quality.sample_rows(sample) is None
