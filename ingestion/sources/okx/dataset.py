"""The datasets ``okx_trades`` and ``okx_tickers``: columns, contract, object keys, and rows from OKX's records.

Belongs here: what a record of the stream becomes in bronze and raw. Does not: the frames of the WebSocket
(``messages``), ids and gaps (``sequences``), loading (``load``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US, decimals, exact
from ingestion.database.connections import Connection
from ingestion.datasets import Column, Dataset, StoredRejection, decimal_column, page_schema
from ingestion.settings import Settings
from ingestion.validation import Rejected, Rule, positive

SOURCE = "OKX"
TRADES_PREFIX, TICKERS_PREFIX = "okx/trades", "okx/tickers"
# Fills of a gap are some hours old; an exchange's stamp is never a day ahead of this machine's clock.
OLDEST, NEWEST = timedelta(days=100), timedelta(days=1)
# Tickers of any instrument arrive every few seconds.
SLA_SECONDS = 120

_TIMES = (
    Column("inst_id", pa.string(), "text", "Instrument as OKX names it, such as BTC-USDT."),
    Column("ts", UTC_US, "timestamptz", "The exchange's stamp."),
)
_RECEIVED = Column("received_at", UTC_US, "timestamptz", "When the collector received the message.")
TRADE_COLUMNS = (
    _TIMES[0],
    Column("trade_id", pa.int64(), "bigint", "Id of the last fill of the message."),
    _TIMES[1],
    decimal_column("price", "Price in the quote currency."),
    decimal_column("size", "Size in the base currency, of all fills of the message."),
    Column("side", pa.string(), "text", "Side of the taker: buy or sell."),
    Column("fills", pa.int32(), "integer", "Fills of one taker order in the message; null if OKX omits it.", False),
    _RECEIVED,
)
TICKER_COLUMNS = (
    *_TIMES,
    decimal_column("last", "Price of the last trade."),
    decimal_column("last_size", "Size of the last trade.", required=False),
    decimal_column("bid", "Best bid.", required=False),
    decimal_column("bid_size", "Size at the best bid.", required=False),
    decimal_column("ask", "Best ask.", required=False),
    decimal_column("ask_size", "Size at the best ask.", required=False),
    decimal_column("open_24h", "Price 24 hours before.", required=False),
    decimal_column("high_24h", "Highest price of the last 24 hours.", required=False),
    decimal_column("low_24h", "Lowest price of the last 24 hours.", required=False),
    decimal_column("volume_24h", "Volume of the last 24 hours in the base currency.", required=False),
    decimal_column("quote_volume_24h", "Volume of the last 24 hours in the quote currency.", required=False),
    _RECEIVED,
)
BRONZE_ONLY = (("payload", pa.string(), "The record as JSON, as OKX sent it."),)
# OKX's fields of a ticker by column. Of a spot instrument, vol24h is in the base and volCcy24h in the quote currency.
_TICKER_FIELDS = {
    "last": "last", "last_size": "lastSz", "bid": "bidPx", "bid_size": "bidSz", "ask": "askPx", "ask_size": "askSz",
    "open_24h": "open24h", "high_24h": "high24h", "low_24h": "low24h", "volume_24h": "vol24h",
    "quote_volume_24h": "volCcy24h",
}  # fmt: skip


def trade_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trade as columns with numbers as text; ValueError, TypeError or KeyError if it is none."""
    if record["side"] not in ("buy", "sell"):
        raise ValueError(f"side {record['side']!r} is neither buy nor sell")
    fills = record.get("count")
    row = {
        "inst_id": _text(record["instId"]),
        "trade_id": _whole(record["tradeId"]),
        "ts": _time(record["ts"]),
        "price": _number(record["px"]),
        "size": _number(record["sz"]),
        "side": record["side"],
        "fills": None if fills in (None, "") else _whole(fills),
    }
    if row["fills"] is not None and not 1 <= row["fills"] < 2**31:
        raise ValueError(f"count {row['fills']} is not a number of fills")
    return row


def ticker_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ticker as columns with numbers as text, empty ones as None; ValueError and so on if it is none."""
    row: dict[str, Any] = {"inst_id": _text(record["instId"]), "ts": _time(record["ts"])}
    for column, name in _TICKER_FIELDS.items():
        value = record.get(name)
        row[column] = None if value in (None, "") and column != "last" else _number(value)
    return row


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 3 <= len(value) <= 40 or not value.isascii() or not value.isprintable():
        raise ValueError(f"instId {str(value)[:40]!r} is no instrument")
    return value


def _number(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text with a number")
    return value


def _whole(value: Any) -> int:
    if not str(value).isdigit() or int(value) >= 2**63:
        raise ValueError(f"{str(value)[:40]!r} is not a whole number")
    return int(value)


def _time(value: Any) -> int:
    """Return a stamp in microseconds."""
    moment = _whole(value) * 1000
    if not 0 < moment < 4_102_444_800_000_000:
        raise ValueError(f"ts {value} is not a time in milliseconds")
    return moment


def tabulate(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> tuple[pa.Table, list[Rejected]]:
    """Return rows as a page; those with a text that is no number are rejected."""
    try:
        return to_table(dataset, rows), []
    except ValueError:
        # Rare, so that the numbers of a good page are parsed once, by column.
        return _tabulate_each(dataset, rows)


def _tabulate_each(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> tuple[pa.Table, list[Rejected]]:
    names = [column.name for column in dataset.columns if pa.types.is_decimal(column.arrow)]
    good, rejected = [], []
    for row in rows:
        try:
            for name in names:
                if row[name] is not None:
                    exact(row[name])
            good.append(row)
        except ValueError as problem:
            rejected.append(Rejected(row["payload"], str(problem)))
    return to_table(dataset, good), rejected


def to_table(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows (``trade_row`` or ``ticker_row`` with payload, source_url, received_at in microseconds) as a page."""
    schema = page_schema(dataset.columns, dataset.bronze_only)
    arrays: dict[str, Any] = {}
    for field in schema:
        values = [row["received_at" if field.name == "fetched_at" else field.name] for row in rows]
        if pa.types.is_decimal(field.type):
            arrays[field.name] = decimals(pa.array(values, pa.string()))
        elif pa.types.is_timestamp(field.type):
            arrays[field.name] = pa.array(values, pa.int64()).cast(field.type)
        else:
            arrays[field.name] = pa.array(values, field.type)
    return pa.table(arrays)


def _stamped(earliest: timedelta, latest: timedelta) -> Rule:
    def violates(table: pa.Table) -> Any:
        ahead = pc.subtract(table["ts"].cast(pa.int64()), table["received_at"].cast(pa.int64()))
        low, high = -int(earliest.total_seconds() * 1e6), int(latest.total_seconds() * 1e6)
        return pc.or_(pc.less(ahead, low), pc.greater(ahead, high))

    return f"ts is more than {earliest.days} days before or {latest.days} day after it was received", violates


def _trade_rules(now: datetime) -> Sequence[Rule]:
    return positive("price"), positive("size"), _stamped(OLDEST, NEWEST)


def _ticker_rules(now: datetime) -> Sequence[Rule]:
    return positive("last"), _stamped(OLDEST, NEWEST)


def hour_prefix(dataset: Dataset, moment: datetime) -> str:
    """Return the prefix of the objects of an hour."""
    moment = moment.astimezone(UTC)
    return f"{dataset.prefix}/date={moment:%Y-%m-%d}/hour={moment:%H}/"


def hour_key(dataset: Dataset, moment: datetime) -> str:
    """Return the key of the object into which the objects of an hour are merged."""
    return f"{hour_prefix(dataset, moment)}hour.parquet"


def _is_on(settings: Settings) -> bool:
    return settings.live is True


def _parse_rejected(dataset: Dataset, row_of: Any, rejection: StoredRejection) -> pa.Table:
    moment = round(rejection.rejected_at.timestamp() * 1e6)
    row = row_of(orjson.loads(rejection.text))
    return to_table(dataset, [row | {"payload": rejection.text, "source_url": "replayed", "received_at": moment}])


def _declare(name: str, prefix: str, key: tuple[str, ...], columns: tuple[Column, ...], row_of: Any) -> Dataset:
    declared: list[Dataset] = []

    def parse_rejected(_: Connection, rejection: StoredRejection) -> pa.Table:
        return _parse_rejected(declared[0], row_of, rejection)

    declared.append(
        Dataset(
            name=name,
            source=SOURCE,
            prefix=prefix,
            key=key,
            columns=columns,
            bronze_only=BRONZE_ONLY,
            raw_provenance=("source_url", "fetched_at"),
            sla_seconds=lambda _: SLA_SECONDS,
            newest_sql=f"select max(ts) from raw.{name}",  # noqa: S608 - a declared name
            object_key=lambda row: hour_key(declared[0], row["ts"]),
            damaged_advice="trades of its hour can be fetched again from OKX for three months, tickers cannot",
            rules=_trade_rules if row_of is trade_row else _ticker_rules,
            parse_rejected=parse_rejected,
            is_on=_is_on,
            optional=True,
            is_streamed=True,
        )
    )
    return declared[0]


OKX_TRADES = _declare("okx_trades", TRADES_PREFIX, ("inst_id", "trade_id", "ts"), TRADE_COLUMNS, trade_row)
OKX_TICKERS = _declare("okx_tickers", TICKERS_PREFIX, ("inst_id", "ts"), TICKER_COLUMNS, ticker_row)
ROW_OF = {OKX_TRADES.name: trade_row, OKX_TICKERS.name: ticker_row}
