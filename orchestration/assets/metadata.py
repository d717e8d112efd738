"""Metadata that the bronze and raw assets share: owners, schemas, partitions."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

from ingestion.database.connections import Connection
from ingestion.datasets import Dataset
from ingestion.ops import runs
from orchestration.partitions import chosen_days

ONE_RUN = dg.BackfillPolicy.single_run()
OWNERS = ["team:market-data"]
# In ops.versions: the digest of the dbt project that built the marts. Any other value causes a full refresh.
BUILT_PROJECT = "dbt_project"


def request_full_refresh(connection: Connection) -> None:
    """Make the next dbt build a full refresh; the request lasts until one succeeds."""
    runs.set_version(connection, BUILT_PROJECT, "full refresh requested")


def days(context: dg.AssetExecutionContext) -> str | None:
    """Return the run's chosen range of days as it is logged, or None when it has none."""
    chosen = chosen_days(context.run.tags)
    if chosen is None:
        return None
    first, last = chosen[0], chosen[1] - timedelta(days=1)
    return str(first) if first == last else f"{first}...{last}"


def counted_runs(context: Any) -> list[str]:
    """Return the runs whose records count as this run's: itself and, if it repeats only some steps, those it repeats.

    Dagster repeats the failed steps of a run (re-execution from failure, and its own retry after a crash) under a new
    run id; the records of the other steps have the old one.
    """
    run, counted = context.run, [context.run.run_id]
    while run is not None and run.parent_run_id is not None and run.step_keys_to_execute is not None:
        counted.append(run.parent_run_id)
        run = context.instance.get_run_by_id(run.parent_run_id)
    return counted


def bronze_columns(dataset: Dataset) -> dict[str, Any]:
    """Return the columns of a bronze object with their descriptions, as metadata of its asset."""
    return _columns((f.name, str(f.type), dataset.descriptions[f.name], f.nullable) for f in dataset.schema)


def raw_columns(dataset: Dataset) -> dict[str, Any]:
    """Return the columns of a raw table that the dataset declares with their descriptions, as metadata of its asset."""
    return _columns((c.name, c.postgres, c.description, not c.required) for c in dataset.columns)


def _columns(columns: Iterable[tuple[str, str, str, bool]]) -> dict[str, Any]:
    """Return columns (name, type, description, nullable) as Dagster shows them."""
    shown = [
        dg.TableColumn(name, type_, description, constraints=dg.TableColumnConstraints(nullable=nullable))
        for name, type_, description, nullable in columns
    ]
    return {"dagster/column_schema": dg.TableSchema(shown)}
