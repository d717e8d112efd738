"""The datasets ``onchain_daily_coinmetrics`` and ``onchain_daily_blockchain``: declaration, contract, object keys.

Both have the same columns and are partitions of ``raw.onchain_daily``. Parsing is in ``parse``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import decimals
from ingestion.database.connections import Connection
from ingestion.datasets import HOUR_S, Column, Dataset, StoredRejection, decimal_column, page_schema
from ingestion.ops import series
from ingestion.sources.onchain import parse
from ingestion.validation import Rule, not_negative

# The day of the genesis block is 2009-01-03.
FIRST_DAY = date(2009, 1, 1)
ASSET = "btc"
# A day is published some hours after its end. Later than a day after its end, a day is missed.
SLA_HOURS = 48
COINMETRICS_METRICS = ("TxCnt", "AdrActCnt", "FeeTotNtv", "HashRate", "TxTfrCnt")
BLOCKCHAIN_METRICS = ("n-transactions", "estimated-transaction-volume-usd", "output-volume")

COLUMNS = (
    Column("source", pa.string(), "text", "Provider: coinmetrics or blockchain."),
    Column("asset", pa.string(), "text", "Asset, as Coin Metrics names it: btc."),
    Column("metric", pa.string(), "text", "Name that the provider gives the series."),
    Column("date", pa.date32(), "date", "UTC day that the value describes; it was over when the value was fetched."),
    decimal_column("value", "Value of the day, in the unit of its series."),
)
BRONZE_ONLY = (("payload", pa.string(), "The record as JSON, with its number as the source sent it."),)


def rules(now: datetime) -> Sequence[Rule]:
    """Return the rules for days that are fetched at ``now``."""
    first, today = pa.scalar(FIRST_DAY), pa.scalar(now.date())
    return (
        not_negative("value"),
        (
            f"date is before {FIRST_DAY} or not over",
            lambda t: pc.or_(pc.less(t["date"], first), pc.greater_equal(t["date"], today)),
        ),
    )


def to_table(source: str, rows: Sequence[Mapping[str, Any]], fetched_at: datetime) -> pa.Table:
    """Return parsed days (metric, date, value as text, payload, source_url) as a page of the datasets."""
    columns = {name: [row[name] for row in rows] for name in ("metric", "date", "payload", "source_url")}
    columns |= {"source": [source] * len(rows), "asset": [ASSET] * len(rows), "fetched_at": [fetched_at] * len(rows)}
    schema = page_schema(COLUMNS, BRONZE_ONLY)
    arrays: dict[str, Any] = {f.name: pa.array(columns[f.name], f.type) for f in schema if f.name != "value"}
    arrays["value"] = decimals(pa.array([row["value"] for row in rows], pa.string()))
    return pa.table({name: arrays[name] for name in schema.names})


def object_key(prefix: str, fetched_on: date) -> str:
    """Return the key of the days that were new or restated in a UTC day's fetches."""
    return f"{prefix}/date={fetched_on.isoformat()}/daily.parquet"


def _parse_rejected(
    source: str, parse_entry: Callable[[str, Any], dict[str, Any]], _: Connection, rejection: StoredRejection
) -> pa.Table:
    """Parse a stored record: what the source sent, and the name of its series as ``metric``."""
    entry = parse.read_record(rejection.text)
    row = parse_entry(entry.pop("metric"), entry) | {"source_url": "replayed"}
    return to_table(source, [row], rejection.rejected_at)


def _newest_sql(table: str) -> str:
    # The end of the newest day of the series that is furthest behind: one silent series makes its dataset late.
    return f"""
        select (min(newest) + 1)::timestamp at time zone 'UTC'
        from (select max(date) as newest from raw.{table} group by metric) as series
    """  # noqa: S608 - declared names


def _declare(source: str, provider: str, parse_entry: Callable[[str, Any], dict[str, Any]]) -> Dataset:
    prefix = f"onchain/{source}"
    declared: list[Dataset] = []
    dataset = Dataset(
        name=f"onchain_daily_{source}",
        source=provider,
        prefix=prefix,
        key=("source", "asset", "metric", "date"),
        merged_by=("fetched_at",),
        columns=COLUMNS,
        bronze_only=BRONZE_ONLY,
        raw_provenance=("source_url", "fetched_at"),
        wide=("value",),
        optional=True,
        sla_seconds=lambda _: SLA_HOURS * HOUR_S,
        newest_sql=_newest_sql(f"onchain_daily_{source}"),
        object_key=lambda row: object_key(prefix, row["fetched_at"].date()),
        damaged_advice="the next run fetches the history again",
        rules=rules,
        parse_rejected=partial(_parse_rejected, source, parse_entry),
        on_damaged=lambda connection, key: series.request_histories(connection, declared[0]),
    )
    declared.append(dataset)
    return dataset


COINMETRICS_DAILY = _declare("coinmetrics", "Coin Metrics", parse.coinmetrics_day)
BLOCKCHAIN_DAILY = _declare("blockchain", "blockchain.com", parse.blockchain_day)


def is_late(newest: date, today: date) -> bool:
    """Return whether a series whose newest day is ``newest`` is older than the SLA at the start of ``today``."""
    return today - newest > timedelta(days=1, hours=SLA_HOURS)


def changed(rows: pa.Table, known: Mapping[tuple[str, date], Any]) -> pa.Table:
    """Return the rows whose value is new or differs from the known one of its metric and day."""
    keys = zip(rows["metric"].to_pylist(), rows["date"].to_pylist(), rows["value"].to_pylist(), strict=True)
    return rows.filter(pa.array([known.get((metric, day)) != value for metric, day, value in keys], pa.bool_()))
