"""Builds of a range of days: the days, what stays of the tables before, and the tables that result.

The tables of these models are partitioned by month. A range replaces its days: the rest of its months is written again
with them, all other files are linked. Belongs here: days and files. Does not: what a build reads (``inputs``), and what
it does (``build``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from ingestion.datasets import MONTH_FILE, ONE_DAY, Dataset, next_month, object_day
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS
from orchestration.engines.errors import EngineError

# Models whose rows of a day are built from the records of that day alone, with the dataset that they are built from.
MODELS: dict[str, Dataset] = {"fct_market_prices": KLINES, "fct_onchain_transactions": BITCOIN_TRANSACTIONS}
PARTITION = "month_start"
# The column of each dataset whose day is the day of a row.
TIMES = {KLINES.name: "open_time", BITCOIN_TRANSACTIONS.name: "block_timestamp"}
# A block can be in the folder of the day before or after that of its header's time.
CONTEXT = {KLINES.name: timedelta(0), BITCOIN_TRANSACTIONS.name: ONE_DAY}


@dataclass(frozen=True)
class Range:
    """UTC days [first, end), and the models that are built for them."""

    first: date
    end: date
    models: tuple[str, ...]

    @property
    def datasets(self) -> set[str]:
        """Return the names of the datasets that the models are built from."""
        return {MODELS[name].name for name in self.models}

    @property
    def months(self) -> list[date]:
        """Return the first days of the months in which the range has a day."""
        found = [self.first.replace(day=1)]
        while (following := next_month(found[-1])) < self.end:
            found.append(following)
        return found

    def reads(self, key: str, dataset: str) -> bool:
        """Return whether an object of a dataset can have a record of the range."""
        day = object_day(key)
        if day is None:
            return False
        end = next_month(day) if key.endswith(f"/{MONTH_FILE}") else day + ONE_DAY
        context = CONTEXT[dataset]
        return day < self.end + context and end > self.first - context

    def condition(self, dataset: str) -> str:
        """Return SQL that is true for the records of the range."""
        at = TIMES[dataset]
        return f"`{at}` >= timestamp '{self.first} 00:00:00' and `{at}` < timestamp '{self.end} 00:00:00'"


def parse(start: str, end: str | None, models: Sequence[str]) -> Range:
    """Return the range that a user named, of all models by default; EngineError for what is no range or model."""
    first = _day("--start", start)
    until = _day("--end", end) if end else datetime.now(UTC).date() + ONE_DAY
    if (form := os.environ.get("TICKMART_ENGINE_TABLE_FORMAT", "parquet")) != "parquet":
        raise EngineError(f"--start is for Parquet tables, and TICKMART_ENGINE_TABLE_FORMAT is {form}; unset it")
    if first >= until:
        raise EngineError(f"--start {first} is not before --end {until}; the range is half-open, [start, end)")
    for name in models:
        if name not in MODELS:
            raise EngineError(f"--select: {name} is not built by days; choose from {', '.join(MODELS)}")
    return Range(first, until, tuple(dict.fromkeys(models)) or tuple(MODELS))


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise EngineError(f"{option}: {text!r} is not a day (YYYY-MM-DD)") from None


def files_of(table: Path) -> Iterator[tuple[Path, date | None]]:
    """Yield the files of a table, each with the month of its folder if the table is partitioned."""
    for path in sorted(table.rglob("*.parquet")):
        folder = path.parent.name
        is_partition = folder.startswith(f"{PARTITION}=")
        yield path, date.fromisoformat(folder.partition("=")[2]) if is_partition else None


def add_tables_before(tables: Path, before: Path | None, days: Range) -> None:
    """Make the tables of a range complete: link every file of the tables before that the range has not written.

    The models' parents, built for the range alone, are removed.
    """
    written = {table_of(tables, name) for name in days.models}
    for table in tables.glob("*/*"):
        if table not in written:
            shutil.rmtree(table)
    if before is None:
        return
    replaced = {table_of(before, name) for name in days.models}
    for path, month in files_of(before):
        if month in days.months and any(path.is_relative_to(table) for table in replaced):
            continue
        target = tables / path.relative_to(before)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)


def rows_of(tables: Path, days: Range) -> dict[str, int]:
    """Return how many rows of the range each of its models has."""
    condition = [("date", ">=", days.first), ("date", "<", days.end)]
    counts = dict.fromkeys(days.models, 0)
    for name in days.models:
        for path, month in files_of(table_of(tables, name)):
            if month in days.months:
                counts[name] += len(pq.read_table(path, columns=["date"], filters=condition, partitioning=None))
    return counts


def table_of(tables: Path, name: str) -> Path:
    """Return the folder of a mart."""
    return tables / "marts" / name
