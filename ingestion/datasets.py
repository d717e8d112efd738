"""One declaration per dataset: columns, grain, object key, and what a record must satisfy to be possible.

Belongs here: what lake, loader and checks must agree on, and the vectorised contract checks. Does not: how
a source is asked (``binance``, ``coingecko``, ``fear_greed``), stored (``lake``) or loaded (``warehouse``), and how its
raw table came to be as declared (``migrations``; a test compares the two).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from ingestion.settings import Settings
from ingestion.arrow import DECIMAL, UTC_US
from ingestion.validation import Rejected

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


def object_day(key: str) -> date | None:
    """Return the UTC day in an object's key (``date=YYYY-MM-DD``); None for a key without one."""
    named = re.search(r"/date=(\d{4}-\d\d-\d\d)/", key)
    return date.fromisoformat(named[1]) if named else None


def keys_of_newest_days(keys: Iterable[str], days: int) -> list[str]:
    """Return the keys whose day is among so many days up to the newest, in their order."""
    dated = {key: day for key in keys if (day := object_day(key))}
    newest = max(dated.values(), default=date.max)
    return [key for key, day in dated.items() if newest - day < timedelta(days=days)]


def rejected_key(dataset: Dataset, day: date, digest: str) -> str:
    """Return the key under which refused records are kept; ``digest`` is of the records: a rerun rewrites it."""
    return f"_rejected/{dataset.name}/date={day.isoformat()}/{digest}.parquet"


@dataclass(frozen=True)
class Page:
    """One answer: the records that can be read, and those that cannot."""

    rows: pa.Table
    rejected: tuple[Rejected, ...] = ()
