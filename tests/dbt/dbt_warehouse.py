"""A database with raw, ops and roles as tickmart creates them, and dbt in this process.

Belongs here: access to the database and to dbt. Does not: fixtures (``conftest``), rows (``small_markets``),
comparisons (``refresh_equality``).
"""

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "dbt_project"
SCHEMAS_SQL = Path(__file__).with_name("warehouse.sql")


# The parsed project contains the name of its database, so each module's warehouse replaces the one before.
DATABASE = "tickmart_dbt"
# Writing manifest.json and the debug log costs 0.4 s of CPU a call.
NO_FILES = ("--no-write-json", "--log-level-file", "none", "--cache-selected-only")
_parsed: list["DbtResult"] = []


def connect_arguments(variables: dict[str, str]) -> dict[str, str]:
    """Keyword arguments of psycopg2.connect for the given PG* variables."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    return {names[key]: value for key, value in variables.items() if key in names}


@dataclass
class DbtResult:
    """One dbt invocation: success, status of each node by name, log from level info on, and dbt's own result."""

    success: bool
    statuses: dict[str, str]
    log: str
    value: Any


@dataclass
class Warehouse:
    """A database with raw, ops and roles as tickmart creates them, and dbt on it."""

    variables: dict[str, str]
    target: Path
    timezone: str | None = None

    def connect(self) -> Any:
        """A new autocommitting superuser connection."""
        connection = psycopg2.connect(**connect_arguments(self.variables), options="-c timezone=UTC")
        connection.autocommit = True
        return connection

    def execute(self, statement: str, parameters: Sequence[Any] | None = None) -> None:
        """Run one or more statements as superuser."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    def query(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of one query, as superuser, in a session whose time zone is UTC."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())

    def copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """COPY rows into a table; None becomes null."""
        buffer = io.StringIO()
        for row in rows:
            buffer.write("\t".join("\\N" if value is None else str(value) for value in row) + "\n")
        buffer.seek(0)
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.copy_expert(f"copy {table} ({', '.join(columns)}) from stdin", buffer)

    def environment(self) -> dict[str, str]:
        """The variables that tickmart gives to dbt."""
        given = {key: self.variables[key] for key in ("PGHOST", "PGPORT", "PGDATABASE")}
        given |= {
            "TICKMART_PG_TRANSFORM_USER": self.variables["PGUSER"],
            "TICKMART_PG_TRANSFORM_PASSWORD": self.variables["PGPASSWORD"],
            "TICKMART_PG_TRANSFORM_ROLE": "transform",
        }
        if self.timezone:
            given |= {"TZ": self.timezone, "PGTZ": self.timezone}
        return given

    def dbt(self, *arguments: str) -> DbtResult:
        """Run dbt in this process on the project that the session has parsed."""
        return self._invoke([*arguments, *NO_FILES], self.parsed().value)

    def parsed(self) -> DbtResult:
        """Parse the project, one time per session; its manifest is also in ``target/manifest.json``."""
        if not _parsed:
            _parsed.append(self._invoke(["parse", "--show-all-deprecations", "--no-partial-parse"], None))
            assert _parsed[0].success, _parsed[0].log
        return _parsed[0]

    def _invoke(self, arguments: list[str], manifest: Any) -> DbtResult:
        from dbt.cli.main import dbtRunner

        fixed = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(self.target)]
        fixed += ["--log-path", str(self.target / "logs")]
        lines: list[str] = []

        def record(event: Any) -> None:
            if event.info.level not in ("debug", "test"):
                lines.append(f"[{event.info.level.upper()}] {event.info.msg}")

        previous = {key: os.environ.get(key) for key in self.environment()}
        os.environ.update(self.environment())
        try:
            runner = dbtRunner(manifest=manifest, callbacks=[record])
            with contextlib.redirect_stdout(io.StringIO()):
                outcome = runner.invoke([*arguments, *fixed])
        finally:
            for key, value in previous.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})
        if outcome.exception:
            raise outcome.exception
        results = [result for result in getattr(outcome.result, "results", []) if hasattr(result, "node")]
        statuses = {result.node.name: str(result.status) for result in results}
        return DbtResult(outcome.success, statuses, "\n".join(lines), outcome.result)

    def build(self, *arguments: str) -> DbtResult:
        """`dbt build` without unit tests; raise AssertionError with dbt's log if a node fails."""
        return self._successful("build", "--exclude-resource-type", "unit_test", *arguments)

    def run(self, *arguments: str) -> DbtResult:
        """`dbt run`; raise AssertionError with dbt's log if a model fails."""
        return self._successful("run", *arguments)

    def _successful(self, *arguments: str) -> DbtResult:
        result = self.dbt(*arguments)
        assert result.success, result.log[-6000:]
        return result


def create_warehouse(postgres: dict[str, str], target: Path, *, timezone: str | None = None) -> Warehouse:
    """Create (or replace) the database with the schemas, roles and grants of tests/dbt/warehouse.sql."""
    with contextlib.closing(psycopg2.connect(**connect_arguments(postgres))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(DATABASE)))
            cursor.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
            if timezone:
                cursor.execute(
                    sql.SQL("alter database {} set timezone = {}").format(
                        sql.Identifier(DATABASE), sql.Literal(timezone)
                    )
                )
    warehouse = Warehouse(postgres | {"PGDATABASE": DATABASE}, target, timezone)
    warehouse.execute(SCHEMAS_SQL.read_text())
    for migration in sorted((ROOT / "ingestion/database/migrations").glob("*.sql")):
        warehouse.execute(migration.read_text())
    warehouse.execute("grant select on all tables in schema raw, ops to transform")
    return warehouse
