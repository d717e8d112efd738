"""Binary COPY: Postgres reads from it what it reads from CSV, whatever the numbers, texts and times."""

import io
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.arrow import UTC_US
from ingestion.database import connections
from ingestion.raw.binary_copy import Stream, ahead, binary_copies, binary_copy, fits
from ingestion.settings import Postgres

DIGITS = 38
ROWS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(10**16), 4 * 10**16),  # microseconds, from 1653 to 3237
        st.integers(-(10**DIGITS) + 1, 10**DIGITS - 1) | st.integers(-(10**9), 10**12),
    ),
    max_size=30,
)


def table_of(rows: list[tuple[str, int, int, int]], scale: int) -> pa.Table:
    texts, numbers, micros, digits = zip(*rows, strict=True) if rows else ((),) * 4
    prices = [Context(prec=DIGITS).scaleb(Decimal(d), -scale) for d in digits]
    return pa.table(
        {
            "text": pa.array(texts, pa.string()),
            "number": pa.array(numbers, pa.int64()),
            "moment": pa.array(micros, pa.int64()).cast(UTC_US),
            "price": pa.array(prices, pa.decimal128(DIGITS, scale)),
        }
    )


@pytest.mark.parametrize("scale", [0, 4, 8, 12])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_binary_and_csv_bring_the_same_values_in_the_same_writing(
    shared_database: Postgres, scale: int, rows: list[tuple[str, int, int, int]]
) -> None:
    # A slice, because offsets into the buffers are part of what must be right.
    table = pa.concat_tables([table_of(rows, scale)] * 2).combine_chunks().slice(len(rows))
    assert fits(table)
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False))
    sink.seek(0)
    found = []
    with connections.closing(connections.connect(shared_database)) as connection, connection.cursor() as cursor:
        for form, stream in (("csv", sink), ("binary", Stream(ahead(binary_copy(table))))):
            cursor.execute(
                f"create temp table {form}_rows (text text, number bigint, moment timestamptz, price numeric)"
            )
            cursor.copy_expert(f"copy {form}_rows from stdin (format {form})", stream, size=64)
            cursor.execute(f"select text, number, moment::text, price::text from {form}_rows")
            found.append(cursor.fetchall())
    assert len(found[1]) == len(rows)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None, "text"]),
        pa.array([Decimal("1.5")], pa.decimal128(38, 9)),
        pa.array([Decimal("1.5")], pa.decimal256(76, 8)),
        pa.array([1.5]),
    ],
    ids=["null", "scale that is no multiple of 4", "76 digits", "float"],
)
def test_what_binary_leaves_out_is_said_beforehand(column: pa.Array) -> None:
    assert not fits(pa.table({"column": column}))


NULLABLE = st.lists(
    st.tuples(
        st.binary(min_size=5, max_size=5) | st.none(),
        st.integers(-(2**31), 2**31 - 1) | st.none(),
        st.booleans() | st.none(),
        st.integers(-(2**63), 2**63 - 1) | st.none(),
        st.datetimes() | st.none(),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=NULLABLE)
def test_bytes_small_numbers_booleans_and_nulls_arrive_as_they_are(
    shared_database: Postgres, rows: list[tuple[Any, ...]]
) -> None:
    kinds = {"code": pa.binary(5), "small": pa.int32(), "flag": pa.bool_(), "number": pa.int64(), "moment": UTC_US}
    columns = zip(*rows, strict=True) if rows else ((),) * len(kinds)
    table = pa.table(
        {name: pa.array(values, kind) for (name, kind), values in zip(kinds.items(), columns, strict=True)}
    )
    # Several tables, and slices, whose offsets into the buffers must be right.
    pieces = [table.slice(0, len(rows) // 2), table.slice(len(rows) // 2)]
    with connections.closing(connections.connect(shared_database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "create temp table sent (code bytea, small integer, flag boolean, number bigint, moment timestamptz)"
        )
        cursor.copy_expert("copy sent from stdin (format binary)", Stream(ahead(binary_copies(pieces))), size=64)
        cursor.execute("select code, small, flag, number, moment::timestamp from sent")
        found = [(None if code is None else bytes(code), *rest) for code, *rest in cursor.fetchall()]
    assert found == rows
