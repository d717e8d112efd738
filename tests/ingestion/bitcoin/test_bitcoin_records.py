"""Records of transactions: exact satoshis, unknown fees, impossible values; the traps that single rows can show."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.simulator.bitcoin import make_day
from ingestion.sources.bitcoin.parse import (
    TRANSACTIONS_SCHEMA,
    SchemaError,
    open_file,
    parse_transactions,
    read_blocks,
    read_transactions,
)
from support.bitcoin import DAY, changed

SATS = 10**8
SENT = make_day(DAY, blocks=3, per_block=3).transactions


def parsed(table: pa.Table) -> tuple[list[dict], list[str]]:
    rows, rejected = parse_transactions(table)
    assert rows.schema == TRANSACTIONS_SCHEMA
    return rows.to_pylist(), [record.reason for _, record in rejected]


def test_values_are_whole_satoshis() -> None:
    rows, rejected = parsed(SENT)
    assert rejected == []
    assert [r["output_sats"] for r in rows] == [round(v * SATS) for v in SENT["output_value"].to_pylist()]
    assert [r["txid"].hex() for r in rows] == SENT["hash"].to_pylist()
    assert rows[0]["block_timestamp"] == datetime(2024, 6, 1, 0, 5, tzinfo=UTC)


@given(st.lists(st.integers(0, 21_000_000 * SATS), min_size=1, max_size=20))
def test_every_number_of_satoshis_survives_its_double(sats: list[int]) -> None:
    """Trap 3: truncation is wrong for 0.29 BTC and many others."""
    table = SENT.slice(1, 1).take([0] * len(sats))
    at = table.schema.get_field_index("output_value")
    table = table.set_column(at, "output_value", pa.array(np.array(sats) / SATS))
    rows, rejected = parsed(table)
    assert ([r["output_sats"] for r in rows], rejected) == (sats, [])


def test_truncation_would_be_wrong_for_the_values_that_rounding_gets_right() -> None:
    [row], _ = parsed(changed(SENT.slice(1, 1), 0, output_value=0.29))
    assert int(0.29 * SATS) == 28_999_999
    assert row["output_sats"] == 29_000_000


def test_a_running_float_sum_is_rounded_and_a_fraction_of_a_satoshi_rejected() -> None:
    rows, rejected = parsed(changed(changed(SENT, 1, output_value=0.1 + 0.2), 2, output_value=0.123456785))
    assert rows[1]["output_sats"] == 30_000_000
    assert len(rows) == 8
    assert len(rejected) == 1


def test_a_fee_of_zero_is_a_fee_and_an_unknown_one_is_null() -> None:
    """Trap 2, and trap 12: 79 real rows have a fee of 0."""
    rows, rejected = parsed(changed(changed(SENT, 1, fee=0.0), 2, fee=None))
    assert rejected == []
    assert [r["fee_sats"] for r in rows[:3]] == [None, 0, None]
    # Other exports send 0 for a coinbase, whose fee is unknown here.
    rows, rejected = parsed(changed(SENT, 0, fee=0.0, input_value=0.0))
    assert rejected == []
    assert (rows[0]["fee_sats"], rows[0]["input_sats"]) == (None, None)


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (1, {"fee": -0.00000001}),
        (1, {"output_value": -1.0}),
        (1, {"output_value": 21_000_001.0}),
        (1, {"output_value": float("nan")}),
        (1, {"output_value": float("inf")}),
        (1, {"input_value": 1e300}),
        (1, {"output_value": None}),
        (0, {"input_count": 1}),
        (1, {"input_count": 0}),
        (1, {"output_count": -1}),
        (1, {"virtual_size": 2**31}),
        (1, {"hash": "ab" * 31}),
        (1, {"hash": "zz" * 32}),
        (1, {"block_hash": None}),
        (1, {"block_timestamp": None}),
        (1, {"is_coinbase": None}),
    ],
)
def test_an_impossible_record_is_rejected_alone(row: int, cells: dict) -> None:
    rows, rejected = parsed(changed(SENT, row, **cells))
    assert len(rows) == len(SENT) - 1
    assert len(rejected) == 1
    # The reason names the column.
    assert any(name in rejected[0] or name == "is_coinbase" or "coinbase" in rejected[0] for name in cells)


def test_outputs_of_zero_are_legal() -> None:
    """Trap 11: OP_RETURN and dust."""
    rows, rejected = parsed(changed(SENT, 1, output_value=0.0))
    assert (rows[1]["output_sats"], rejected) == (0, [])


def test_the_output_is_gross_and_input_less_output_is_the_fee_in_satoshis() -> None:
    """Trap 10, and trap 3: in doubles the difference is not the fee."""
    rows, _ = parsed(SENT)
    paying = [r for r in rows if not r["is_coinbase"]]
    assert all(r["input_sats"] - r["output_sats"] == r["fee_sats"] for r in paying)


def test_absent_optional_columns_are_unknown() -> None:
    """Trap 12: the first files have no fee."""
    rows, rejected = parsed(SENT.drop_columns(["fee", "input_value", "index", "inputs", "outputs", "last_modified"]))
    assert rejected == []
    assert {r["fee_sats"] for r in rows} == {None}
    assert [r["output_sats"] for r in rows] == [r["output_sats"] for r in parsed(SENT)[0]]


def file_of(table: pa.Table) -> pq.ParquetFile:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return open_file(pa.BufferReader(sink.getvalue()))


def test_blocks_are_read_with_their_header_and_median_time() -> None:
    made = make_day(DAY, blocks=3).blocks
    block, *_ = read_blocks(file_of(made), DAY, is_daily=True)
    assert (block.block_hash.hex(), block.number) == (made["hash"][0].as_py(), 850_000)
    assert (block.time - block.median_time, block.is_final) == (timedelta(hours=1), True)
    bare = made.select(["hash", "number", "timestamp", "transaction_count"])
    [bare_block, *_] = read_blocks(file_of(bare), DAY, is_daily=False)
    assert (bare_block.median_time, bare_block.previous_hash, bare_block.is_final) == (None, None, False)


@pytest.mark.parametrize("cells", [{"hash": "ab"}, {"hash": "zz" * 32}, {"number": None}, {"timestamp": None}])
def test_a_block_without_hash_height_or_time_is_an_error(cells: dict) -> None:
    with pytest.raises(ValueError, match=r"hash|number|timestamp"):
        read_blocks(file_of(changed(make_day(DAY, blocks=2).blocks, 1, **cells)), DAY, is_daily=True)


def test_nested_columns_and_unknown_ones_are_not_read() -> None:
    [(rows, rejected)] = read_transactions(file_of(SENT.append_column("novelty", pa.array(["x"] * len(SENT)))))
    assert (len(rows), rejected) == (len(SENT), [])
    with pytest.raises(SchemaError, match="fee"):
        list(read_transactions(file_of(SENT.drop_columns(["fee"]).append_column("fee", pa.array([1] * len(SENT))))))
