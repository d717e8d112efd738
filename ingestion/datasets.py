"""One declaration per dataset: columns, grain, object key, and what a record must satisfy to be possible.

Belongs here: what lake, loader and checks must agree on, and the vectorised contract checks. Does not: how
a source is asked (``binance``, ``coingecko``, ``fear_greed``), stored (``lake``) or loaded (``warehouse``), and how its
raw table came to be as declared (``migrations``; a test compares the two).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from ingestion.settings import Settings

UTC_US = pa.timestamp("us", tz="UTC")
# Exact numbers: the scale grows past 8 only when a value needs it (see `decimals`).
DECIMAL = pa.decimal128(38, 8)
DIGITS = 38

INTERVAL_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000}
BINANCE_OPENED = date(2017, 8, 17)  # the first bar of BTCUSDT
FEAR_GREED_OPENED = date(2018, 2, 1)
COINGECKO_OPENED = date(2014, 4, 8)

HOUR_S = 3600
# Data older than this many SLAs is degraded; older than one is a warning.
DEGRADED_SLAS = 4

# Columns that tell where a record came from; they are no part of its value.
PROVENANCE = (("source_url", pa.string()), ("fetched_at", UTC_US), ("batch_id", pa.string()))


@dataclass(frozen=True)
class Column:
    """A field of a dataset: its Arrow type in bronze, its Postgres type in raw, and whether a record must have it."""

    name: str
    arrow: pa.DataType
    postgres: str
    required: bool = True


@dataclass(frozen=True)
class Dataset:
    """A dataset under one name: asset, raw table and object prefix; who provides it, and what is expected of it."""

    name: str
    source: str
    prefix: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    # Age of the newest data, in seconds, past which the dataset is late.
    sla_seconds: Callable[[Settings], int]
    # Assets about this dataset besides bronze/<name>, raw/<name> and the models made of these.
    other_assets: tuple[str, ...] = ()
    # More rejected records in one fetch than this share, and at least this many, are an error; fewer are a warning.
    rejected_share: float = 0.05
    rejected_least: int = 10
    bronze_only: tuple[tuple[str, pa.DataType], ...] = ()
    # The column by whose values the raw table is divided (docs/performance.md says why), and those values.
    parts: tuple[str, tuple[str, ...]] | None = None

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of a bronze object; decimal columns may have a larger scale."""
        own = [pa.field(c.name, c.arrow, nullable=not c.required) for c in self.columns]
        return pa.schema([*own, *(pa.field(n, t) for n, t in (*self.bronze_only, *PROVENANCE))])

    @property
    def values(self) -> list[str]:
        """Names of the columns that make up a record's value, without key and provenance."""
        return [c.name for c in self.columns if c.name not in self.key]

    @property
    def assets(self) -> tuple[str, ...]:
        """Names of the assets that exist for this dataset alone and that no model makes."""
        return (f"bronze/{self.name}", f"raw/{self.name}", *self.other_assets)

    def degraded_after_seconds(self, settings: Settings) -> int:
        """Return the age of the newest data, in seconds, past which the dataset is degraded."""
        return DEGRADED_SLAS * self.sla_seconds(settings)

    def too_many_rejected(self, rejected: int, records: int) -> bool:
        """Return whether so many of a fetch's records were rejected that the source or a rule may have changed."""
        return rejected >= self.rejected_least and rejected > self.rejected_share * records


def _decimal_column(name: str, *, required: bool = True) -> Column:
    return Column(name, DECIMAL, "numeric", required)


KLINES = Dataset(
    name="binance_klines",
    source="Binance",
    sla_seconds=lambda _: 2 * HOUR_S,
    other_assets=("ops/gaps",),
    prefix="binance/klines",
    key=("symbol", "interval", "open_time"),
    columns=(
        Column("symbol", pa.string(), "text"),
        Column("interval", pa.string(), "text"),
        Column("open_time", UTC_US, "timestamptz"),
        *(_decimal_column(name) for name in ("open", "high", "low", "close", "volume")),
        Column("close_time", UTC_US, "timestamptz"),
        _decimal_column("quote_volume"),
        Column("trade_count", pa.int64(), "bigint"),
        _decimal_column("taker_buy_base_volume"),
        _decimal_column("taker_buy_quote_volume"),
    ),
    # The twelfth field is documented as unused; it and anything behind it are kept as they were sent.
    bronze_only=(("extra", pa.string()),),
    parts=("interval", tuple(INTERVAL_MS)),
)

_MARKET_NUMBERS = (
    "current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h",
    "price_change_24h", "price_change_percentage_24h", "market_cap_change_24h", "market_cap_change_percentage_24h",
    "circulating_supply", "total_supply", "max_supply", "ath", "ath_change_percentage", "atl", "atl_change_percentage",
    "price_change_percentage_1h_in_currency", "price_change_percentage_24h_in_currency",
    "price_change_percentage_7d_in_currency",
)  # fmt: skip

MARKETS = Dataset(
    name="coingecko_markets",
    source="CoinGecko",
    sla_seconds=lambda settings: 2 * 60 * settings.markets_every_minutes,
    prefix="coingecko/markets",
    key=("crypto_id", "snapshot_at"),
    columns=(
        Column("crypto_id", pa.string(), "text"),
        Column("snapshot_at", UTC_US, "timestamptz"),
        Column("symbol", pa.string(), "text"),
        Column("name", pa.string(), "text"),
        Column("image", pa.string(), "text", required=False),
        Column("market_cap_rank", pa.int64(), "integer", required=False),
        *(_decimal_column(name, required=False) for name in _MARKET_NUMBERS),
        Column("ath_date", UTC_US, "timestamptz", required=False),
        Column("atl_date", UTC_US, "timestamptz", required=False),
        Column("last_updated", UTC_US, "timestamptz", required=False),
        Column("payload", pa.string(), "jsonb"),
    ),
)

FEAR_GREED = Dataset(
    name="fear_greed",
    source="alternative.me",
    # A day's value is published at its start, and there is one a day.
    sla_seconds=lambda _: 26 * HOUR_S,
    prefix="alternative_me/fear_greed",
    key=("date",),
    columns=(
        Column("date", pa.date32(), "date"),
        Column("value", pa.int64(), "integer"),
        Column("classification", pa.string(), "text"),
    ),
    bronze_only=(("payload", pa.string()),),
)

DATASETS = (KLINES, MARKETS, FEAR_GREED)


def klines_key(interval: str, day: date) -> str:
    """Return the key of the object that holds one UTC day of bars of every symbol."""
    return f"{KLINES.prefix}/interval={interval}/date={day.isoformat()}/bars.parquet"


def klines_day(key: str) -> tuple[str, date] | None:
    """Return the interval and the UTC day of the object under a key of ``klines_key``; None for another key."""
    named = re.fullmatch(rf"{KLINES.prefix}/interval=(\w+)/date=(\d{{4}}-\d\d-\d\d)/bars\.parquet", key)
    return (named[1], date.fromisoformat(named[2])) if named else None


def object_day(key: str) -> date | None:
    """Return the UTC day in an object's key (``date=YYYY-MM-DD``); None for a key without one."""
    named = re.search(r"/date=(\d{4}-\d\d-\d\d)/", key)
    return date.fromisoformat(named[1]) if named else None


def keys_of_newest_days(keys: Iterable[str], days: int) -> list[str]:
    """Return the keys whose day is among so many days up to the newest, in their order."""
    dated = {key: day for key in keys if (day := object_day(key))}
    newest = max(dated.values(), default=date.max)
    return [key for key, day in dated.items() if newest - day < timedelta(days=days)]


def markets_key(snapshot_at: datetime) -> str:
    """Return the key of one sweep over the market list."""
    return f"{MARKETS.prefix}/date={snapshot_at:%Y-%m-%d}/{snapshot_at:%H%M%S}Z.parquet"


def fear_greed_key(fetched_on: date) -> str:
    """Return the key of the index's whole history as it stood on a day."""
    return f"{FEAR_GREED.prefix}/date={fetched_on.isoformat()}/index.parquet"


def rejected_key(dataset: Dataset, day: date, digest: str) -> str:
    """Return the key under which refused records are kept; ``digest`` is of the records: a rerun rewrites it."""
    return f"_rejected/{dataset.name}/date={day.isoformat()}/{digest}.parquet"


@dataclass(frozen=True)
class Rejected:
    """A record that breaks its contract, as it was sent, and why."""

    record: str
    reason: str


@dataclass(frozen=True)
class Page:
    """One answer: the records that can be read, and those that cannot."""

    rows: pa.Table
    rejected: tuple[Rejected, ...] = ()


# -- numbers and times, exactly ------------------------------------------------------------------------------------


def decimals(texts: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn decimal text into an exact decimal column; raise ValueError when a text is no number that fits (`exact`).

    Eight places are what Binance sends. A text with more gets a column of a larger scale.
    """
    if isinstance(texts, pa.Array):
        texts = pa.chunked_array([texts])
    try:
        return texts.cast(DECIMAL)
    except pa.ArrowInvalid:
        numbers = {text: exact(text) for text in pc.drop_null(texts.unique()).to_pylist()}
        places = max(8, *(-int(n.as_tuple().exponent) for n in numbers.values()))
        digits = max(n.adjusted() + 1 for n in numbers.values())
        kind = pa.decimal128(38, places) if places + digits <= 38 else pa.decimal256(76, places)
        plain = [None if t is None else format(numbers[t], "f") for t in texts.to_pylist()]
        return pa.chunked_array([pa.array(plain, pa.string()).cast(kind)])


def exact(text: str) -> Decimal:
    """Return a number of at most 38 digits on either side of the point; ValueError when ``text`` is none.

    The bound makes any two numbers fit into one column (76 digits), so that no record can spoil another's.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:60]!r} is no decimal number") from None
    if not number.is_finite():
        raise ValueError(f"{text!r} is not finite")
    if number.adjusted() >= DIGITS or -int(number.as_tuple().exponent) > DIGITS:
        raise ValueError(f"{text[:60]!r} has more than {DIGITS} digits before or behind the point")
    return number


def read_json(text: str) -> Any:
    """Parse JSON, its fractions as Decimal; ValueError when it is none, or holds what Postgres cannot (NaN, NUL)."""
    try:
        value = json.loads(text, parse_float=_bounded, parse_constant=_no_number)
        text.encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if "\\u" in text and not _storable(value):
        raise ValueError("it holds a character that no UTF-8 text can (NUL or half a surrogate pair)")
    return value


def _bounded(text: str) -> Decimal:
    number = Decimal(text)
    if not -1000 < number.adjusted() < 1000:
        raise ValueError(f"{text[:60]} is beyond every number that is sent")
    return number


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return all(_storable(part) for pair in value.items() for part in pair)
    return not isinstance(value, list) or all(_storable(part) for part in value)


_YEAR_1_US, _YEAR_10000_US = -62_135_596_800_000_000, 253_402_300_800_000_000


def epoch_to_utc(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Turn epoch integers into UTC timestamps, telling seconds, milli- and microseconds apart by magnitude per value.

    Binance archives switched to microseconds with 2025, files get re-made, and a wrong unit raises nothing: so the unit
    is never taken from a file's date. Seconds are below 1e11 (year 5138), milliseconds below 1e14, else microseconds.
    ValueError when a value is outside the years 1 to 9999, which no reader can show.
    """
    numbers = values.to_numpy(zero_copy_only=False).astype("int64", copy=False)
    size = np.abs(numbers)
    if len(size) and size.min() >= 10**11 and size.max() < 10**14:
        micros = numbers * 1000
    else:
        micros = np.where(size < 10**11, numbers * 1_000_000, np.where(size < 10**14, numbers * 1000, numbers))
    wrong = np.flatnonzero((micros < _YEAR_1_US) | (micros >= _YEAR_10000_US))
    if len(wrong):
        raise ValueError(f"{numbers[wrong[0]]} is no time")
    return pa.array(micros, pa.int64()).cast(UTC_US)


# -- unions ----------------------------------------------------------------------------------------------------------


def align_decimals(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Give the tables' decimal columns the widest type that occurs, so that they can be concatenated exactly."""
    out = list(tables)
    for name in out[0].schema.names:
        kinds = {t.schema.field(name).type for t in out}
        if len(kinds) > 1 and all(pa.types.is_decimal(k) for k in kinds):
            places = max(k.scale for k in kinds)
            whole = max(k.precision - k.scale for k in kinds)
            kind = pa.decimal128(38, places) if places + whole <= 38 else pa.decimal256(76, places)
            out = [t.set_column(t.schema.get_field_index(name), name, _rescale(t[name], kind)) for t in out]
    return out


def _rescale(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        return column.cast(pa.decimal256(76, kind.scale))


def last_wins(table: pa.Table, key: Sequence[str], by: Sequence[str] = ()) -> pa.Table:
    """Keep, of the rows with one key, the last in the order of ``by`` (default: as they stand); sort by key."""
    if _strictly_ascending(table, key):
        return table.combine_chunks()
    order = pc.sort_indices(table.select([*key, *by]).combine_chunks(), [(name, "ascending") for name in (*key, *by)])
    in_order = np.array_equal(order, np.arange(len(table)))
    table = (table if in_order else table.take(order)).combine_chunks()
    if len(table) < 2:
        return table
    is_last = pa.array(np.zeros(len(table) - 1, dtype=bool))
    for name in key:
        is_last = pc.or_(is_last, pc.not_equal(table[name].chunk(0)[1:], table[name].chunk(0)[:-1]))
    return table if pc.all(is_last).as_py() else table.filter(pa.concat_arrays([is_last, pa.array([True])]))


def _strictly_ascending(table: pa.Table, key: Sequence[str]) -> bool:
    """Tell whether each row's key is above that of the row before it: a tenth of the time of finding their order."""
    if len(table) < 2:
        return True
    ascending = pa.array(np.zeros(len(table) - 1, dtype=bool))
    for name in reversed(key):
        column = table[name].combine_chunks()
        after, before = column[1:], column[:-1]
        ascending = pc.or_(pc.greater(after, before), pc.and_(pc.equal(after, before), ascending))
    return bool(pc.all(ascending).as_py())


def without_repeats(dataset: Dataset, table: pa.Table, by: Sequence[str]) -> pa.Table:
    """Drop, in the order of ``by``, each row that says of its key what the row before it said; sort by key."""
    table = table.sort_by([(name, "ascending") for name in (*dataset.key, *by)]).combine_chunks()
    repeats = pa.array(np.ones(max(len(table) - 1, 0), dtype=bool))
    for name in (*dataset.key, *dataset.values):
        column = table[name].chunk(0) if len(table) else pa.nulls(0)
        after, before = column[1:], column[:-1]
        same = pc.or_kleene(pc.equal(after, before), pc.and_(pc.is_null(after), pc.is_null(before)))
        repeats = pc.and_(repeats, pc.fill_null(same, False))
    return table.filter(pc.invert(pa.concat_arrays([pa.array([False] * min(len(table), 1)), repeats])))


def union(dataset: Dataset, old: pa.Table, new: pa.Table) -> pa.Table:
    """Return all keys of both tables; where both have one, the old row stays if its value is the same, else the new."""
    old, new = align_decimals([old, new])
    record = [*dataset.key, *dataset.values]
    if old.select(record).equals(new.select(record)):
        return old
    both = pa.concat_tables([old, new], promote_options="default")
    numbered = both.select(record).append_column("row", pa.array(np.arange(len(both))))
    distinct = numbered.group_by(record).aggregate([("row", "min")])["row_min"]
    return last_wins(both.take(distinct.combine_chunks().sort()), dataset.key)


# -- contracts -------------------------------------------------------------------------------------------------------

Rule = tuple[str, Callable[[pa.Table], Any]]


def _zero(column: pa.ChunkedArray) -> pa.Scalar:
    return pa.scalar(Decimal(0) if pa.types.is_decimal(column.type) else 0, column.type)


def _comparable(left: pa.ChunkedArray, right: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Give two decimal columns one type: left to itself, Arrow refuses what would need more than 38 digits."""
    if left.type == right.type:
        return left, right
    kind = pa.decimal256(76, max(left.type.scale, right.type.scale))
    return left.cast(kind), right.cast(kind)


def _positive(name: str) -> Rule:
    return f"{name} is not above 0", lambda t: pc.less_equal(t[name], _zero(t[name]))


def _not_negative(name: str) -> Rule:
    return f"{name} is below 0", lambda t: pc.less(t[name], _zero(t[name]))


def _above(low: str, high: str) -> Rule:
    return f"{low} is above {high}", lambda t: pc.greater(*_comparable(t[low], t[high]))


def _longer_than_interval(table: pa.Table) -> Any:
    """Tell which bars end after their interval: those of a coarser one, in a file or answer of the wrong kind."""
    names = table["interval"].combine_chunks().dictionary_encode()
    steps = pa.array([1000 * INTERVAL_MS[name] for name in names.dictionary.to_pylist()], pa.int64())
    span = pc.subtract(table["close_time"].cast(pa.int64()), table["open_time"].cast(pa.int64()))
    return pc.greater_equal(span, steps.take(names.indices))


KLINE_RULES: tuple[Rule, ...] = (
    *(_positive(name) for name in ("open", "high", "low", "close")),
    *(_not_negative(n) for n in ("volume", "quote_volume", "trade_count")),
    *(_not_negative(n) for n in ("taker_buy_base_volume", "taker_buy_quote_volume")),
    *(_above(name, "high") for name in ("low", "open", "close")),
    *(_above("low", name) for name in ("open", "close")),
    _above("taker_buy_base_volume", "volume"),
    _above("taker_buy_quote_volume", "quote_volume"),
    ("close_time is not after open_time", lambda t: pc.less_equal(t["close_time"], t["open_time"])),
    ("close_time is after the bar's interval", _longer_than_interval),
)

MARKET_AMOUNTS = (
    "current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h",
    "circulating_supply", "total_supply", "max_supply", "ath", "atl",
)  # fmt: skip
MARKET_RULES: tuple[Rule, ...] = tuple(_not_negative(name) for name in MARKET_AMOUNTS)

FEAR_GREED_RULES: tuple[Rule, ...] = (
    ("value is not from 0 to 100", lambda t: pc.or_(pc.less(t["value"], 0), pc.greater(t["value"], 100))),
)


def outside(column: str, earliest: datetime, latest: datetime) -> Rule:
    """Return the rule that a time lies in [earliest, latest]; ``latest`` is now or a little later."""
    low, high = pa.scalar(earliest, UTC_US), pa.scalar(latest, UTC_US)
    return (
        # Without the present moment: the same record must be refused for the same reason each time.
        f"{column} is before {earliest:%Y-%m-%d} or in the future",
        lambda t: pc.or_(pc.less(t[column], low), pc.greater(t[column], high)),
    )


def judge(table: pa.Table, rules: Sequence[Rule]) -> list[str | None]:
    """Return for each row the reasons why it cannot be, joined by "; ", or None; all columns are read once per rule."""
    reasons: list[str | None] = [None] * len(table)
    for reason, breaks in rules:
        broken = pc.fill_null(breaks(table), False)
        if not pc.any(broken).as_py():
            continue
        for row in np.flatnonzero(np.asarray(broken)):
            known = reasons[row]
            reasons[row] = reason if known is None else f"{known}; {reason}"
    return reasons
