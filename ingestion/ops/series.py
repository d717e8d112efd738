"""Requests of daily series in the ``ops`` schema: when each was answered, so that a run requests what can be new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ingestion.database.connections import Connection, execute, fetch, write_rows
from ingestion.datasets import Dataset


@dataclass(frozen=True)
class Answers:
    """When a series was last answered, and when for its complete history (None: it must be requested)."""

    answered_at: datetime
    history_at: datetime | None


def answers(connection: Connection, dataset: Dataset) -> dict[str, Answers]:
    """Return the answers by series; a series that never answered is absent."""
    query = "select series, answered_at, history_at from ops.series_requests where dataset = %s"
    return {series: Answers(at, history_at) for series, at, history_at in fetch(connection, query, (dataset.name,))}


def record_answers(
    connection: Connection, dataset: Dataset, histories: Iterable[tuple[str, bool]], at: datetime
) -> None:
    """Record that series were answered at a moment; each comes with whether its complete history was requested."""
    rows = [(dataset.name, series, at, at if is_history else None) for series, is_history in histories]
    statement = """
        insert into ops.series_requests as known (dataset, series, answered_at, history_at) values %s
        on conflict (dataset, series) do update set
            answered_at = excluded.answered_at, history_at = coalesce(excluded.history_at, known.history_at)
    """
    if rows:
        write_rows(connection, statement, rows)


def request_histories(connection: Connection, dataset: Dataset) -> None:
    """Make the next run request the complete history of every series of a dataset."""
    execute(connection, "update ops.series_requests set history_at = null where dataset = %s", (dataset.name,))
