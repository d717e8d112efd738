"""The News page: its statistics, its figures, its links, and that it shows the values of its marts."""

import re

import numpy as np
import pandas as pd
import pytest

from dashboard.analysis import news as statistics
from dashboard.charts import base
from dashboard.charts import news as charts
from tests.dashboard.page_tools import figures, numbers, page_text

LIGHT = base.palette()


def days(n: int, slope: float = 0.0, lag: int = 0, seed: int = 3) -> pd.DataFrame:
    """Days whose return follows the sentiment of `lag` days before."""
    noise = np.random.default_rng(seed)
    sentiment = pd.Series(noise.normal(0, 0.2, n))
    returns = slope * sentiment.shift(lag) + noise.normal(0, 0.05, n)
    return pd.DataFrame({
        "date": pd.date_range("2025-01-01", periods=n), "mean_compound": sentiment, "return_pct": returns,
        "headline_count": 5, "scored_count": 5, "close": 100.0, "count_z_90d": 0.0,
    })  # fmt: skip


def test_a_return_that_follows_sentiment_is_outside_the_band_at_its_lag_alone():
    lags = statistics.lead_lag(days(200, slope=1.0, lag=2))
    outside = lags[lags["correlation"].abs() > lags["band"]]["lag"].tolist()
    assert 2 in outside
    assert len(outside) <= 3
    assert lags.set_index("lag").loc[2, "correlation"] > 0.9


def test_independent_series_are_inside_the_band_in_about_95_of_100_cases():
    outside = [
        float(row.correlation) > row.band or float(row.correlation) < -row.band
        for seed in range(8)
        for row in statistics.lead_lag(days(150, seed=seed)).itertuples()
    ]
    assert np.mean(outside) < 0.12


def test_the_band_of_series_with_memory_is_wider_than_that_of_independent_days():
    noise = np.random.default_rng(4)
    walk = pd.Series(noise.normal(0, 1, 200)).rolling(7).mean().dropna().to_numpy()
    single = noise.normal(0, 1, len(walk))
    assert statistics.independent_band(walk, walk[::-1].copy()) > 1.3 * statistics.independent_band(single, single)


def test_the_band_is_equal_for_equal_input():
    given = days(90)
    assert statistics.lead_lag(given).equals(statistics.lead_lag(given))


@pytest.mark.parametrize(
    "given", [days(20), days(0), days(90).assign(mean_compound=0.1), days(90).assign(return_pct=1)]
)
def test_there_is_no_correlation_of_few_days_or_of_a_series_that_does_not_change(given):
    lags = statistics.lead_lag(given)
    assert lags["correlation"].isna().all()
    assert statistics.finding(lags) is None
    charts.lead_lag_bars(lags, LIGHT)


def test_extreme_days_have_enough_headlines_and_the_right_sign():
    given = days(60).assign(scored_count=[statistics.MIN_HEADLINES if n % 2 else 1 for n in range(60)])
    negative, positive = statistics.extreme_days(given)
    assert (negative["mean_compound"] < 0).all()
    assert (positive["mean_compound"] > 0).all()
    assert set(negative["scored_count"]) | set(positive["scored_count"]) == {statistics.MIN_HEADLINES}


def test_an_unusual_number_is_measured_against_the_days_before_it():
    counts = pd.Series([2, 4] * 30 + [30])
    z = statistics.count_z(counts)
    assert z[:30].isna().all()
    assert z.iloc[-1] == pytest.approx((30 - 3) / counts[:-1].std())


def test_page_shows_the_values_of_its_marts(rendered, server):
    shown = figures(rendered("marts", "news", asset="Bitcoin", range="All"))
    assert set(shown) == {"news_history", "news_lags"}
    rows = server.query(
        "tickmart",
        "select headline_count, mean_compound from marts.fct_headline_sentiment_daily where crypto_id = 'bitcoin'"
        " order by date",
    )
    traces = {trace["name"]: trace for trace in shown["news_history"]["data"]}
    assert numbers(traces["Headlines"]["y"]) == pytest.approx([row[0] for row in rows])
    means = [np.nan if row[1] is None else row[1] for row in rows]
    assert numbers(traces["Sentiment"]["y"]) == pytest.approx(means, nan_ok=True)


def test_filters_leave_out_what_they_say(rendered, server):
    def counted(**query):
        traces = {
            t["name"]: t for t in figures(rendered("marts", "news", range="All", **query))["news_history"]["data"]
        }
        return np.nansum(numbers(traces["Headlines"]["y"]))

    total = server.query("tickmart", "select count(*) from intermediate.int_headlines")[0][0]
    german = server.query("tickmart", "select count(*) from intermediate.int_headlines where language = 'German'")[0][0]
    gdelt = server.query("tickmart", "select count(*) from intermediate.int_headlines where source = 'gdelt'")[0][0]
    assert counted() == total
    assert counted(language="German") == german
    assert counted(source="GDELT") == gdelt


def test_headlines_are_links_to_web_addresses_and_their_text_is_no_markup(rendered):
    app = rendered("marts", "news", range="All")
    lists = "\n".join(str(m.value) for m in app.markdown if str(m.value).startswith("- ["))
    links = re.findall(r"\]\((\S+?)\) \(", lists)
    assert links
    assert all(link.startswith("https://a.example/") for link in links)
    assert not any(char in link for link in links for char in "()<> ")
    assert "<img" not in lists
    assert "](javascript" not in lists


def test_headlines_of_a_day_begin_with_the_strongest_of_its_sign(rendered):
    app = rendered("marts", "news", range="All")
    lists = [str(m.value) for m in app.markdown if str(m.value).startswith("- [")]
    scores = [[float(s.replace("\u2212", "-")) for s in re.findall(r"; (\u2212?\d\.\d+)[,)]", text)] for text in lists]
    half = len(scores) // 2
    assert all(found == sorted(found) for found in scores[:half])
    assert all(found == sorted(found, reverse=True) for found in scores[half:])


def test_page_states_n_and_what_the_score_can_show(rendered):
    text = page_text(rendered("marts", "news", range="All"))
    for part in ("n = ", "labeled by hand", "gdeltproject.org", "not known on its day"):
        assert part in text


def test_range_without_headlines_says_so(open_page, marts):
    app = open_page(marts, "news", **{"from": "2009-01-01", "to": "2009-01-02"})
    assert not app.exception
    assert any(notice.title == "No headlines in this range" for notice in app.info)
