"""Formats of numbers, changes and times."""

from datetime import UTC, date, datetime, timedelta, timezone

import pandas as pd
import pytest

from dashboard import formats, text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (67412.3, "$67,412"),
        (10_000, "$10,000"),
        (9_999.999, "$10,000"),
        (9_999.99, "$9,999.99"),
        (3412.069, "$3,412.07"),
        (1, "$1.00"),
        (0.99999, "$1.00"),
        (0.42131, "$0.4213"),
        (0.01, "$0.0100"),
        (0.0099999, "$0.01000"),
        (0.0004213, "$0.0004213"),
        (0.00001234, "$0.0₄1234"),
        (1.092e-9, "$0.0₈1092"),
        (9.9999e-9, "$0.0₇1000"),
        (0, "$0"),
        (-0.0004213, "−$0.0004213"),
        (None, "—"),
        (float("nan"), "—"),
        (float("inf"), "—"),
    ],
)
def test_price_keeps_significant_digits(value, text):
    assert formats.price(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.3456e12, "$2.35T"),
        (999_999_999_999, "$1.00T"),
        (1.5e9, "$1.50B"),
        (2_530_000, "$2.53M"),
        (1_000, "$1.00K"),
        (12.3, "$12.30"),
        (0, "$0.00"),
        (-5e6, "−$5.00M"),
        (None, "—"),
    ],
)
def test_money_is_short_with_two_decimals(value, text):
    assert formats.money(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.93, "▲ 1.93%"), (-0.4, "▼ 0.40%"), (0, "0.00%"), (-0.001, "0.00%"), (12_345.6, "▲ 12,345.60%"), (None, "—")],
)
def test_change_has_an_arrow_unless_it_is_zero(value, text):
    assert formats.change(value) == text


def test_negative_numbers_use_the_minus_sign():
    assert formats.ratio(-0.314) == "−0.31"
    assert formats.signed(-2.04) == "−2.04%"
    assert formats.percent(-37.04) == "−37.04%"
    assert formats.count(-1234) == "−1,234"
    assert formats.amount(-1234) == "−1.23K"


def test_zero_has_no_sign():
    assert [formats.signed(value) for value in (39.46, 0.004, 0, -0.004)] == ["+39.46%", "0.00%", "0.00%", "0.00%"]
    assert formats.percent(-0.001) == "0.00%"
    assert formats.ratio(-0.004) == "0.00"
    assert formats.count(-0.4) == "0"


def test_count_range_of_equal_ends_is_one_number():
    assert formats.count_range(90, 90.0) == "90"
    assert formats.count_range(88, 1090) == "88 to 1,090"


def test_nbsp_units_joins_number_and_unit_of_time():
    assert text.nbsp_units("up 3 in 24 h; of 30 days") == "up 3 in 24\u00a0h; of 30\u00a0days"
    assert text.nbsp_units("12 hours of 7 daily sums, 5 minutes") == "12 hours of 7 daily sums, 5 minutes"


def test_instant_converts_to_utc():
    there = datetime(2026, 1, 2, 1, 30, tzinfo=timezone(timedelta(hours=5)))
    assert formats.instant(there) == "2026-01-01 20:30 UTC"
    assert formats.instant(pd.Timestamp("2026-01-02 03:04", tz="UTC")) == "2026-01-02 03:04 UTC"
    assert formats.instant(date(2026, 1, 2)) == "2026-01-02"
    assert formats.instant(pd.NaT) == "—"
    assert formats.instant(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02 00:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (89, "89 s"),
        (90, "1 min"),
        (5_399, "89 min"),
        (5_400, "1 h 30 min"),
        (7_300, "2 h 1 min"),
        (7_259, "2 h"),
        (31 * 3600, "31 h"),
        (49 * 3600, "2 d"),
    ],
)
def test_duration_uses_the_largest_fitting_unit(seconds, expected):
    assert formats.duration(timedelta(seconds=seconds)) == expected.replace(" ", "\u00a0")


def test_ordinal_has_its_suffix():
    assert [formats.ordinal(n) for n in (0, 1, 2, 3, 11, 12.4, 21, 100)] == [
        "0th", "1st", "2nd", "3rd", "11th", "12th", "21st", "100th",
    ]  # fmt: skip


def test_has_missing_cells_ignores_columns_of_lists():
    lines = pd.DataFrame({"coin": ["BTC", "XYZ"], "week": [[1.0, 2.0], None]})
    assert not formats.has_missing_cells(lines)
    assert formats.has_missing_cells(lines.assign(price=[1.0, None]))
    assert formats.has_missing_cells(lines.assign(price=["$1", formats.MISSING]))
