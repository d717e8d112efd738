"""CSV files: readable by pandas without options, date first, UTC, every digit."""

import io
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pandas as pd
import pytest

from dashboard.components.csv_download import csv_file


@pytest.fixture
def frame() -> pd.DataFrame:
    noon_in_tokyo = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    return pd.DataFrame(
        {
            "crypto_id": ["bitcoin", "solana"],
            "close": ["67000.10000000", "0.00000001"],
            "volume": [Decimal("1E-8"), Decimal("12.50")],
            "ratio": [1e-9, None],
            "opened_at": pd.Series([noon_in_tokyo, noon_in_tokyo + timedelta(hours=1)]),
        }
    )


def test_first_line_is_the_header_and_the_time_is_the_first_column(frame):
    first = csv_file(frame).decode().splitlines()[0]
    assert first == "opened_at,crypto_id,close,volume,ratio"


def test_times_are_iso_in_utc(frame):
    read = pd.read_csv(io.BytesIO(csv_file(frame)), parse_dates=["opened_at"])
    assert read["opened_at"].iloc[0] == datetime(2026, 3, 1, 3, tzinfo=UTC)
    assert csv_file(frame).decode().splitlines()[1].startswith("2026-03-01T03:00:00Z,")


def test_exact_decimals_stay_exact_and_have_no_exponent(frame):
    read = pd.read_csv(io.BytesIO(csv_file(frame)), dtype=str)
    assert read["close"].tolist() == ["67000.10000000", "0.00000001"]
    assert read["volume"].tolist() == ["0.00000001", "12.50"]
    assert read["ratio"].iloc[0] == "0.000000001"
    assert pd.isna(read["ratio"].iloc[1])


def test_dates_have_no_time():
    days = pd.DataFrame({"value": [1, 2], "date": pd.to_datetime(["2026-01-01", None])})
    assert csv_file(days).decode() == "date,value\n2026-01-01,1\n,2\n"


def test_text_never_becomes_a_formula():
    frame = pd.DataFrame({"date": ["2026-01-01"], "name": ["=HYPERLINK(1)"]})
    assert "'=HYPERLINK(1)" in csv_file(frame).decode()


def test_frame_without_times_keeps_its_order():
    frame = pd.DataFrame({"b": [1], "a": [True]})
    assert csv_file(frame).decode() == "b,a\n1,True\n"
