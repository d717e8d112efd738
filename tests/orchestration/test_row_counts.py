"""The row count in the metadata of each table that dbt built."""

import contextlib

import dagster as dg
import pytest

from ingestion.database import connections
from orchestration.assets.row_counts import ROW_COUNT, with_row_counts

MANIFEST = {
    "nodes": {
        f"model.{name}": {"schema": "marts", "name": name, "config": {"materialized": kind}}
        for name, kind in (("built", "table"), ("read", "view"), ("gone", "incremental"))
    }
}


@pytest.fixture
def owner(postgres):
    with contextlib.closing(connections.connect(postgres, "transform")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("create table marts.built as select generate_series(1, 7) as id")
            cursor.execute("create view marts.read as select 1 as id")
        yield connection


def counts(connection) -> list[int | None]:
    outputs = [dg.Output(None, name, metadata={"unique_id": f"model.{name}"}) for name in ("built", "read", "gone")]
    found = list(with_row_counts(outputs, MANIFEST, connection))
    assert [event.output_name for event in found] == ["built", "read", "gone"]
    return [event.metadata[ROW_COUNT].value if ROW_COUNT in event.metadata else None for event in found]


def test_a_built_table_has_its_row_count_and_views_and_missing_tables_have_none(postgres, owner):
    assert counts(owner) == [7, None, None]


def test_a_lost_connection_does_not_fail_the_build(postgres, owner):
    with contextlib.closing(connections.connect(postgres, "transform")) as lost:
        lost.close()
        assert counts(lost) == [None, None, None]
