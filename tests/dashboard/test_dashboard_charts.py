"""Figures and the numbers behind them, from DataFrames alone."""

import itertools

import numpy as np
import pandas as pd
import pytest

from dashboard import analysis, charts

COLOURS = [charts.palette(mode, pair) for mode in ("light", "dark") for pair in charts.UP_DOWN]
LIGHT = COLOURS[0]
DAILY_COLUMNS = (
    "sma_7",
    "sma_30",
    "sma_200",
    "ema_12",
    "ema_26",
    "sma_20",
    "bb_upper_20",
    "bb_lower_20",
    "rsi_14",
    "macd",
    "macd_signal",
    "macd_histogram",
    "atr_14",
    "volatility_7d",
    "volatility_30d",
    "volatility_90d",
    "vwap",
)


def days(n: int, seed: int = 1) -> pd.DataFrame:
    """A random walk of n finished days with every column of queries.daily."""
    noise = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(noise.normal(0, 0.03, n)))
    frame = pd.DataFrame({"date": pd.date_range("2025-01-01", periods=n), "close": close})
    frame["open"] = frame["close"].shift(fill_value=100.0)
    frame["high"] = frame[["open", "close"]].max(axis=1) * 1.01
    frame["low"] = frame[["open", "close"]].min(axis=1) * 0.99
    frame["volume"], frame["quote_volume"], frame["bar_count"] = 5.0, 1e6, 24
    frame["return_pct"] = frame["close"].pct_change() * 100
    frame["log_return"] = np.log(frame["close"] / frame["close"].shift())
    frame["drawdown_pct"] = (frame["close"] / frame["close"].cummax() - 1) * 100
    for number, column in enumerate(DAILY_COLUMNS):
        frame[column] = close * (1 + number / 100)
    return frame


def candles(n: int, freq: str = "h") -> pd.DataFrame:
    """n bars with the columns of queries.hourly."""
    frame = days(n).rename(columns={"date": "opened_at"})
    frame["opened_at"] = pd.date_range("2025-03-01", periods=n, freq=freq, tz="UTC")
    return frame[["opened_at", "open", "high", "low", "close", "quote_volume", "vwap", "sma_7", "sma_30"]].assign(
        hours=1
    )


def price_of(bars, daily, bar="1h", **options):
    options = {"overlays": list(charts.OVERLAYS), "panes": list(charts.PANES)} | options
    return charts.price_chart(bars, daily, bar, LIGHT, **options)


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_all_panes_share_one_x_axis_and_one_hover_box():
    figure = price_of(candles(100), days(90))
    assert {trace.xaxis for trace in figure.data} <= {None, "x"}
    assert figure.layout.hovermode == "x unified"
    assert figure.layout.hoversubplots == "axis"


@pytest.mark.parametrize("count", range(6))
def test_panes_do_not_overlap_the_price_or_each_other(count):
    figure = price_of(candles(50), days(60), panes=list(charts.PANES)[:count])
    axes = [figure.layout.yaxis, *(figure.layout[f"yaxis{n}"] for n in range(2, count + 2))]
    domains = sorted(axis.domain for axis in axes)
    assert all(below[1] <= above[0] for below, above in itertools.pairwise(domains))
    assert domains[-1] == figure.layout.yaxis.domain
    assert domains[-1][1] - domains[-1][0] > 0.4


def test_a_line_breaks_at_a_missing_hour():
    bars = candles(10).drop(index=[4, 5]).reset_index(drop=True)
    (line,) = traces(price_of(bars, days(60), candles=False), "Close")
    assert np.isnan(np.array(line.y, dtype=float)).tolist() == [False] * 4 + [True] * 2 + [False] * 4
    assert line.connectgaps is False


def test_only_the_newest_candle_can_be_still_forming():
    bars = candles(6, "4h").assign(hours=[4, 2, 4, 4, 4, 3])
    figure = price_of(bars, days(60), "4h")
    assert len(traces(figure, "Price")[0].close) == 5
    assert len(traces(figure, "still forming")[0].close) == 1
    whole = price_of(bars.iloc[:5], days(60), "4h")
    assert not traces(whole, "still forming")


def test_a_daily_indicator_on_hourly_candles_begins_when_its_day_is_over():
    daily = days(60)
    bars = candles(30)  # 2025-03-01 00:00 to 2025-03-02 05:00
    (line,) = traces(price_of(bars, daily, panes=["RSI"]), "RSI 14 (daily)")
    known = daily.set_index("date")["rsi_14"]
    assert list(line.y) == pytest.approx([known["2025-02-28"], known["2025-03-01"], known["2025-03-01"]])
    assert list(line.x) == ["2025-03-01 00:00", "2025-03-02 00:00", "2025-03-02 05:00"]
    assert line.line.shape == "hv"


def test_price_chart_never_looks_into_the_future():
    bars = candles(30)
    later = days(90)
    later.loc[later["date"] >= "2025-03-02", list(DAILY_COLUMNS)] = 1e9
    figure = price_of(bars, later)
    for trace in figure.data:
        if trace.type == "scatter":
            assert np.nanmax(np.array(trace.y, dtype=float)) < 1e9


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("bar", ["1h", "4h", "1d", "1w"])
def test_price_chart_of_next_to_nothing(rows, bar):
    bars = candles(3, {"1h": "h", "4h": "4h", "1d": "D", "1w": "7D"}[bar]).head(rows)
    assert price_of(bars, days(rows), bar).to_json()
    assert price_of(bars, days(0), bar, candles=False).to_json()


def test_indicators_still_warming_up_are_left_out_of_the_legend():
    daily = days(60)
    daily["sma_200"] = np.nan
    assert not traces(price_of(candles(10), daily), "SMA 200 d")


def test_720_candles_with_everything_stay_below_300_kb():
    daily = days(720)
    bars = daily.assign(opened_at=daily["date"].dt.tz_localize("UTC"), hours=24).drop(columns=["bar_count"])
    bars = bars[["opened_at", "open", "high", "low", "close", "quote_volume", "hours", *DAILY_COLUMNS]]
    assert len(price_of(bars, daily, "1d").to_json()) < 300_000


SNAPSHOT = pd.DataFrame(
    {
        "crypto_id": ["bitcoin", "pepe", "new"],
        "symbol": ["btc", "pepe", "new"],
        "name": ["Bitcoin", "Pepe", "New"],
        "price_usd": [67000.0, 9e-6, np.nan],
        "market_cap_usd": [1.3e12, 4e9, np.nan],
        "volume_24h_usd": [3e10, 2e6, np.nan],
        "volume_share_pct": [90.0, 10.0, np.nan],
        "change_24h_pct": [1.5, -30.0, np.nan],
    }
)


def test_change_bars_leave_out_unknown_coins_and_keep_the_given_order():
    (bars,) = charts.change_bars(SNAPSHOT, "change_24h_pct", LIGHT).data
    assert list(bars.y) == ["BTC", "PEPE"]
    assert list(bars.marker.color) == [LIGHT.up, LIGHT.down]
    assert list(bars.text) == ["▲ 1.50%", "▼ 30.00%"]


def test_treemap_clips_its_colours_at_ten_percent_and_drops_coins_without_size():
    (tree,) = charts.market_treemap(SNAPSHOT, LIGHT).data
    assert list(tree.ids) == ["bitcoin", "pepe"]
    assert list(tree.marker.colors) == [1.5, -10]
    assert (tree.marker.cmin, tree.marker.cmid, tree.marker.cmax) == (-10, 0, 10)


def sentiment(n: int) -> pd.DataFrame:
    frame = days(n)[["date", "close", "return_pct"]].rename(
        columns={"close": "btc_close", "return_pct": "btc_return_pct"}
    )
    frame["value"] = (np.arange(n) * 7 % 100).astype(float)
    frame["classification"] = [analysis.CLASSES[int(v // 20)] for v in frame["value"]]
    frame["change_1d"] = frame["value"].diff()
    return frame


@pytest.mark.parametrize("colours", COLOURS, ids=str)
@pytest.mark.parametrize("n", [0, 1, 200])
def test_every_figure_of_daily_data_is_valid_in_every_palette(colours, n):
    daily, mood = days(n), sentiment(n)
    volume = pd.DataFrame({"date": daily["date"], "volume_usd": 1e9, "btc_volume_usd": 1e8})
    assert charts.volatility_lines(daily, colours).to_json()
    assert charts.drawdown_area(daily, colours).to_json()
    assert charts.return_histogram(daily, colours).to_json()
    assert charts.volume_lines(analysis.volume_trend(volume), colours).to_json()
    if n:
        assert charts.return_calendar(analysis.monthly_returns(daily), colours).to_json()
        assert charts.sentiment_history(mood, colours).to_json()
        assert charts.fear_greed_gauge(40, None, colours).to_json()
        counts = pd.DataFrame({"date": daily["date"], "bars": 240, "assets": 10})
        assert charts.bars_with_band(analysis.expected_band(counts), colours).to_json()


@pytest.mark.parametrize("colours", COLOURS, ids=str)
def test_text_and_marks_keep_their_contrast(colours):
    def luminance(colour):
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one, other):
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for text in (colours.up, colours.down, colours.muted, colours.text):
        assert contrast(text, colours.surface) >= 4.5
    for _, cell in charts.diverging(colours, colours.cell):
        assert contrast(colours.text, cell) >= 4.3


def test_every_run_is_one_square_and_one_bar_of_its_seconds_in_the_state_it_ended_in():
    runs = pd.DataFrame(
        {
            "run_id": ["a", "b", "c", "d"],
            "job": ["market_refresh", "rebuild", "market_refresh", "market_refresh"],
            "started_at": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"], utc=True),
            "seconds": [30.0, 100.0, 12.0, np.nan],
            "status": ["ok", "failed", "ok", "running"],
            "fetched_rows": [1, 2, 3, 0],
            "changed_rows": [1, 0, 3, 0],
        }
    )
    figure = charts.run_squares(runs, LIGHT)
    squares = {trace.name: trace for trace in figure.data if trace.yaxis != "y2"}
    seconds = [dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data if trace.yaxis == "y2"]
    assert {name: list(trace.x) for name, trace in squares.items()} == {
        "ok": [0, 2],
        "failed ✕": [1],
        "running …": [3],
    }
    rows = [figure.layout.yaxis.ticktext[int(trace.base[0])] for trace in (squares["ok"], squares["failed ✕"])]
    assert rows == ["market refresh", "rebuild"]
    assert seconds[:2] == [{0: 30.0, 2: 12.0}, {1: 100.0}]


def test_forward_returns_look_exactly_thirty_calendar_days_ahead_and_know_their_number():
    dates = pd.date_range("2026-01-01", periods=100)
    closes = pd.Series(np.arange(100.0, 200.0))
    mood = pd.DataFrame({"date": dates, "value": [20] * 40 + [80] * 60, "classification": "Fear", "btc_close": closes})
    whole = analysis.forward_by_index(mood)
    assert len(whole) == 70
    assert whole["forward_pct"].iloc[0] == pytest.approx(30.0)
    holed = analysis.forward_by_index(mood.drop(index=30))
    assert dates[0] not in set(holed["date"])
    assert holed["forward_pct"].iloc[0] == pytest.approx((131 / 101 - 1) * 100)
    tens = analysis.by_tens(whole).set_index("middle")
    assert tens["n"].to_dict() == {25: 40, 85: 30}
    figure = charts.index_against_forward(whole, analysis.by_tens(whole), LIGHT)
    assert len(figure.data[1].x) == 70


def test_overlapping_months_count_as_few_cases():
    assert analysis.overlap_band(3000, 30) == pytest.approx(0.196)
    assert analysis.overlap_band(20, 30) == 1.0


def test_source_health_counts_every_bad_answer_of_the_last_day_alone():
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
    found = analysis.source_health(hours, now.to_pydatetime()).set_index("source")
    assert found.loc["a", ["requests", "retries", "bytes"]].tolist() == [20, 3, 5]
    assert found.loc["a", "errors_pct"] == 20.0
    assert found.loc["a", ["latency_p50_ms", "latency_p95_ms"]].tolist() == [20.0, 60.0]
    assert found.loc["a", "latency_by_hour"] == [900.0, 10.0, 30.0]
    assert found.loc["b", "requests"] == 0
    assert np.isnan(found.loc["b", "errors_pct"])


# -- the numbers behind the figures ----------------------------------------------------------------------------------


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
def test_bar_size_keeps_every_range_below_the_most_bars(span, history, bar, at_most):
    choice = analysis.choose_bar(span, history)
    assert choice.bar == bar
    drawn = min(history, choice.days or history) * 86_400 / analysis.BAR_LENGTH[bar].total_seconds()
    assert drawn <= at_most <= analysis.MOST_BARS


def test_monthly_returns_run_from_month_end_to_month_end():
    daily = days(59)  # January and February 2025
    table = analysis.monthly_returns(daily)
    closes = daily.set_index("date")["close"]
    assert np.isnan(table.loc[2025, 1])
    assert table.loc[2025, 2] == pytest.approx((closes["2025-02-28"] / closes["2025-01-31"] - 1) * 100)


def test_risk_over_a_window_with_a_missing_day_is_unknown():
    daily = days(100)
    daily.loc[95, ["return_pct", "log_return"]] = np.nan
    assert set(analysis.risk_over(daily, daily, 30).values()) == {None}
    assert analysis.risk_over(daily, daily, 4)["beta_btc"] == pytest.approx(1)
    assert set(analysis.risk_over(daily.head(20), daily, 30).values()) == {None}


def test_risk_counts_the_fall_on_the_first_day_of_the_window():
    daily = days(3)
    daily["close"] = [100.0, 50.0, 60.0]
    daily["return_pct"] = daily["close"].pct_change() * 100
    daily["log_return"] = np.log(daily["close"] / daily["close"].shift())
    risk = analysis.risk_over(daily, daily, 2)
    assert risk["return_pct"] == pytest.approx(-40)
    assert risk["max_drawdown_pct"] == pytest.approx(-50)


def test_lead_lag_finds_a_lead_of_three_days_on_the_right_side():
    mood = pd.Series(np.random.default_rng(5).normal(size=300))
    later = mood.shift(3)
    lags = analysis.lead_lag(mood, later)
    best = lags.loc[lags["correlation"].idxmax()]
    assert best["lag"] == 3
    assert best["correlation"] == pytest.approx(1)
    assert best["n"] == 297
    assert best["band"] == pytest.approx(1.96 / np.sqrt(297))


def test_daily_changes_do_not_bridge_a_missing_day():
    mood = sentiment(10).drop(index=4)
    volume = pd.DataFrame({"date": pd.date_range("2025-01-01", periods=10), "btc_volume_usd": np.exp(np.arange(10.0))})
    volume = volume.drop(index=7)
    changes = analysis.daily_changes(mood, volume)
    assert len(changes) == 10
    assert changes["volume"].isna().tolist() == [True, *[False] * 6, True, True, False]


def test_indexed_to_100_begins_where_all_coins_have_a_close():
    closes = pd.DataFrame(
        {
            "crypto_id": ["a", "a", "a", "b", "b"],
            "date": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-02", "2026-01-03"]),
            "close": [1.0, 2.0, 3.0, 50.0, 40.0],
        }
    )
    table = analysis.indexed_to_100(closes)
    assert table.index[0] == pd.Timestamp("2026-01-02")
    assert table.loc["2026-01-03"].to_dict() == {"a": 150.0, "b": 80.0}
    assert analysis.indexed_to_100(closes.iloc[[0, 4]]).empty


def test_similar_coins_are_found_by_id_symbol_and_name():
    coins = pd.DataFrame(
        {
            "crypto_id": ["bitcoin", "ethereum", "binancecoin"],
            "symbol": ["btc", "eth", "bnb"],
            "name": ["Bitcoin", "Ethereum", "BNB"],
        }
    )
    assert analysis.similar_coins("etherium", coins)[0] == "ethereum"
    assert analysis.similar_coins("BTC", coins)[0] == "bitcoin"
    assert analysis.similar_coins("zzzzzzzzzz", coins) == ["bitcoin", "ethereum", "binancecoin"]


def test_market_sentence_says_the_direction_the_breadth_and_the_mood():
    market = pd.Series(
        {
            "total_market_cap_usd": 2.35e12,
            "market_cap_change_24h_pct": -1.23,
            "advancers": 28,
            "decliners": 71,
            "unchanged": 1,
        }
    )
    mood = pd.Series({"classification": "Greed", "value": 63})
    assert analysis.market_sentence(market, mood) == (
        "The market is worth $2.35T, down 1.2% in 24 h; 71 of 100 coins fell; greed at 63."
    )
    market["market_cap_change_24h_pct"] = None
    assert "change over 24 h unknown" in analysis.market_sentence(market, None)


def test_losers_follow_the_rule_of_the_gainers():
    top = SNAPSHOT.assign(volume_24h_usd=[3e10, 2e5, np.nan])
    assert analysis.losers(top).empty
    assert analysis.losers(SNAPSHOT)["crypto_id"].tolist() == ["pepe"]


def test_expected_band_follows_the_weekday():
    counts = pd.DataFrame({"date": pd.date_range("2026-01-05", periods=28), "bars": ([240] * 5 + [200] * 2) * 4})
    counts.loc[27, "bars"] = 100
    band = analysis.expected_band(counts)
    assert band.loc[0, ["low", "high"]].tolist() == [240, 240]
    assert band.loc[26, ["low", "high"]].tolist() == [200, 200]
    assert band.loc[27, "low"] > 100
