"""The dataset ``coingecko_markets``: its declaration, object keys, and parsing its rejected records again."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from ingestion.database.connections import Connection, fetch
from ingestion.datasets import Dataset, StoredRejection
from ingestion.sources.coingecko.parse import COLUMNS, read_coins, rules

NAME, PREFIX = "coingecko_markets", "coingecko/markets"


def markets_key(snapshot_at: datetime) -> str:
    """Return the key of one snapshot of the market list."""
    return f"{PREFIX}/date={snapshot_at:%Y-%m-%d}/{snapshot_at:%H%M%S}Z.parquet"


def _parse_rejected(connection: Connection, rejection: StoredRejection) -> pa.Table:
    """Parse a coin as part of the snapshot that rejected it.

    A snapshot without any accepted record is dated to the second in which its first record was rejected.
    """
    query = "select max(snapshot_at) from raw.coingecko_markets where batch_id = %s"
    [(snapshot_at,)] = fetch(connection, query, (rejection.batch_id,))
    snapshot_at = snapshot_at or rejection.batch_rejected_at.replace(microsecond=0)
    # From the text: a number of many digits does not fit a float.
    return read_coins(f"[{rejection.text}]".encode(), "replayed", snapshot_at, rejection.rejected_at).rows


MARKETS = Dataset(
    name=NAME,
    source="CoinGecko",
    prefix=PREFIX,
    key=("crypto_id", "snapshot_at"),
    merged_by=("snapshot_at",),
    many_per_day=True,
    columns=COLUMNS,
    sla_seconds=lambda settings: 2 * 60 * settings.markets_every_minutes,
    # One index probe per coin instead of a scan.
    newest_sql="""
        select max(newest.snapshot_at)
        from (select distinct crypto_id from raw.universe) as tracked
        cross join lateral (
            select snapshot_at from raw.coingecko_markets as m
            where m.crypto_id = tracked.crypto_id
            order by snapshot_at desc limit 1
        ) as newest
    """,
    object_key=lambda row: markets_key(row["snapshot_at"]),
    damaged_advice="no source provides past snapshots; restore the object from a backup, or remove it",
    rules=rules,
    parse_rejected=_parse_rejected,
)
