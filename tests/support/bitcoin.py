"""Days of Bitcoin in a folder of AWS' layout, and the way from there through bronze to raw.

Here: faults of rows and files, and what raw has then. Not here: the rows of a day (`ingestion.simulator.bitcoin`).
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.bronze.results import FetchResult
from ingestion.raw.loader import Loaded
from ingestion.simulator.bitcoin import SimulatedDay, folder_of
from ingestion.sources.bitcoin.bucket import Bucket
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS
from ingestion.sources.bitcoin.ingest import ingest_days
from ingestion.sources.bitcoin.load import load_days
from support.pipeline import Chain

DAY = date(2024, 6, 1)
LATER = datetime(2024, 7, 1, tzinfo=UTC)


def day_after(day: date, days: int = 1) -> date:
    return day + timedelta(days=days)


def changed(table: pa.Table, row: int, **cells: Any) -> pa.Table:
    """The table with other cells in one row."""
    for name, value in cells.items():
        values = table[name].to_pylist()
        values[row] = value
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    return table


def with_transactions(made: SimulatedDay, change: Callable[[pa.Table], pa.Table]) -> SimulatedDay:
    return replace(made, transactions=change(made.transactions))


def with_blocks(made: SimulatedDay, change: Callable[[pa.Table], pa.Table]) -> SimulatedDay:
    return replace(made, blocks=change(made.blocks))


def joined(day: date, *parts: SimulatedDay) -> SimulatedDay:
    """One day of the blocks of several."""
    tables = [pa.concat_tables([getattr(p, kind) for p in parts]) for kind in ("blocks", "transactions")]
    return SimulatedDay(day, *tables)


def without_rows(table: pa.Table, rows: Iterable[int]) -> pa.Table:
    gone = set(rows)
    return table.take([at for at in range(len(table)) if at not in gone])


@dataclass
class Bitcoin:
    """A folder in AWS' layout, its bucket, and bronze and raw behind it."""

    chain: Chain
    root: Path
    url: str = ""
    clock: datetime = LATER
    _stamp: int = field(default=0)

    def fetch(self, *days: date, at: datetime | None = None, **options: Any) -> FetchResult:
        """Fetch days into bronze."""
        bucket = Bucket(self.url or f"file://{self.root}", **options)
        return ingest_days(self.chain.context(), bucket, days, lambda: at or self.clock)

    def load(self) -> Loaded:
        """Load what is pending; the test fails if an object is damaged."""
        loaded, damaged = self.load_with_damage()
        assert damaged == []
        return loaded

    def load_with_damage(self) -> tuple[Loaded, list[str]]:
        chain = self.chain
        return load_days(chain.lake, chain.connection, BITCOIN_TRANSACTIONS, chain.context().batch_id)

    def take(self, *days: date, at: datetime | None = None) -> FetchResult:
        """Fetch days and load them."""
        result = self.fetch(*days, at=at)
        self.load()
        return result

    def publish(self, paths: Sequence[Path]) -> None:
        """Give files a time of their own, as a later upload has."""
        self._stamp += 1
        for path in paths:
            os.utime(path, (1_700_000_000 + self._stamp,) * 2)

    def remove(self, day: date, pattern: str = "*") -> None:
        for kind in ("blocks", "transactions"):
            for path in folder_of(self.root, kind, day).glob(pattern):
                path.unlink()

    def rewrite(self, day: date, change: Callable[[pa.Table], pa.Table], kind: str = "transactions") -> None:
        """Change the files of a day."""
        for path in folder_of(self.root, kind, day).iterdir():
            pq.write_table(change(pq.read_table(path, partitioning=None)), path)
            self.publish([path])

    def rows(self) -> list[tuple[Any, ...]]:
        """Every transaction of raw."""
        return self.chain.ask(
            "select encode(block_hash, 'hex'), encode(txid, 'hex'), block_number, block_timestamp, is_coinbase,"
            " input_count, output_count, input_sats, output_sats, fee_sats, size_bytes, virtual_size"
            " from raw.bitcoin_transactions order by 3, 1, 2"
        )

    def blocks(self) -> list[tuple[Any, ...]]:
        """Every block of raw, and why it does not count."""
        return self.chain.ask(
            "select source_day, encode(block_hash, 'hex'), block_number, left_out from raw.bitcoin_blocks"
            " order by 1, 3, 2"
        )

    def status(self) -> dict[date, str]:
        return dict(self.chain.ask("select day, status from ops.bitcoin_days order by 1"))

    def consistent(self) -> None:
        """Each block that counts has its rows in raw, and raw has no other row."""
        [(wrong,)] = self.chain.ask(
            """
            select count(*)
            from (select block_hash, row_count from raw.bitcoin_blocks where left_out is null) as b
            full join (
                select block_hash, count(*) as rows, count(distinct txid) as ids
                from raw.bitcoin_transactions group by 1
            ) as t using (block_hash)
            where b.row_count is distinct from t.rows or t.rows <> t.ids
            """
        )
        assert wrong == 0


def reasons(chain: Chain) -> list[str]:
    return [reason for (reason,) in chain.ask("select reason from ops.rejected_records order by rejected_id")]
