"""What can be read from tickmart, from wherever it is stored. Subclasses read one mart; everything else is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc

from tickmart import aggregation
from tickmart import gaps as missing_bars
from tickmart.arguments import (
    Coins,
    Time,
    coin_ids,
    column_names,
    first_day_from,
    one_of,
    require_data,
    time_range,
    utc,
)
from tickmart.errors import ArgumentError, TickmartError
from tickmart.metrics import metrics_table
from tickmart.result import Result

Columns = str | Sequence[str] | None
Parameters = Mapping[str, Any] | Sequence[Any] | None
# Alternatives of conditions that apply together, as pyarrow.parquet takes them: column, operator, value.
Condition = tuple[str, Literal["==", ">=", "<", "<=", "in"], Any]
Filters = list[list[Condition]]

# The columns of marts.bars_as_of.
_AS_OF_COLUMNS = (
    "crypto_id", "opened_at", "open", "high", "low", "close", "volume", "quote_volume", "trade_count",
    "taker_buy_volume", "binance_symbol", "known_at",
)  # fmt: skip
_BAR_COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "trade_count")


@dataclass(frozen=True)
class Read:
    """Some columns and rows of one mart, in order."""

    mart: str
    columns: Sequence[str]
    filters: Filters
    order_by: Sequence[str]
    decimals: bool = False
    as_of: datetime | None = None


@dataclass(frozen=True)
class _Interval:
    mart: str
    time: str
    timeframe: str | None = None


_INTERVALS = {
    "1h": _Interval("fct_prices", "opened_at"),
    "4h": _Interval("fct_prices", "opened_at"),
    "1d": _Interval("fct_daily_summary", "date"),
    "1w": _Interval("fct_candles", "started_on", "week"),
    "1M": _Interval("fct_candles", "started_on", "month"),
}


class Source(ABC):
    """Where the marts are read from. Times are UTC, ranges half-open [start, end); a time without a zone is UTC.

    Numbers with decimals are float64, or exact decimals with `decimals=True`. `columns` are the columns of the mart
    beside its key; "*" is all of them.
    """

    def close(self) -> None:  # noqa: B027 - a release has nothing to close
        """Close the connection, if there is one; a later read opens it again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def sql(self, text: str, params: Parameters = None, *, decimals: bool = False) -> Result:
        """Run one query, read-only. `params` fill `%s`, or `%(name)s` from a dict."""

    @abstractmethod
    def _column_types(self, mart: str) -> dict[str, str]:
        """Return the Postgres type of each column of a mart, in order."""

    @abstractmethod
    def _comments(self) -> Iterable[tuple[str, str, str, str | None]]:
        """Yield mart, column, type and comment of each column."""

    @abstractmethod
    def _read(self, wanted: Read) -> pa.Table:
        """Return rows of one mart."""

    def bars(
        self,
        coins: Coins | None,
        interval: str = "1h",
        start: Time | None = None,
        end: Time | None = None,
        columns: Columns = None,
        gaps: str | None = None,
        decimals: bool = False,
        as_of: Time | None = None,
    ) -> Result:
        """Return the bars of `1h`, `4h`, `1d`, `1w` (from Monday) or `1M` that open in [start, end).

        `coins` is one or several ids, tickers or names in any case; None is all. The first columns are crypto_id and
        opened_at, the order of the rows. A bar that is missing stays missing; with `gaps="null"` it is a row of nulls
        if the coin has bars before and after it. With `as_of` (1h and 4h) they are the bars as the database knew them
        at that time; column `known_at` of an hour is when its value was loaded.

        >>> import tickmart as tm
        >>> tm.bars("BTC", start="2024-01-01", end="2024-01-02").columns[:6]
        ['crypto_id', 'opened_at', 'open', 'high', 'low', 'close']
        """
        if gaps not in (None, "null"):
            one_of("gaps", str(gaps), ["null"])
        bar = _INTERVALS[one_of("interval", interval, _INTERVALS)]
        moment = utc("as_of", as_of)
        if moment is not None and bar.mart != "fct_prices":
            raise ArgumentError(f"as_of= is not available for interval {interval!r} in this version; read 1h or 4h")
        first, last = time_range(start, end)
        if interval == "4h":
            bars = self._four_hours(coins, first, last, columns, decimals, moment)
            return Result(missing_bars.with_null_rows(bars, interval) if gaps else bars)
        known = self._column_types(bar.mart) if moment is None else dict.fromkeys(_AS_OF_COLUMNS, "")
        chosen = column_names(columns, _BAR_COLUMNS, known, ["crypto_id", "opened_at", bar.time])
        conditions = self._coin_conditions(coins, last) + _within(bar.time, known[bar.time], first, last)
        if bar.timeframe:
            conditions.append(("timeframe", "==", bar.timeframe))
        key = ["crypto_id", bar.time]
        table = self._read(Read(bar.mart, [*key, *chosen], [conditions], key, decimals, moment))
        opened_at = table[bar.time].cast(pa.timestamp("us")) if known[bar.time] == "date" else table[bar.time]
        table = table.set_column(1, "opened_at", opened_at.cast(pa.timestamp("us", "UTC")))
        return Result(missing_bars.with_null_rows(table, interval) if gaps else table)

    def daily(
        self,
        coins: Coins | None,
        start: Time | None = None,
        end: Time | None = None,
        columns: Columns = "*",
        decimals: bool = False,
        as_of: Time | None = None,
    ) -> Result:
        """Return complete UTC days with their indicators: returns, averages, RSI, MACD, volatility, drawdown, beta.

        >>> import tickmart as tm
        >>> tm.daily("bitcoin", columns=["close", "rsi_14"]).columns
        ['crypto_id', 'date', 'close', 'rsi_14']
        """
        if utc("as_of", as_of) is not None:
            raise ArgumentError("as_of= is not available for daily() in this version; read bars() of 1h")
        first, last = time_range(start, end)
        conditions = self._coin_conditions(coins, last) + _within("date", "date", first, last)
        return self._rows("fct_daily_summary", ["crypto_id", "date"], columns, [conditions], decimals)

    def snapshots(self, at: Time | None = None, columns: Columns = "*", decimals: bool = False) -> Result:
        """Return every coin of CoinGecko's newest market list, or of the newest at or before `at`.

        >>> import tickmart as tm
        >>> tm.snapshots(columns=["symbol", "price_usd"]).columns
        ['crypto_id', 'snapshot_at', 'symbol', 'price_usd']
        """
        moment = utc("at", at)
        # One row per snapshot and the same times: the small table beside the large one.
        times = self._times("fct_market_global", "snapshot_at")
        before = times if moment is None else [time for time in times if time <= moment]
        if times and not before:
            assert moment is not None
            raise ArgumentError(f"at={at!s} is before the data: snapshots begin at {min(times):%Y-%m-%dT%H:%M}Z")
        conditions: list[Condition] = [("snapshot_at", "==", max(before))] if before else []
        key = ["crypto_id", "snapshot_at"]
        return self._rows("fct_market_snapshots", key, columns, [conditions], decimals)

    def sentiment(self, start: Time | None = None, end: Time | None = None, decimals: bool = False) -> Result:
        """Return the Fear & Greed index by day, with bitcoin's returns on the day and after it.

        >>> import tickmart as tm
        >>> tm.sentiment().columns[:3]
        ['date', 'value', 'classification']
        """
        first, last = time_range(start, end)
        if last is not None:
            require_data("end", last, min(self._times("fct_sentiment_daily", "date"), default=None), "index values")
        conditions = _within("date", "date", first, last)
        return self._rows("fct_sentiment_daily", ["date"], "*", [conditions], decimals)

    def correlations(
        self,
        coins: Coins | None = None,
        window_days: int | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> Result:
        """Return the correlations of daily log returns: of all pairs of the coins, or of one coin with each other.

        >>> import tickmart as tm
        >>> tm.correlations(["BTC", "ETH"], window_days=30).columns[:4]
        ['crypto_id_a', 'crypto_id_b', 'date', 'window_days']
        """
        first, last = time_range(start, end)
        shared = _within("date", "date", first, last)
        if window_days is not None:
            windows = ["30", "90", "365"]
            shared.append(("window_days", "==", int(one_of("window_days", str(window_days), windows))))
        filters = [shared]
        if coins is not None:
            ids = self._ids(coins)
            if len(ids) == 1:
                filters = [[(side, "==", ids[0]), *shared] for side in ("crypto_id_a", "crypto_id_b")]
            else:
                filters = [[("crypto_id_a", "in", ids), ("crypto_id_b", "in", ids), *shared]]
        key = ["crypto_id_a", "crypto_id_b", "date", "window_days"]
        return self._rows("fct_correlations_daily", key, "*", filters, False)

    def coins(self) -> Result:
        """Return the tracked coins, largest first: ids, tickers, names, ranks, first and last bar.

        >>> import tickmart as tm
        >>> tm.coins().columns[:3]
        ['crypto_id', 'symbol', 'name']
        """
        columns = list(self._column_types("dim_crypto"))
        return Result(self._read(Read("dim_crypto", columns, [], ["market_cap_rank", "crypto_id"])))

    def metrics(self) -> Result:
        """Return every column of the marts with its definition, formula and unit.

        >>> import tickmart as tm
        >>> tm.metrics().columns
        ['mart', 'column', 'type', 'definition', 'formula', 'unit']
        """
        return Result(metrics_table(self._comments()))

    def health(self) -> Result:
        """Return each dataset with its status, the age of its newest data and its open problems.

        >>> import tickmart as tm
        >>> tm.health().columns[:3]
        ['dataset', 'source', 'health']
        """
        return self._rows("fct_dataset_health", ["dataset"], "*", [], False)

    def _four_hours(
        self,
        coins: Coins | None,
        first: datetime | None,
        last: datetime | None,
        columns: Columns,
        decimals: bool,
        moment: datetime | None,
    ) -> pa.Table:
        """Return the bars of four hours that open in [first, last), from the hours."""
        key = ["crypto_id", "opened_at"]
        chosen = column_names(columns, _BAR_COLUMNS, dict.fromkeys(aggregation.COLUMNS, ""), key)
        first, last = aggregation.rounded_up(first), aggregation.rounded_up(last)
        conditions = self._coin_conditions(coins, last) + _within("opened_at", "timestamptz", first, last)
        wanted = Read("fct_prices", [*key, *aggregation.HOURLY], [conditions], key, decimals, moment)
        return aggregation.four_hours(self._read(wanted)).select([*key, *chosen])

    def _rows(self, mart: str, key: list[str], columns: Columns, filters: Filters, decimals: bool) -> Result:
        """Return rows of a mart in the order of its key, the key first."""
        chosen = column_names(columns, (), self._column_types(mart), key)
        return Result(self._read(Read(mart, [*key, *chosen], [f for f in filters if f], key, decimals)))

    def _times(self, mart: str, column: str) -> list[datetime]:
        """Return the distinct values of a column of a mart with one row per time."""
        values = pc.unique(self._read(Read(mart, [column], [], [column]))[column]).to_pylist()
        return [v if isinstance(v, datetime) else datetime(v.year, v.month, v.day, tzinfo=UTC) for v in values]

    def _known_coins(self) -> list[dict[str, Any]]:
        columns = ["crypto_id", "symbol", "name", "first_bar_at"]
        rows: list[dict[str, Any]] = self._read(Read("dim_crypto", columns, [], ["crypto_id"])).to_pylist()
        if not rows:
            raise TickmartError("The marts have no coins yet: the first refresh has not finished")
        return rows

    def _ids(self, coins: Coins) -> list[str]:
        return coin_ids(coins, self._known_coins())

    def _coin_conditions(self, coins: Coins | None, end: datetime | None) -> list[Condition]:
        """Return the conditions that select the coins; raise if the range ends before their first bar."""
        if coins is None and end is None:
            return []
        known = self._known_coins()
        ids = coin_ids(coins, known) if coins is not None else [coin["crypto_id"] for coin in known]
        begins = [coin["first_bar_at"] for coin in known if coin["crypto_id"] in ids and coin["first_bar_at"]]
        what = f"bars of {', '.join(ids)}" if coins is not None else "bars"
        require_data("end", end, min(begins, default=None), what)
        return [("crypto_id", "in", ids)] if coins is not None else []


def _within(column: str, data_type: str, first: datetime | None, last: datetime | None) -> list[Condition]:
    """Return the conditions of a half-open range; a day belongs to it if its midnight does."""
    bounds: list[tuple[Literal[">=", "<"], datetime | None]] = [(">=", first), ("<", last)]
    found: list[Condition] = []
    for operator, moment in bounds:
        if moment is not None:
            value: date = first_day_from(moment) if data_type == "date" else moment
            found.append((column, operator, value))
    return found
