"""Merges the small objects of an hour into one object per dataset and hour.

Safe at any moment of a kill: the merged object is written whole first, then recorded in the ledger, and only then are
the small objects removed. What an interrupted merge leaves, the next one merges again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from ingestion.bronze.compaction import LOCK, Compacted
from ingestion.bronze.lake import Lake
from ingestion.bronze.merge_into import Merge
from ingestion.bronze.objects import DamagedObject, ObjectInfo
from ingestion.database.connections import Connection, locked
from ingestion.datasets import Dataset
from ingestion.sources.okx.dataset import OKX_TICKERS, OKX_TRADES

# Messages of an hour come until its end, and fills of its gaps minutes later.
CLOSED_AFTER = timedelta(minutes=10)
HOUR_FILE = "hour.parquet"


def compact(lake: Lake, connection: Connection, now: datetime) -> Compacted:
    """Merge the objects of every hour that is over; a damaged object is named, and its hour stays as it is."""
    done = Compacted()
    for dataset in (OKX_TRADES, OKX_TICKERS):
        # A backup locks the first, the loader the second: neither must read an object that is being removed.
        with locked(connection, LOCK), locked(connection, f"raw {dataset.name}"):
            for prefix, infos in _closed_hours(lake.list(f"{dataset.prefix}/"), now):
                try:
                    rows = _merge(lake, connection, dataset, prefix, infos)
                except DamagedObject as error:
                    done += Compacted(problems=(f"{error}: its hour is not merged; {dataset.damaged_advice}",))
                    continue
                done += Compacted(objects=len(infos), merged=1, rows=rows, removed=len(infos) - 1)
    return done


def _closed_hours(infos: Sequence[ObjectInfo], now: datetime) -> Iterator[tuple[str, list[ObjectInfo]]]:
    """Yield the prefix and objects of each hour that is over and has small objects."""
    hours: dict[str, list[ObjectInfo]] = {}
    for info in infos:
        hours.setdefault(info.key.rpartition("/")[0], []).append(info)
    for prefix, own in hours.items():
        day, hour = prefix.split("/date=")[1].split("/hour=")
        ends = datetime.fromisoformat(f"{day}T{hour}:00:00").replace(tzinfo=UTC) + timedelta(hours=1)
        if now - ends >= CLOSED_AFTER and any(not info.key.endswith(f"/{HOUR_FILE}") for info in own):
            yield prefix, own


def _merge(lake: Lake, connection: Connection, dataset: Dataset, prefix: str, infos: Sequence[ObjectInfo]) -> int:
    """Merge the objects of an hour; return the rows of the merged one."""
    written = Merge(lake, dataset, f"{prefix}/{HOUR_FILE}").of(infos)
    assert written is not None
    info, sha256, rows = written
    small = [other.key for other in infos if other.key != info.key]
    _record(connection, dataset, info, sha256, rows, small, len(infos))
    for name in small:
        lake.remove(name)
    return rows


def _record(
    connection: Connection, dataset: Dataset, info: ObjectInfo, sha256: str, rows: int, small: Sequence[str], count: int
) -> None:
    """Replace the small objects' rows of the ledger by one of the merged object, if raw has them all.

    Objects that raw does not have (a killed sink wrote them, or their day was dropped) leave no row: then the merged
    object is pending, and the next load reads it.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "delete from ops.load_ledger where object_key = any(%s)"
            " returning inserted, batch_id, loaded_at, changed_at",
            ([*small, info.key],),
        )
        known = cursor.fetchall()
        if not known or len(known) < count:
            return
        inserted = min(sum(row[0] for row in known), rows)
        newest = max(known, key=lambda row: row[2])
        changed = max((row[3] for row in known if row[3] is not None), default=None)
        cursor.execute(
            """
            insert into ops.load_ledger
                (object_key, sha256, etag, rows, inserted, updated, unchanged, dataset, batch_id, loaded_at, changed_at)
            values (%s, %s, %s, %s, %s, 0, %s, %s, %s, %s, %s)
            """,
            (info.key, sha256, info.etag, rows, inserted, rows - inserted, dataset.name, newest[1], newest[2], changed),
        )
