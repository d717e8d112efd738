"""Reads one day of the bucket into sorted, verified tables.

Belongs here: merging the files of a day, duplicates, and the checks of its blocks. Does not: what is written where
(``ingest``). Memory: one day, 100 bytes per transaction (70 MB for 700,000), and one batch of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingestion.sources.bitcoin import chain
from ingestion.sources.bitcoin.bucket import Bucket, File, Listing
from ingestion.sources.bitcoin.chain import Block, Contents
from ingestion.sources.bitcoin.parse import (
    TRANSACTIONS_SCHEMA,
    SchemaError,
    open_file,
    read_blocks,
    read_transactions,
)
from ingestion.validation import Rejected

T = TypeVar("T")


class DayError(Exception):
    """A day that cannot be read; the message names the file and the problem."""


class FileVanished(DayError):
    """A file was removed after the listing, as when the daily files replace those of single blocks."""


@dataclass(frozen=True)
class Day:
    """A day as read: complete blocks, their transactions by height and position, and what is wrong.

    ``transactions`` has TRANSACTIONS_SCHEMA and ``file``, the number of its file in ``files``. ``repeated`` counts
    records that were in several files, ``problems`` make the day incomplete, ``notes`` do not.
    """

    blocks: list[Block]
    transactions: pa.Table
    files: list[str]
    rejected: list[Rejected]
    repeated: int
    problems: list[str]
    notes: list[str]


def read_day(bucket: Bucket, listing: Listing, day: date) -> Day:
    """Read the files of a day, verify its blocks, and leave out the blocks whose records are not all there.

    DayError for a file that cannot be read or has another schema.
    """
    blocks = [
        block
        for file in listing.blocks
        for block in _reading(bucket, file, partial(read_blocks, day=day, is_daily=file.is_daily))
    ]
    tables, rejected = [], list[tuple[str, Rejected]]()
    for number, file in enumerate(listing.transactions):
        for table, problems in _reading(bucket, file, lambda f: list(read_transactions(f))):
            tables.append(table.append_column("file", pa.repeat(pa.scalar(number, pa.int32()), len(table))))
            rejected += problems
    schema = TRANSACTIONS_SCHEMA.append(pa.field("file", pa.int32()))
    sent = pa.concat_tables(tables) if tables else schema.empty_table()
    tables.clear()
    distinct = _without_duplicates(sent)
    return _verified(day, blocks, distinct, _distinct(rejected), [bucket.url_of(f) for f in listing.transactions],
                     len(sent) - len(distinct))  # fmt: skip


def _reading(bucket: Bucket, file: File, read: Callable[[pq.ParquetFile], T]) -> T:
    """Return what ``read`` makes of a file; DayError, naming it, for what cannot be read."""
    name = file.path.rpartition("/")[2]
    try:
        with bucket.open(file) as source:
            return read(open_file(source))
    except FileNotFoundError:
        raise FileVanished(f"{name} was removed while the day was read") from None
    except SchemaError as error:
        raise DayError(f"{name}: {error}") from None
    except (pa.ArrowException, ValueError) as error:
        raise DayError(f"{name}: not a complete Parquet file ({' '.join(str(error).split())[:100]})") from None
    except OSError as error:
        if "AWS Error" not in str(error):
            raise DayError(f"{name}: not a complete Parquet file ({' '.join(str(error).split())[:100]})") from None
        raise DayError(f"{name}: {bucket.describe(error)}") from None


def _without_duplicates(table: pa.Table) -> pa.Table:
    """Return one row for each (block_hash, txid), that of the first file, sorted by height and position."""
    if not len(table):
        return table
    # Of the files that stand side by side, the daily ones come first.
    if pc.count_distinct(table["txid"]).as_py() < len(table):
        numbered = table.select(["block_hash", "txid"]).append_column("row", pa.array(np.arange(len(table))))
        first = numbered.group_by(["block_hash", "txid"]).aggregate([("row", "min")])["row_min"]
        table = table.take(first.combine_chunks().sort())
    order = np.lexsort([np.asarray(table["position"]), ~np.asarray(table["is_coinbase"]), _block_order(table)])
    if (np.diff(order) == 1).all():
        return table.combine_chunks()
    return table.take(pa.array(order)).combine_chunks()


def _block_order(table: pa.Table) -> NDArray[np.int64]:
    """Return numbers that order rows by height, and by hash where two blocks have one height."""
    hashes = table["block_hash"].combine_chunks().dictionary_encode()
    hashes = hashes if isinstance(hashes, pa.DictionaryArray) else hashes.combine_chunks()
    places = np.asarray(hashes.indices)
    heights = np.zeros(len(hashes.dictionary), dtype=np.int64)
    heights[places] = np.asarray(table["block_number"])
    names = hashes.dictionary.to_pylist()
    rank = np.empty(len(names), dtype=np.int64)
    rank[sorted(range(len(names)), key=lambda at: (heights[at], names[at]))] = np.arange(len(names))
    ordered: NDArray[np.int64] = rank[places]
    return ordered


def _distinct(rejected: Iterable[tuple[str, Rejected]]) -> list[tuple[str, Rejected]]:
    """Return each rejected record once: it may be in a daily file and in the file of its block."""
    return list({(block, record.record): (block, record) for block, record in rejected}.values())


def _verified(
    day: date, sent: Sequence[Block], table: pa.Table, rejected: list[tuple[str, Rejected]], files: list[str],
    repeated: int,
) -> Day:  # fmt: skip
    """Return the day with its complete blocks, and what its checks found."""
    # A block in several files of the folder is one; its entry of a daily file is listed first.
    blocks = list({block.block_hash: block for block in reversed(sent)}.values())
    contents = _contents(table, rejected)
    whole, problems = chain.complete(sorted(blocks, key=lambda block: (block.number, block.block_hash)), contents)
    known = {block.block_hash for block in whole}
    orphans = contents.keys() - {block.block_hash for block in blocks}
    if orphans:
        problems.append(f"{len(orphans)} block(s) with transactions have no record: they are left out")
    if len(known) < len(contents):
        keep = pc.is_in(table["block_hash"], pa.array(sorted(known), table["block_hash"].type))
        table = table.filter(keep).combine_chunks()
    table, differing = _as_in_headers(table, whole)
    problems += differing
    dropped = chain.left_out(whole)
    counted = [block for at, block in enumerate(whole) if at not in dropped]
    problems += chain.check_chain(counted, day)
    excess, notes = chain.check_rewards(counted, contents)
    notes += [f"block {whole[at].number} ({whole[at].block_hash.hex()[:16]}…) is {why}" for at, why in dropped.items()]
    strayed = [block for block in counted if block.time.date() != day]
    if strayed:
        notes.append(f"{len(strayed)} block(s) have header times of another day, and count there")
    reasons = [record for _, record in rejected]
    return Day(whole, table, files, reasons, repeated, problems + excess, notes)


def _as_in_headers(table: pa.Table, blocks: Sequence[Block]) -> tuple[pa.Table, list[str]]:
    """Return the rows with height and time of their blocks' headers, and a line if records stated others."""
    if not blocks:
        return table, []
    place = pc.index_in(table["block_hash"], pa.array([b.block_hash for b in blocks], table["block_hash"].type))
    differing = 0
    for name, values in (("block_number", [b.number for b in blocks]), ("block_timestamp", [b.time for b in blocks])):
        kind = table.schema.field(name).type
        stated = pa.array(values, kind).take(place.combine_chunks())
        differing = max(differing, pc.sum(pc.not_equal(table[name], stated)).as_py() or 0)
        table = table.set_column(table.schema.get_field_index(name), name, stated)
    if not differing:
        return table, []
    return table, [f"{differing:,} transaction(s) state another height or time than the header of their block"]


def _contents(table: pa.Table, rejected: Sequence[tuple[str, Rejected]]) -> dict[bytes, Contents]:
    """Return what the records of each block add up to."""
    refused: dict[bytes, int] = {}
    for block, _ in rejected:
        try:
            block_hash = bytes.fromhex(block)
        except ValueError:
            continue
        refused[block_hash] = refused.get(block_hash, 0) + 1
    is_coinbase = table["is_coinbase"]
    sums = (
        table.select(["block_hash", "fee_sats"])
        .append_column("paying", pc.invert(is_coinbase))
        .append_column("unknown", pc.and_(pc.invert(is_coinbase), pc.is_null(table["fee_sats"])))
        .append_column("reward", pc.if_else(is_coinbase, table["output_sats"], pa.scalar(None, pa.int64())))
        .group_by("block_hash")
        .aggregate([("paying", "count"), ("unknown", "sum"), ("fee_sats", "sum"), ("reward", "sum")])
    )
    found = {}
    for row in sums.to_pylist():
        bad = refused.pop(row["block_hash"], 0)
        fees = None if row["unknown_sum"] or bad else row["fee_sats_sum"] or 0
        found[row["block_hash"]] = Contents(row["paying_count"] + bad, row["paying_count"], fees, row["reward_sum"])
    return found | {block: Contents(bad, 0, None, None) for block, bad in refused.items()}
