"""The on-chain marts equal independent implementations; incremental equals a full refresh after any arrivals."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from dbt_warehouse import Warehouse
from hypothesis import example, given
from hypothesis import strategies as st
from onchain_rows import FIRST, METRICS, OnchainLoads, series
from refresh_equality import differences

from support.examples import named_examples

MODELS = ("int_onchain_daily", "int_onchain_changes", "int_onchain_correlations", "fct_onchain_lead_lag")
TABLES = ("intermediate.int_onchain_correlations", "marts.fct_onchain_lead_lag")
DAYS = 430
MARKET_FIRST = 20
CHAIN = {metric: series(DAYS, seed) for seed, metric in enumerate(METRICS)}
TRADES, VOLUME = series(DAYS, 11), series(DAYS, 12)
WINDOWS = {30: 24, 90: 72, 365: 292}


@pytest.fixture(scope="module", autouse=True)
def _upstream(warehouse: Warehouse) -> None:
    """Staging and an empty daily model, which the tests fill."""
    warehouse.run("--select", "stg_onchain__daily", "+int_crypto_daily", "+fct_daily_summary")


def build(warehouse: Warehouse, *arguments: str) -> None:
    warehouse.run(*arguments, "--select", *MODELS)


def market_days(days: range, factor: float = 1.0) -> list[tuple[int, int, float, int]]:
    """Days of the market by number; every 50th has no trade in one hour."""
    return [(day, int(TRADES[day] * factor), float(VOLUME[day] * factor), 24 - (day % 50 == 49)) for day in days]


def chain_days(metric: str, days: range, factor: float = 1.0) -> list[tuple[int, object]]:
    """Days of a metric by number; the source lacks every 60th."""
    return [(day, int(CHAIN[metric][day] * factor)) for day in days if day % 60 != 59]


def load_everything(loads: OnchainLoads) -> None:
    loads.market(market_days(range(MARKET_FIRST, DAYS)))
    for metric in METRICS:
        loads.chain(metric, chain_days(metric, range(DAYS)))


def expected_changes(metric: str, traded: np.ndarray) -> pd.DataFrame:
    """The weekly log changes of both sides by day, missing where a day of either is missing or incomplete."""
    index = pd.date_range(FIRST, periods=DAYS)
    known = dict(chain_days(metric, range(DAYS)))
    chain = pd.Series([float(known.get(day, np.nan)) for day in range(DAYS)], index)
    market = pd.Series(traded, index)
    market[[day < MARKET_FIRST or day % 50 == 49 for day in range(DAYS)]] = np.nan
    return pd.DataFrame({"x": np.log(chain).diff(7), "y": np.log(np.floor(market)).diff(7)}).dropna()


PAIRS = {
    "transactions_trades": expected_changes("TxCnt", TRADES),
    "value_volume": expected_changes("estimated-transaction-volume-usd", VOLUME),
}


@pytest.fixture(scope="module")
def loaded(warehouse: Warehouse) -> Warehouse:
    """Both series in full, built once."""
    loads = OnchainLoads(warehouse)
    loads.empty()
    load_everything(loads)
    warehouse.run("--select", *MODELS, "fct_onchain_market_daily")
    return warehouse


def test_rolling_correlations_equal_those_of_pandas(loaded: Warehouse) -> None:
    columns = "pair, date, window_days, pearson, spearman, n"
    rows = loaded.query(f"select {columns} from intermediate.int_onchain_correlations")
    assert {row[0] for row in rows} == set(PAIRS)
    checked = dict.fromkeys(WINDOWS, 0)
    for pair, date, days, pearson, spearman, n in rows:
        both = PAIRS[pair][pd.Timestamp(date) - pd.Timedelta(days=days - 1) : pd.Timestamp(date)]
        assert n == len(both)
        if n < WINDOWS[days]:
            assert (pearson, spearman) == (None, None)
        elif date.toordinal() % 11 == 0:
            checked[days] += 1
            expected = [both["x"].corr(both["y"]), both["x"].round(12).rank().corr(both["y"].round(12).rank())]
            assert [pearson, spearman] == pytest.approx(expected, abs=1e-9)
    assert all(count > 2 for count in checked.values())


def test_lead_lag_equals_an_independent_implementation_of_bartletts_formula(loaded: Warehouse) -> None:
    rows = loaded.query("select pair, lag_days, correlation, band_95, n from marts.fct_onchain_lead_lag order by 1, 2")
    assert [row[:2] for row in rows] == [(pair, lag) for pair in sorted(PAIRS) for lag in range(-14, 15)]
    for pair, lag, correlation, band, n in rows:
        both = PAIRS[pair].reindex(pd.date_range(FIRST, periods=DAYS))
        x, y = both["x"], both["y"]
        later = y.shift(-lag)
        assert n == (x.notna() & later.notna()).sum()
        assert correlation == pytest.approx(x.corr(later), abs=1e-9)
        products = sum(x.corr(x.shift(v)) * y.corr(y.shift(v)) for v in range(1, 31))
        assert band == pytest.approx(1.96 * np.sqrt(max(1.0, 1 + 2 * products) / n), abs=1e-9)


def test_days_before_the_market_have_on_chain_columns_and_no_others(loaded: Warehouse) -> None:
    [(days, priced, first)] = loaded.query(
        "select count(*), count(n_value_volume_30d), min(date) from marts.fct_onchain_market_daily"
        " where crypto_id = 'bitcoin' and transaction_count_coinmetrics is not null"
    )
    assert (days, first) == (len(chain_days("TxCnt", range(DAYS))), FIRST)
    assert 0 < priced < days


def test_a_positive_lag_means_that_the_chain_changed_first(warehouse: Warehouse) -> None:
    loads = OnchainLoads(warehouse)
    loads.empty()
    loads.chain("TxCnt", [(day, int(CHAIN["TxCnt"][day])) for day in range(200)])
    loads.market([(day, int(CHAIN["TxCnt"][day - 3]), 1.0, 24) for day in range(3, 200)])
    build(warehouse)
    leading = "select lag_days from marts.fct_onchain_lead_lag where correlation > 0.999"
    assert warehouse.query(leading) == [(3,)]


def test_the_band_contains_95_of_100_correlations_of_independent_autocorrelated_series(warehouse: Warehouse) -> None:
    noise = np.random.default_rng(5)
    outside = plain = total = 0
    for _ in range(3):
        loads = OnchainLoads(warehouse)
        loads.empty()
        steps = noise.normal(0, 0.02, (4, 1500)).cumsum(axis=1)
        chain, trades, value, volume = (np.ceil(1e5 * np.exp(row)) for row in steps)
        loads.chain("TxCnt", list(enumerate(chain.astype(int))))
        loads.chain("estimated-transaction-volume-usd", list(enumerate(value.astype(int))))
        loads.market([(day, int(trades[day]), float(volume[day]), 24) for day in range(1500)])
        warehouse.run("--select", "int_onchain_daily", "int_onchain_changes", "fct_onchain_lead_lag")
        [counts] = warehouse.query(
            "select count(*) filter (where abs(correlation) > band_95),"
            " count(*) filter (where abs(correlation) > 1.96 / sqrt(n)), count(*) from marts.fct_onchain_lead_lag"
        )
        outside, plain, total = outside + counts[0], plain + counts[1], total + counts[2]
    # Lags of one pair are alike, so the share varies far more than 174 independent draws would.
    assert outside / total <= 0.15
    assert plain > 2 * outside


def assert_full_refresh_changes_nothing(warehouse: Warehouse) -> None:
    warehouse.execute("drop schema if exists incremental cascade; create schema incremental")
    for table in TABLES:
        warehouse.execute(f"create table incremental.{table.partition('.')[2]} as table {table}")
    build(warehouse, "--full-refresh")
    assert differences(warehouse, TABLES) == dict.fromkeys(TABLES, 0)


def test_history_corrections_and_a_new_day_equal_a_full_refresh(warehouse: Warehouse) -> None:
    loads = OnchainLoads(warehouse)
    loads.empty()
    loads.chain("TxCnt", chain_days("TxCnt", range(100, 300)))
    loads.market(market_days(range(150, 300)))
    build(warehouse)
    loads.chain("TxCnt", chain_days("TxCnt", range(100)))
    loads.chain("estimated-transaction-volume-usd", chain_days("estimated-transaction-volume-usd", range(280)))
    loads.market(market_days(range(MARKET_FIRST, 150)))
    build(warehouse)
    loads.chain("TxCnt", [(200, 7), (201, "NaN")])
    loads.market(market_days(range(290, 295), factor=3))
    build(warehouse)
    loads.chain("TxCnt", chain_days("TxCnt", range(300, 302)))
    loads.market(market_days(range(300, 302)))
    build(warehouse)
    assert_full_refresh_changes_nothing(warehouse)


def test_a_refresh_writes_only_the_days_that_changed_and_nothing_without_new_data(warehouse: Warehouse) -> None:
    loads = OnchainLoads(warehouse)
    loads.empty()
    load_everything(loads)
    loads.chain("TxCnt", [(DAYS, 50)])
    build(warehouse)

    def written() -> dict[str, Any]:
        query = "select date, max(xmin::text::bigint) from intermediate.int_onchain_correlations group by date"
        return dict(warehouse.query(query))

    before = written()
    build(warehouse)
    assert written() == before
    loads.market([(DAYS, 60, 70.0, 24)])
    build(warehouse)
    assert {day for day, by in written().items() if by != before[day]} == {max(before)}


arrivals = st.lists(
    st.tuples(
        st.sampled_from(["market", "TxCnt", "estimated-transaction-volume-usd", "universe"]),
        st.sampled_from([0.5, 1.0, 1.0, 2.0]),
        st.floats(0, 1),
        st.floats(0.001, 0.6),
        st.integers(1, 9),
        st.booleans(),
    ),
    min_size=3,
    max_size=7,
)


@pytest.mark.slow
@named_examples
@given(arrivals)
@example([
    ("market", 1.0, 0.1, 0.6, 1, True), ("TxCnt", 1.0, 0.0, 0.6, 1, True), ("universe", 1.0, 0.0, 0.1, 3, True),
    ("estimated-transaction-volume-usd", 1.0, 0.0, 0.6, 2, False), ("market", 2.0, 0.4, 0.6, 1, True),
    ("TxCnt", 0.5, 0.3, 0.3, 5, False),
])  # fmt: skip
@example([
    ("TxCnt", 1.0, 0.593, 0.4, 1, False), ("market", 0.5, 0.681, 0.334, 2, True), ("TxCnt", 2.0, 0.22, 0.5, 3, False),
    ("market", 1.0, 0.0, 0.6, 1, True), ("estimated-transaction-volume-usd", 1.0, 0.3, 0.6, 1, False),
    ("TxCnt", 1.0, 0.0, 0.6, 1, True), ("universe", 1.0, 0.2, 0.1, 9, False),
])  # fmt: skip
@example([
    ("estimated-transaction-volume-usd", 0.5, 0.4, 0.6, 1, True), ("market", 1.0, 0.4, 0.6, 1, True),
    ("estimated-transaction-volume-usd", 2.0, 0.6, 0.038, 8, True), ("market", 2.0, 0.97, 0.1, 1, False),
])  # fmt: skip
def test_any_order_of_arrivals_equals_a_full_refresh(
    warehouse: Warehouse, steps: list[tuple[str, float, float, float, int, bool]]
) -> None:
    loads = OnchainLoads(warehouse)
    loads.empty()
    for series_name, factor, start, length, step, then_build in steps:
        days = range(int(start * DAYS), int(min(1, start + length) * DAYS), step)
        if series_name == "market":
            loads.market(market_days(days, factor))
        elif series_name == "universe":
            warehouse.execute(f"update intermediate.int_crypto_daily set series_version = {step}, close = {step}")
        else:
            loads.chain(series_name, chain_days(series_name, days, factor))
        if then_build:
            build(warehouse)
    build(warehouse)
    assert_full_refresh_changes_nothing(warehouse)
