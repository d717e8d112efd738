"""Finds the value that is asked for: coin, mart, column and row, from the words of the command.

Belongs here: the arguments and the rows of the marts. Does not: input rows (``inputs``) and formulas.
"""
# ruff: noqa: S608 - names of marts and columns are our own; values are bound

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from ingestion.database.connections import Connection
from ingestion.database.one_state import fetch, fetch_dicts
from ingestion.settings import SettingsError
from orchestration.explain.arithmetic import DAY, HOUR
from orchestration.explain.inputs import Target
from orchestration.explain.metrics import MARTS, Metric
from orchestration.exports.bars import Coin, find_coins, parse_time
from orchestration.exports.marts import mart_columns

_LINE = re.compile(r"^(Formula|Unit): (.+)$", re.M)
# A snapshot that is older at the time asked for says nothing about it.
_SNAPSHOT_AGE = 24 * HOUR
# Instead of a time: the newest row.
LATEST = "latest"


@dataclass(frozen=True)
class Request:
    """The arguments of the command. `timeframe` and `window_days` choose a row of candles and of correlations."""

    coin: str
    metric: str
    time: str
    timeframe: str = "week"
    window_days: int = 90


@dataclass(frozen=True)
class Found:
    """The value in the mart, its metric and the row that has it, and its definition from the comment of the column."""

    column: str
    metric: Metric
    target: Target
    row: dict[str, Any]
    definition: str
    formula: str | None
    unit: str | None

    @property
    def value(self) -> Any:
        """The value in the mart."""
        return self.row[self.column]


def find_named_coins(connection: Connection, request: Request) -> list[Coin]:
    """Return the coins that are asked for; SettingsError for a name that no coin has or several have."""
    names = [name for name in request.coin.split("/") if name.strip()]
    if not names:
        raise SettingsError("COIN is empty: write an id or ticker, such as bitcoin or BTC")
    return [coin for name in names for coin in find_coins(connection, [name])]


def find(connection: Connection, request: Request, coins: Sequence[Coin]) -> Found:
    """Return the value that is asked for; SettingsError if an argument is wrong or there is no such row."""
    if request.time.strip().lower() == LATEST:
        mart, column = _column(request.metric, has_hour=None)
        at = _newest(connection, mart, coins, request)
    else:
        time = parse_time(request.time, "TIME")
        assert time is not None
        at = pd.Timestamp(time)
        mart, column = _column(request.metric, has_hour=not _is_date(request.time))
    target = _target(connection, mart, coins, at, request)
    row = _row(connection, target, coins)
    text, formula, unit = _definition(connection, mart, column)
    return Found(column, MARTS[mart].metrics[column], target, row, text, formula, unit)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _column(metric: str, *, has_hour: bool | None) -> tuple[str, str]:
    """Return the mart and the column of a metric; a time with an hour prefers hourly marts, a date daily ones.

    Without a time, the first mart that has the column.
    """
    mart, _, column = metric.strip().lower().removeprefix("marts.").rpartition(".")
    if mart and mart not in MARTS:
        raise SettingsError(
            f"METRIC {metric!r}: no metrics of {mart} can be explained: choose one of {', '.join(MARTS)}"
        )
    having = [name for name in ([mart] if mart else MARTS) if column in MARTS[name].metrics]
    if not having:
        known = sorted({name for m in ([mart] if mart else MARTS) for name in MARTS[m].metrics})
        similar = difflib.get_close_matches(column, known, 3, 0.5)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"choose one of {', '.join(known)}"
        raise SettingsError(f"METRIC {metric!r} is not known: {hint}")
    fitting = [name for name in having if MARTS[name].is_daily != has_hour]
    if not fitting and has_hour is False:
        raise SettingsError(f"marts.{having[0]} has hours: write TIME with an hour, such as 2026-01-31T10:00")
    return (fitting or having)[0], column


def _newest(connection: Connection, mart: str, coins: Sequence[Coin], request: Request) -> pd.Timestamp:
    """Return the time of the newest row of a coin."""
    time = MARTS[mart].time
    key = {"crypto_id": coins[0].crypto_id}
    if mart != "fct_market_snapshots":
        key = _target(connection, mart, coins, pd.Timestamp.now("UTC"), request).key
    where = " and ".join(["true", *(f"{name} = %({name})s" for name in key if name != time)])
    ((newest,),) = fetch(connection, f"select max({time}) from marts.{mart} where {where}", key)
    if newest is None:
        raise SettingsError(f"marts.{mart} has no row of {request.coin}: rows begin when the window is full")
    at = pd.Timestamp(newest)
    return at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")


def _target(connection: Connection, mart: str, coins: Sequence[Coin], at: pd.Timestamp, request: Request) -> Target:
    """Return the key of the row that covers a time."""
    coin, day = coins[0].crypto_id, at.floor("D")
    pair = sorted({coin.crypto_id for coin in coins})
    if mart == "fct_correlations_daily":
        if len(pair) != 2:
            raise SettingsError("a correlation is of two coins: write COIN as bitcoin/ethereum")
        key = {"crypto_id_a": pair[0], "crypto_id_b": pair[1], "window_days": request.window_days, "date": day.date()}
        return Target(mart, key, pair[0], day, pair[1], request.window_days)
    if len(coins) > 1:
        raise SettingsError(f"marts.{mart} has one coin a row: only a correlation takes two")
    if mart == "fct_prices":
        hour = at.floor("h")
        return Target(mart, {"crypto_id": coin, "opened_at": hour}, coin, hour)
    if mart == "fct_market_snapshots":
        snapshot = _snapshot(connection, coin, at)
        return Target(mart, {"crypto_id": coin, "snapshot_at": snapshot}, coin, snapshot)
    if mart == "fct_sentiment_daily":
        if coin != "bitcoin":
            raise SettingsError("marts.fct_sentiment_daily describes the market and bitcoin: write COIN as bitcoin")
        return Target(mart, {"date": day.date()}, coin, day)
    if mart == "fct_candles":
        start = day.replace(day=1) if request.timeframe == "month" else day - DAY * day.weekday()
        key = {"crypto_id": coin, "timeframe": request.timeframe, "started_on": start.date()}
        return Target(mart, key, coin, start)
    return Target(mart, {"crypto_id": coin, "date": day.date()}, coin, day)


def _snapshot(connection: Connection, coin: str, at: pd.Timestamp) -> pd.Timestamp:
    """Return the newest snapshot with a coin at a time."""
    ((newest,),) = fetch(
        connection,
        "select max(snapshot_at) from marts.fct_market_snapshots "
        "where crypto_id = %s and snapshot_at between %s and %s",
        (coin, at - _SNAPSHOT_AGE, at),
    )
    if newest is None:
        raise SettingsError(
            f"there is no snapshot with {coin} in the 24 hours before {at:%Y-%m-%d %H:%M} UTC: snapshots begin with "
            "the first run and have no history"
        )
    return pd.Timestamp(newest).tz_convert("UTC")


def _row(connection: Connection, target: Target, coins: Sequence[Coin]) -> dict[str, Any]:
    where = " and ".join(f"{name} = %({name})s" for name in target.key)
    rows = fetch_dicts(connection, f"select * from marts.{target.mart} where {where}", target.key)
    if rows:
        return rows[0]
    time = MARTS[target.mart].time
    others = " and ".join(["true", *(f"{name} = %({name})s" for name in target.key if name != time)])
    ((first, last),) = fetch(
        connection, f"select min({time}), max({time}) from marts.{target.mart} where {others}", target.key
    )
    of = ", ".join(str(value) for name, value in target.key.items() if name != time)
    missing = f"marts.{target.mart} has no row of {of or 'the index'} at {_written(target.key[time])}"
    if first is None:
        raise SettingsError(f"{missing} and none at another time: rows begin when the window is full")
    if not first <= target.key[time] <= last:
        raise SettingsError(f"{missing}: its rows reach from {_written(first)} to {_written(last)} (UTC)")
    raise SettingsError(f"{missing}: {_absence(connection, target, coins)}")


def _absence(connection: Connection, target: Target, coins: Sequence[Coin]) -> str:
    """Return why a row within the history of a mart is absent."""
    length = DAY if MARTS[target.mart].is_daily else HOUR
    kinds = fetch(
        connection,
        "select distinct kind from ops.gaps "
        "where interval = '1h' and gap_start < %s and gap_end > %s "
        "and symbol in (select binance_symbol from raw.universe where crypto_id = any(%s))",
        (target.at + length, target.at, [coin.crypto_id for coin in coins]),
    )
    if kinds:
        return f"Binance has no bar then ({', '.join(kind for (kind,) in kinds)})"
    return "there is no valid input row then, or the marts are older than it (`tickmart run` builds them)"


def _written(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if hasattr(moment, "hour") else f"{moment:%Y-%m-%d}"


def _definition(connection: Connection, mart: str, column: str) -> tuple[str, str | None, str | None]:
    """Return definition, formula and unit of a column from its comment, which dbt writes."""
    comment = next(found.description for found in mart_columns(connection, mart) if found.name == column)
    lines = dict(_LINE.findall(comment))
    return " ".join(_LINE.sub("", comment).split()), lines.get("Formula"), lines.get("Unit")
