"""The event log stores what Dagster's own event log stores, and reads the same records, whatever events a run has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster_postgres.event_log import PostgresEventLogStorage

from ingestion.settings import Postgres
from orchestration.event_log import EventLog

TABLES = {
    "event_logs": "run_id, dagster_event_type, step_key, asset_key, partition, event",
    "asset_keys": "asset_key, last_materialization, last_run_id, last_materialization_timestamp is null as is_new",
    "asset_event_tags": "asset_key, key, value",
    "asset_check_executions": "asset_key, check_name, partition, run_id, execution_status, evaluation_event,"
    " evaluation_event_storage_id is null as not_stored, materialization_event_storage_id is null as no_target",
}
# What differs from run to run: ids, process ids, times, durations and the place of a function in memory.
RUN_SPECIFIC = re.compile(r'[0-9a-f]{64}|[0-9a-f]{8}-[0-9a-f-]{27}|"log_key": "\w+"|\d+(\.\d+)?(e-\d+)?(ms|s)?|/\S+')
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-06")


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def fetched() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 3}, tags={"source": "rest"})


@dg.multi_asset(
    specs=[dg.AssetSpec("loaded", deps=[fetched], skippable=True), dg.AssetSpec("unchanged", skippable=True)],
    check_specs=[dg.AssetCheckSpec("has_rows", asset="loaded"), dg.AssetCheckSpec("not_evaluated", asset="loaded")],
    can_subset=True,
)
def load(context: dg.AssetExecutionContext) -> Iterator[Any]:
    context.log_event(dg.AssetObservation("unchanged", metadata={"build": "skipped"}, tags={"why": "unchanged"}))
    yield dg.MaterializeResult(asset_key="loaded")
    yield dg.AssetCheckResult(passed=False, check_name="has_rows", asset_key="loaded")


@dg.asset(deps=["loaded"])
def broken() -> None:
    raise ValueError("no such column")


def stored(storage: type, postgres: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Rows of Dagster's tables after three runs with a storage class, without what differs from run to run."""
    schema = storage.__name__.lower()
    with psycopg2.connect(**postgres.connect_kwargs()) as connection, connection.cursor() as cursor:
        cursor.execute(f"create schema {schema}")
    address = f"{postgres.host}:{postgres.port}/{postgres.database}?options=-csearch_path%3D{schema}"
    monkeypatch.setenv("DAGSTER_PG_URL", f"postgresql+psycopg2://{postgres.user}:{postgres.password}@{address}")
    (folder / schema).mkdir()
    event_log = {
        "module": storage.__module__, "class": storage.__name__, "config": {"postgres_url": {"env": "DAGSTER_PG_URL"}},
    }  # fmt: skip
    definitions = dg.Definitions([fetched, load, broken], jobs=[dg.define_asset_job("all", "*")])
    with dg.DagsterInstance.from_ref(
        InstanceRef.from_dir(str(folder / schema), overrides={"event_log_storage": event_log})
    ) as instance:
        assert type(instance.event_log_storage) is storage
        days = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-01-05"}
        job = definitions.resolve_job_def("all")
        for _ in range(2):
            assert not job.execute_in_process(instance=instance, tags=days, raise_on_error=False).success
        instance.wipe_assets([dg.AssetKey("loaded")])
        job.execute_in_process(instance=instance, tags=days, raise_on_error=False)
        instance.wipe_assets([dg.AssetKey("fetched")])
        records = {
            r.asset_entry.asset_key: r.asset_entry.last_materialization
            and r.asset_entry.last_materialization.get_dagster_event().partition
            for r in instance.get_asset_records()
        }
        partitions = instance.get_materialized_partitions(dg.AssetKey("fetched"))
    found: dict[str, Any] = {"records": records, "partitions": partitions}
    with psycopg2.connect(**postgres.connect_kwargs()) as connection, connection.cursor() as cursor:
        for table, columns in TABLES.items():
            cursor.execute(f"select {columns} from {schema}.{table} order by id")
            found[table] = [tuple(RUN_SPECIFIC.sub("…", str(value)) for value in row) for row in cursor.fetchall()]
    return found


def test_the_event_log_stores_what_dagster_stores(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "4")
    ours = stored(EventLog, postgres, tmp_path, monkeypatch)
    dagsters = stored(PostgresEventLogStorage, postgres, tmp_path, monkeypatch)
    assert len(ours["event_logs"]) > 60
    assert {"ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION", "ASSET_MATERIALIZATION_PLANNED"} <= {
        row[1] for row in ours["event_logs"]
    }
    assert len(ours["asset_event_tags"]) > 10
    for name in dagsters:
        assert ours[name] == dagsters[name], name
