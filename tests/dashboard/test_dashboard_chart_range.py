"""Chart ranges of the URL: parsing and applying them to a figure."""

import pytest

from dashboard.charts import base, price
from dashboard.components import chart_range
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


@pytest.mark.parametrize(
    ("log", "text", "applied", "prices"),
    [
        (False, "2025-03-01,2025-03-02", True, None),
        (False, "2025-03-01,2025-03-02,10,1000", True, (10, 1000)),
        (True, "2025-03-01,2025-03-02,10,1000", True, (1, 3)),
        (True, "2025-03-01,2025-03-02,-10,1000", True, None),
        (False, "1999-01-01,1999-02-01", False, None),
        (False, "0001-01-01,0002-01-01", False, None),
    ],
)
def test_apply_sets_ranges_that_overlap_the_data(log, text, applied, prices):
    figure = price.price_chart(candles(50), days(60), "1h", base.palette(), log=log)
    layout = chart_range.apply(figure, chart_range.parse(text)).layout
    assert layout.xaxis.range == (("2025-03-01 00:00", "2025-03-02 00:00") if applied else None)
    assert layout.yaxis.range == prices
    assert figure.layout.xaxis.range is None
