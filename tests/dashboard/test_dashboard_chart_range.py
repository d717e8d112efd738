"""Chart ranges of the URL: parsing and applying them to a figure."""

import pytest

from dashboard.charts import base, price
from dashboard.state import chart_range
from tests.dashboard.frames import candles, days


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01",
        "2026-02-01,2026-01-01",
        "2026-01-01,2026-01-01",
        "2026-01-01,NaT",
        "nan,nan",
        "9" * 40 + "," + "9" * 50,
        "2026-01-01,2026-02-01,5",
        "2026-01-01,2026-02-01,9,1",
        "2026-01-01,2026-02-01,nan,inf",
        "2026-01-01T00:00Z,2026-02-01T00:00Z",
        ",,,",
    ],
)
def test_parse_rejects_invalid_ranges(text):
    assert chart_range.parse(text) is None


FITTED = price.price_chart(candles(50), days(60), "1h", base.palette()).layout.yaxis.range
FITTED_LOG = price.price_chart(candles(50), days(60), "1h", base.palette(), price.Display(log=True)).layout.yaxis.range


@pytest.mark.parametrize(
    ("log", "text", "applied", "prices"),
    [
        (False, "2025-03-01,2025-03-02,10,1000", True, (10, 1000)),
        (True, "2025-03-01,2025-03-02,10,1000", True, (1, 3)),
        (True, "2025-03-01,2025-03-02,-10,1000", True, FITTED_LOG),
        (False, "1999-01-01,1999-02-01", False, FITTED),
        (False, "0001-01-01,0002-01-01", False, FITTED),
    ],
)
def test_apply_sets_ranges_that_overlap_the_data(log, text, applied, prices):
    figure = price.price_chart(candles(50), days(60), "1h", base.palette(), price.Display(log=log))
    layout = chart_range.apply(figure, chart_range.parse(text)).layout
    assert layout.xaxis.range == (("2025-03-01 00:00", "2025-03-02 00:00") if applied else None)
    assert layout.yaxis.range == prices
    assert figure.layout.xaxis.range is None


@pytest.mark.parametrize("candle", [True, False])
def test_price_axis_is_fitted_to_the_visible_bars_and_not_to_overlays(candle):
    bars = candles(50)
    bars.loc[40, "high"] = bars.loc[40, "close"] = 1e6
    bars["sma_7"] = 1e9
    figure = price.price_chart(bars, days(60), "1h", base.palette(), price.Display(candles=candle, overlays=("SMA 7",)))
    assert 1e6 <= figure.layout.yaxis.range[1] < 2e6
    low, high = chart_range.apply(figure, chart_range.parse("2025-03-01,2025-03-02")).layout.yaxis.range
    visible = bars.head(25)
    lows, highs = (visible["low"], visible["high"]) if candle else (visible["close"], visible["close"])
    assert 0 <= low < lows.min()
    assert highs.max() < high < 1.2 * highs.max()


def test_price_axis_never_starts_below_zero():
    bars = candles(3).assign(low=0.01, high=1e6)
    assert price.price_chart(bars, days(3), "1h", base.palette()).layout.yaxis.range[0] == 0
