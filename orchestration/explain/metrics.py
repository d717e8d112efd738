"""The metrics that can be explained: for each column of a mart the window of its input rows and its formula.

Belongs here: the table. Does not: definitions and units (the comments of the marts), reading (``inputs``), formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from orchestration.explain import daily, hourly, inputs
from orchestration.explain.arithmetic import NullValue, Value, newest, vwap

_BAR = ("open", "high", "low", "close", "volume", "quote_volume", "trade_count")
_TRADED = ("quote_volume", "volume")


@dataclass(frozen=True)
class Metric:
    """How a value is made: the window of its input rows, and the formula over them."""

    window: inputs.Window
    formula: Callable[[Any], Value]
    # Difference below which two values are equal although they are near zero, for a difference of larger numbers.
    tolerance: float = 0.0


@dataclass(frozen=True)
class Mart:
    """A mart whose metrics can be explained: its column of time, whether that is a day, and its metrics."""

    time: str
    is_daily: bool
    metrics: Mapping[str, Metric]


_HOURLY = {
    **{name: Metric(inputs.at_hours(0, columns=(name,)), newest(name)) for name in (*_BAR, "taker_buy_volume")},
    "vwap_1h": Metric(inputs.at_hours(0, columns=_TRADED), vwap),
    "vwap_session": Metric(inputs.since_midnight(*_TRADED), vwap),
    "vwap_24h": Metric(inputs.trailing(24, *_TRADED), hourly.hourly_vwap(24)),
    "return_1h_pct": Metric(inputs.at_hours(0, 1), hourly.hourly_change(1)),
    "log_return_1h": Metric(inputs.at_hours(0, 1), hourly.hourly_log_return),
    "change_24h_pct": Metric(inputs.at_hours(0, 24), hourly.hourly_change(24)),
    "change_7d_pct": Metric(inputs.at_hours(0, 168), hourly.hourly_change(168)),
    "ma_7d": Metric(inputs.trailing(168), hourly.hourly_mean(168)),
    "ma_30d": Metric(inputs.trailing(720), hourly.hourly_mean(720)),
    "ma_90d": Metric(inputs.trailing(2160), hourly.hourly_mean(2160)),
    # One bar more than returns.
    "volatility_24h": Metric(inputs.trailing(25), hourly.hourly_volatility(24)),
    "volatility_7d": Metric(inputs.trailing(169), hourly.hourly_volatility(168)),
    "volatility_30d": Metric(inputs.trailing(721), hourly.hourly_volatility(720)),
}

_DAILY = {
    **{name: Metric(inputs.at_days(0, columns=(name,)), newest(name)) for name in _BAR},
    "bar_count": Metric(inputs.at_days(0), newest("bar_count")),
    "vwap": Metric(inputs.at_days(0, columns=_TRADED), vwap),
    "return_pct": Metric(inputs.at_days(-1, 0), daily.daily_change),
    "log_return": Metric(inputs.at_days(-1, 0), daily.daily_log_return),
    **{f"sma_{days}": Metric(inputs.last_days(days), daily.daily_mean(days)) for days in (7, 20, 30, 200)},
    "ema_12": Metric(inputs.all_days(), daily.ema(12)),
    "ema_26": Metric(inputs.all_days(), daily.ema(26)),
    "bb_upper_20": Metric(inputs.last_days(20), daily.bollinger(1)),
    "bb_lower_20": Metric(inputs.last_days(20), daily.bollinger(-1)),
    "rsi_14": Metric(inputs.all_days(), daily.rsi),
    "macd": Metric(inputs.all_days(), daily.macd),
    "macd_signal": Metric(inputs.all_days(), daily.macd_signal),
    "macd_histogram": Metric(inputs.all_days(), daily.macd_histogram),
    "atr_14": Metric(inputs.all_days("high", "low", "close"), daily.atr),
    "volatility_7d": Metric(inputs.last_days(8), daily.daily_volatility(7)),
    "volatility_30d": Metric(inputs.last_days(31), daily.daily_volatility(30)),
    "volatility_90d": Metric(inputs.last_days(91), daily.daily_volatility(90)),
    "drawdown_pct": Metric(inputs.all_days(), daily.drawdown),
    "beta_btc_90d": Metric(inputs.last_days_beside_bitcoin(91), daily.beta, tolerance=1e-12),
    "sharpe_90d": Metric(inputs.last_days(91), daily.sharpe, tolerance=1e-12),
    "day_number": Metric(inputs.all_days(), daily.row_count),
    "highest_close": Metric(inputs.all_days(), daily.highest_close),
    "average_gain_14": Metric(inputs.all_days(), daily.average_move(1)),
    "average_loss_14": Metric(inputs.all_days(), daily.average_move(-1)),
}

_CANDLES = {
    **{name: Metric(inputs.days_of_candle(name), daily.candle(name)) for name in _BAR},
    "vwap": Metric(inputs.days_of_candle(*_TRADED), vwap),
    "day_count": Metric(inputs.days_of_candle("close"), daily.row_count),
    "bar_count": Metric(inputs.days_of_candle("close"), daily.candle("bar_count")),
}

_CORRELATIONS = {
    "correlation": Metric(inputs.days_of_pair(), daily.correlation, tolerance=1e-12),
    "n": Metric(inputs.days_of_pair(), daily.pair_count),
}

_SENTIMENT = {
    "value": Metric(inputs.IndexWindow((0,)), lambda rows: rows.value()),
    "change_1d": Metric(inputs.IndexWindow((0, 1)), daily.index_change(1)),
    "change_7d": Metric(inputs.IndexWindow((0, 7)), daily.index_change(7)),
    "mean_30d": Metric(inputs.IndexWindow(tuple(range(30))), daily.index_mean),
    "btc_close": Metric(inputs.at_days(0), lambda rows: rows.close()),
    "btc_return_pct": Metric(inputs.at_days(-1, 0), daily.daily_change),
    "btc_return_next_day_pct": Metric(inputs.at_days(0, 1), daily.later_change(1)),
    "btc_return_next_week_pct": Metric(inputs.at_days(0, 7), daily.later_change(7)),
}


def _sent(*names: str, is_amount: bool = False, is_float: bool = False) -> Metric:
    """Return a number of a record as CoinGecko sent it: the first of these fields that it has."""

    def formula(records: pd.DataFrame) -> Value:
        sent: Any = next((value for name in names if (value := records[name].iloc[0]) is not None), None)
        if sent is None:
            raise NullValue("CoinGecko sent no value")
        if not Decimal(sent).is_finite() or (sent != 0 and not Decimal("1e-38") <= abs(sent) <= Decimal("1e38")):
            raise NullValue(f"{sent} is not a possible value")
        if is_amount and sent < 0:
            raise NullValue(f"{sent} is below 0")
        return float(sent) if is_float else sent

    return Metric(inputs.SnapshotRecord(names), formula)


def _turnover(records: pd.DataFrame) -> Value:
    volume, market_cap = records["total_volume"].iloc[0], records["market_cap"].iloc[0]
    if volume is None or not market_cap:
        raise NullValue("CoinGecko sent no volume or no market capitalization")
    return float(volume / market_cap)


_AMOUNTS = {
    "price_usd": "current_price", "market_cap_usd": "market_cap",
    "fully_diluted_valuation_usd": "fully_diluted_valuation", "volume_24h_usd": "total_volume",
    "high_24h_usd": "high_24h", "low_24h_usd": "low_24h", "circulating_supply": "circulating_supply",
    "total_supply": "total_supply", "max_supply": "max_supply", "ath_usd": "ath", "atl_usd": "atl",
    "market_cap_rank": "market_cap_rank",
}  # fmt: skip
_CHANGES = {
    "change_1h_pct": ("price_change_percentage_1h_in_currency",),
    "change_24h_pct": ("price_change_percentage_24h_in_currency", "price_change_percentage_24h"),
    "change_7d_pct": ("price_change_percentage_7d_in_currency",),
    "market_cap_change_24h_pct": ("market_cap_change_percentage_24h",),
    "ath_change_pct": ("ath_change_percentage",),
    "atl_change_pct": ("atl_change_percentage",),
}
_SNAPSHOTS = {
    **{name: _sent(sent, is_amount=True) for name, sent in _AMOUNTS.items()},
    "price_change_24h_usd": _sent("price_change_24h"),
    "market_cap_change_24h_usd": _sent("market_cap_change_24h"),
    **{name: _sent(*sent, is_float=True) for name, sent in _CHANGES.items()},
    "turnover": Metric(inputs.SnapshotRecord(("total_volume", "market_cap")), _turnover),
}

# In the order in which a column without a mart is looked up.
MARTS = {
    "fct_prices": Mart("opened_at", False, _HOURLY),
    "fct_daily_summary": Mart("date", True, _DAILY),
    "fct_market_snapshots": Mart("snapshot_at", False, _SNAPSHOTS),
    "fct_sentiment_daily": Mart("date", True, _SENTIMENT),
    "fct_correlations_daily": Mart("date", True, _CORRELATIONS),
    "fct_candles": Mart("started_on", True, _CANDLES),
}
