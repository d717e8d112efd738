"""How the client reads coins, times, columns and definitions, and which bars count as missing; without a database."""

from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from tickmart.arguments import coin_ids, column_names, first_day_from, one_of, require_data, time_range, utc
from tickmart.errors import ArgumentError
from tickmart.gaps import with_null_rows
from tickmart.metrics import metrics_table

COINS = [
    {"crypto_id": "bitcoin", "symbol": "BTC", "name": "Bitcoin"},
    {"crypto_id": "ethereum", "symbol": "ETH", "name": "Ethereum"},
    {"crypto_id": "copycat", "symbol": "FLOW", "name": "Ethereum"},
    {"crypto_id": "flow-chain", "symbol": "FLOW", "name": "Flow"},
]
MIDNIGHT = datetime(2024, 1, 1, tzinfo=UTC)


def test_coins_are_found_once_in_the_given_order() -> None:
    assert coin_ids(["eth", "BITCOIN", "btc", " Ethereum "], COINS) == ["ethereum", "bitcoin"]
    # FLOW is the ticker of two coins; the name Flow is the same text, so it is ambiguous too.
    with pytest.raises(ArgumentError, match=r"copycat and flow-chain"):
        coin_ids("Flow", COINS)


@pytest.mark.parametrize("given", ["", "bitcoins-cash-gold", [], 7, [None]])
def test_an_unknown_coin_is_one_line(given: object) -> None:
    with pytest.raises(ArgumentError) as error:
        coin_ids([given] if isinstance(given, int) else given, COINS)  # type: ignore[arg-type, list-item]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "2024-01-01",
        "2024-01-01T00:00Z",
        "2024-01-01 02:00+02:00",
        date(2024, 1, 1),
        datetime(2024, 1, 1),  # noqa: DTZ001 - a time without a zone is UTC
        datetime(2023, 12, 31, 19, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_a_time_is_utc(given: str | date) -> None:
    assert utc("start", given) == MIDNIGHT


@pytest.mark.parametrize("given", ["yesterday", "", 20240101, "2024-13-01"])
def test_what_is_no_time_is_named(given: object) -> None:
    with pytest.raises(ArgumentError, match="start="):
        utc("start", given)  # type: ignore[arg-type]


def test_a_range_has_an_order_and_may_be_open() -> None:
    assert time_range(None, None) == (None, None)
    assert time_range("2024-01-01", None) == (MIDNIGHT, None)
    with pytest.raises(ArgumentError, match="not before"):
        time_range("2024-01-01", "2024-01-01")


def test_days_of_a_range_begin_in_it() -> None:
    assert first_day_from(MIDNIGHT) == date(2024, 1, 1)
    assert first_day_from(MIDNIGHT + timedelta(seconds=1)) == date(2024, 1, 2)


def test_a_range_that_ends_before_the_data_is_an_error() -> None:
    require_data("end", MIDNIGHT + timedelta(hours=1), MIDNIGHT, "bars")
    require_data("end", None, MIDNIGHT, "bars")
    require_data("end", MIDNIGHT, None, "bars")
    with pytest.raises(ArgumentError, match="2024-01-01T00:00Z"):
        require_data("end", MIDNIGHT, MIDNIGHT, "bars")


def test_columns_are_the_default_all_or_the_given_ones() -> None:
    known = {"crypto_id": "text", "close": "numeric", "open": "numeric"}
    assert column_names(None, ["close"], known, ["crypto_id"]) == ["close"]
    assert column_names("*", [], known, ["crypto_id"]) == ["close", "open"]
    assert column_names("open", [], known, ["crypto_id"]) == ["open"]
    assert column_names(["crypto_id", "open", "open"], [], known, ["crypto_id"]) == ["open"]
    with pytest.raises(ArgumentError, match="choose one of"):
        column_names(["opne"], [], known, ["crypto_id"])


def test_of_many_names_an_error_lists_the_similar_ones() -> None:
    names = [f"column_{letter}" for letter in "abcdefghijkl"] + ["close"]
    with pytest.raises(ArgumentError, match=r"did you mean close\?"):
        one_of("column", "closed", names)


def bars_at(*moments: datetime, coin: str = "bitcoin") -> pa.Table:
    return pa.table(
        {
            "crypto_id": pa.array([coin] * len(moments), pa.string()),
            "opened_at": pa.array(moments, pa.timestamp("us", "UTC")),
            "close": pa.array([1.0] * len(moments), pa.float64()),
        }
    )


@pytest.mark.parametrize(
    ("interval", "first", "missing", "last"),
    [
        ("1h", datetime(2023, 12, 31, 22, tzinfo=UTC), [datetime(2023, 12, 31, 23, tzinfo=UTC)], MIDNIGHT),
        ("4h", datetime(2023, 12, 31, 16, tzinfo=UTC), [datetime(2023, 12, 31, 20, tzinfo=UTC)], MIDNIGHT),
        (
            "1d",
            datetime(2024, 2, 28, tzinfo=UTC),
            [datetime(2024, 2, 29, tzinfo=UTC)],
            datetime(2024, 3, 1, tzinfo=UTC),
        ),
        ("1w", MIDNIGHT, [datetime(2024, 1, 8, tzinfo=UTC)], datetime(2024, 1, 15, tzinfo=UTC)),
        (
            "1M",
            datetime(2023, 11, 1, tzinfo=UTC),
            [datetime(2023, 12, 1, tzinfo=UTC), MIDNIGHT],
            datetime(2024, 2, 1, tzinfo=UTC),
        ),
    ],
)
def test_each_missing_bar_becomes_a_row_of_nulls(
    interval: str, first: datetime, missing: list[datetime], last: datetime
) -> None:
    filled = with_null_rows(bars_at(first, last), interval)
    assert filled["opened_at"].to_pylist() == [first, *missing, last]
    assert filled["close"].to_pylist() == [1.0, *[None] * len(missing), 1.0]
    assert filled.schema == bars_at().schema


def test_between_two_coins_nothing_is_missing() -> None:
    table = pa.concat_tables([bars_at(MIDNIGHT), bars_at(MIDNIGHT + timedelta(days=9), coin="ethereum")])
    for found in (table, bars_at(), bars_at(MIDNIGHT)):
        assert with_null_rows(found, "1h").equals(found)


def test_a_comment_is_split_into_definition_formula_and_unit() -> None:
    comment = "Traded amount\nin USDT.\nFormula: `sum(quote_volume)`\nUnit: USDT"
    rows = metrics_table([("fct_prices", "quote_volume", "numeric", comment), ("fct_prices", "x", "text", None)])
    assert rows.to_pylist() == [
        {
            "mart": "fct_prices",
            "column": "quote_volume",
            "type": "numeric",
            "definition": "Traded amount in USDT.",
            "formula": "`sum(quote_volume)`",
            "unit": "USDT",
        },
        {"mart": "fct_prices", "column": "x", "type": "text", "definition": None, "formula": None, "unit": None},
    ]
    assert metrics_table([]).num_rows == 0
