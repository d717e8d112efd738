"""The Great Expectations suites as Python objects: id, description, severity, and what each rule guards against.

Belongs here: rules and their limits. Does not: the rows (``frames``, ``queries``), running them (``runner``), Dagster
(``checks``). What a parser can reject is a rule of the dataset's contract and is not repeated here. Importing this
module is cheap: only running a suite imports ``gx``, lazily.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ingestion.datasets import Dataset, always
from ingestion.sources.datasets import DATASETS
from ingestion.sources.news.dataset import GDELT_TONE, HEADLINES
from ingestion.sources.onchain.dataset import BLOCKCHAIN_DAILY, COINMETRICS_DAILY

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuite

Kind = Literal["completeness", "freshness", "validity", "consistency", "distribution", "reconciliation"]
Severity = Literal["error", "warn"]
# From Great Expectations' module of expectations to one expectation.
Make = Callable[[Any], Any]

# Far outside of what five assets showed in 2022 to 2024 (docs/quality.md has the measurements).
JUMP_SIGMAS = 60
RETURN_1H_PCT = (-90, 500)
VOLATILITY_30D = 50
FEAR_GREED_STEP = 50
# The close is up to two hours older than the price, and coins move together.
MEDIAN_DIVERGENCE_PCT = 3.0
DIVERGENCE_PCT = 20.0
# Of 120 months from 2015 to 2024, 118 differed by less; the median month by 0.03%.
TRANSACTION_COUNTS_PCT = 1.0

# An incident kind of its own (gap_stays, stale_dataset) reports these, so a failure opens no second incident.
NO_MISSING_BARS, DATA_WITHIN_SLA, HAS_DATA = "no_missing_bars", "data_within_sla", "has_data"


@dataclass(frozen=True)
class Rule:
    """One expectation. ``id`` is its key in ``ops.check_results`` and never changes; the texts may be reworded."""

    id: str
    description: str
    kind: Kind
    guards: str
    severity: Severity
    make: Make


@dataclass(frozen=True)
class Suite:
    """The rules for one set of rows, shown as one Dagster asset check."""

    name: str
    asset: tuple[str, str]
    check: str
    description: str
    # Columns that identify a failed row in its sample.
    sample_columns: tuple[str, ...]
    rules: tuple[Rule, ...]
    # The dataset whose loads a suite behind the load validates; empty if it does not depend on what was loaded.
    loads: str = ""
    blocking: bool = False

    @property
    def asset_path(self) -> str:
        """The asset as ``ops.check_results`` names it."""
        return "/".join(self.asset)

    @property
    def runs_id(self) -> str:
        """The id of the check that the suite could run; of several suites of an asset, each has its own."""
        first = next((suite for suite in SUITES if suite.asset == self.asset), self)
        return "suite_runs" if first.name == self.name else f"{self.check}_suite_runs"

    def expectations(self) -> ExpectationSuite:
        """Return Great Expectations' suite; the metadata of each expectation has the rule's id and severity."""
        from orchestration.quality import gx

        suite = gx.ExpectationSuite(name=self.name)
        for rule in self.rules:
            expectation = rule.make(gx.expectations)
            expectation.description = rule.description
            expectation.meta = {"id": rule.id, "guards": rule.guards, "severity": rule.severity}
            expectation.severity = "critical" if rule.severity == "error" else "warning"
            suite.add_expectation(expectation)
        return suite


# -- rule builders -----------------------------------------------------------------------------------------------------


def _rule(
    expectation: str, check_id: str, column: str, description: str, kind: Kind, guards: str,
    severity: Severity = "error", **limits: Any,
) -> Rule:  # fmt: skip
    """Return a rule about one column, by the name of its expectation and the limits that it takes."""
    return Rule(
        check_id, description, kind, guards, severity,
        lambda gxe: getattr(gxe, expectation)(column=column, **limits),
    )  # fmt: skip


_is_true = partial(_rule, "ExpectColumnValuesToBeInSet", value_set=[True])
_is_null = partial(_rule, "ExpectColumnValuesToBeNull")
_between = partial(_rule, "ExpectColumnValuesToBeBetween")
# Of a column of counts or distances.
_zero = partial(_rule, "ExpectColumnValuesToBeBetween", min_value=0, max_value=0)


def _has_rows(check_id: str, description: str, guards: str) -> Rule:
    return Rule(
        check_id, description, "completeness", guards, "error",
        lambda gxe: gxe.ExpectTableRowCountToBeBetween(min_value=1),
    )  # fmt: skip


def _unique(columns: tuple[str, ...], description: str, guards: str) -> Rule:
    return Rule(
        "unique_key", description, "validity", guards, "error",
        lambda gxe: gxe.ExpectCompoundColumnsToBeUnique(column_list=list(columns)),
    )  # fmt: skip


# -- bronze: before the load, blocking ---------------------------------------------------------------------------------

_HAS_ROWS = _has_rows("has_rows", "There is at least one row to load", "an object that lost its rows")
# The parser's own rules, applied to what is stored: they are written once, in the dataset's contract.
_CONTRACT = _is_null(
    "records_meet_contract", "contract_violation", "Every record satisfies the contract of its dataset", "validity",
    "an object that another program wrote, that was edited by hand, or that an older contract accepted",
)  # fmt: skip

BRONZE_KLINES = Suite(
    "bronze_klines", ("bronze", "binance_klines"), "expectations",
    "The bars that are about to be loaded. An error blocks the load.",
    ("symbol", "interval", "open_time"),
    (
        _HAS_ROWS,
        _unique(("symbol", "interval", "open_time"), "Each symbol, interval and open time has one bar",
                "the same bar in two objects, where the order of loading would decide"),
        _CONTRACT,
        _is_true("bars_open_on_object_day", "on_object_day", "Every bar opens on the day of its object", "validity",
                 "bars stored under the key of another day"),
        _is_true("bars_open_on_interval_grid", "on_interval_grid", "Every bar opens on the grid of its interval",
                 "validity", "bars after a halt as in February 2018: no hourly return leads to or from them", "warn"),
        _is_true("symbols_are_tracked", "is_tracked", "Every symbol is in the universe", "validity",
                 "a symbol that was not requested", "warn"),
        _is_true("volume_has_trades", "volume_has_trades", "Where there is volume there are trades", "consistency",
                 "a bar assembled from two partial bars", "warn"),
        _is_true("trades_have_volume", "trades_have_volume", "Where there are trades there is volume", "consistency",
                 "a bar assembled from two partial bars", "warn"),
    ),
    blocking=True,
)  # fmt: skip

BRONZE_MARKETS = Suite(
    "bronze_markets", ("bronze", "coingecko_markets"), "expectations",
    "The snapshots that are about to be loaded. An error blocks the load.",
    ("crypto_id", "snapshot_at"),
    (
        _HAS_ROWS,
        _unique(("crypto_id", "snapshot_at"), "Each coin has one row per snapshot", "a page that was fetched twice"),
        _CONTRACT,
        _is_null("tracked_coins_present", "missing_coins", "Every tracked coin is in the snapshot", "completeness",
                 "a coin that CoinGecko renamed or dropped", "warn"),
        Rule("most_coins_have_price", "At least 90% of the coins have a price", "completeness",
             "a response without its numbers", "warn",
             lambda gxe: gxe.ExpectColumnValuesToNotBeNull(column="current_price", mostly=0.9)),
        _between("market_cap_rank_is_positive", "market_cap_rank", "Ranks begin at 1", "validity",
                 "a rank of another meaning", min_value=1),
    ),
    blocking=True,
)  # fmt: skip

CLASSES = ["Extreme Fear", "Fear", "Neutral", "Greed", "Extreme Greed"]
BRONZE_FEAR_GREED = Suite(
    "bronze_fear_greed", ("bronze", "fear_greed"), "expectations",
    "The sentiment history that is about to be loaded. An error blocks the load.",
    ("object_key", "date"),
    (
        _HAS_ROWS,
        _unique(("object_key", "date"), "Each object has one value per day", "two histories in one object"),
        _CONTRACT,
        Rule("classification_is_known", "The classification is one of the five known ones", "validity",
             "a class that the dashboard has no color for", "warn",
             lambda gxe: gxe.ExpectColumnValuesToBeInSet(column="classification", value_set=CLASSES)),
    ),
    blocking=True,
)  # fmt: skip


def _keyed(dataset: Dataset, unit: str, key: tuple[str, ...]) -> Suite:
    return Suite(
        f"bronze_{dataset.name}", ("bronze", dataset.name), "expectations",
        f"The {unit}s that are about to be loaded. An error blocks the load.",
        ("object_key", *key),
        (
            _HAS_ROWS,
            _unique(("object_key", *key), f"Each object has one row per {unit}", "two answers in one object"),
            _CONTRACT,
        ),
        blocking=True,
    )  # fmt: skip


BRONZE_ONCHAIN = tuple(_keyed(d, "day", ("metric", "date")) for d in (COINMETRICS_DAILY, BLOCKCHAIN_DAILY))
BRONZE_HEADLINES = tuple(_keyed(d, "headline", ("external_id",)) for d in HEADLINES if d.is_on is always)
BRONZE_TONE = _keyed(GDELT_TONE, "day", ("topic", "date"))


# -- raw: after the load -----------------------------------------------------------------------------------------------

KLINES_COMPLETENESS = Suite(
    "klines_completeness", ("raw", "binance_klines"), "completeness",
    "Expected bars by symbol and day. Bars that ops.gaps explains (halts, listings, delistings) are not missing.",
    ("symbol", "date", "due_bars", "bars", "explained_bars"),
    (
        _is_true("symbol_days_requested", "is_requested", "Every day of a tracked symbol was requested and answered",
                 "completeness", "a symbol that dropped out of the requests", "warn"),
        _zero(NO_MISSING_BARS, "missing_bars", "No bar is missing", "completeness",
              "a lost page, an interrupted load, rows deleted by hand", "warn"),
        _between("bars_per_day_at_most_24", "bars", "A day has at most 24 hourly bars", "validity",
                 "bars off the hour, a wrong interval", "warn", max_value=24),
    ),
    loads="binance_klines",
)  # fmt: skip


def _freshness(dataset: str) -> Suite:
    return Suite(
        f"{dataset}_freshness", ("raw", dataset), "freshness",
        "The age of the newest data, whenever it was loaded, against the dataset's SLA (sla_hours).",
        ("dataset", "newest_at", "age_hours", "sla_hours"),
        (
            _is_true(HAS_DATA, "has_data", "There is data", "freshness", "a source that never answered", "warn"),
            _zero(DATA_WITHIN_SLA, "late_hours", "The newest data is within the SLA", "freshness",
                  "a source that answers with old data, a schedule that does not run", "warn"),
            _zero("no_future_data", "early_hours", "No data is from the future", "freshness", "a wrong clock", "warn"),
        ),
    )  # fmt: skip


# A dataset that can be off has no suite, whose checks would mostly have nothing to validate: its SLA is applied by
# fct_dataset_health and the alerts while it is on.
FRESHNESS = tuple(_freshness(dataset.name) for dataset in DATASETS if dataset.is_on is always)


# -- across the layers, after dbt --------------------------------------------------------------------------------------

_RAW = "rows that the load lost, or that were deleted from raw"
_STAGING = "a model that filters or multiplies rows that it should pass through"
_MART = "a mart that lags behind or was edited by hand"
_BAND = "a day with far fewer or far more rows than the same weekday usually has"

KLINES_RECONCILIATION = Suite(
    "klines_reconciliation", ("staging", "stg_binance__ohlcv"), "reconciliation",
    "Rows per day in bronze (the load ledger), raw, staging and fct_prices, and compared with the same weekday before.",
    ("date", "bronze_rows", "raw_rows", "staging_rows", "tracked_rows", "mart_rows"),
    (
        _zero("raw_matches_bronze", "raw_surplus", "raw has the rows of bronze", "reconciliation", _RAW),
        _zero("staging_matches_raw", "staging_surplus", "staging has the rows of raw", "reconciliation", _STAGING),
        _zero("fct_prices_matches_staging", "mart_surplus", "fct_prices has the tracked rows of staging",
              "reconciliation", _MART),
        _zero("daily_rows_not_below_band", "below_band", "No fewer rows than usual on that weekday", "distribution",
              _BAND, "warn"),
        _zero("daily_rows_not_above_band", "above_band", "No more rows than usual on that weekday", "distribution",
              _BAND, "warn"),
    ),
    loads="binance_klines",
)  # fmt: skip

MARKETS_RECONCILIATION = Suite(
    "markets_reconciliation", ("staging", "stg_coingecko__markets"), "reconciliation",
    "Coins per snapshot in bronze (the load ledger), raw, staging and fct_market_snapshots, and against those before.",
    ("snapshot_at", "bronze_rows", "raw_rows", "staging_rows", "mart_rows"),
    (
        _zero("raw_matches_bronze", "raw_surplus", "raw has the rows of bronze", "reconciliation", _RAW),
        _zero("staging_matches_raw", "staging_surplus", "staging has the rows of raw", "reconciliation", _STAGING),
        _zero("fct_market_snapshots_matches_staging", "mart_surplus", "fct_market_snapshots has the rows of staging",
              "reconciliation", _MART),
        _zero("snapshot_rows_not_below_band", "below_band", "No fewer coins than snapshots usually have",
              "distribution", "a snapshot that was interrupted", "warn"),
        _zero("snapshot_rows_not_above_band", "above_band", "No more coins than snapshots usually have",
              "distribution", "a snapshot of another list", "warn"),
    ),
    loads="coingecko_markets",
)  # fmt: skip

FEAR_GREED_RECONCILIATION = Suite(
    "fear_greed_reconciliation", ("staging", "stg_alternative_me__fear_greed"), "reconciliation",
    "The index's history in bronze (the load ledger), raw, staging and fct_sentiment_daily, and its last 31 days.",
    ("newest_date", "bronze_rows", "raw_rows", "staging_rows", "mart_rows"),
    (
        _zero("raw_has_bronze_days", "lost_rows", "raw has the days of bronze", "reconciliation", _RAW),
        _zero("staging_matches_raw", "staging_surplus", "staging has the rows of raw", "reconciliation", _STAGING),
        _zero("fct_sentiment_daily_matches_staging", "mart_surplus", "fct_sentiment_daily has the rows of staging",
              "reconciliation", _MART),
        # Single days are missing at the source (2018-04-14 to 16, 2024-10-26).
        _between("few_missing_days", "missing_days_31", "At most three of the last 31 days are missing",
                 "completeness", "a history with gaps", "warn", max_value=3),
        _between("daily_step_in_range", "largest_step_31",
                 f"No daily step of the last 31 days is beyond {FEAR_GREED_STEP}", "distribution",
                 "a value of another scale or day", "warn", max_value=FEAR_GREED_STEP),
    ),
    loads="fear_greed",
)  # fmt: skip


# -- marts: report what is public, block nothing -----------------------------------------------------------------------

FCT_PRICES = Suite(
    "fct_prices", ("marts", "fct_prices"), "expectations",
    "The hours of the days that the run loaded. Keys, signs and bounds of a bar are constraints of the mart.",
    ("crypto_id", "opened_at"),
    (
        _has_rows("has_bars", "The loaded days have bars", "a build that dropped what was loaded"),
        # Low and high are widened by the exchange's rounding: see the query.
        _is_true("vwap_between_low_and_high", "vwap_in_bar", "The VWAP of a bar lies between its low and high",
                 "consistency", "swapped base and quote volume"),
        _is_true("taker_volume_at_most_volume", "takers_within", "Takers bought no more than was traded", "consistency",
                 "swapped columns"),
        _is_true("metrics_are_finite", "is_finite", "No metric is NaN or infinite", "validity", "a division by zero"),
        _is_true("moving_averages_near_price", "averages_near",
                 "Moving averages are within a factor of 100 of the price", "validity",
                 "a window over another asset's rows", "warn"),
        _between("volatility_30d_in_range", "volatility_30d",
                 "Volatility is an annualized fraction, not a percentage", "validity", "a wrong unit", "warn",
                 min_value=0, max_value=VOLATILITY_30D),
        _between("return_1h_in_range", "return_1h_pct", "The hourly return is within what markets have shown",
                 "validity", "a wrong unit, a redenominated coin", "warn",
                 min_value=RETURN_1H_PCT[0], max_value=RETURN_1H_PCT[1]),
        _between("no_extreme_jump", "jump_sigmas",
                 f"No hourly return is beyond {JUMP_SIGMAS} standard deviations of the asset", "distribution",
                 "a bar of another asset, a misplaced decimal point", "warn", max_value=JUMP_SIGMAS),
    ),
    loads="binance_klines",
)  # fmt: skip

DIVERGENCE = Suite(
    "divergence", ("marts", "fct_market_snapshots"), "divergence",
    "Binance's newest close against CoinGecko's price. A dbt test of v_price_divergence warns of coins beyond 5%.",
    ("crypto_id", "close", "price_usd"),
    (
        _between("median_divergence_in_range", "median_divergence_pct", "The median coin differs by less than 3%",
                 "reconciliation", "hours that are shifted against each other", "warn",
                 min_value=-MEDIAN_DIVERGENCE_PCT, max_value=MEDIAN_DIVERGENCE_PCT),
        _between("coin_divergence_in_range", "divergence_pct", "No coin differs by more than 20%", "reconciliation",
                 "a symbol that belongs to another coin", "warn", min_value=-DIVERGENCE_PCT, max_value=DIVERGENCE_PCT),
    ),
)  # fmt: skip

ONCHAIN_RECONCILIATION = Suite(
    "onchain_reconciliation", ("marts", "fct_onchain_market_daily"), "reconciliation",
    "The transactions that Coin Metrics and blockchain.com count, by month over the last year, without coinbase.",
    ("month", "days", "coinmetrics_count", "blockchain_count"),
    (
        _between("transaction_counts_agree", "difference_pct",
                 "The two counts of a month differ by less than 1%", "reconciliation",
                 "a provider that drops or repeats days, or changes what it counts", "warn",
                 min_value=-TRANSACTION_COUNTS_PCT, max_value=TRANSACTION_COUNTS_PCT),
    ),
)  # fmt: skip

HEADLINES_RECENT = Suite(
    "headlines_recent", ("marts", "fct_headlines"), "distribution",
    "The headlines of the last thirty days by source: days, scores, assets, text.",
    ("source", "headlines"),
    (
        _zero("headlines_every_day", "missing_days", "No full day of the last week is without a headline",
              "completeness", "a source that was not asked, or sent nothing", "warn"),
        _zero("english_headlines_scored", "unscored", "Every English headline has a score", "completeness",
              "a load that ended before its scores", "warn"),
        _between("scores_not_below_range", "lowest_score", "No score is below -1", "validity", "another score", "warn",
                 min_value=-1),
        _between("scores_not_above_range", "highest_score", "No score is above 1", "validity", "another score", "warn",
                 max_value=1),
        _between("neutral_share_in_band", "neutral_pct", "5% to 90% are neutral", "distribution",
                 "a lexicon that was not read, or words that stand in each title", "warn", min_value=5, max_value=90),
        _between("untagged_share_in_band", "untagged_pct", "At most 95% name no asset", "distribution",
                 "terms that were not read, a query about something else", "warn", max_value=95),
        _between("text_is_not_damaged", "damaged_pct", "At most 1% have damaged letters", "validity",
                 "an answer that was decoded as another encoding", "warn", max_value=1),
        _between("no_burst_of_copies", "most_copies", "No headline has more than 50 copies in a week", "distribution",
                 "spam, a source that repeats itself", "warn", max_value=50),
    ),
)  # fmt: skip

SUITES = (
    BRONZE_KLINES, BRONZE_MARKETS, BRONZE_FEAR_GREED, *BRONZE_ONCHAIN, *BRONZE_HEADLINES, BRONZE_TONE,
    KLINES_COMPLETENESS, *FRESHNESS,
    KLINES_RECONCILIATION, MARKETS_RECONCILIATION, FEAR_GREED_RECONCILIATION, FCT_PRICES, DIVERGENCE,
    ONCHAIN_RECONCILIATION, HEADLINES_RECENT,
)  # fmt: skip
