"""What a dataset is: its columns, grain, object keys, contract and freshness. Each source's package declares its own.

Belongs here: the declaration's form, which lake, loader and checks share. Does not: any single dataset, and how its raw
table is created (``database/migrations``; a test compares the two).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg2.extensions
import pyarrow as pa

from ingestion.arrow import DECIMAL, UTC_US
from ingestion.validation import Rejected, Rule

if TYPE_CHECKING:
    from ingestion.settings import Settings

HOUR_S = 3600
ONE_DAY = timedelta(days=1)
# Data older than this many SLAs is degraded; older than one is a warning.
DEGRADED_SLAS = 4
# The objects into which those of a closed day and of a closed month are merged, in the folder of their first day.
DAY_FILE, MONTH_FILE = "day.parquet", "month.parquet"
# Columns that say where a record came from; they are not part of its value.
PROVENANCE = (("source_url", pa.string()), ("fetched_at", UTC_US), ("batch_id", pa.string()))
PROVENANCE_DESCRIPTIONS = {
    "source_url": "Address of the response or file that had the record, without its keys.",
    "fetched_at": "When the response or file arrived.",
    "batch_id": "The Dagster run that fetched the record.",
}


@dataclass(frozen=True)
class Column:
    """A field of a dataset: its Arrow type in bronze, its Postgres type in raw, and whether a record must have it."""

    name: str
    arrow: pa.DataType
    postgres: str
    description: str = ""
    required: bool = True


@dataclass(frozen=True)
class Page:
    """One response: the records that can be read, and those that cannot."""

    rows: pa.Table
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class StoredRejection:
    """A row of ``ops.rejected_records`` that is replayed: the parsed record, its exact JSON text, and its fetch."""

    rejected_id: int
    record: Any
    text: str
    rejected_at: datetime
    batch_id: str
    # When the first record of the same batch and dataset was rejected.
    batch_rejected_at: datetime


def always(settings: Settings) -> bool:
    """Return True: runs fetch the dataset by any settings."""
    return True


@dataclass(frozen=True)
class Dataset:
    """A dataset under one name (asset, raw table, rows of ops): its provider, its form and its contract."""

    name: str
    source: str
    prefix: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    # Age of the newest data, in seconds, past which the dataset is late.
    sla_seconds: Callable[[Settings], int]
    # SQL for the newest moment that the data in raw describes (timestamptz).
    newest_sql: str
    # The bronze object to which a row belongs.
    object_key: Callable[[dict[str, Any]], str]
    # What the next run does about a bronze object that cannot be read: the end of a sentence.
    damaged_advice: str
    # The rules that every record fetched at a moment must satisfy; none if the parser rejects every impossible record.
    rules: Callable[[datetime], Sequence[Rule]] = lambda now: ()
    # Parses a rejected record, kept as the source sent it, by today's parser. Without it, only records that are whole
    # rows of the dataset are replayed.
    parse_rejected: Callable[[psycopg2.extensions.connection, StoredRejection], pa.Table] | None = None
    # Query and parameters for the rows of raw that may have a batch's keys; None reads the whole (small) table.
    existing_rows: Callable[[pa.Table], tuple[str, tuple[Any, ...]]] | None = None
    # Called with the key of each damaged bronze object, so that the next run fetches its records again.
    on_damaged: Callable[[psycopg2.extensions.connection, str], None] | None = None
    # Assets about this dataset besides bronze/<name>, raw/<name> and the models made of these.
    other_assets: tuple[str, ...] = ()
    # More rejected records in one fetch than this share, and at least this many, are an error; fewer are a warning.
    rejected_share: float = 0.05
    rejected_least: int = 10
    # Columns of bronze that raw does not have: name, type, description.
    bronze_only: tuple[tuple[str, pa.DataType, str], ...] = ()
    # Columns of provenance that raw keeps too. With ``fetched_at`` an older fetch never replaces a newer value.
    raw_provenance: tuple[str, ...] = ()
    # Decimal columns whose numbers may have more than 38 digits: `sql --lake` shows them in double precision.
    wide: tuple[str, ...] = ()
    # The column by whose values the raw table is partitioned (docs/performance.md has the reason), and those values.
    parts: tuple[str, tuple[str, ...]] | None = None
    # Whether runs fetch the dataset. One that is off is not expected to be fresh, and is no part of the status.
    is_on: Callable[[Settings], bool] = always
    # A refresh of all datasets does not need it: without an answer of its source the run is complete.
    optional: bool = False
    # Raw is loaded by whole objects, not by records: its rows have no key and no provenance of their own.
    whole_objects: bool = False
    # A stream loads the dataset within seconds, by its contract: no suite of a run precedes its load.
    is_streamed: bool = False
    # The columns that decide the object of a row. Without any, the objects of closed days and months are not merged.
    merged_by: tuple[str, ...] = ()
    # Whether a day has several objects, which are merged before those of the month are.
    many_per_day: bool = False
    # SQL for the number of rows in raw, where counting them takes too long.
    count_sql: str | None = None

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of a bronze object; decimal columns may have a larger scale."""
        return page_schema(self.columns, self.bronze_only).append(pa.field("batch_id", pa.string()))

    @property
    def values(self) -> list[str]:
        """Names of the columns that make up a record's value, without key and provenance."""
        return [c.name for c in self.columns if c.name not in self.key]

    @property
    def grain(self) -> tuple[str, ...]:
        """The columns that identify a row among all objects: of a history that is fetched again, each fetch has its."""
        return self.key if set(self.merged_by) <= set(self.key) else (*self.key, "fetched_at")

    @property
    def descriptions(self) -> dict[str, str]:
        """Descriptions of all columns in bronze and raw by name."""
        bronze_only = {name: description for name, _, description in self.bronze_only}
        return {c.name: c.description for c in self.columns} | bronze_only | PROVENANCE_DESCRIPTIONS

    @property
    def assets(self) -> tuple[str, ...]:
        """Names of the assets that exist for this dataset alone and that no model makes."""
        return (f"bronze/{self.name}", f"raw/{self.name}", *self.other_assets)

    @property
    def rows_sql(self) -> str:
        """SQL for the number of rows in raw."""
        return self.count_sql or f"select count(*) from raw.{self.name}"  # noqa: S608 - a declared name

    def degraded_after_seconds(self, settings: Settings) -> int:
        """Return the age of the newest data, in seconds, past which the dataset is degraded."""
        return DEGRADED_SLAS * self.sla_seconds(settings)

    def too_many_rejected(self, rejected: int, records: int) -> bool:
        """Return whether so many of a fetch's records were rejected that the source or a rule may have changed."""
        return rejected >= self.rejected_least and rejected > self.rejected_share * records


def decimal_column(name: str, description: str = "", *, required: bool = True) -> Column:
    """Declare a column of exact numbers."""
    return Column(name, DECIMAL, "numeric", description, required)


def page_schema(columns: Sequence[Column], bronze_only: Sequence[tuple[str, pa.DataType, str]] = ()) -> pa.Schema:
    """Return the Arrow schema of a parsed page: a bronze object's without ``batch_id``, which the write adds."""
    own = [pa.field(c.name, c.arrow, nullable=not c.required) for c in columns]
    return pa.schema([*own, *(pa.field(column[0], column[1]) for column in (*bronze_only, *PROVENANCE[:-1]))])


def midnight(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def days_between(start: date, end: date) -> Iterator[date]:
    """Yield the days of [start, end)."""
    return (start + offset * ONE_DAY for offset in range((end - start).days))


def join_days(days: Iterable[date]) -> list[tuple[date, date]]:
    """Join consecutive days into half-open ranges, in order."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if ranges and ranges[-1][1] == day:
            ranges[-1] = (ranges[-1][0], day + ONE_DAY)
        else:
            ranges.append((day, day + ONE_DAY))
    return ranges


def object_day(key: str) -> date | None:
    """Return the UTC day in an object's key (``date=YYYY-MM-DD``); None for a key without one."""
    match = re.search(r"/date=(\d{4}-\d\d-\d\d)/", key)
    return date.fromisoformat(match[1]) if match else None


def next_month(day: date) -> date:
    """Return the first day of the month after a day's."""
    return (day.replace(day=28) + 4 * ONE_DAY).replace(day=1)


def is_merged(key: str) -> bool:
    """Return whether an object has the rows of a whole closed day or month."""
    return key.rpartition("/")[2] in (DAY_FILE, MONTH_FILE)


def object_days(key: str) -> tuple[date, date] | None:
    """Return the half-open range of UTC days whose rows an object has, by its key; None for a key without a day."""
    first = object_day(key)
    if first is None:
        return None
    return first, next_month(first) if key.endswith(f"/{MONTH_FILE}") else first + ONE_DAY


def keys_of_newest_days(keys: Iterable[str], days: int) -> list[str]:
    """Return the keys with a day among so many days up to the newest, in their order."""
    ends = {key: found[1] for key in keys if (found := object_days(key))}
    newest = max(ends.values(), default=date.max)
    return [key for key, end in ends.items() if newest - end < timedelta(days=days)]


def rejected_key(dataset: Dataset, day: date, digest: str) -> str:
    """Return the key of an object of rejected records; ``digest`` is of the records, so a rerun rewrites it."""
    return f"_rejected/{dataset.name}/date={day.isoformat()}/{digest}.parquet"
