"""The expectation suites, as Python objects; each expectation says in ``meta`` what it guards.

Importing this module costs nothing: Great Expectations (about 3 s) is imported by the functions that need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuite

PRICES = ("open", "high", "low", "close")


def _suite(name: str, expectations: list[tuple[str, Any]]) -> ExpectationSuite:
    from great_expectations.core import ExpectationSuite

    suite = ExpectationSuite(name=name)
    for guards, expectation in expectations:
        expectation.meta = {"guards": guards}
        suite.add_expectation(expectation)
    return suite


def bronze_klines(symbols: list[str]) -> ExpectationSuite:
    """What every bar must satisfy before it may be loaded."""
    import great_expectations.expectations as gxe

    rules: list[tuple[str, Any]] = [
        ("there is something to load", gxe.ExpectTableRowCountToBeBetween(min_value=1)),
        (
            "one bar per symbol, interval and open time",
            gxe.ExpectCompoundColumnsToBeUnique(column_list=["symbol", "interval", "open_time"]),
        ),
        (
            "every bar opens on the day of its object",
            gxe.ExpectColumnValuesToBeInSet(column="on_its_day", value_set=[True]),
        ),
        (
            "only tracked symbols",
            gxe.ExpectColumnValuesToBeInSet(column="symbol", value_set=symbols, severity="warning"),
        ),
        ("base volume is not negative", gxe.ExpectColumnValuesToBeBetween(column="volume", min_value=0)),
        ("quote volume is not negative", gxe.ExpectColumnValuesToBeBetween(column="quote_volume", min_value=0)),
        (
            "takers bought no more than was traded",
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="volume", column_B="taker_buy_base_volume", or_equal=True
            ),
        ),
        (
            "a bar closes after it opens",
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="close_time", column_B="open_time"),
        ),
        (
            "volume only where there were trades",
            gxe.ExpectColumnValuesToBeInSet(column="volume_has_trades", value_set=[True], severity="warning"),
        ),
    ]
    for column in ("symbol", "interval", "open_time", "close_time", *PRICES, "volume", "quote_volume"):
        rules.append((f"{column} is there", gxe.ExpectColumnValuesToNotBeNull(column=column)))
    for column in PRICES:
        rules.append(
            (f"{column} is above 0", gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, strict_min=True))
        )
    for column in ("open", "low", "close"):
        rules.append(
            (
                f"{column} is not above high",
                gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="high", column_B=column, or_equal=True),
            )
        )
    for column in ("open", "close"):
        rules.append(
            (
                f"{column} is not below low",
                gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=column, column_B="low", or_equal=True),
            )
        )
    return _suite("bronze_klines", rules)


def bronze_markets(crypto_ids: list[str]) -> ExpectationSuite:
    """What a market snapshot must satisfy before it may be loaded."""
    import great_expectations.expectations as gxe

    return _suite(
        "bronze_markets",
        [
            ("there is something to load", gxe.ExpectTableRowCountToBeBetween(min_value=1)),
            (
                "one row per coin and snapshot",
                gxe.ExpectCompoundColumnsToBeUnique(column_list=["crypto_id", "snapshot_at"]),
            ),
            (
                "every tracked coin is in the snapshot",
                gxe.ExpectColumnDistinctValuesToContainSet(
                    column="crypto_id", value_set=crypto_ids, severity="warning"
                ),
            ),
            ("every coin has its JSON", gxe.ExpectColumnValuesToNotBeNull(column="payload")),
            (
                "nearly every coin has a price",
                gxe.ExpectColumnValuesToNotBeNull(column="current_price", mostly=0.9, severity="warning"),
            ),
            ("prices are not negative", gxe.ExpectColumnValuesToBeBetween(column="current_price", min_value=0)),
            ("market caps are not negative", gxe.ExpectColumnValuesToBeBetween(column="market_cap", min_value=0)),
            ("volumes are not negative", gxe.ExpectColumnValuesToBeBetween(column="total_volume", min_value=0)),
        ],
    )


def bronze_fear_greed() -> ExpectationSuite:
    """What the sentiment history must satisfy before it may be loaded."""
    import great_expectations.expectations as gxe

    classes = ["Extreme Fear", "Fear", "Neutral", "Greed", "Extreme Greed"]
    return _suite(
        "bronze_fear_greed",
        [
            ("there is something to load", gxe.ExpectTableRowCountToBeBetween(min_value=1)),
            (
                "one value per day and object",
                gxe.ExpectCompoundColumnsToBeUnique(column_list=["object_key", "date"]),
            ),
            (
                "the index is from 0 to 100",
                gxe.ExpectColumnValuesToBeBetween(column="value", min_value=0, max_value=100),
            ),
            (
                "the class is a known one",
                gxe.ExpectColumnValuesToBeInSet(column="classification", value_set=classes, severity="warning"),
            ),
        ],
    )


def fct_prices() -> ExpectationSuite:
    """What the hourly mart must satisfy over the days that a run has touched."""
    import great_expectations.expectations as gxe

    rules: list[tuple[str, Any]] = [
        ("the range holds bars", gxe.ExpectTableRowCountToBeBetween(min_value=1)),
        ("one row per asset and hour", gxe.ExpectCompoundColumnsToBeUnique(column_list=["crypto_id", "opened_at"])),
        ("asset is there", gxe.ExpectColumnValuesToNotBeNull(column="crypto_id")),
        ("close is there", gxe.ExpectColumnValuesToNotBeNull(column="close")),
        ("close is above 0", gxe.ExpectColumnValuesToBeBetween(column="close", min_value=0, strict_min=True)),
        (
            "the bar's VWAP lies between low and high (to the last place of the exchange's rounding)",
            gxe.ExpectColumnValuesToBeInSet(column="vwap_in_bar", value_set=[True]),
        ),
        (
            "volatility is a fraction a year, not a percentage",
            gxe.ExpectColumnValuesToBeBetween(column="volatility_30d", min_value=0, max_value=50, severity="warning"),
        ),
        (
            "an hour's return is within what markets have shown",
            gxe.ExpectColumnValuesToBeBetween(
                column="return_1h_pct", min_value=-90, max_value=500, mostly=0.9999, severity="warning"
            ),
        ),
    ]
    return _suite("fct_prices", rules)
