"""What holds for every simulated bar, at any place and time."""

import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion.simulator.coins import all_coins, read_universe
from ingestion.simulator.market import (
    CLOSE,
    DAY_MS,
    HIGH,
    HOUR_MS,
    INTERVALS_MS,
    LOW,
    OPEN,
    OPENED_MS,
    QUOTE,
    TAKER,
    TAKER_QUOTE,
    TRADES,
    VOLUME,
    Edit,
    Market,
    aggregate,
    split,
)

MARKET = Market(7, all_coins(read_universe()))
symbols = st.sampled_from(sorted(MARKET.listed))
interval_pairs = st.sampled_from([("1m", "5m"), ("15m", "1h"), ("1m", "1h"), ("1h", "4h"), ("4h", "1d"), ("1m", "1d")])
days = st.integers(19_000, 21_000)  # 2022 to 2027


@settings(max_examples=60, deadline=None)
@given(symbols, st.sampled_from(["1m", "5m", "15m", "1h", "4h", "1d"]), days)
def test_every_bar_is_consistent_with_itself(symbol: str, interval: str, day: int) -> None:
    bars = MARKET.bars(symbol, interval, day * DAY_MS, (day + 2) * DAY_MS)
    assert (bars[HIGH] >= np.maximum(bars[OPEN], bars[CLOSE])).all()
    assert (bars[LOW] <= np.minimum(bars[OPEN], bars[CLOSE])).all()
    assert (bars[LOW] > 0).all()
    assert ((bars[TAKER] >= 0) & (bars[TAKER] <= bars[VOLUME])).all()
    for quote, volume in ((bars[QUOTE], bars[VOLUME]), (bars[TAKER_QUOTE], bars[TAKER])):
        assert (quote >= volume * bars[LOW]).all()
        assert (quote <= volume * bars[HIGH]).all()
    assert ((bars[TRADES] > 0) | (bars[VOLUME] == 0)).all()
    assert (np.diff(bars[OPENED_MS]) >= INTERVALS_MS[interval]).all()


@settings(max_examples=60, deadline=None)
@given(symbols, days, interval_pairs)
@example("SOLUSDT", 19_363, ("15m", "1h"))  # a mean price at the very top of the hour
def test_longer_bars_are_the_exact_sum_of_shorter_ones(symbol: str, day: int, pair: tuple[str, str]) -> None:
    short, long = (MARKET.bars(symbol, interval, day * DAY_MS, (day + 2) * DAY_MS) for interval in pair)
    assert np.array_equal(aggregate(short, INTERVALS_MS[pair[1]]), long)


@st.composite
def any_hour(draw: st.DrawFn) -> np.ndarray:
    """One consistent hourly bar, also with fewer trades than minutes, or none, or a price that does not move."""
    low = draw(st.integers(1, 10**7))
    high = low + draw(st.integers(0, 10**5))
    first, close, taker_price, maker_price = (draw(st.integers(low, high)) for _ in range(4))
    trades = draw(st.integers(0, 200))
    if trades == 0:
        return np.array([[20_000 * DAY_MS, first, first, first, first, 0, 0, 0, 0, 0]]).T
    volume = draw(st.integers(1, 10**7))
    taker = draw(st.integers(0, volume))
    quote = taker * taker_price + (volume - taker) * maker_price
    return np.array([[20_000 * DAY_MS, first, high, low, close, volume, quote, trades, taker, taker * taker_price]]).T


@settings(max_examples=300, deadline=None)
@given(any_hour())
def test_any_hour_splits_into_minutes_that_sum_to_it(hour: np.ndarray) -> None:
    minutes = MARKET.minutes(MARKET.listed["BTCUSDT"], hour)
    assert np.array_equal(aggregate(minutes, HOUR_MS), hour)
    quiet = minutes[:, minutes[TRADES] == 0]
    assert (quiet[VOLUME] == 0).all()
    assert (quiet[HIGH] == quiet[LOW]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**15), st.lists(st.floats(0, 1e6), min_size=60, max_size=60).filter(lambda w: sum(w) > 0))
def test_split_gives_away_everything_and_nothing_more(total: int, weights: list[float]) -> None:
    shares = split(np.array([total]), np.array([weights]))
    assert shares.sum() == total
    assert (shares >= 0).all()
    assert (shares[0][np.array(weights) == 0] == 0).all()


def test_split_of_the_sum_of_the_weights_gives_them_back() -> None:
    weights = np.array([[3, 10**13 + 1, 0, 7, 10**12 - 1] * 12])
    assert np.array_equal(split(weights.sum(axis=1), weights.astype(np.float64)), weights)


def test_same_seed_same_market_and_another_seed_another() -> None:
    window = (20_000 * DAY_MS, 20_010 * DAY_MS)
    coins = all_coins(read_universe())
    assert np.array_equal(Market(7, coins).bars("SOLUSDT", "1h", *window), MARKET.bars("SOLUSDT", "1h", *window))
    assert not np.array_equal(Market(8, coins).bars("SOLUSDT", "1h", *window), MARKET.bars("SOLUSDT", "1h", *window))


def test_a_coin_does_not_change_when_others_join_the_universe() -> None:
    window = (20_000 * DAY_MS, 20_002 * DAY_MS)
    alone = Market(7, [c for c in read_universe() if c.symbol == "ADAUSDT"])
    assert np.array_equal(alone.bars("ADAUSDT", "1m", *window), MARKET.bars("ADAUSDT", "1m", *window))


@pytest.mark.parametrize(("symbol", "low", "high"), [("BTCUSDT", 0.003, 0.008), ("DOGEUSDT", 0.004, 0.014)])
def test_hourly_returns_look_like_a_market(symbol: str, low: float, high: float) -> None:
    bars = MARKET.bars(symbol, "1h", 19_000 * DAY_MS, 20_700 * DAY_MS)
    returns = np.diff(np.log(bars[CLOSE]))
    assert low < returns.std() < high
    assert np.mean(returns**4) / np.var(returns) ** 2 > 5  # fat tails
    sizes = np.abs(returns)
    assert np.corrcoef(sizes[1:], sizes[:-1])[0, 1] > 0.1  # turbulence comes in clusters
    assert abs(np.corrcoef(returns[1:], returns[:-1])[0, 1]) < 0.05  # direction does not


def test_coins_move_together() -> None:
    closes = [MARKET.bars(s, "1d", 20_300 * DAY_MS, 20_700 * DAY_MS)[CLOSE] for s in ("BTCUSDT", "ETHUSDT", "LINKUSDT")]
    matrix = np.corrcoef([np.diff(np.log(c)) for c in closes])
    assert matrix.min() > 0.3


def test_halts_affect_all_symbols_at_once_and_are_never_filled() -> None:
    halted = MARKET.halted_hours * HOUR_MS
    assert 5 < len(halted) < 200
    for symbol in ("BTCUSDT", "ADAUSDT"):
        listed = MARKET.listed[symbol].listed_day * DAY_MS
        bars = MARKET.bars(symbol, "1h", listed + DAY_MS, 20_700 * DAY_MS)
        missing = np.setdiff1d(np.arange(listed + DAY_MS, 20_700 * DAY_MS, HOUR_MS), bars[OPENED_MS])
        assert set(missing) == set(halted[(halted >= listed + DAY_MS) & (halted < 20_700 * DAY_MS)])


def test_no_bars_before_listing() -> None:
    first = MARKET.bars("SUIUSDT", "1h", 0, 20_000 * DAY_MS)[OPENED_MS, 0]
    assert first == MARKET.listed["SUIUSDT"].listed_day * DAY_MS + 4 * HOUR_MS


def test_a_renamed_coin_has_one_price_under_two_symbols(tmp_path: Path) -> None:
    path = tmp_path / "universe.csv"
    path.write_text(
        "crypto_id,binance_symbol,name,category,valid_from,valid_to\n"
        "pol,MATICUSDT,Polygon,scaling,,2024-09-11\npol,POLUSDT,POL,scaling,2024-09-13,\n"
    )
    market = Market(1, read_universe(path))
    old, new = (market.bars(s, "1d", 19_900 * DAY_MS, 20_100 * DAY_MS) for s in ("MATICUSDT", "POLUSDT"))
    assert old.shape[1] == 19_977 - 19_900  # 2024-09-11 is day 19977
    assert new[OPENED_MS, 0] == 19_979 * DAY_MS
    assert 0.7 < new[OPEN, 0] / old[CLOSE, -1] < 1.4


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("crypto_id,name\nbitcoin,Bitcoin\n", "line 1: column 'binance_symbol' is missing"),
        ("crypto_id,binance_symbol,name\n,BTCUSDT,Bitcoin\n", "line 2: crypto_id and name must not be empty"),
        ("crypto_id,binance_symbol,name,valid_to\na,AUSDT,A,soon\n", "line 2: Invalid isoformat string: 'soon'"),
    ],
)
def test_an_invalid_universe_is_rejected(tmp_path: Path, text: str, fix: str) -> None:
    path = tmp_path / "universe.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {fix}")):
        read_universe(path)


def test_a_correction_reaches_every_interval_and_bars_stay_consistent() -> None:
    hour = 20_000 * DAY_MS + 13 * HOUR_MS
    edit = (Edit(hour, hour + HOUR_MS, "BTCUSDT", close=91_234.5, volume=321.0),)
    day = (20_000 * DAY_MS, 20_001 * DAY_MS)
    before, after = (MARKET.bars("BTCUSDT", "1h", *day, edits) for edits in ((), edit))
    changed = np.flatnonzero((before != after).any(axis=0))
    assert [after[OPENED_MS, n] for n in changed] == [hour]
    assert Decimal(int(after[CLOSE, 13])) / 100 == Decimal("91234.5")
    assert after[LOW, 13] * after[VOLUME, 13] <= after[QUOTE, 13] <= after[HIGH, 13] * after[VOLUME, 13]
    for interval in ("4h", "1d"):
        assert np.array_equal(aggregate(after, INTERVALS_MS[interval]), MARKET.bars("BTCUSDT", interval, *day, edit))
    assert np.array_equal(aggregate(MARKET.bars("BTCUSDT", "1m", *day, edit), HOUR_MS), after)


def test_fear_and_greed_follows_the_market() -> None:
    closes = MARKET.bars("BTCUSDT", "1d", 19_000 * DAY_MS, 20_700 * DAY_MS)
    day = closes[OPENED_MS] // DAY_MS
    momentum = np.log(closes[CLOSE][30:] / closes[CLOSE][:-30])
    index = MARKET.fear_greed(day[30:])
    assert np.corrcoef(momentum, index)[0, 1] > 0.6
    assert index.min() >= 0
    assert index.max() <= 100
