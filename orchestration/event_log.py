"""Dagster's event log in Postgres with fewer statements per event; ``dagster.yaml`` names it.

Belongs here: how an event reaches Dagster's own tables. Does not: which events there are, and what reads them.

dagster-postgres sends two to six statements per event, and asks the catalog for its own columns: 5 ms per event. A
backfill of three years plans 3,391 partitions of assets before it begins, 17 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import compress
from threading import local
from typing import Any

from dagster import AssetKey, EventLogRecord
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import AssetKeyTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.migration import ASSET_KEY_INDEX_COLS
from dagster._serdes import ConfigurableClassData, deserialize_value
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.engine import Connection

_INSERT = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)


@cache
def _upsert(columns: tuple[str, ...]) -> Insert:
    """Return the statement for rows of assets with these columns; building it takes longer than running it."""
    statement = insert(AssetKeyTable)
    updated = {name: statement.excluded[name] for name in columns if name != "asset_key"}
    key_columns = [AssetKeyTable.c.asset_key]
    if not updated:
        return statement.on_conflict_do_nothing(index_elements=key_columns)
    return statement.on_conflict_do_update(index_elements=key_columns, set_=updated)


class EventLog(PostgresEventLogStorage):
    """Writes one event or a batch of events in one transaction, each table in one statement.

    It sends no NOTIFY, which nothing listens to since Dagster 1.5.
    """

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> EventLog:
        """Return the event log that ``dagster.yaml`` configures."""
        return cls(postgres_url=pg_url_from_config(config_value), inst_data=inst_data)

    def __init__(self, *args: Any, **keywords: Any) -> None:
        # Dagster queries the catalog for its own columns in most of its statements; they stay once they are there.
        self._columns: set[str] = set()
        self._within = local()
        super().__init__(*args, **keywords)
        self.has_table = cache(super().has_table)  # type: ignore[method-assign]

    def index_connection(self) -> AbstractContextManager[Connection]:
        """Return a connection that commits each statement; within a transaction of this thread, that of it."""
        within: Connection | None = getattr(self._within, "transaction", None)
        return super().index_connection() if within is None else nullcontext(within)

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events; of the events of an asset, the last one updates its row in the table of assets."""
        of_assets = [bool(e.dagster_event_type in ASSET_EVENTS and e.get_dagster_event().asset_key) for e in events]
        of_checks = [event.dagster_event_type in ASSET_CHECK_EVENTS for event in events]
        if not any(of_assets) and not any(of_checks):
            with self.index_connection() as connection:
                self._insert(connection, events)
            return
        with self.index_transaction() as connection:
            self._within.transaction = connection
            try:
                stored = list(zip(events, self._insert(connection, events), strict=True))
                if any(of_assets):
                    changed = list(compress(stored, of_assets))
                    self._store_asset_event_tags(connection, *zip(*changed, strict=True))
                    self._store_assets(connection, changed)
                for event, event_id in compress(stored, of_checks):
                    self.store_asset_check_event(event, event_id)
            finally:
                del self._within.transaction

    def _insert(self, connection: Connection, events: Sequence[EventLogEntry]) -> Sequence[int]:
        """Insert events in one statement, and return their ids."""
        rows = [self._event_to_row(event) for event in events]
        return connection.execute(_INSERT, rows if len(rows) > 1 else rows[0]).scalars().all()

    def _store_assets(self, connection: Connection, events: Sequence[tuple[EventLogEntry, int]]) -> None:
        """Upsert the rows of the assets of these events."""
        has_columns = self.has_secondary_index(ASSET_KEY_INDEX_COLS)
        rows: dict[str, dict[str, Any]] = {}
        for event, event_id in events:
            key = event.get_dagster_event().asset_key.to_string()  # type: ignore[union-attr]
            rows.setdefault(key, {"asset_key": key}).update(self._get_asset_entry_values(event, event_id, has_columns))
        for columns in {tuple(row) for row in rows.values()}:
            # In one order, so that two runs do not wait for each other's rows.
            connection.execute(_upsert(columns), [row for _, row in sorted(rows.items()) if tuple(row) == columns])

    def has_asset_key_col(self, column_name: str) -> bool:
        """Return whether the table of assets has a column."""
        return column_name in self._columns or super().has_asset_key_col(column_name)

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._columns.add(column_name)
        return column_name in self._columns

    def _get_latest_materialization_records(self, raw_asset_rows: Iterable[Any]) -> Mapping[AssetKey, Any]:
        """Read the record in the row of an asset; search the log only where there is none, or where it was wiped."""
        known: dict[AssetKey, Any] = {}
        others = []
        for row in raw_asset_rows:
            key = AssetKey.from_db_string(row["asset_key"])
            record = deserialize_value(row["last_materialization"]) if row["last_materialization"] else None
            if key and isinstance(record, EventLogRecord) and not row["asset_details"]:
                known[key] = record
            else:
                others.append(row)
        return {**known, **super()._get_latest_materialization_records(others)} if others else known
