"""Loads every bronze object whose present version is not in raw, in batches of one transaction each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ingestion.bronze.lake import DamagedObject, Lake, ObjectInfo, read_ahead
from ingestion.database import connections
from ingestion.datasets import Dataset
from ingestion.raw import loader

# Rows of the objects that one transaction loads: some 15 MB. The next batch is read meanwhile.
LOAD_ROWS = 60_000


def pending_objects(lake: Lake, connection: connections.Connection, dataset: Dataset) -> list[ObjectInfo]:
    """Return the objects of any day whose present version is not in raw."""
    loaded = loader.ledger_etags(connection, dataset)
    return [o for o in lake.list(f"{dataset.prefix}/") if loaded.get(o.key) != o.etag]


def load_pending(
    lake: Lake,
    connection: connections.Connection,
    dataset: Dataset,
    batch_id: str,
    *,
    restating: bool = True,
    on_progress: Callable[[int, int, int], None] = lambda done, total, rows: None,
) -> tuple[loader.Loaded, list[str]]:
    """Load every pending object; return what changed, and one line for each damaged object.

    ``Dataset.on_damaged`` gets the key of each damaged object, so that the next run fetches its records again.
    ``on_progress`` gets the objects loaded, the objects in all, and the rows loaded.
    """
    total = loader.Loaded()
    damaged: dict[str, str] = {}

    def read(info: ObjectInfo) -> loader.BronzeObject | None:
        try:
            found = lake.read(info.key)
        except DamagedObject as error:
            damaged[info.key] = f"{error}: {dataset.damaged_advice}"
            return None
        return loader.BronzeObject(info, found[1], found[0]) if found else None

    def batches(pending: list[ObjectInfo]) -> Iterator[list[loader.BronzeObject]]:
        batch: list[loader.BronzeObject] = []
        for item in read_ahead(read, pending):
            batch.append(item)
            if sum(len(item.table) for item in batch) >= LOAD_ROWS:
                yield batch
                batch = []
        if batch:
            yield batch

    # Locked from the listing on: of two concurrent loaders, the slower one would overwrite a newer version.
    with connections.locked(connection, f"raw {dataset.name}"):
        pending = pending_objects(lake, connection, dataset)
        for batch in batches(pending):
            total += loader.load(connection, dataset, batch, batch_id, restating=restating)
            on_progress(total.objects, len(pending), total.rows)
    if dataset.on_damaged is not None:
        for key in damaged:
            dataset.on_damaged(connection, key)
    return total, [damaged[key] for key in sorted(damaged)]
