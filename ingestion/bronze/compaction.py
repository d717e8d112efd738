"""Merges the objects of closed days and months into one each.

Belongs here: the steps of a compaction and their order. Does not: which objects belong together (``merged``), the
write of one (``merge_into``), the hours of live prices (``stream.compaction``).

Safe at any moment of a kill: the merged object is written whole and read back, then recorded, and the others are
removed by a later compaction. Meanwhile ``merged.current`` leaves them out of listings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ingestion.bronze.merge_into import WRITERS, Merge
from ingestion.bronze.merged import closed_groups, merging_keys
from ingestion.bronze.objects import DamagedObject, ObjectInfo
from ingestion.database.connections import Connection, locked
from ingestion.datasets import MONTH_FILE, Dataset, is_merged
from ingestion.ops.merged_objects import MergedObject, merged_versions, record_merged

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

# A month whose objects have more bytes stays as it is: its days are as large as engines want them (8 MB and more).
MOST_BYTES = 256 << 20
# A query that has listed the objects before they were merged has so long to read them.
REMOVE_AFTER = timedelta(hours=1)
# The lock of a compaction; a backup, which must see the ledger and the objects of one state, takes it too.
LOCK = "compaction"


@dataclass(frozen=True)
class Compacted:
    """What a compaction did: objects merged, into how many, of how many rows; removed ones, and those that wait.

    ``problems`` name the objects that cannot be read; what belongs together with them stays as it is.
    """

    objects: int = 0
    merged: int = 0
    rows: int = 0
    removed: int = 0
    waiting: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def compact(
    lake: Lake,
    connection: Connection,
    datasets: Iterable[Dataset],
    now: datetime,
    batch_id: str,
    *,
    remove_after: timedelta = REMOVE_AFTER,
) -> Compacted:
    """Merge what is closed of each dataset; a damaged object is named, and stops nothing but its own month or day."""
    done = Compacted()
    with locked(connection, LOCK):
        for dataset in datasets:
            found = lake.list(f"{dataset.prefix}/") if dataset.merged_by else []
            for key in closed_groups(dataset, found, now):
                # Writers lock the first, loaders the second: both must see the objects of one state.
                with locked(connection, f"bronze {dataset.name}"), locked(connection, f"raw {dataset.name}"):
                    try:
                        done += _compact_group(Merge(lake, dataset, key), connection, now, batch_id, remove_after)
                    except DamagedObject as error:
                        done += Compacted(problems=(f"{error}: {key} stays as it is; {dataset.damaged_advice}",))
    return done


def _compact_group(
    merge: Merge, connection: Connection, now: datetime, batch_id: str, remove_after: timedelta
) -> Compacted:
    """Merge the objects that the merged one does not contain, and remove those that it has contained for long."""
    listed = merge.lake.list(_prefix(merge.key))
    present = next((info for info in listed if info.key == merge.key), None)
    others = [info for info in listed if merge.key in merging_keys(info.key)]
    contained = merged_versions(connection, merge.key, present.etag) if present else {}
    new = [info for info in others if contained.get(info.key) != info.etag]
    done = Compacted()
    if new and present is None and sum(info.size for info in others) > MOST_BYTES:
        return done
    if new:
        new = _without_merged(connection, new)
        written = merge.of(new, present)
        if written is not None:
            info, sha256, rows = written
            versions = {source.key: source.etag for source in [*new, *([present] if present else [])]}
            record_merged(
                connection, merge.dataset, MergedObject(info.key, info.etag, sha256, rows), versions, batch_id
            )
            present, done = info, Compacted(objects=len(new), merged=1, rows=rows)
    if present is None:
        return done
    if remove_after and (present.modified is None or now - present.modified < remove_after):
        return done + Compacted(waiting=len(others))
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="lake") as pool:
        list(pool.map(merge.lake.remove, (info.key for info in others)))
    return done + Compacted(removed=len(others))


def _prefix(merged: str) -> str:
    """Return the prefix of the objects that a merged one contains."""
    folder, _, name = merged.rpartition("/")
    return folder.removesuffix("01") if name == MONTH_FILE else f"{folder}/"


def _without_merged(connection: Connection, objects: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    """Return the objects without those that a merged object among them is known to contain."""
    known = {item for o in objects if is_merged(o.key) for item in merged_versions(connection, o.key, o.etag).items()}
    return [info for info in objects if (info.key, info.etag) not in known]
