"""After any order of arrivals, the incremental models equal a full refresh, bit for bit."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from dbt_warehouse import ROOT, Warehouse
from hypothesis import example, given
from hypothesis import strategies as st
from refresh_equality import MODELS, TABLES, RawLoads, assert_full_refresh_changes_nothing, corrected, empty
from small_markets import RECORDED, Bar, random_walk, recorded_bars

from support.examples import named_examples

SELECTION = ("--select", *MODELS)
START = datetime(2023, 1, 1, tzinfo=UTC)
DAYS = 330
# a renamed coin: one asset, two symbols, each with its validity
UNIVERSE = [
    ("bitcoin", "BTCUSDT", None, None),
    ("renamed", "OLDUSDT", None, "2023-07-01"),
    ("renamed", "NEWUSDT", "2023-07-01", None),
    ("tiny", "TINYUSDT", None, None),
]


def make_market() -> dict[str, list[Bar]]:
    """Three bars a day for 330 days (two of them successive), every hour in the last five days, with gaps."""
    hours = [START + timedelta(days=day, hours=hour) for day in range(DAYS) for hour in (0, 1, 12)]
    hours += [START + timedelta(days=DAYS, hours=hour) for hour in range(5 * 24 - 7)]
    walks = {}
    for seed, (symbol, price, decimals) in enumerate(
        [("BTCUSDT", 40000, 2), ("OLDUSDT", 1.5, 4), ("NEWUSDT", 1.5, 4), ("TINYUSDT", 0.00000712, 8)]
    ):
        bars = random_walk(symbol, hours, price=price, decimals=decimals, seed=seed)
        walks[symbol] = [bar for index, bar in enumerate(bars) if (index * 7919 + seed) % 97]
    return walks


MARKET = make_market()
# three of the recorded symbols
ASSETS = {symbol: RECORDED[symbol] for symbol in ("BTCUSDT", "ETHUSDT", "DOGEUSDT")}
RECORD = ROOT.parent / "shared/replay/data"


@pytest.fixture(scope="module", autouse=True)
def _staging(warehouse: Warehouse) -> None:
    warehouse.run("--select", "path:models/staging")


def build(warehouse: Warehouse) -> None:
    """`dbt run` of the models under test."""
    warehouse.run(*SELECTION)


def slice_of(symbol: str, first: float, last: float) -> list[Bar]:
    """The bars of a symbol between two fractions of its history."""
    bars = MARKET[symbol]
    return bars[int(first * len(bars)) : int(last * len(bars))]


@pytest.mark.slow
def test_history_corrections_and_new_assets_equal_a_full_refresh(warehouse: Warehouse) -> None:
    empty(warehouse)
    loads = RawLoads(warehouse)
    loads.set_universe(UNIVERSE[:3])
    build(warehouse)
    loads.load(slice_of("BTCUSDT", 0.3, 0.9) + slice_of("OLDUSDT", 0, 0.8))
    build(warehouse)
    loads.load(slice_of("BTCUSDT", 0.9, 0.95))
    loads.load(slice_of("NEWUSDT", 0.4, 0.97))
    build(warehouse)
    loads.load([corrected(bar) for bar in slice_of("BTCUSDT", 0.6, 0.603)])
    build(warehouse)
    assert_known_since_their_newest_input(warehouse, "bitcoin", slice_of("BTCUSDT", 0.6, 0.603)[0], loads.now)
    loads.load(slice_of("BTCUSDT", 0, 0.3))
    build(warehouse)
    loads.load(slice_of("TINYUSDT", 0, 1))
    loads.set_universe(UNIVERSE)
    build(warehouse)
    loads.load(slice_of("BTCUSDT", 0.95, 1) + slice_of("NEWUSDT", 0.97, 1))
    build(warehouse)
    assert_full_refresh_changes_nothing(warehouse)


def assert_known_since_their_newest_input(
    warehouse: Warehouse, crypto_id: str, first_changed: Bar, loaded_at: datetime
) -> None:
    """A load of changed bars moves known_at of the rows from the first of them on, and of no earlier row."""
    for mart, time, first in (
        ("fct_prices", "opened_at", first_changed.opened_at),
        ("fct_daily_summary", "date", first_changed.opened_at.date()),
    ):
        known = f"select bool_and((known_at >= %s) = ({time} >= %s)), count(*) from marts.{mart} where crypto_id = %s"
        assert warehouse.query(known, (loaded_at, first, crypto_id))[0][0], mart


@pytest.mark.slow
def test_a_changed_universe_moves_bars_to_their_asset_and_removes_what_left_it(warehouse: Warehouse) -> None:
    empty(warehouse)
    loads = RawLoads(warehouse)
    loads.set_universe(UNIVERSE)
    for symbol in MARKET:
        loads.load(slice_of(symbol, 0, 1))
    build(warehouse)
    renamed_earlier = [("renamed", "OLDUSDT", None, "2023-06-01"), ("renamed", "NEWUSDT", "2023-06-01", None)]
    loads.set_universe([UNIVERSE[0], *renamed_earlier])
    build(warehouse)
    assert warehouse.query("select distinct crypto_id from marts.fct_prices order by 1") == [("bitcoin",), ("renamed",)]
    boundary = "select max(opened_at) < '2023-06-01' from marts.fct_prices where binance_symbol = 'OLDUSDT'"
    assert warehouse.query(boundary) == [(True,)]
    assert_full_refresh_changes_nothing(warehouse)
    loads.set_universe([UNIVERSE[0], renamed_earlier[1]])
    build(warehouse)
    assert warehouse.query("select count(*) from marts.fct_prices where binance_symbol = 'OLDUSDT'") == [(0,)]
    assert_full_refresh_changes_nothing(warehouse)


def test_a_run_without_new_data_writes_nothing(warehouse: Warehouse) -> None:
    empty(warehouse)
    loads = RawLoads(warehouse)
    loads.set_universe(UNIVERSE)
    for symbol in MARKET:
        loads.load(slice_of(symbol, 0, 1))
    build(warehouse)
    written = {table: warehouse.query(f"select max(xmin::text::bigint), count(*) from {table}") for table in TABLES}
    build(warehouse)
    again = {table: warehouse.query(f"select max(xmin::text::bigint), count(*) from {table}") for table in TABLES}
    assert again == written


arrivals = st.lists(
    st.tuples(
        st.sampled_from(sorted(MARKET)),
        st.sampled_from(["history", "correction", "scattered"]),
        st.floats(0, 1),
        st.floats(0.001, 0.6),
        st.booleans(),
    ),
    min_size=3,
    max_size=7,
)


@pytest.mark.slow
@named_examples
@given(arrivals)
@example([
    ("OLDUSDT", "history", 0.2, 0.5, True), ("BTCUSDT", "scattered", 0.0, 0.6, False),
    ("NEWUSDT", "history", 0.4, 0.6, True), ("OLDUSDT", "correction", 0.25, 0.1, False),
    ("TINYUSDT", "scattered", 0.3, 0.6, True), ("BTCUSDT", "history", 0.5, 0.5, False),
])  # fmt: skip
@example([
    ("BTCUSDT", "scattered", 0.892, 0.455, True), ("BTCUSDT", "history", 0.911, 0.152, False),
    ("TINYUSDT", "history", 0.0, 0.243, True), ("NEWUSDT", "scattered", 0.097, 0.383, False),
    ("TINYUSDT", "correction", 0.0, 0.5, False), ("BTCUSDT", "correction", 0.9, 0.05, True),
])  # fmt: skip
@example([
    ("NEWUSDT", "history", 0.5, 0.2, True), ("NEWUSDT", "history", 0.0, 0.1, True),
    ("OLDUSDT", "scattered", 0.6, 0.4, False), ("NEWUSDT", "correction", 0.55, 0.3, False),
])  # fmt: skip
def test_any_order_of_arrivals_equals_a_full_refresh(
    warehouse: Warehouse, steps: list[tuple[str, str, float, float, bool]]
) -> None:
    empty(warehouse)
    loads = RawLoads(warehouse)
    loads.set_universe(UNIVERSE)
    loaded: set[tuple[str, datetime]] = set()
    for symbol, kind, start, length, then_build in steps:
        bars = slice_of(symbol, start, min(1, start + length))
        if kind == "scattered":
            bars = bars[:: max(1, len(bars) // 20)]
        if kind == "correction":
            bars = [corrected(bar) for bar in bars[:30] if (symbol, bar.opened_at) in loaded]
        loads.load(bars)
        loaded |= {(bar.symbol, bar.opened_at) for bar in bars}
        if then_build:
            build(warehouse)
    build(warehouse)
    assert_full_refresh_changes_nothing(warehouse)


@pytest.mark.slow
@pytest.mark.recorded
@pytest.mark.skipif(not RECORD.exists(), reason="no recorded market data")
def test_recorded_months_in_any_order_with_corrections_equal_a_full_refresh(warehouse: Warehouse) -> None:
    empty(warehouse)
    loads = RawLoads(warehouse)
    loads.set_universe([(asset, symbol, None, None) for symbol, asset in ASSETS.items()])
    window = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    months: dict[tuple[str, int, int], list[Bar]] = {}
    for symbol in ASSETS:
        for bar in recorded_bars(RECORD, symbol, *window):
            months.setdefault((symbol, bar.opened_at.year, bar.opened_at.month), []).append(bar)
    pieces = list(months.values())
    random.Random(5).shuffle(pieces)
    for number, piece in enumerate(pieces):
        loads.load(piece)
        if number % 16 == 15:
            loads.load([corrected(bar) for bar in pieces[number // 2][100:110]])
            build(warehouse)
    build(warehouse)
    # the exchange halted on 2023-03-24 at 13:00
    assert warehouse.query(
        "select count(*), count(return_1h_pct) from marts.fct_prices where opened_at = '2023-03-24 14:00+00'"
    ) == [(len(ASSETS), 0)]
    assert_full_refresh_changes_nothing(warehouse)
