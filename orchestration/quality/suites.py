"""The expectation suites as Python objects: what is expected, what it guards, and how grave it is when it breaks.

Belongs here: rules. Does not: the rows that they judge (``evidence``), running (``validate``), Dagster (``checks``).
Importing this module costs nothing: Great Expectations (3 to 5 s) is imported by what runs a suite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ingestion.sources.registry import DATASETS

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuite

Kind = Literal["completeness", "freshness", "validity", "consistency", "distribution", "reconciliation"]
Severity = Literal["error", "warn"]
# From Great Expectations' module of expectations to one of them.
Make = Callable[[Any], Any]

# The levels are far outside of what five assets showed in 2022 to 2024 (docs/quality.md has the measurements).
JUMP_SIGMAS = 60
RETURN_1H_PCT = (-90, 500)
VOLATILITY_30D = 50
FEAR_GREED_STEP = 50
# The close is up to two hours older than the price, and coins move together.
MEDIAN_DIVERGENCE_PCT = 3.0
DIVERGENCE_PCT = 20.0

# An incident of its own kind (a gap that stays, a stale dataset) tells of these: no second alert.
NO_HOLE, FRESH = "no bar is missing", "the newest data is as young as promised"


@dataclass(frozen=True)
class Rule:
    """One expectation: the name it is reported under, what it protects from, and how grave a break is."""

    check: str
    kind: Kind
    guards: str
    severity: Severity
    make: Make


@dataclass(frozen=True)
class Suite:
    """The rules that judge one kind of rows, shown as one asset check."""

    name: str
    asset: tuple[str, str]
    check: str
    describes: str
    # The columns that are shown of a failing row.
    shown: tuple[str, ...]
    rules: tuple[Rule, ...]
    blocking: bool = False

    @property
    def asset_path(self) -> str:
        """The asset as ``ops.check_results`` names it."""
        return "/".join(self.asset)

    def expectations(self) -> ExpectationSuite:
        """Return the suite as Great Expectations' object; each expectation carries its rule's words."""
        import great_expectations.expectations as gxe
        from great_expectations.core import ExpectationSuite

        suite = ExpectationSuite(name=self.name)
        for rule in self.rules:
            expectation = rule.make(gxe)
            expectation.description = rule.check
            expectation.meta = {"check": rule.check, "guards": rule.guards, "severity": rule.severity}
            expectation.severity = "critical" if rule.severity == "error" else "warning"
            suite.add_expectation(expectation)
        return suite


# -- ways to write a rule ----------------------------------------------------------------------------------------------


def _rows(check: str, guards: str) -> Rule:
    return Rule(check, "completeness", guards, "error", lambda gxe: gxe.ExpectTableRowCountToBeBetween(min_value=1))


def _one_each(columns: tuple[str, ...], check: str, guards: str) -> Rule:
    return Rule(
        check, "validity", guards, "error",
        lambda gxe: gxe.ExpectCompoundColumnsToBeUnique(column_list=list(columns)),
    )  # fmt: skip


def _there(column: str, kind: Kind = "validity", severity: Severity = "error", check: str = "") -> Rule:
    return Rule(
        check or f"{column} is there", kind, "a null or NaN that no metric downstream expects", severity,
        lambda gxe: gxe.ExpectColumnValuesToNotBeNull(column=column),
    )  # fmt: skip


def _true(column: str, check: str, kind: Kind, guards: str, severity: Severity = "error") -> Rule:
    return Rule(
        check, kind, guards, severity,
        lambda gxe: gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True]),
    )  # fmt: skip


def _between(
    column: str, low: float | None, high: float | None, check: str, kind: Kind, guards: str,
    severity: Severity = "error", *, above: bool = False,
) -> Rule:  # fmt: skip
    return Rule(
        check, kind, guards, severity,
        lambda gxe: gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, strict_min=above
        ),
    )  # fmt: skip


def _at_least(larger: str, smaller: str, check: str, guards: str, *, above: bool = False) -> Rule:
    """Of two columns of a frame; in SQL a pair costs a query of its own, so queries bring differences."""
    return Rule(
        check, "consistency", guards, "error",
        lambda gxe: gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A=larger, column_B=smaller, or_equal=not above, ignore_row_if="either_value_is_missing"
        ),
    )  # fmt: skip


def _none(column: str, check: str, kind: Kind, guards: str, severity: Severity = "error") -> Rule:
    """A column that counts what is amiss holds only zeros."""
    return _between(column, 0, 0, check, kind, guards, severity)


# -- bronze: before the load, blocking ---------------------------------------------------------------------------------

_DAMAGED = "an object written by another program, or damaged"
_MIXED = "columns that were mixed up"
PRICES = ("open", "high", "low", "close")

BRONZE_KLINES = Suite(
    "bronze_klines", ("bronze", "binance_klines"), "expectations",
    "The bars that are about to be loaded; nothing of them is loaded when an error is found.",
    ("symbol", "interval", "open_time"),
    (
        _rows("there is something to load", "an object that has lost its rows"),
        _one_each(("symbol", "interval", "open_time"), "one bar per symbol, interval and open time",
                  "a bar that stands in two objects, so that the order of loading decides"),
        _true("on_its_day", "every bar opens on the day of its object", "validity", _DAMAGED),
        _true("on_its_grid", "every bar opens on the grid of its interval", "validity",
              "bars after a halt as in February 2018: no hourly return leads to or from them", "warn"),
        _true("is_tracked", "only tracked symbols", "validity", "a symbol that nobody asked for", "warn"),
        *(_there(c) for c in ("symbol", "interval", "open_time", "close_time", *PRICES, "volume", "quote_volume",
                              "trade_count")),
        *(_between(c, 0, None, f"{c} is above 0", "validity", _DAMAGED, above=True) for c in PRICES),
        _between("volume", 0, None, "base volume is not negative", "validity", _DAMAGED),
        _between("quote_volume", 0, None, "quote volume is not negative", "validity", _DAMAGED),
        _between("trade_count", 0, None, "the number of trades is not negative", "validity", _DAMAGED),
        _true("is_upright", "high is not below low", "consistency", _MIXED),
        _true("open_in_bar", "open lies between low and high", "consistency", _MIXED),
        _true("close_in_bar", "close lies between low and high", "consistency", _MIXED),
        _at_least("volume", "taker_buy_base_volume", "takers bought no more than was traded", _MIXED),
        _at_least("quote_volume", "taker_buy_quote_volume", "takers paid no more than was paid", _MIXED),
        _at_least("close_time", "open_time", "a bar closes after it opens", "milli- taken for microseconds",
                  above=True),
        _true("volume_has_trades", "volume only where there were trades", "consistency",
              "a bar that was put together from halves", "warn"),
        _true("trades_have_volume", "volume above 0 where there were trades", "consistency",
              "a bar that was put together from halves", "warn"),
    ),
    blocking=True,
)  # fmt: skip

BRONZE_MARKETS = Suite(
    "bronze_markets", ("bronze", "coingecko_markets"), "expectations",
    "The snapshots that are about to be loaded; nothing of them is loaded when an error is found.",
    ("crypto_id", "snapshot_at"),
    (
        _rows("there is something to load", "an object that has lost its rows"),
        _one_each(("crypto_id", "snapshot_at"), "one row per coin and snapshot", "a page that was fetched twice"),
        Rule("every tracked coin is in the snapshot", "completeness", "a coin that CoinGecko renamed or dropped",
             "warn", lambda gxe: gxe.ExpectColumnValuesToBeNull(column="missing_coins")),
        _there("payload", check="every coin has its JSON"),
        Rule("nearly every coin has a price", "completeness", "an answer without its numbers", "warn",
             lambda gxe: gxe.ExpectColumnValuesToNotBeNull(column="current_price", mostly=0.9)),
        _between("current_price", 0, None, "prices are not negative", "validity", _DAMAGED),
        _between("market_cap", 0, None, "market caps are not negative", "validity", _DAMAGED),
        _between("total_volume", 0, None, "volumes are not negative", "validity", _DAMAGED),
        _between("market_cap_rank", 1, None, "ranks begin at 1", "validity", _DAMAGED),
    ),
    blocking=True,
)  # fmt: skip

CLASSES = ["Extreme Fear", "Fear", "Neutral", "Greed", "Extreme Greed"]
BRONZE_FEAR_GREED = Suite(
    "bronze_fear_greed", ("bronze", "fear_greed"), "expectations",
    "The sentiment history that is about to be loaded; nothing of it is loaded when an error is found.",
    ("object_key", "date"),
    (
        _rows("there is something to load", "an object that has lost its rows"),
        _one_each(("object_key", "date"), "one value per day and object", "a history that was glued together"),
        _there("value"),
        _between("value", 0, 100, "the index is from 0 to 100", "validity", "another scale"),
        Rule("the class is a known one", "validity", "words that the dashboard has no colour for", "warn",
             lambda gxe: gxe.ExpectColumnValuesToBeInSet(column="classification", value_set=CLASSES)),
    ),
    blocking=True,
)  # fmt: skip


# -- raw: after the load -----------------------------------------------------------------------------------------------

KLINES_COMPLETENESS = Suite(
    "klines_completeness", ("raw", "binance_klines"), "completeness",
    "Every bar that must be there, by symbol and day; what ops.gaps explains (halts, listings, ends) is not missing.",
    ("symbol", "date", "due_bars", "bars", "explained_bars"),
    (
        _true("is_asked", "every tracked symbol was asked for and answered", "completeness",
              "a symbol that fell out of the requests", "warn"),
        _none("missing_bars", NO_HOLE, "completeness",
              "a lost page, a load that was cut off, rows deleted by hand", "warn"),
        _between("bars", None, 24, "no more bars than hours", "validity", "bars off the hour, a wrong interval",
                 "warn"),
    ),
)  # fmt: skip


def _freshness(dataset: str) -> Suite:
    return Suite(
        f"{dataset}_freshness", ("raw", dataset), "freshness",
        "The age of the newest data, whenever it was loaded, against the dataset's SLA (sla_hours).",
        ("dataset", "newest_at", "age_hours", "sla_hours"),
        (
            _true("has_data", "there is data at all", "freshness", "a source that never answered", "warn"),
            _none("late_hours", FRESH, "freshness",
                  "a source that answers with old data, a schedule that stands still", "warn"),
            _none("early_hours", "no data is from the future", "freshness", "a clock that is wrong", "warn"),
        ),
    )  # fmt: skip


FRESHNESS = tuple(_freshness(dataset.name) for dataset in DATASETS)


# -- across the layers, after dbt --------------------------------------------------------------------------------------

_LOST_LOADING = "rows that the load lost, or that were deleted from raw"
_LOST_VIEW = "a model that filters or multiplies what it should pass on"
_LOST_MART = "a mart that lags behind, or that was changed by hand"
_BAND = "a day that brought far fewer or far more rows than that weekday usually does"

KLINES_RECONCILIATION = Suite(
    "klines_reconciliation", ("staging", "stg_binance__ohlcv"), "reconciliation",
    "Rows per day: bronze (the ledger) against raw, staging and fct_prices, and against the same weekday before.",
    ("date", "bronze_rows", "raw_rows", "staging_rows", "tracked_rows", "mart_rows"),
    (
        _none("raw_surplus", "raw has the rows of bronze", "reconciliation", _LOST_LOADING),
        _none("staging_surplus", "staging has the rows of raw", "reconciliation", _LOST_VIEW),
        _none("mart_surplus", "fct_prices has the tracked rows of staging", "reconciliation", _LOST_MART),
        _none("below_band", "not fewer rows than that weekday brings", "distribution", _BAND, "warn"),
        _none("above_band", "not more rows than that weekday brings", "distribution", _BAND, "warn"),
    ),
)  # fmt: skip

MARKETS_RECONCILIATION = Suite(
    "markets_reconciliation", ("staging", "stg_coingecko__markets"), "reconciliation",
    "Coins per snapshot: bronze (the ledger) against raw, staging and fct_market_snapshots, and against those before.",
    ("snapshot_at", "bronze_rows", "raw_rows", "staging_rows", "mart_rows"),
    (
        _none("raw_surplus", "raw has the rows of bronze", "reconciliation", _LOST_LOADING),
        _none("staging_surplus", "staging has the rows of raw", "reconciliation", _LOST_VIEW),
        _none("mart_surplus", "fct_market_snapshots has the rows of staging", "reconciliation", _LOST_MART),
        _none("below_band", "not fewer coins than snapshots bring", "distribution", "a sweep that was cut off", "warn"),
        _none("above_band", "not more coins than snapshots bring", "distribution", "a sweep of something else", "warn"),
    ),
)  # fmt: skip

FEAR_GREED_RECONCILIATION = Suite(
    "fear_greed_reconciliation", ("staging", "stg_alternative_me__fear_greed"), "reconciliation",
    "The index's history: bronze (the ledger) against raw, staging and fct_sentiment_daily; and its last month.",
    ("newest_date", "bronze_rows", "raw_rows", "staging_rows", "mart_rows"),
    (
        _none("lost_rows", "raw has the days of bronze", "reconciliation", _LOST_LOADING),
        _none("staging_surplus", "staging has the rows of raw", "reconciliation", _LOST_VIEW),
        _none("mart_surplus", "fct_sentiment_daily has the rows of staging", "reconciliation", _LOST_MART),
        # Single days are missing at the source (2018-04-14 to 16, 2024-10-26).
        _between("missing_days_31", None, 3, "at most three days of the last month are missing", "completeness",
                 "a history with holes", "warn"),
        _between("largest_step_31", None, FEAR_GREED_STEP, f"no step beyond {FEAR_GREED_STEP} in the last month",
                 "distribution", "a value of another scale or day", "warn"),
    ),
)  # fmt: skip


# -- marts: mark what is public, block nothing -------------------------------------------------------------------------

FCT_PRICES = Suite(
    "fct_prices", ("marts", "fct_prices"), "expectations",
    "The hours of the days that the run has loaded (keys, signs and bounds of a bar are the mart's own constraints).",
    ("crypto_id", "opened_at"),
    (
        _rows("the range holds bars", "a build that dropped what was loaded"),
        _true("vwap_in_bar", "the bar's VWAP lies between low and high (to the last place of the exchange's rounding)",
              "consistency", "base and quote volume mixed up"),
        _true("takers_within", "takers bought no more than was traded", "consistency", _MIXED),
        _true("is_finite", "no metric is NaN or infinite", "validity", "a division by zero that got through"),
        _true("averages_near", "moving averages lie within a factor of 100 of the price", "validity",
              "a window over another asset's rows", "warn"),
        _between("volatility_30d", 0, VOLATILITY_30D, "volatility is a fraction a year, not a percentage", "validity",
                 "a wrong unit", "warn"),
        _between("return_1h_pct", *RETURN_1H_PCT, "an hour's return is within what markets have shown", "validity",
                 "a wrong unit, a redenominated coin", "warn"),
        _between("jump_sigmas", None, JUMP_SIGMAS, f"no jump beyond {JUMP_SIGMAS} of the asset's own sigmas",
                 "distribution", "a bar of another asset, a misplaced decimal point", "warn"),
    ),
)  # fmt: skip

DIVERGENCE = Suite(
    "divergence", ("marts", "fct_market_snapshots"), "divergence",
    "Binance's newest close against CoinGecko's price (single coins beyond 5% are a dbt test of v_price_divergence).",
    ("crypto_id", "close", "price_usd"),
    (
        _between("median_divergence_pct", -MEDIAN_DIVERGENCE_PCT, MEDIAN_DIVERGENCE_PCT,
                 "the median coin differs by less than 3%", "reconciliation",
                 "hours that are shifted against each other", "warn"),
        _between("divergence_pct", -DIVERGENCE_PCT, DIVERGENCE_PCT, "no coin differs by more than 20%",
                 "reconciliation", "a symbol that belongs to another coin", "warn"),
    ),
)  # fmt: skip

SUITES = (
    BRONZE_KLINES, BRONZE_MARKETS, BRONZE_FEAR_GREED, KLINES_COMPLETENESS, *FRESHNESS, KLINES_RECONCILIATION,
    MARKETS_RECONCILIATION, FEAR_GREED_RECONCILIATION, FCT_PRICES, DIVERGENCE,
)  # fmt: skip
