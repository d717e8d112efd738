"""Each metric of fct_prices and fct_daily_summary equals an independent computation: same nulls, relative error < 1e-9.

The oracles are TA-Lib (indicators), empyrical (Sharpe, volatility, beta, drawdown) and numpy over explicit windows.
They read the same bars as raw, with prices as exact integers where a difference of prices matters.
"""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import empyrical
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import talib
from dbt_warehouse import ROOT, Warehouse, create_warehouse
from small_markets import (
    KLINE_COLUMNS,
    RECORDED,
    UNIVERSE_COLUMNS,
    Bar,
    hours_between,
    random_walk,
    recorded_bars,
    universe_rows,
)

Floats = npt.NDArray[np.float64]
RECORD = ROOT.parent / "shared/replay/data"
LOADED_AT = datetime(2025, 1, 1, tzinfo=UTC)
SCALE = 10**8


def simulated_market() -> dict[str, list[Bar]]:
    """300 days of three random walks, one of a coin worth 0.00000712; each with gaps, one listed later."""
    hours = hours_between(datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 10, 28, 5, tzinfo=UTC))
    bitcoin = random_walk("BTCUSDT", hours, price=40000, decimals=2, seed=1)
    tiny = random_walk("TINYUSDT", hours[1000:], price=0.00000712, decimals=8, seed=2)
    steady = random_walk("STEADYUSDT", hours, price=1.0003, decimals=4, seed=3, idle=0.6)
    # a full day, single hours, and an hour at the end of a day are missing
    gaps = {*range(3000, 3024), 500, 501, 2222, 4007}
    return {
        "bitcoin": bitcoin[:5111] + bitcoin[5112:],
        "tiny": tiny,
        "steady": [bar for index, bar in enumerate(steady) if index not in gaps],
    }


def recorded_market() -> dict[str, list[Bar]]:
    """Fourteen recorded months of five symbols, with the exchange's halt of 2023-03-24."""
    window = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    return {asset: recorded_bars(RECORD, symbol, *window) for symbol, asset in RECORDED.items()}


MARKETS: dict[str, Callable[[], dict[str, list[Bar]]]] = {"simulated": simulated_market, "recorded": recorded_market}


class Built:
    """A market and the marts built from it."""

    def __init__(self, warehouse: Warehouse, market: dict[str, list[Bar]]) -> None:
        self.market = market
        symbols = [(asset, bars[0].symbol, None, None) for asset, bars in market.items()]
        warehouse.copy("raw.universe", UNIVERSE_COLUMNS, universe_rows(symbols))
        rows = [bar.row(LOADED_AT) for bars in market.values() for bar in bars]
        warehouse.copy("raw.binance_klines", KLINE_COLUMNS, rows)
        warehouse.execute("analyze raw.binance_klines")
        result = warehouse.dbt("run", "--select", "+fct_prices", "+fct_daily_summary", "+fct_correlations_daily")
        assert result.success, result.log
        self.hourly = self._read(warehouse, "fct_prices", "opened_at")
        self.daily = self._read(warehouse, "fct_daily_summary", "date")
        self.correlations = pd.DataFrame(
            warehouse.query(
                "select crypto_id_a, crypto_id_b, date, window_days, correlation, n from marts.fct_correlations_daily"
            ),
            columns=["a", "b", "date", "window", "correlation", "n"],
        )

    def _read(self, warehouse: Warehouse, table: str, order: str) -> dict[str, pd.DataFrame]:
        columns = [
            name
            for (name,) in warehouse.query(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 order by attnum",
                (f"marts.{table}",),
            )
        ]
        rows = pd.DataFrame(
            warehouse.query(f"select * from marts.{table} order by crypto_id, {order}"), columns=columns
        )
        return {asset: rows[rows.crypto_id == asset].reset_index(drop=True) for asset in self.market}


@pytest.fixture(
    scope="module",
    params=[
        "simulated",
        pytest.param(
            "recorded",
            marks=[
                pytest.mark.slow,
                pytest.mark.recorded,
                pytest.mark.skipif(not RECORD.exists(), reason="no recorded market data"),
            ],
        ),
    ],
)
def built(request: pytest.FixtureRequest, postgres: dict[str, str], dbt_target: Path) -> Built:
    return Built(create_warehouse(postgres, dbt_target), MARKETS[request.param]())


def assert_same(name: str, ours: pd.Series, oracle: Floats, scale: Floats | None = None) -> None:
    """Nulls in the same rows; in all others a difference below 1e-9 of the value, or of `scale` where it is larger."""
    values = pd.to_numeric(ours, errors="raise").to_numpy(dtype=float, na_value=np.nan)
    nulls = np.isnan(values) != np.isnan(oracle)
    assert not nulls.any(), f"{name}: null in one but not the other at rows {np.flatnonzero(nulls)[:5]}"
    size = np.abs(oracle) if scale is None else np.maximum(np.abs(oracle), scale)
    wrong = np.abs(values - oracle) > 1e-9 * size
    rows = np.flatnonzero(wrong)[:5]
    assert not wrong.any(), f"{name}: rows {rows}: {values[rows]} instead of {oracle[rows]}"


class Grid:
    """An asset's bars on a grid of every hour (or day) from its first to its last; NaN for a missing bar."""

    def __init__(self, moments: list[datetime], step: pd.Timedelta) -> None:
        start = pd.Timestamp(moments[0])
        self.places = np.array([round((pd.Timestamp(moment) - start) / step) for moment in moments])
        self.length = int(self.places[-1]) + 1

    def place(self, values: Floats) -> Floats:
        """Values of the bars, by hour."""
        placed = np.full(self.length, np.nan)
        placed[self.places] = values
        return placed

    def trailing(self, values: Floats, window: int, measure: Callable[..., Floats], full_from: int) -> Floats:
        """`measure` of the last `window` hours at each bar; NaN before hour `full_from`."""
        padded = np.concatenate([np.full(window - 1, np.nan), self.place(values)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, window)[self.places]
        with np.errstate(all="ignore"):
            measured = np.concatenate([measure(part, axis=1) for part in np.array_split(windows, 40)])
        return np.where(self.places >= full_from, measured, np.nan)


def sample_deviation(values: Floats, axis: int) -> Floats:
    """Sample standard deviation of what is not NaN; NaN for fewer than two."""
    counted = np.sum(~np.isnan(values), axis=axis)
    return np.where(counted > 1, np.nanstd(values, axis=axis, ddof=1), np.nan)


def exact_change(prices: npt.NDArray[np.int64], grid: Grid, steps: int) -> Floats:
    """Relative change of exact prices against the bar `steps` earlier; NaN when that one is missing."""
    place_of = {place: index for index, place in enumerate(grid.places)}
    before = [place_of.get(place - steps) for place in grid.places]
    changes = [
        np.nan if earlier is None else (prices[index] - prices[earlier]) / prices[earlier]
        for index, earlier in enumerate(before)
    ]
    return np.array(changes, dtype=float)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_hourly_metrics(built: Built) -> None:
    for asset, bars in built.market.items():
        ours = built.hourly[asset]
        moments = [bar.opened_at for bar in bars]
        assert list(ours.opened_at) == moments
        grid = Grid(moments, pd.Timedelta(hours=1))
        prices = np.array([int(bar.close * SCALE) for bar in bars])
        close = prices / SCALE
        volume = np.array([float(bar.volume) for bar in bars])
        quote = np.array([float(bar.quote_volume) for bar in bars])
        for column in ("open", "high", "low", "close", "volume", "quote_volume", "trade_count"):
            assert list(ours[column]) == [getattr(bar, column) for bar in bars], column
        assert list(ours.taker_buy_volume) == [bar.volume / 2 for bar in bars]

        def vwap(window: int, full_from: int, *, grid: Grid = grid, q: Floats = quote, v: Floats = volume) -> Floats:
            traded = grid.trailing(v, window, np.nansum, full_from)
            return grid.trailing(q, window, np.nansum, full_from) / np.where(traded == 0, np.nan, traded)

        days = pd.Series(moments).dt.date
        session = pd.Series(quote).groupby(days).cumsum() / pd.Series(volume).groupby(days).cumsum().replace(0, np.nan)
        log_return = np.log1p(exact_change(prices, grid, 1))
        year = np.sqrt(24 * 365)
        oracles = {
            "vwap_1h": quote / np.where(volume == 0, np.nan, volume),
            "vwap_24h": vwap(24, 23),
            "vwap_session": session.to_numpy(),
            "return_1h_pct": 100 * exact_change(prices, grid, 1),
            "log_return_1h": log_return,
            "change_24h_pct": 100 * exact_change(prices, grid, 24),
            "change_7d_pct": 100 * exact_change(prices, grid, 168),
            "ma_7d": grid.trailing(close, 168, np.nanmean, 167),
            "ma_30d": grid.trailing(close, 720, np.nanmean, 719),
            "ma_90d": grid.trailing(close, 2160, np.nanmean, 2159),
            "volatility_24h": grid.trailing(log_return, 24, sample_deviation, 24) * year,
            "volatility_7d": grid.trailing(log_return, 168, sample_deviation, 168) * year,
            "volatility_30d": grid.trailing(log_return, 720, sample_deviation, 720) * year,
        }
        for column, oracle in oracles.items():
            assert_same(f"{asset} {column}", ours[column], oracle)
        assert set(ours.crypto_id) == {asset}
        assert set(ours.binance_symbol) == {bars[0].symbol}
        assert set(ours.loaded_at) == {LOADED_AT}
        assert ours.series_version.nunique() == 1
        carried = {"crypto_id", "opened_at", "binance_symbol", "known_at", "loaded_at", "series_version"}
        exact = {"open", "high", "low", "close", "volume", "quote_volume", "trade_count", "taker_buy_volume"}
        assert set(ours.columns) == carried | exact | set(oracles), "a column without an oracle"


def daily_bars(bars: list[Bar]) -> pd.DataFrame:
    """The complete days, from the hourly bars."""
    rows = pd.DataFrame([vars(bar) for bar in bars])
    rows["date"] = rows.opened_at.dt.date
    days = rows.groupby("date").agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
        quote_volume=("quote_volume", "sum"),
        trade_count=("trade_count", "sum"),
        bar_count=("open", "size"),
    )
    return days.reset_index()


def volatility(returns: Floats) -> float:
    """Annualized volatility of daily returns."""
    return float(empyrical.annual_volatility(returns, annualization=365))


def trailing_rows(values: Floats, window: int, measure: Callable[[Floats], float]) -> Floats:
    """`measure` of the last `window` values at each row; NaN until so many are there, and while one of them is NaN."""
    out = np.full(len(values), np.nan)
    for end in range(window, len(values) + 1):
        part = values[end - window : end]
        if not np.isnan(part).any():
            out[end - 1] = measure(part)
    return out


def wilder(moves: Floats) -> Floats:
    """Wilder's average of 14 moves by pandas: from the mean of the first 14 on, weight 1 / 14."""
    seeded = np.concatenate([[moves[1:15].mean()], moves[15:]])
    return np.concatenate([np.full(14, np.nan), pd.Series(seeded).ewm(alpha=1 / 14, adjust=False).mean()])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_daily_metrics(built: Built) -> None:
    newest = max(bars[-1].opened_at for bars in built.market.values()) + pd.Timedelta(hours=1)
    days_of = {asset: daily_bars(bars) for asset, bars in built.market.items()}
    days_of = {asset: days[days.date < newest.date()].reset_index(drop=True) for asset, days in days_of.items()}
    returns_of = {}
    for asset, days in days_of.items():
        grid = Grid([datetime(d.year, d.month, d.day, tzinfo=UTC) for d in days.date], pd.Timedelta(days=1))
        prices = np.array([int(price * SCALE) for price in days.close])
        returns_of[asset] = pd.Series(exact_change(prices, grid, 1), index=days.date)
    for asset, days in days_of.items():
        ours = built.daily[asset]
        for column in ("date", "open", "high", "low", "close", "volume", "quote_volume", "trade_count", "bar_count"):
            assert list(ours[column]) == list(days[column]), f"{asset} {column}"
        # TA-Lib takes what is below 1e-14 for zero, so the tiny coin is given to it in larger units
        unit = 1e8 if float(days.close.iloc[0]) < 0.01 else 1.0
        close, high, low = (days[column].astype(float).to_numpy() * unit for column in ("close", "high", "low"))
        simple = returns_of[asset].to_numpy()
        log_return = np.log1p(simple)
        bitcoin = returns_of["bitcoin"].reindex(days.date).to_numpy()
        macd = talib.EMA(close, 12) - talib.EMA(close, 26)
        signal = np.concatenate([macd[:25], talib.EMA(macd[25:], 9)])
        upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
        change = np.diff(close, prepend=np.nan)
        gain, loss = np.where(change > 0, change, 0.0), np.where(change < 0, -change, 0.0)
        gain[0] = loss[0] = np.nan
        both = np.column_stack([simple, bitcoin])
        beta = np.full(len(both), np.nan)
        for end in range(90, len(both) + 1):
            part = both[end - 90 : end]
            if not np.isnan(part).any():
                beta[end - 1] = empyrical.beta(part[:, 0], part[:, 1])
        volume = days.volume.astype(float).to_numpy()
        oracles = {
            "vwap": days.quote_volume.astype(float).to_numpy() / np.where(volume == 0, np.nan, volume),
            "return_pct": 100 * simple,
            "log_return": log_return,
            "sma_7": talib.SMA(close, 7) / unit,
            "sma_20": middle / unit,
            "sma_30": talib.SMA(close, 30) / unit,
            "sma_200": talib.SMA(close, 200) / unit,
            "ema_12": talib.EMA(close, 12) / unit,
            "ema_26": talib.EMA(close, 26) / unit,
            "bb_upper_20": upper / unit,
            "bb_lower_20": lower / unit,
            "rsi_14": talib.RSI(close, 14),
            "macd": macd / unit,
            "macd_signal": signal / unit,
            "macd_histogram": (macd - signal) / unit,
            "atr_14": talib.ATR(high, low, close, 14) / unit,
            "volatility_7d": trailing_rows(log_return, 7, volatility),
            "volatility_30d": trailing_rows(log_return, 30, volatility),
            "volatility_90d": trailing_rows(log_return, 90, volatility),
            "sharpe_90d": trailing_rows(simple, 90, lambda x: empyrical.sharpe_ratio(x, annualization=365)),
            "beta_btc_90d": beta,
            "drawdown_pct": 100 * (close / np.maximum.accumulate(close) - 1),
            "average_gain_14": wilder(gain) / unit,
            "average_loss_14": wilder(loss) / unit,
            "day_number": np.arange(1, len(days) + 1, dtype=float),
            "highest_close": np.maximum.accumulate(close) / unit,
        }
        # differences of near-equal averages, and of a price and its peak, are measured against what they are taken from
        scales = {"macd": close / unit, "macd_signal": close / unit, "macd_histogram": close / unit}
        scales["drawdown_pct"] = np.full(len(close), 1e-3)
        for column, oracle in oracles.items():
            assert_same(f"{asset} {column}", ours[column], oracle, scales.get(column))
        worst = empyrical.max_drawdown(np.nan_to_num(np.diff(close) / close[:-1]))
        assert min(ours.drawdown_pct) == pytest.approx(100 * worst, rel=1e-9)
        assert set(ours.crypto_id) == {asset}
        assert set(ours.loaded_at) == {LOADED_AT}
        assert ours.universe_version.nunique() == 1
        carried = {"crypto_id", "known_at", "loaded_at", "universe_version"}
        exact = {"date", "open", "high", "low", "close", "volume", "quote_volume", "trade_count", "bar_count"}
        assert set(ours.columns) == carried | exact | set(oracles), "a column without an oracle"


def test_correlations_use_the_days_that_both_assets_have(built: Built) -> None:
    wide = pd.DataFrame({asset: days.set_index("date").log_return for asset, days in built.daily.items()}).astype(float)
    index = pd.date_range(wide.index.min(), wide.index.max())
    wide = wide.reindex([moment.date() for moment in index])
    first = {asset: wide[asset].first_valid_index() for asset in wide}
    expected = {}
    for a, b in itertools.combinations(sorted(built.market), 2):
        x, y = wide[a].to_numpy(), wide[b].to_numpy()
        both = ~np.isnan(x) & ~np.isnan(y)
        oldest = max(first[a], first[b])
        for window, end in itertools.product((30, 90, 365), range(30, len(wide) + 1)):
            date = wide.index[end - 1]
            part = slice(max(0, end - window), end)
            if both[end - 1] and (date - oldest).days >= window - 1:
                pairs = both[part]
                correlation = np.corrcoef(x[part][pairs], y[part][pairs])[0, 1]
                expected[a, b, date, window] = (correlation, pairs.sum())
    found = {(row.a, row.b, row.date, row.window): (row.correlation, row.n) for row in built.correlations.itertuples()}
    assert found.keys() == expected.keys()
    for key, (correlation, n) in expected.items():
        assert found[key][1] == n
        assert found[key][0] == pytest.approx(correlation, rel=1e-9, abs=1e-12), key
