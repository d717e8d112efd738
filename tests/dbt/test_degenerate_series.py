"""Degenerate series: every mart builds, every value is in its range, and incremental equals a full refresh."""

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from dbt_warehouse import Warehouse
from hypothesis import example, given
from hypothesis import strategies as st
from refresh_equality import MODELS, RawLoads, assert_full_refresh_changes_nothing, empty
from small_markets import Bar

from support.examples import named_examples

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 100
TICK = Decimal("0.00000001")
# by coin: the close of a bar by its number, of which a day has three
Shape = Callable[[int], Decimal]
SHAPES: dict[str, Shape] = {
    "flat": lambda i: 41 * TICK,
    "one-tick-up": lambda i: (41 if i < 20 else 42) * TICK,
    "one-tick-down": lambda i: (42 if i < 20 else 41) * TICK,
    "rising": lambda i: (Decimal("1.013") ** i).quantize(TICK),
    "falling": lambda i: 10**6 * (Decimal("0.97") ** i).quantize(TICK),
    "rising-by-ticks": lambda i: 10**6 + i * TICK,
    "alternating": lambda i: TICK if i % 2 else Decimal(10**6),
    "alternating-daily": lambda i: TICK if i // 3 % 2 else Decimal(10**6),
    "extreme": lambda i: Decimal("1e-30") if i // 3 % 2 else Decimal("1e30"),
    "mixed": lambda i: Decimal(random.Random(i).randint(1, 9)).scaleb(random.Random(i).randint(-8, 6)),
    "collapsed": lambda i: Decimal(10**9) if i < 3 * DAYS - 20 else Decimal("1e-20"),
    "twin-a": lambda i: Decimal(100 + random.Random(i).randint(-9, 9)),
    "twin-b": lambda i: Decimal(100 + random.Random(i).randint(-9, 9)),
    "untraded": lambda i: Decimal("0.07"),
    "halted": lambda i: Decimal(3 + i % 2),
    "one-bar": lambda i: Decimal(5),
}
PRESENT: dict[str, Callable[[int], bool]] = {"halted": lambda i: i < 9 or i > 250, "one-bar": lambda i: i == 30}
VOLUMES = ("2254.258", "0", "1058.757", "1e-8", "12345678901234.5")


def bars_of(coin: str) -> list[Bar]:
    """The coin's bars: each opens at the close before it; what is traded is traded between the bar's prices."""
    bars = []
    before = SHAPES[coin](0)
    for i in range(3 * DAYS):
        close = SHAPES[coin](i)
        if PRESENT.get(coin, lambda i: True)(i):
            volume = Decimal(0 if coin == "untraded" else VOLUMES[i % len(VOLUMES)])
            hour = START + timedelta(days=i // 3, hours=(0, 1, 23)[i % 3])
            low, high = min(before, close), max(before, close)
            bars.append(Bar(coin.upper(), hour, before, high, low, close, volume, volume * close, int(volume > 0)))
        before = close
    return bars


BARS = {coin: bars_of(coin) for coin in SHAPES}
SELECTION = ("--exclude", "path:models/staging", "path:models/marts/operations")
BITCOINS = ("flat", "alternating-daily", "twin-a")

HOURLY = "partition by crypto_id order by opened_at range between interval '{}' preceding and current row"
# by relation: conditions that each row satisfies
BOUNDS = {
    "marts.fct_prices": [
        "coalesce(vwap_1h between low::float8 and high::float8, true)",
        "coalesce(return_1h_pct >= -100 and change_24h_pct >= -100 and change_7d_pct >= -100, true)",
        "coalesce(volatility_24h >= 0, true) and coalesce(volatility_7d >= 0, true)",
        "coalesce(volatility_30d >= 0, true)",
        "(volume = 0) = (vwap_1h is null)",
    ],
    f"""(
        select
            *, (min(low) over day)::float8 as low_24h, (max(high) over day)::float8 as high_24h,
            (min(close) over week)::float8 as low_7d, (max(close) over week)::float8 as high_7d
        from marts.fct_prices
        window
            day as ({HOURLY.format("23:59:59.999999")}), week as ({HOURLY.format("167:59:59.999999")})
    ) as windows""": [
        "coalesce(vwap_24h between low_24h and high_24h, true)",
        "coalesce(vwap_session between low_24h and high_24h, true)",
        "coalesce(ma_7d between low_7d and high_7d, true)",
    ],
    "marts.fct_daily_summary": [
        "coalesce(rsi_14 between 0 and 100, true) and (day_number >= 15 or rsi_14 is null)",
        "drawdown_pct between -100 and 0",
        "coalesce(vwap between low::float8 and high::float8, true)",
        "coalesce(bb_upper_20 >= sma_20 and sma_20 >= bb_lower_20, true)",
        "coalesce(atr_14 >= 0 and average_gain_14 >= 0 and average_loss_14 >= 0, true)",
        "coalesce(volatility_7d >= 0, true) and coalesce(volatility_30d >= 0, true)",
        "coalesce(volatility_90d >= 0, true) and coalesce(return_pct >= -100, true)",
    ],
    "marts.fct_candles": ["coalesce(vwap between low::float8 and high::float8, true)", "low <= high"],
    "marts.fct_correlations_daily": [
        "coalesce(correlation between -1 and 1, true)",
        "correlation = 1 or (crypto_id_a, crypto_id_b) <> ('twin-a', 'twin-b')",
        "correlation is null or 'flat' not in (crypto_id_a, crypto_id_b)",
    ],
    "marts.fct_market_snapshots": ["coalesce(dominance_pct between 0 and 100, true)", "coalesce(turnover >= 0, true)"],
    "marts.fct_market_global": [
        "coalesce(btc_dominance_pct between 0 and 100, true) and coalesce(eth_dominance_pct between 0 and 100, true)",
        "coalesce(breadth_pct between 0 and 100, true)",
    ],
    "marts.fct_sentiment_daily": ["value between 0 and 100 and coalesce(mean_30d between 0 and 100, true)"],
    "marts.fct_sentiment_returns": ["positive_pct between 0 and 100 and coalesce(stddev_return_pct >= 0, true)"],
    "marts.v_volume_24h": ["volume_share_pct between 0 and 100"],
}
FLOATS = (
    "select attrelid::regclass::text, attname from pg_attribute inner join pg_class on pg_class.oid = attrelid"
    " where relnamespace = 'marts'::regnamespace and relkind in ('r', 'v') and atttypid = 'float8'::regtype"
)


def violations(warehouse: Warehouse) -> list[tuple[str, str]]:
    """The bounds that a row is outside of, and the columns with an infinite number or NaN."""
    found = [
        (relation, rule)
        for relation, rules in BOUNDS.items()
        for rule in rules
        if warehouse.query(f"select 1 from {relation} where not ({rule}) limit 1")
    ]
    for relation, column in warehouse.query(FLOATS):
        if warehouse.query(f"select 1 from {relation} where not abs({column}) < 'Infinity' limit 1"):
            found.append((relation, f"{column} is finite"))
    return found


def prepare(warehouse: Warehouse, bitcoin: str) -> RawLoads:
    """Make an empty warehouse whose universe is the coins, one of them also as bitcoin, with odd snapshots and days."""
    empty(warehouse)
    warehouse.execute("truncate raw.coingecko_markets, raw.fear_greed")
    loads = RawLoads(warehouse)
    loads.set_universe([(coin, coin.upper(), None, None) for coin in SHAPES] + [("bitcoin", "BITCOIN", None, None)])
    loads.load([Bar("BITCOIN", *list(vars(bar).values())[1:]) for bar in BARS[bitcoin]])
    caps = {
        "2024-04-08 01:00+00": (0, 0, None),
        "2024-04-08 02:00+00": (7, 7, 7),
        "2024-04-08 03:00+00": ("1e37", 1e-30, 3),
    }
    columns = ("crypto_id", "snapshot_at", "symbol", "market_cap", "total_volume", "current_price",
               "price_change_percentage_24h", "payload", "batch_id")  # fmt: skip
    rows = [
        (coin, at, "x", cap, cap, cap, 5, "{}", "b")
        for at, values in caps.items()
        for coin, cap in zip(("bitcoin", "ethereum", "one-bar"), values, strict=True)
    ]
    warehouse.copy("raw.coingecko_markets", columns, rows)
    days = [(START.date() + timedelta(days=i), 100 * (i % 2), "Fear", "b") for i in range(DAYS)]
    warehouse.copy("raw.fear_greed", ("date", "value", "classification", "batch_id"), days)
    return loads


@pytest.fixture(scope="module", autouse=True)
def _staging(warehouse: Warehouse) -> None:
    warehouse.run("--select", "path:models/staging")


def assert_in_range_and_equal_to_a_full_refresh(warehouse: Warehouse) -> None:
    """Every coin is there, every value is in its range, and a full refresh changes nothing."""
    assert violations(warehouse) == []
    coins = {coin for (coin,) in warehouse.query("select distinct crypto_id from marts.fct_daily_summary")}
    assert coins == {*SHAPES, "bitcoin"}
    assert_full_refresh_changes_nothing(warehouse)


def load(loads: RawLoads, coins: Iterable[str], first: float, last: float) -> None:
    """Load the coins' bars between two fractions of their history."""
    bars = [bar for coin in coins for bar in BARS[coin][int(first * len(BARS[coin])) : int(last * len(BARS[coin]))]]
    loads.load(bars)


@pytest.mark.slow
def test_degenerate_series_build_in_range_and_equal_a_full_refresh(warehouse: Warehouse) -> None:
    loads = prepare(warehouse, "flat")
    load(loads, SHAPES, 0, 0.8)
    warehouse.run(*SELECTION)
    assert violations(warehouse) == []
    load(loads, SHAPES, 0.8, 1)
    warehouse.run(*SELECTION)
    assert_in_range_and_equal_to_a_full_refresh(warehouse)
    rsi = "select crypto_id, min(rsi_14), max(rsi_14), count(rsi_14) from marts.fct_daily_summary group by 1"
    by_coin = {coin: (low, high, count) for coin, low, high, count in warehouse.query(rsi)}
    last = DAYS - 14
    for coin in ("one-tick-up", "rising", "rising-by-ticks"):
        assert by_coin[coin] == (100, 100, last), coin
    for coin in ("one-tick-down", "falling"):
        assert by_coin[coin] == (0, 0, last), coin
    for coin in ("flat", "untraded", "one-bar"):
        assert by_coin[coin] == (None, None, 0), coin


@pytest.mark.slow
@named_examples
@given(
    st.sampled_from(BITCOINS),
    st.lists(
        st.tuples(
            st.sets(st.sampled_from(sorted(SHAPES)), min_size=1), st.floats(0, 1), st.floats(0, 1), st.booleans()
        ),
        max_size=3,
    ),
)
@example("twin-a", [
    ({"extreme", "mixed", "collapsed", "halted"}, 0.5, 1.0, True), ({"twin-a", "one-bar", "untraded"}, 0.0, 0.4, False),
])  # fmt: skip
def test_degenerate_series_in_any_order_equal_a_full_refresh(
    warehouse: Warehouse, bitcoin: str, steps: list[tuple[set[str], float, float, bool]]
) -> None:
    loads = prepare(warehouse, bitcoin)
    for coins, a, b, then_build in steps:
        load(loads, sorted(coins), min(a, b), max(a, b))
        if then_build:
            warehouse.run("--select", *MODELS)
    load(loads, SHAPES, 0, 1)
    warehouse.run(*SELECTION)
    assert_in_range_and_equal_to_a_full_refresh(warehouse)
