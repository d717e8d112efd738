"""Moving averages of any period: equal to TA-Lib and to the columns of the marts."""

import numpy as np
import pytest

from dashboard.analysis.moving_averages import exponential, simple, with_averages
from dashboard.queries import prices
from tests.dashboard.frames import days

talib = pytest.importorskip("talib")


@pytest.mark.parametrize("period", [20, 50, 100, 200])
@pytest.mark.parametrize(("ours", "theirs"), [(simple, "SMA"), (exponential, "EMA")])
def test_average_equals_talib_with_the_same_missing_rows(ours, theirs, period):
    closes = days(420)["close"]
    expected = getattr(talib, theirs)(closes.to_numpy(), period)
    np.testing.assert_allclose(ours(closes, period).to_numpy(), expected, rtol=1e-12)


def test_average_is_missing_if_the_history_is_shorter():
    closes = days(30)["close"]
    assert exponential(closes, 50).isna().all()
    assert simple(closes, 50).isna().all()


def test_averages_equal_those_of_the_mart(use, marts):
    use(marts)
    daily = prices.daily("bitcoin")
    bare = with_averages(daily[["close"]], ("sma_20", "ema_26"))
    np.testing.assert_allclose(bare["sma_20"], daily["sma_20"], rtol=1e-12)
    np.testing.assert_allclose(bare["ema_26"], daily["ema_26"], rtol=1e-12)


def test_column_of_the_mart_is_kept():
    frame = days(10).assign(sma_7=1.0)
    assert (with_averages(frame, ("sma_7",))["sma_7"] == 1.0).all()
