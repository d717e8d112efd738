"""Clients of the local services in processes of their own, and what runs for a home."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from support.cli import ROOT

TIMEOUT_S = 30.0
AS_ROOT = os.geteuid() == 0

# A tickmart process: starts the services, prints their environment, and ends when its input ends.
CLIENT = """
import json, os, sys
from pathlib import Path
from orchestration.local.children import Children
from orchestration.local.client import local_services
from orchestration.local.processes import LocalServicesError
home, what = Path(sys.argv[1]), sys.argv[2]
try:
    with local_services(home, postgres=True, s3=what != "postgres") as env:
        if what == "children":
            children = Children(home)
            children.spawn("family", ["sh", "-c", "sleep 600 & sleep 600"], dict(os.environ), home / "logs" / "a.log")
        print(json.dumps(env), flush=True)
        sys.stdin.read()
except LocalServicesError as error:
    sys.exit(f"LocalServicesError: {error}")
"""


def start_client(home: Path, what: str = "servers", **options: Any) -> subprocess.Popen[str]:
    options.setdefault("env", dict(os.environ, PYTHONPATH=str(ROOT)))
    return subprocess.Popen(
        [options.pop("python", sys.executable), "-c", CLIENT, home, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def environment_of(client: subprocess.Popen[str]) -> dict[str, str]:
    line = client.stdout.readline()
    assert line, client.stderr.read()
    return json.loads(line)


def leave(client: subprocess.Popen[str]) -> None:
    _, errors = client.communicate(timeout=TIMEOUT_S)
    assert client.returncode == 0, errors


def connect(env: dict[str, str], **other: str) -> psycopg2.extensions.connection:
    login = {"host": env["PGHOST"], "port": env["PGPORT"], "dbname": env["PGDATABASE"], "user": env["PGUSER"]}
    return psycopg2.connect(**{**login, "password": env["PGPASSWORD"], **other})


def ask(env: dict[str, str], *statements: str) -> list[tuple[Any, ...]]:
    connection = connect(env)
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def commands_with(home: Path, word: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if {word, str(home)} <= set(process.info["cmdline"] or []) and runs(process)
    ]


def supervisors(home: Path) -> list[psutil.Process]:
    return commands_with(home, "orchestration.local.supervisor")


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def group_of(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def family(home: Path) -> dict[psutil.Process, str]:
    """The supervisor of a home, its servers and every process of theirs as they run now, with their names."""
    found = {}
    for supervisor in supervisors(home):
        for process in (supervisor, *supervisor.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # a backend whose connection was closed just now
                found[process] = process.name()
    return found


def servers(home: Path, name: str) -> list[psutil.Process]:
    return [process for process, its_name in family(home).items() if its_name.startswith(name)]


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


def remove(home: Path) -> None:
    """Remove a home whose servers still write to it: a folder may gain a file between its listing and its removal."""

    def removed() -> bool:
        shutil.rmtree(home, ignore_errors=True)
        return not home.exists()

    wait_for(removed, f"the removal of {home}")


def wait_until_gone(processes: Iterable[psutil.Process]) -> None:
    assert processes
    wait_for(lambda: not any(map(runs, processes)), f"the end of {processes}")
