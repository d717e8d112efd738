"""Builds of only what changed equal a full refresh, whatever was loaded, dropped or killed before."""

import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from dbt_warehouse import Warehouse
from hypothesis import example, given
from hypothesis import strategies as st
from refresh_equality import RawLoads, assert_full_refresh_changes_nothing, corrected, empty
from small_markets import hours_between, random_walk

from ingestion.ops import builds
from orchestration.assets.dbt_plan import BuildPlan, plan_build, selection, succeeded
from support.examples import named_examples

START = datetime(2023, 1, 1, tzinfo=UTC)
HOURS = hours_between(START, START + timedelta(days=40))
BARS = {
    symbol: random_walk(symbol, HOURS, price=price, decimals=4, seed=seed)
    for seed, (symbol, price) in enumerate([("BTCUSDT", 40000.0), ("ETHUSDT", 2000.0)])
}
UNIVERSE = [("bitcoin", "BTCUSDT", None, None), ("ethereum", "ETHUSDT", None, None)]


class SelectiveBuilds:
    """Loads with their ledger, and the build that a run of the job makes after them."""

    def __init__(self, warehouse: Warehouse) -> None:
        empty(warehouse)
        warehouse.execute("truncate raw.fear_greed, ops.load_ledger, ops.model_builds")
        self.warehouse, self.loads = warehouse, RawLoads(warehouse)
        self.manifest = json.loads((warehouse.target / "manifest.json").read_bytes())
        self.set_universe(UNIVERSE)

    def _record(self, dataset: str) -> None:
        self.warehouse.execute(
            "insert into ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged,"
            " batch_id, changed_at) values (%(key)s, %(key)s, '', '', 1, 1, 0, 0, 'test', clock_timestamp())"
            " on conflict (object_key) do update set changed_at = excluded.changed_at",
            {"key": dataset},
        )

    def load(self, symbol: str, first: float, last: float, *, correct: bool = False) -> None:
        bars = BARS[symbol][int(first * len(HOURS)) : int(last * len(HOURS))]
        self.loads.load([corrected(bar) for bar in bars[:20]] if correct else bars)
        self._record("binance_klines")

    def load_index(self, days: int) -> None:
        self.warehouse.execute(
            "insert into raw.fear_greed (date, value, classification, batch_id)"
            " select date '2023-01-01' + n, 50, 'Neutral', 'test' from generate_series(0, %s) as n"
            " on conflict do nothing",
            (days,),
        )
        self._record("fear_greed")

    def set_universe(self, rows: list[tuple[str, str, str | None, str | None]]) -> None:
        self.loads.set_universe(rows)
        self.warehouse.execute("update raw.universe set loaded_at = clock_timestamp()")

    def begin(self) -> BuildPlan:
        with contextlib.closing(self.warehouse.connect()) as connection:
            schemas = {node["schema"] for node in self.manifest["nodes"].values()}
            plan = plan_build(self.manifest, builds.read_state(connection, schemas))
            builds.begin_build(connection, plan.changed)
        return plan

    def build(self) -> BuildPlan:
        plan, statuses = self.begin(), {}
        if plan.build or plan.test:
            result = self.warehouse.build(*selection(self.manifest, plan))
            statuses = {r.node.unique_id: str(r.status) for r in result.value.results}
            built = {node for node in statuses if node.startswith(("model.", "test."))}
            assert built == {*plan.build, *plan.test}
        with contextlib.closing(self.warehouse.connect()) as connection:
            builds.record_builds(connection, "test", succeeded(self.manifest, plan, statuses))
        return plan


@pytest.fixture
def selective(warehouse: Warehouse) -> SelectiveBuilds:
    warehouse.parsed()
    return SelectiveBuilds(warehouse)


def names(nodes: object) -> set[str]:
    return {str(unique_id).rsplit(".", 1)[-1] for unique_id in nodes}  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_build_has_what_new_rows_reach_and_nothing_else(selective: SelectiveBuilds) -> None:
    selective.load("BTCUSDT", 0, 0.9)
    selective.load_index(30)
    models = {n for n, node in selective.manifest["nodes"].items() if node["resource_type"] == "model"}
    assert set(selective.build().build) == models
    unchanged = selective.build()
    assert (unchanged.changed, unchanged.test, set(unchanged.skip)) == (set(), set(), models)
    selective.load_index(35)
    plan = selective.build()
    # The view of the health reads a table that is replaced, so it is created again.
    assert names(plan.build) == {
        "fct_sentiment_daily", "fct_sentiment_returns", "fct_headline_sentiment_daily", "fct_dataset_health",
    }  # fmt: skip
    assert names(plan.refresh) == {"stg_alternative_me__fear_greed"}
    assert plan.skip["model.tickmart.fct_prices"] == "no new rows in raw.binance_klines, raw.universe"
    selective.load("BTCUSDT", 0.9, 1)
    plan = selective.build()
    assert {"fct_prices", "fct_daily_summary", "fct_correlations_daily", "dim_crypto"} <= names(plan.build)
    assert names(plan.build).isdisjoint({"fct_market_snapshots", "dim_date", "v_trending", "stg_binance__ohlcv"})
    assert plan.build["model.tickmart.fct_prices"] == "new rows in raw.binance_klines"
    assert_full_refresh_changes_nothing(selective.warehouse)


@pytest.mark.slow
def test_a_relation_that_was_dropped_by_hand_comes_back(selective: SelectiveBuilds) -> None:
    selective.load("BTCUSDT", 0, 1)
    selective.build()
    selective.warehouse.execute("drop table marts.fct_prices cascade; drop view marts.v_top_100 cascade")
    plan = selective.build()
    dropped = {"fct_prices", "v_trending", "v_trendline_core", "v_price_divergence", "v_top_100", "v_top_gainers"}
    assert dropped <= names(plan.build)
    assert selective.warehouse.query("select count(*) from marts.fct_prices") == [(len(HOURS),)]
    assert_full_refresh_changes_nothing(selective.warehouse)


def test_a_failed_test_is_repeated_with_its_model_until_it_passes(selective: SelectiveBuilds) -> None:
    selective.load("BTCUSDT", 0, 1)
    plan = selective.begin()
    statuses = {**dict.fromkeys(plan.build, "success"), **dict.fromkeys(plan.test, "pass")}
    [failing] = [t for t in plan.test if "unique_grain_fct_prices" in t]
    with contextlib.closing(selective.warehouse.connect()) as connection:
        built = succeeded(selective.manifest, plan, {**statuses, failing: "fail"})
        builds.record_builds(connection, "test", built)
        assert set(plan.build) - set(built) == {"model.tickmart.fct_prices"}
        state = builds.BuildState(
            builds.read_state(connection, []).versions, built,
            frozenset(f"{n['schema']}.{n['name']}" for n in selective.manifest["nodes"].values()),
        )  # fmt: skip
    again = plan_build(selective.manifest, state)
    assert names(again.build) == {"fct_prices"}
    assert failing in again.test


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("load"), st.sampled_from(sorted(BARS)), st.floats(0, 0.9), st.floats(0.05, 0.6)),
        st.tuples(st.just("correct"), st.sampled_from(sorted(BARS)), st.floats(0, 0.9)),
        st.tuples(st.just("index"), st.integers(1, 40)),
        st.tuples(st.just("universe"), st.integers(1, 2)),
        st.tuples(st.just("drop"), st.sampled_from(["marts.fct_prices", "intermediate.int_crypto_daily"])),
        st.tuples(st.just("kill")),
        st.tuples(st.just("build")),
    ),
    min_size=4,
    max_size=9,
)


@pytest.mark.slow
@named_examples
@given(STEPS)
@example([
    ("load", "BTCUSDT", 0.0, 0.5), ("index", 20), ("build",), ("correct", "BTCUSDT", 0.2), ("kill",), ("universe", 1),
    ("build",), ("drop", "marts.fct_prices"), ("load", "ETHUSDT", 0.3, 0.6),
])  # fmt: skip
@example([
    ("index", 18), ("load", "ETHUSDT", 0.139, 0.5), ("kill",), ("load", "BTCUSDT", 0.0, 0.6), ("build",),
    ("drop", "intermediate.int_crypto_daily"), ("kill",), ("index", 30), ("correct", "ETHUSDT", 0.139),
])  # fmt: skip
def test_any_order_of_loads_drops_and_kills_equals_a_full_refresh(
    warehouse: Warehouse, steps: list[tuple[object, ...]]
) -> None:
    warehouse.parsed()
    selective = SelectiveBuilds(warehouse)
    for kind, *values in steps:
        match kind, values:
            case "load", [str(symbol), float(first), float(length)]:
                selective.load(symbol, first, min(1, first + length))
            case "correct", [str(symbol), float(first)]:
                selective.load(symbol, first, 1, correct=True)
            case "index", [int(days)]:
                selective.load_index(days)
            case "universe", [int(size)]:
                selective.set_universe(UNIVERSE[:size])
            case "drop", [str(relation)]:
                warehouse.execute(f"drop table if exists {relation} cascade")
            case "kill", _:
                selective.begin()
            case _:
                selective.build()
    selective.build()
    assert names(selective.build().changed) == set()
    aside = "select count(*) from pg_class where relname like 'aside%'"
    assert warehouse.query(aside) == [(0,)]
    assert_full_refresh_changes_nothing(warehouse)


def test_a_model_that_is_empty_without_a_dataset_is_built_for_that_dataset_alone(warehouse: Warehouse) -> None:
    warehouse.parsed()
    selective = SelectiveBuilds(warehouse)
    with contextlib.closing(warehouse.connect()) as connection:
        state = builds.read_state(connection, ["staging", "intermediate", "marts"])
    activity = "model.tickmart.fct_onchain_activity"
    relations = frozenset(f"{n['schema']}.{n['name']}" for n in selective.manifest["nodes"].values())

    def inputs_after(before: dict[str, str], versions: dict[str, str]) -> tuple[str | None, dict[str, str]]:
        plan = plan_build(selective.manifest, builds.BuildState(versions, before, relations))
        return plan.build.get(activity), plan.inputs

    _, empty_inputs = inputs_after({}, {**state.versions, "binance_klines": "1"})
    assert inputs_after(empty_inputs, {**state.versions, "binance_klines": "2"})[0] is None
    loaded = {**state.versions, "binance_klines": "2", "bitcoin_transactions": "1"}
    why, inputs = inputs_after(empty_inputs, loaded)
    assert "bitcoin_transactions" in (why or "")
    # With rows, its other inputs count as well.
    assert "binance_klines" in (inputs_after(inputs, {**loaded, "binance_klines": "3"})[0] or "")
