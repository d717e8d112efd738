"""The two compactions of the lake, which `tickmart compact` and the schedules run: live hours, and days and months."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ingestion.bronze.compaction import REMOVE_AFTER, Compacted, compact
from ingestion.bronze.lake import Lake
from ingestion.database.connections import Connection
from ingestion.sources.datasets import DATASETS
from ingestion.stream import compaction as stream_compaction


def compact_hours(lake: Lake, connection: Connection) -> Compacted:
    """Merge the small objects of live prices of each hour that is over."""
    return stream_compaction.compact(lake, connection, datetime.now(UTC))


def compact_months(
    lake: Lake, connection: Connection, batch_id: str, *, remove_after: timedelta = REMOVE_AFTER
) -> Compacted:
    """Merge the objects of closed days and months of every dataset."""
    return compact(lake, connection, DATASETS, datetime.now(UTC), batch_id, remove_after=remove_after)
