"""Figures built from DataFrames."""

import itertools

import numpy as np
import pandas as pd
import pytest

from dashboard.analysis import quality, returns
from dashboard.analysis import sentiment as statistics
from dashboard.charts import base, compare, data_quality, overview, price, sentiment
from dashboard.charts import returns as return_figures
from tests.dashboard.frames import DAILY_COLUMNS, SNAPSHOT, candles, days, sentiment_days

COLORS = [base.palette(mode, pair) for mode in ("light", "dark") for pair in base.UP_DOWN]
LIGHT = COLORS[0]


def price_of(bars, daily, bar="1h", *, others=price.NO_OTHERS, events=(), **choices):
    display = price.Display(**{"overlays": tuple(price.OVERLAYS), "panes": tuple(price.PANES)} | choices)
    return price.price_chart(bars, daily, bar, LIGHT, display, others=others, events=events)


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_price_chart_panes_share_one_x_axis_and_its_hover_events_without_a_box():
    figure = price_of(candles(100), days(90))
    assert {trace.xaxis for trace in figure.data} <= {None, "x"}
    assert (figure.layout.hovermode, figure.layout.hoversubplots) == ("x", "axis")
    assert {(trace.hoverinfo, trace.hovertemplate) for trace in figure.data} == {("none", None)}


@pytest.mark.parametrize("count", range(6))
def test_price_chart_panes_do_not_overlap(count):
    figure = price_of(candles(50), days(60), panes=tuple(price.PANES)[:count])
    axes = [figure.layout.yaxis, *(figure.layout[f"yaxis{n}"] for n in range(2, count + 2))]
    domains = sorted(axis.domain for axis in axes)
    assert all(below[1] <= above[0] for below, above in itertools.pairwise(domains))
    assert domains[-1] == figure.layout.yaxis.domain
    assert domains[-1][1] - domains[-1][0] > 0.4


def test_price_line_breaks_at_missing_hours():
    bars = candles(10).drop(index=[4, 5]).reset_index(drop=True)
    (line,) = traces(price_of(bars, days(60), candles=False), "Close")
    assert np.isnan(np.array(line.y, dtype=float)).tolist() == [False] * 4 + [True] * 2 + [False] * 4
    assert line.connectgaps is False


def test_only_the_newest_candle_can_be_incomplete():
    bars = candles(6, "4h").assign(hours=[4, 2, 4, 4, 4, 3])
    figure = price_of(bars, days(60), "4h")
    assert len(traces(figure, "Price")[0].close) == 5
    assert len(traces(figure, "Incomplete")[0].close) == 1
    complete = price_of(bars.iloc[:5], days(60), "4h")
    assert not traces(complete, "Incomplete")


def test_daily_indicator_on_hourly_candles_starts_when_its_day_is_over():
    daily = days(60)
    bars = candles(30)  # 2025-03-01 00:00 to 2025-03-02 05:00
    (line,) = traces(price_of(bars, daily, panes=("RSI",)), "RSI 14 (daily)")
    known = daily.set_index("date")["rsi_14"]
    assert list(line.y) == pytest.approx([known["2025-02-28"], known["2025-03-01"], known["2025-03-01"]])
    assert list(line.x) == ["2025-03-01 00:00", "2025-03-02 00:00", "2025-03-02 05:00"]
    assert line.line.shape == "hv"


def test_price_chart_shows_no_value_before_its_day_is_over():
    bars = candles(30)
    later = days(90)
    later.loc[later["date"] >= "2025-03-02", list(DAILY_COLUMNS)] = 1e9
    figure = price_of(bars, later)
    for trace in figure.data:
        if trace.type == "scatter":
            assert np.nanmax(np.array(trace.y, dtype=float)) < 1e9


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("bar", ["1h", "4h", "1d", "1w", "1mo"])
def test_price_chart_renders_with_zero_to_two_bars(rows, bar):
    bars = candles(3, {"1h": "h", "4h": "4h", "1d": "D", "1w": "7D", "1mo": "MS"}[bar]).head(rows)
    assert price_of(bars, days(rows), bar).to_json()
    assert price_of(bars, days(0), bar, candles=False).to_json()


def test_indicators_without_values_are_not_in_the_legend():
    daily = days(60)
    daily["sma_200"] = np.nan
    assert not traces(price_of(candles(10), daily), "SMA 200d")


def test_price_chart_with_720_candles_and_all_indicators_is_below_300_kb():
    daily = days(720)
    bars = daily.assign(opened_at=daily["date"].dt.tz_localize("UTC"), hours=24).drop(columns=["bar_count"])
    bars = bars[["opened_at", "open", "high", "low", "close", "quote_volume", "hours", *DAILY_COLUMNS]]
    assert len(price_of(bars, daily, "1d").to_json()) < 300_000


def test_change_bars_drop_unknown_changes_and_keep_the_order():
    figure = overview.change_bars(SNAPSHOT, "change_24h_pct", LIGHT)
    (bars,) = figure.data
    assert list(bars.y) == ["bitcoin", "pepe"]
    assert figure.layout.yaxis.ticktext == ("BTC", "PEPE")
    assert list(bars.marker.color) == [LIGHT.up, LIGHT.down]
    assert list(bars.text) == ["▲ 1.50%", "▼ 30.00%"]


@pytest.mark.parametrize(("window", "limit"), overview.HEATMAP_LIMITS_PCT.items())
def test_treemap_clips_colors_at_the_limit_of_its_window_and_drops_coins_without_market_cap(window, limit):
    coins = SNAPSHOT.rename(columns={"change_24h_pct": f"change_{window}_pct"})
    (tree,) = overview.market_treemap(coins, LIGHT, window).data
    assert list(tree.ids) == ["bitcoin", "pepe"]
    assert list(tree.marker.colors) == [1.5, -limit]
    assert (tree.marker.cmin, tree.marker.cmid, tree.marker.cmax) == (-limit, 0, limit)


@pytest.mark.parametrize("colors", COLORS, ids=str)
@pytest.mark.parametrize("n", [0, 1, 200])
def test_figures_are_valid_in_every_palette(colors, n):
    daily, index = days(n), sentiment_days(n)
    volume = pd.DataFrame({"date": daily["date"], "volume_usd": 1e9, "btc_volume_usd": 1e8})
    assert return_figures.volatility_lines(daily, colors).to_json()
    assert return_figures.drawdown_area(daily, colors).to_json()
    assert return_figures.return_histogram(daily, colors).to_json()
    assert sentiment.volume_lines(statistics.volume_trend(volume), colors).to_json()
    if n:
        assert return_figures.return_calendar(returns.monthly_returns(daily), colors).to_json()
        assert sentiment.sentiment_history(index, colors).to_json()
        assert sentiment.fear_greed_gauge(40, colors).to_json()
        counts = pd.DataFrame({"date": daily["date"], "bars": 240, "assets": 10})
        assert data_quality.row_counts(quality.expected_band(counts), colors).to_json()


def contrast(one, other):
    """The contrast ratio of WCAG 2.2, calculated independently of the charts."""

    def luminance(color):
        channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", COLORS, ids=str)
def test_text_of_a_heatmap_tile_has_contrast_at_every_change(colors):
    moves = np.linspace(-8, 8, 161)
    coins = pd.concat([SNAPSHOT.head(1)] * len(moves), ignore_index=True).assign(change_24h_pct=moves)
    (tree,) = overview.market_treemap(coins, colors).data
    grounds = [base.diverging_color(colors, move / tree.marker.cmax) for move in tree.marker.colors]
    assert min(map(contrast, tree.textfont.color, grounds)) >= 4.5
    assert grounds[0] == base.diverging(colors)[0][1]
    assert grounds[-1] == base.diverging(colors)[2][1]


@pytest.mark.parametrize("colors", COLORS, ids=str)
def test_palette_text_colors_have_contrast(colors):
    for text in (colors.up, colors.down, colors.muted, colors.text):
        assert contrast(text, colors.surface) >= 4.5
    for _, cell in base.diverging(colors, colors.cell):
        assert contrast(colors.text, cell) >= 4.5


def test_run_history_draws_one_square_and_one_bar_per_run_by_status():
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
    figure = data_quality.run_history(runs, LIGHT)
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


def test_index_and_forward_return_draws_one_point_per_day():
    forward = statistics.forward_returns(sentiment_days(100))
    assert len(forward) == 70
    figure = sentiment.index_and_forward_return(forward, statistics.by_index_bin(forward), LIGHT)
    assert len(figure.data[1].x) == 70


def test_missing_heatmap_always_spans_sixty_days():
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


def test_correlation_lines_start_with_the_first_complete_window():
    values = pd.Series([np.nan, np.nan, 0.5, np.nan, 0.1], index=pd.date_range("2026-01-01", periods=5))
    line = base.correlation_lines({"a": values, "none yet": values * np.nan}, LIGHT).data[0]
    assert len(line.x) == 3
    assert list(line.y)[::2] == [0.5, 0.1]


def test_label_places_separates_labels_of_close_points():
    coins = pd.DataFrame({"x": [0.0, 0.5, 0.51, 1.0], "y": [0.0, 10.0, 10.4, 20.0], "name": ["", "ETH", "XRP", "BTC"]})
    sizes = pd.Series([10.0] * 4)
    places = compare.label_places(coins["x"], coins["y"], sizes, coins["name"])
    assert places[3] == "top center"
    assert places[1] != places[2]
    assert compare.label_places(coins["x"].head(0), coins["y"].head(0), sizes.head(0), coins["name"].head(0)) == []


def test_return_calendar_cells_have_at_most_four_characters():
    returns = pd.DataFrame({1: [9.96, -3.14], 2: [-37.2, np.nan]}, index=[2025, 2026])
    (heat,) = return_figures.return_calendar(returns, LIGHT).data
    assert [list(row) for row in heat.text] == [["10", "−37"], ["−3.1", ""]]
    assert heat.customdata[1][0] == "▼ 3.14%"


@pytest.mark.parametrize("newest", [-0.5, 0.5])
def test_return_histogram_has_space_above_the_bars_for_the_annotation(newest):
    daily = days(200)
    daily.loc[199, "return_pct"] = newest
    figure = return_figures.return_histogram(daily, LIGHT)
    assert figure.layout.yaxis.range[1] > 1.1 * max(figure.data[0].y)


def test_lead_lag_axis_has_space_for_the_outer_labels():
    lags = statistics.lead_lag(sentiment_days(100)["change_1d"], sentiment_days(100)["btc_return_pct"])
    figure = sentiment.lead_lag_bars(lags, LIGHT)
    assert figure.layout.xaxis.range == (-15.6, 15.6)
