"""From the bucket through bronze to raw: each fault of a day is named, and stops no other day."""

import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from ingestion.ops.bitcoin_days import BitcoinDay
from ingestion.simulator.bitcoin import block_hash, folder_of, make_day, write_daily, write_per_block
from ingestion.sources.bitcoin.ingest import refresh_days
from ingestion.sources.bitcoin.source import BITCOIN
from ingestion.sources.source import LoadedRun
from support.bitcoin import (
    DAY,
    Bitcoin,
    changed,
    day_after,
    joined,
    reasons,
    with_blocks,
    with_transactions,
    without_rows,
)

SMALL = {"blocks": 6, "per_block": 4}
ROWS = 24
NEXT = day_after(DAY)


def small(day: date = DAY, **more: int | str):
    first = 850_000 + 6 * (day - DAY).days
    return make_day(day, **{"first": first, **SMALL, **more})


def test_a_final_day_is_loaded_once_whatever_its_parts(bitcoin: Bitcoin) -> None:
    bitcoin.publish(write_daily(bitcoin.root, small(), parts=3))
    result = bitcoin.take(DAY)
    assert (result.rows, result.failed, result.error) == (ROWS, {}, None)
    assert bitcoin.status() == {DAY: "final"}
    bitcoin.consistent()
    before = bitcoin.rows(), bitcoin.blocks(), bitcoin.chain.ask("select xmin, ctid from raw.bitcoin_transactions")
    assert bitcoin.take(DAY).skipped_days == 1
    assert (
        bitcoin.rows(),
        bitcoin.blocks(),
        bitcoin.chain.ask("select xmin, ctid from raw.bitcoin_transactions"),
    ) == before
    assert bitcoin.chain.one("select count(*) from ops.load_ledger where dataset = 'bitcoin_transactions'") == 1


def test_counts_with_and_without_coinbase_are_both_in_raw(bitcoin: Bitcoin) -> None:
    """Trap 1."""
    write_daily(bitcoin.root, small())
    bitcoin.take(DAY)
    counts = "select count(*), count(*) filter (where not is_coinbase) from raw.bitcoin_transactions"
    assert bitcoin.chain.ask(counts) == [(ROWS, ROWS - 6)]


def test_bronze_has_one_sorted_object_per_day_with_provenance(bitcoin: Bitcoin) -> None:
    made = small()
    shuffled = with_transactions(made, lambda t: t.take(np.random.default_rng(1).permutation(len(t))))
    write_daily(bitcoin.root, shuffled, parts=2)
    bitcoin.take(DAY)
    [key] = [o.key for o in bitcoin.chain.lake.list("bitcoin/transactions/")]
    table, _ = bitcoin.chain.lake.read(key)
    assert table["position"].to_pylist() == [*range(4)] * 6
    assert table["block_number"].to_pylist() == sorted(table["block_number"].to_pylist())
    assert all(url.startswith(f"file://{bitcoin.root}/transactions/") for url in table["source_url"].to_pylist())
    assert table["batch_id"].to_pylist() == ["batch-1"] * ROWS


def test_todays_blocks_are_provisional_until_the_daily_files_replace_them(bitcoin: Bitcoin) -> None:
    """Trap 7."""
    made = small()
    noon = datetime(2024, 6, 1, 12, tzinfo=UTC)
    early = joined(DAY, make_day(DAY, **{**SMALL, "blocks": 6}))
    paths = write_per_block(bitcoin.root, early)
    for path in paths:  # two blocks are yet to come
        if path.name.startswith(("850004", "850005")):
            path.unlink()
    result = bitcoin.take(DAY, at=noon)
    assert (bitcoin.status(), len(bitcoin.rows()), result.failed) == ({DAY: "provisional"}, 16, {})
    write_per_block(bitcoin.root, early)
    bitcoin.take(DAY, at=noon)
    assert len(bitcoin.rows()) == ROWS
    bitcoin.publish(write_daily(bitcoin.root, made))
    # Side by side: every record once, and final only after 01:30 UTC of the next day.
    assert bitcoin.take(DAY, at=datetime(2024, 6, 2, 1, 29, tzinfo=UTC)).repeated == ROWS
    assert bitcoin.status() == {DAY: "provisional"}
    assert bitcoin.take(DAY, at=datetime(2024, 6, 2, 1, 30, tzinfo=UTC)).skipped_days == 1
    assert bitcoin.status() == {DAY: "final"}
    bitcoin.remove(DAY, "85*")
    bitcoin.take(DAY)
    assert (bitcoin.status(), len(bitcoin.rows())) == ({DAY: "final"}, ROWS)
    bitcoin.consistent()


def test_a_past_day_without_daily_files_stays_provisional(bitcoin: Bitcoin) -> None:
    write_per_block(bitcoin.root, small())
    bitcoin.take(DAY)
    assert (bitcoin.status(), len(bitcoin.rows())) == ({DAY: "provisional"}, ROWS)


def test_a_republished_day_leaves_no_stale_row(bitcoin: Bitcoin) -> None:
    write_daily(bitcoin.root, small())
    write_daily(bitcoin.root, small(NEXT))
    bitcoin.take(DAY, NEXT)
    other = small(fork="b", per_block=3)
    bitcoin.publish(write_daily(bitcoin.root, other))
    bitcoin.take(DAY, NEXT)
    rows = [r for r in bitcoin.rows() if r[2] < 850_006]
    assert {r[1] for r in rows} == set(other.transactions["hash"].to_pylist())
    assert len(bitcoin.rows()) == 18 + ROWS
    bitcoin.consistent()


def test_a_missing_day_is_named_and_the_others_are_loaded(bitcoin: Bitcoin) -> None:
    write_daily(bitcoin.root, small())
    write_daily(bitcoin.root, small(day_after(NEXT)))
    result = bitcoin.take(DAY, NEXT, day_after(NEXT))
    assert list(result.failed) == [NEXT.isoformat()]
    assert "\n" not in result.failed[NEXT.isoformat()]
    assert bitcoin.status() == {DAY: "final", NEXT: "incomplete", day_after(NEXT): "final"}
    assert len(bitcoin.rows()) == 2 * ROWS
    write_daily(bitcoin.root, small(NEXT))
    assert bitcoin.take(NEXT).failed == {}
    assert bitcoin.status()[NEXT] == "final"


def test_a_day_that_disappears_stays_loaded(bitcoin: Bitcoin) -> None:
    write_daily(bitcoin.root, small())
    bitcoin.take(DAY)
    bitcoin.remove(DAY)
    assert list(bitcoin.take(DAY).failed) == [DAY.isoformat()]
    assert (bitcoin.status(), len(bitcoin.rows())) == ({DAY: "final"}, ROWS)


def test_todays_folder_may_be_empty(bitcoin: Bitcoin) -> None:
    write_daily(bitcoin.root, small(day_after(DAY, -1)))
    result = bitcoin.take(DAY, at=datetime(2024, 6, 1, 0, 1, tzinfo=UTC))
    assert (result.failed, result.error, len(result.notes)) == ({}, None, 1)


def test_a_day_with_zero_rows_is_incomplete(bitcoin: Bitcoin) -> None:
    empty = with_blocks(with_transactions(small(), lambda t: t.slice(0, 0)), lambda t: t.slice(0, 0))
    write_daily(bitcoin.root, empty)
    write_daily(bitcoin.root, small(NEXT))
    result = bitcoin.take(DAY, NEXT)
    assert list(result.failed) == [DAY.isoformat()]
    assert bitcoin.status() == {DAY: "incomplete", NEXT: "final"}
    assert len(bitcoin.rows()) == ROWS


@pytest.mark.parametrize("kind", ["blocks", "transactions"])
def test_a_truncated_file_fails_its_day_alone_and_keeps_what_was_loaded(bitcoin: Bitcoin, kind: str) -> None:
    write_daily(bitcoin.root, small())
    bitcoin.take(DAY)
    write_daily(bitcoin.root, small(NEXT))
    for path in folder_of(bitcoin.root, kind, DAY).iterdir():
        path.write_bytes(path.read_bytes()[:-200])
        bitcoin.publish([path])
    result = bitcoin.take(DAY, NEXT)
    assert list(result.failed) == [DAY.isoformat()]
    assert "part-00000-sim.snappy.parquet" in result.failed[DAY.isoformat()]
    assert len(bitcoin.rows()) == 2 * ROWS
    # The damaged files are read again, because they are not recorded.
    assert list(bitcoin.take(DAY).failed) == [DAY.isoformat()]


@pytest.mark.parametrize(
    ("kind", "change", "column"),
    [
        ("transactions", lambda t: t.drop_columns(["output_value"]), "output_value"),
        ("transactions", lambda t: t.drop_columns(["virtual_size"]), "virtual_size"),
        ("blocks", lambda t: t.drop_columns(["transaction_count"]), "transaction_count"),
        ("transactions", lambda t: t.set_column(0, "hash", pa.array(range(len(t)))), "hash"),
        (
            "transactions",
            lambda t: t.set_column(t.schema.get_field_index("fee"), "fee", t["fee"].cast(pa.string())),
            "fee",
        ),
        (
            "blocks",
            lambda t: t.set_column(t.schema.get_field_index("timestamp"), "timestamp", t["timestamp"].cast(pa.int64())),
            "timestamp",
        ),
    ],
)
def test_a_day_with_another_schema_is_named_and_not_loaded(bitcoin: Bitcoin, kind, change, column) -> None:
    write_daily(bitcoin.root, small())
    write_daily(bitcoin.root, small(NEXT))
    bitcoin.rewrite(DAY, change, kind)
    result = bitcoin.take(DAY, NEXT)
    assert list(result.failed) == [DAY.isoformat()]
    assert f"column {column} " in result.failed[DAY.isoformat()]
    assert len(bitcoin.rows()) == ROWS


def test_a_new_column_and_other_widths_are_read_by_name(bitcoin: Bitcoin) -> None:
    """Trap 12."""
    write_daily(bitcoin.root, small())
    bitcoin.take(DAY)
    before = bitcoin.rows()
    bitcoin.rewrite(
        DAY,
        lambda t: (
            t.select(sorted(t.schema.names, reverse=True))
            .append_column("novelty", pa.array(["x"] * len(t)))
            .set_column(0, "virtual_size", t["virtual_size"].cast(pa.int32()))
        ),
    )
    bitcoin.take(DAY)
    assert (bitcoin.rows(), bitcoin.status()) == (before, {DAY: "final"})


def test_a_rejected_record_is_stored_with_its_reason_and_the_day_is_final(bitcoin: Bitcoin) -> None:
    made = with_transactions(small(), lambda t: changed(changed(t, 1, fee=-1.0), 4, input_count=3))
    write_daily(bitcoin.root, made)
    result = bitcoin.take(DAY)
    assert (result.rejected, result.rows, result.failed) == (2, ROWS - 2, {})
    assert len(reasons(bitcoin.chain)) == 2
    assert bitcoin.status() == {DAY: "final"}
    assert bitcoin.chain.one("select sum(transaction_count) - sum(row_count) from raw.bitcoin_blocks") == 2
    bitcoin.consistent()


def test_a_partial_block_is_left_out_and_its_day_requested_again(bitcoin: Bitcoin) -> None:
    """Trap 9: rows against transaction_count."""
    made = small()
    write_daily(bitcoin.root, with_transactions(made, lambda t: without_rows(t, [9])))
    write_daily(bitcoin.root, small(NEXT))
    result = bitcoin.take(DAY, NEXT)
    assert list(result.failed) == [DAY.isoformat()]
    assert bitcoin.status() == {DAY: "incomplete", NEXT: "final"}
    assert len(bitcoin.rows()) == 2 * ROWS - 4
    assert bitcoin.chain.one("select problems[1] from ops.bitcoin_days where day = %s", [DAY]).startswith(
        "block 850002 "
    )
    bitcoin.consistent()
    assert list(bitcoin.take(DAY).failed) == [DAY.isoformat()]  # nothing new in the bucket, still incomplete
    bitcoin.publish(write_daily(bitcoin.root, made))
    assert bitcoin.take(DAY).failed == {}
    assert len(bitcoin.rows()) == 2 * ROWS


def test_a_missing_height_makes_the_day_incomplete(bitcoin: Bitcoin) -> None:
    """Trap 9: heights are contiguous."""
    made = small()
    gone = with_blocks(
        with_transactions(made, lambda t: without_rows(t, range(12, 16))), lambda t: without_rows(t, [3])
    )
    write_daily(bitcoin.root, gone)
    result = bitcoin.take(DAY)
    assert "850003" in result.failed[DAY.isoformat()]
    assert len(bitcoin.rows()) == ROWS - 4


def test_fees_that_do_not_add_up_to_the_coinbase_make_the_day_incomplete(bitcoin: Bitcoin) -> None:
    """Trap 9: the sum of the fees is coinbase output less subsidy; a miner may claim less."""
    made = small()
    [(reward,)] = {(made.transactions["output_value"][4].as_py(),)}
    write_daily(bitcoin.root, with_transactions(made, lambda t: changed(t, 4, output_value=reward + 0.5)))
    assert "850001" in bitcoin.take(DAY).failed[DAY.isoformat()]
    bitcoin.publish(
        write_daily(bitcoin.root, with_transactions(made, lambda t: changed(t, 4, output_value=reward - 1)))
    )
    result = bitcoin.take(DAY)
    assert (result.failed, len(result.notes)) == ({}, 1)
    # An unknown fee proves nothing.
    bitcoin.publish(
        write_daily(
            bitcoin.root, with_transactions(made, lambda t: changed(changed(t, 4, output_value=9.0), 5, fee=None))
        )
    )
    assert bitcoin.take(DAY).failed == {}


def test_duplicate_records_are_loaded_once_and_shared_txids_stay(bitcoin: Bitcoin) -> None:
    """Trap 6: the key is (block_hash, txid); two pairs of real blocks share a coinbase."""
    made = small()
    txid = made.transactions["hash"][0].as_py()
    shared = with_transactions(made, lambda t: changed(t, 4, hash=txid))
    write_daily(bitcoin.root, with_transactions(shared, lambda t: pa.concat_tables([t, t.slice(3, 9)])))
    result = bitcoin.take(DAY)
    assert (result.repeated, result.rows, result.failed) == (9, ROWS, {})
    assert (
        bitcoin.chain.one("select count(*) from raw.bitcoin_transactions where encode(txid, 'hex') = %s", [txid]) == 2
    )
    bitcoin.consistent()


def test_block_times_may_go_backwards(bitcoin: Bitcoin) -> None:
    """Trap 4."""
    moment = datetime(2024, 6, 1, 0, 2)  # noqa: DTZ001 - as the files have it
    made = with_blocks(small(), lambda t: changed(t, 3, timestamp=moment))
    for row in range(12, 16):
        made = with_transactions(made, lambda t, at=row: changed(t, at, block_timestamp=moment))
    write_daily(bitcoin.root, made)
    assert bitcoin.take(DAY).failed == {}
    assert bitcoin.status() == {DAY: "final"}


def test_a_block_of_another_day_counts_where_its_header_says(bitcoin: Bitcoin) -> None:
    """Trap 5: folders go by header time; both header time and median time past are kept."""
    moment = datetime(2024, 5, 31, 23, 58)  # noqa: DTZ001 - as the files have it
    made = with_blocks(small(), lambda t: changed(t, 0, timestamp=moment))
    for row in range(4):
        made = with_transactions(made, lambda t, at=row: changed(t, at, block_timestamp=moment))
    write_daily(bitcoin.root, made)
    result = bitcoin.take(DAY)
    assert (result.failed, len(result.notes)) == ({}, 1)
    header_day = "(block_timestamp at time zone 'UTC')::date"
    days = f"select {header_day}, count(*) from raw.bitcoin_transactions group by 1 order by 1"
    assert bitcoin.chain.ask(days) == [(date(2024, 5, 31), 4), (DAY, ROWS - 4)]
    both = "select source_day, block_timestamp - median_time from raw.bitcoin_blocks where block_number = 850001"
    assert bitcoin.chain.ask(both) == [(DAY, timedelta(hours=1))]
    # Replaced by a day without it: no row stays in the other month.
    bitcoin.publish(write_daily(bitcoin.root, small()))
    bitcoin.take(DAY)
    assert bitcoin.chain.ask(days) == [(DAY, ROWS)]


def test_height_and_time_of_a_transaction_are_those_of_its_header(bitcoin: Bitcoin) -> None:
    """Another month would have no partition, and other rows of the block would stay behind."""
    moment = datetime(2023, 1, 1)  # noqa: DTZ001 - as the files have it
    write_daily(
        bitcoin.root, with_transactions(small(), lambda t: changed(t, 5, block_timestamp=moment, block_number=7))
    )
    result = bitcoin.take(DAY)
    assert list(result.failed) == [DAY.isoformat()]
    assert {row[2] for row in bitcoin.rows()} == set(range(850_000, 850_006))
    assert {row[3].date() for row in bitcoin.rows()} == {DAY}
    bitcoin.publish(write_daily(bitcoin.root, small()))
    bitcoin.take(DAY)
    assert (bitcoin.status(), len(bitcoin.rows())) == ({DAY: "final"}, ROWS)


def fork_at_midnight(bitcoin: Bitcoin) -> tuple[object, object]:
    """A day with a stale last block, and the next day, which begins with another block of that height."""
    first = small()
    stale = make_day(DAY, first=850_006, blocks=1, per_block=4, fork="x")
    stale = with_blocks(stale, lambda t: changed(t, 0, previousblockhash=block_hash(850_005)))
    return joined(DAY, first, stale), small(NEXT)


@pytest.mark.parametrize("order", [(DAY, NEXT), (NEXT, DAY)])
def test_a_stale_block_leaves_when_the_next_day_is_known(bitcoin: Bitcoin, order: tuple[date, date]) -> None:
    """Trap 8: a stale block can survive across midnight."""
    one, two = fork_at_midnight(bitcoin)
    write_daily(bitcoin.root, one)
    write_daily(bitcoin.root, two)
    for day in order:
        assert bitcoin.take(day).failed == {}
    assert len(bitcoin.rows()) == 2 * ROWS
    assert [row[2:] for row in bitcoin.blocks() if row[3]] == [(850_006, "stale")]
    bitcoin.consistent()
    # Without the next day's block, the block of this day counts again.
    bitcoin.publish(write_daily(bitcoin.root, make_day(NEXT, first=850_007, blocks=5, per_block=4)))
    other = with_blocks(make_day(NEXT, first=850_007, blocks=5, per_block=4),
                        lambda t: changed(t, 0, previousblockhash=block_hash(850_006, "x")))  # fmt: skip
    bitcoin.publish(write_daily(bitcoin.root, other))
    bitcoin.take(NEXT)
    assert [row for row in bitcoin.blocks() if row[3]] == []
    assert len(bitcoin.rows()) == ROWS + 4 + 20
    bitcoin.consistent()


def test_of_two_blocks_of_one_height_the_one_of_the_daily_file_stays(bitcoin: Bitcoin) -> None:
    made = small()
    rival = make_day(DAY, first=850_005, blocks=1, per_block=4, fork="x")
    write_per_block(bitcoin.root, rival)
    write_daily(bitcoin.root, made)
    result = bitcoin.take(DAY)
    assert len(result.notes) == 1
    assert {r[1] for r in bitcoin.rows()} == set(made.transactions["hash"].to_pylist())
    # It leaves with its file.
    bitcoin.remove(DAY, "85*")
    bitcoin.take(DAY)
    assert len(bitcoin.blocks()) == 6


def test_a_block_in_two_folders_counts_once(bitcoin: Bitcoin) -> None:
    one, two = small(), small(NEXT)
    write_daily(bitcoin.root, joined(DAY, one, make_day(NEXT, first=850_006, blocks=6, per_block=4)))
    write_daily(bitcoin.root, two)
    for day in (DAY, NEXT):
        bitcoin.take(day)
    assert len(bitcoin.rows()) == 2 * ROWS
    assert [row[0] for row in bitcoin.blocks() if row[3] == "duplicate"] == [DAY] * 6
    bitcoin.consistent()
    bitcoin.publish(write_daily(bitcoin.root, one))
    bitcoin.take(DAY)
    assert len(bitcoin.rows()) == 2 * ROWS
    bitcoin.consistent()


def test_a_height_that_no_day_has_is_found_after_the_load(bitcoin: Bitcoin) -> None:
    """Beside midnight a day alone cannot tell: the missing block may be in the folder of its neighbor."""
    write_daily(bitcoin.root, small())
    write_daily(bitcoin.root, make_day(NEXT, first=850_008, **SMALL))
    assert bitcoin.take(DAY, NEXT).failed == {}
    [check] = BITCOIN.load_checks
    run = LoadedRun(bitcoin.chain.connection, "batch-2", None, list)
    assert check.run(run).problems == ["2024-06-02: height 850006 to 850007 is missing"]
    bitcoin.remove(NEXT)
    bitcoin.publish(write_daily(bitcoin.root, make_day(NEXT, first=850_006, **SMALL)))
    bitcoin.take(NEXT)
    assert check.run(replace(run, run_id="batch-4")).problems == []


def test_a_damaged_object_is_named_and_its_day_fetched_again(bitcoin: Bitcoin) -> None:
    write_daily(bitcoin.root, small())
    bitcoin.take(DAY)
    [info] = bitcoin.chain.lake.list("bitcoin/transactions/")
    body = bitcoin.chain.lake.get(info.key)
    bitcoin.chain.lake.put(info.key, body[: len(body) // 2])
    _, damaged = bitcoin.load_with_damage()
    assert [line.split(":")[0] for line in damaged] == [info.key]
    assert len(bitcoin.rows()) == ROWS
    assert bitcoin.take(DAY).rows == ROWS
    assert bitcoin.status() == {DAY: "final"}


def test_a_refresh_reads_the_days_of_the_last_week_that_are_not_final() -> None:
    today = date(2024, 6, 20)

    def days(**status: str) -> list[int]:
        known = [BitcoinDay(today - timedelta(days=int(n[1:])), s, None, "") for n, s in status.items()]
        return [(today - day).days for day in refresh_days(known, today)]

    assert days() == [1, 0]
    assert days(d1="provisional") == [1, 0]
    assert days(d2="final", d1="final") == [2, 1, 0]
    assert days(d5="final", d4="incomplete", d3="final", d2="final", d1="provisional", d0="provisional") == [4, 2, 1, 0]
    assert days(d5="final") == [4, 3, 2, 1, 0]  # days without a run
    assert days(d30="final") == [6, 5, 4, 3, 2, 1, 0]


def test_a_folder_that_may_not_be_read_is_one_error(bitcoin: Bitcoin) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    bitcoin.root.chmod(0)
    try:
        result = bitcoin.fetch(DAY, NEXT)
    finally:
        bitcoin.root.chmod(0o755)
    assert result.error
    assert "\n" not in result.error


def test_blocks_of_another_version_than_the_transactions_are_not_loaded(bitcoin: Bitcoin) -> None:
    """A process that is killed between the two writes of a day leaves such a pair."""
    write_daily(bitcoin.root, small())
    bitcoin.take(DAY)
    before = bitcoin.rows()
    lake = bitcoin.chain.lake
    key = "bitcoin/blocks/date=2024-06-01/blocks.parquet"
    lake.write(key, lake.read(key)[0].slice(1))
    bitcoin.chain.ask("delete from ops.load_ledger")
    _, damaged = bitcoin.load_with_damage()
    assert len(damaged) == 1
    assert bitcoin.rows() == before
    assert bitcoin.take(DAY).rows == ROWS
    bitcoin.consistent()
