"""Reads several objects ahead, in order, with bounded memory. Not here: the access to the store (``lake``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ingestion.bronze.objects import ObjectInfo

T = TypeVar("T")
READERS = 8
# As stored; some 20 MB in memory. One day of minute bars of fifty symbols is 5 MB.
READ_AHEAD_BYTES = 5 << 20


def read_ahead(read: Callable[[ObjectInfo], T | None], objects: Sequence[ObjectInfo]) -> Iterator[T]:
    """Yield what ``read`` returns for each object, in order, without None; the next objects are read in advance."""
    pending: deque[tuple[int, Future[T | None]]] = deque()
    with ThreadPoolExecutor(READERS, thread_name_prefix="lake") as pool:
        for info in [*objects, None]:
            while pending and (info is None or sum(size for size, _ in pending) + info.size > READ_AHEAD_BYTES):
                if (found := pending.popleft()[1].result()) is not None:
                    yield found
            if info is not None:
                pending.append((info.size, pool.submit(read, info)))


def read_batches(
    read: Callable[[ObjectInfo], T | None], objects: Sequence[ObjectInfo], rows_of: Callable[[T], int], rows: int
) -> Iterator[list[T]]:
    """Yield what ``read_ahead`` yields in lists of at least ``rows`` rows; the last one may have fewer."""
    batch: list[T] = []
    for item in read_ahead(read, objects):
        batch.append(item)
        if sum(map(rows_of, batch)) >= rows:
            yield batch
            batch = []
    if batch:
        yield batch
