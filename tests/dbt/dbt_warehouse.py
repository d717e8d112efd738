"""One database with raw, ops and roles as tickmart sets them up, and a dbt that runs in this process.

Belongs here: what the tests of the warehouse do to a database and to dbt. Does not: fixtures (``conftest``), rows
(``small_markets``), judging.
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


# The parsed project names its database, so every module's warehouse bears this name and replaces the one before.
DATABASE = "tickmart_dbt"
_manifests: list[Any] = []


def connect_arguments(variables: dict[str, str]) -> dict[str, str]:
    """Keyword arguments of psycopg2.connect for the given PG* variables."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    return {names[key]: value for key, value in variables.items() if key in names}


@dataclass
class DbtResult:
    """What one dbt invocation did: success, the status of each node by name, and everything that it logged."""

    success: bool
    statuses: dict[str, str]
    log: str


@dataclass
class Warehouse:
    """One database with raw, ops and roles as tickmart sets them up, and dbt on top of it."""

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
        """The variables that the launcher gives to dbt."""
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
        """Run dbt in this process with the project parsed once, so that a call costs little more than its queries."""
        from dbt.cli.main import dbtRunner

        fixed = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(self.target)]
        fixed += ["--log-path", str(self.target / "logs")]
        lines: list[str] = []
        previous = {key: os.environ.get(key) for key in self.environment()}
        os.environ.update(self.environment())
        try:
            if not _manifests and arguments[0] != "parse":
                with contextlib.redirect_stdout(io.StringIO()):
                    _manifests.append(dbtRunner().invoke(["parse", *fixed]).result)
            runner = dbtRunner(
                manifest=_manifests[0] if _manifests else None, callbacks=[lambda event: lines.append(event.info.msg)]
            )
            with contextlib.redirect_stdout(io.StringIO()):
                outcome = runner.invoke([*arguments, *fixed])
        finally:
            for key, value in previous.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})
        if outcome.exception:
            raise outcome.exception
        results = [result for result in getattr(outcome.result, "results", []) if hasattr(result, "node")]
        statuses = {result.node.name: str(result.status) for result in results}
        return DbtResult(outcome.success, statuses, "\n".join(lines))

    def build(self, *arguments: str) -> DbtResult:
        """`dbt build` of everything but unit tests; fails the test with dbt's own words if it is not green."""
        result = self.dbt("build", "--exclude-resource-type", "unit_test", *arguments)
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
