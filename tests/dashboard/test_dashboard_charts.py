"""Figures, from DataFrames alone."""

import itertools

import numpy as np
import pandas as pd
import pytest
from frames import DAILY_COLUMNS, SNAPSHOT, candles, days, mood

from dashboard import analysis
from dashboard.charts import base, compare, data_quality, overview, price, sentiment

COLOURS = [base.palette(mode, pair) for mode in ("light", "dark") for pair in base.UP_DOWN]
LIGHT = COLOURS[0]


def price_of(bars, daily, bar="1h", **options):
    options = {"overlays": list(price.OVERLAYS), "panes": list(price.PANES)} | options
    return price.price_chart(bars, daily, bar, LIGHT, **options)


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_all_panes_share_one_x_axis_and_one_hover_box():
    figure = price_of(candles(100), days(90))
    assert {trace.xaxis for trace in figure.data} <= {None, "x"}
    assert figure.layout.hovermode == "x unified"
    assert figure.layout.hoversubplots == "axis"


@pytest.mark.parametrize("count", range(6))
def test_panes_do_not_overlap_the_price_or_each_other(count):
    figure = price_of(candles(50), days(60), panes=list(price.PANES)[:count])
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


def test_change_bars_leave_out_unknown_coins_and_keep_the_given_order():
    figure = overview.change_bars(SNAPSHOT, "change_24h_pct", LIGHT)
    (bars,) = figure.data
    assert list(bars.y) == ["bitcoin", "pepe"]
    assert figure.layout.yaxis.ticktext == ("BTC", "PEPE")
    assert list(bars.marker.color) == [LIGHT.up, LIGHT.down]
    assert list(bars.text) == ["▲ 1.50%", "▼ 30.00%"]


def test_treemap_clips_its_colours_at_ten_percent_and_drops_coins_without_size():
    (tree,) = overview.market_treemap(SNAPSHOT, LIGHT).data
    assert list(tree.ids) == ["bitcoin", "pepe"]
    assert list(tree.marker.colors) == [1.5, -10]
    assert (tree.marker.cmin, tree.marker.cmid, tree.marker.cmax) == (-10, 0, 10)


@pytest.mark.parametrize("colours", COLOURS, ids=str)
@pytest.mark.parametrize("n", [0, 1, 200])
def test_every_figure_of_daily_data_is_valid_in_every_palette(colours, n):
    daily, index = days(n), mood(n)
    volume = pd.DataFrame({"date": daily["date"], "volume_usd": 1e9, "btc_volume_usd": 1e8})
    assert price.volatility_lines(daily, colours).to_json()
    assert price.drawdown_area(daily, colours).to_json()
    assert price.return_histogram(daily, colours).to_json()
    assert sentiment.volume_lines(analysis.volume_trend(volume), colours).to_json()
    if n:
        assert price.return_calendar(analysis.monthly_returns(daily), colours).to_json()
        assert sentiment.sentiment_history(index, colours).to_json()
        assert sentiment.fear_greed_gauge(40, None, colours).to_json()
        counts = pd.DataFrame({"date": daily["date"], "bars": 240, "assets": 10})
        assert data_quality.bars_with_band(analysis.expected_band(counts), colours).to_json()


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
    for _, cell in base.diverging(colours, colours.cell):
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
    figure = data_quality.run_squares(runs, LIGHT)
    squares = {trace.name: trace for trace in figure.data if trace.yaxis != "y2"}
    seconds = [dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data if trace.yaxis == "y2"]
    assert {name: list(trace.x) for name, trace in squares.items()} == {
        "ok": [0, 2],
        "failed ✕": [1],
        "running …": [3],
    }
    names = [note.text for note in figure.layout.annotations]
    assert [names[int(squares[end].y[0])] for end in ("ok", "failed ✕")] == ["market refresh", "rebuild"]
    assert {trace.marker.symbol for trace in squares.values()} == {"square"}
    assert seconds[:2] == [{0: 30.0, 2: 12.0}, {1: 100.0}]


def test_every_day_with_a_later_close_is_one_point_against_the_index():
    forward = analysis.forward_by_index(mood(100))
    assert len(forward) == 70
    figure = sentiment.index_against_forward(forward, analysis.by_tens(forward), LIGHT)
    assert len(figure.data[1].x) == 70


def test_missing_hours_stand_on_an_axis_of_sixty_days_however_few_they_are():
    missing = pd.DataFrame(
        {
            "crypto_id": ["a"],
            "symbol": ["a"],
            "name": ["A"],
            "date": pd.to_datetime(["2026-03-01"]),
            "missing": [3],
        }
    )
    (heat,) = data_quality.missing_heatmap(missing, pd.Timestamp("2026-03-10"), LIGHT).data
    assert len(heat.x) == 60
    assert pd.Timestamp(heat.x[-1]) == pd.Timestamp("2026-03-10")
    cells = np.array(heat.z, dtype=float)
    assert np.nansum(cells) == cells[0, 50] == 3


def test_a_rolling_correlation_begins_with_its_first_full_window():
    values = pd.Series([np.nan, np.nan, 0.5, np.nan, 0.1], index=pd.date_range("2026-01-01", periods=5))
    line = base.correlation_lines({"a": values, "none yet": values * np.nan}, LIGHT).data[0]
    assert len(line.x) == 3
    assert list(line.y)[::2] == [0.5, 0.1]


def test_names_of_coins_that_lie_close_do_not_cover_each_other():
    coins = pd.DataFrame({"x": [0.0, 0.5, 0.51, 1.0], "y": [0.0, 10.0, 10.4, 20.0], "name": ["", "ETH", "XRP", "BTC"]})
    sizes = pd.Series([10.0] * 4)
    places = compare.label_places(coins["x"], coins["y"], sizes, coins["name"])
    assert places[3] == "top center"
    assert places[1] != places[2]
    assert compare.label_places(coins["x"].head(0), coins["y"].head(0), sizes.head(0), coins["name"].head(0)) == []


def test_a_month_is_written_with_as_many_digits_as_a_phone_has_room_for():
    returns = pd.DataFrame({1: [9.96, -3.14], 2: [-37.2, np.nan]}, index=[2025, 2026])
    (heat,) = price.return_calendar(returns, LIGHT).data
    assert [list(row) for row in heat.text] == [["10", "−37"], ["−3.1", ""]]
    assert heat.customdata[1][0] == "▼ 3.14%"


@pytest.mark.parametrize("newest", [-0.5, 0.5])
def test_the_word_for_the_newest_day_stands_above_the_bars(newest):
    daily = days(200)
    daily.loc[199, "return_pct"] = newest
    figure = price.return_histogram(daily, LIGHT)
    assert figure.layout.yaxis.range[1] > 1.1 * max(figure.data[0].y)


def test_every_lag_has_room_for_its_label():
    lags = analysis.lead_lag(mood(100)["change_1d"], mood(100)["btc_return_pct"])
    figure = sentiment.lead_lag_bars(lags, LIGHT)
    assert figure.layout.xaxis.range == (-15.6, 15.6)
