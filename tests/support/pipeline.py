"""Bronze and raw of one test on real servers: `Chain` goes from a source through bronze to raw."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ingestion.bronze.lake import Lake
from ingestion.bronze.write import Context
from ingestion.database import connections
from ingestion.datasets import Dataset
from ingestion.raw import loader
from ingestion.raw.loader import load_pending
from ingestion.settings import Postgres


@dataclass
class Chain:
    """One test's bronze and raw on real servers, and the way between them; every step takes a batch id of its own."""

    postgres: Postgres
    lake: Lake
    connection: connections.Connection
    _steps: list[str] = field(default_factory=list)

    def context(self) -> Context:
        """What an ingestion needs, under the next batch id."""
        self._steps.append(f"batch-{len(self._steps) + 1}")
        return Context(self.lake, self.connection, self._steps[-1])

    def load(self, dataset: Dataset) -> loader.Loaded:
        """Load what is pending; the test fails if an object is damaged."""
        loaded, damaged = self.load_with_damage(dataset)
        assert damaged == []
        return loaded

    def load_with_damage(self, dataset: Dataset) -> tuple[loader.Loaded, list[str]]:
        """Load what is pending; return what changed, and what was damaged."""
        return load_pending(self.lake, self.connection, dataset, self.context().batch_id)

    def clear_records(self) -> None:
        """Empty every table of raw and ops, but for what the database itself has gone through."""
        tables = self.ask(
            "select schemaname, tablename from pg_tables"
            " where schemaname in ('raw', 'ops') and tablename <> 'migrations'"
        )
        # Not truncate, which rewrites files: most tables are empty already.
        self.ask("; ".join(f"delete from {schema}.{table}" for schema, table in tables))

    def ask(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one query, as the owner, in UTC."""
        with connections.closing(connections.connect(self.postgres)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters) or None)
            rows = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
            return rows

    def one(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """The single value of one query."""
        return self.ask(statement, parameters)[0][0]
