"""The stack as services: what the one-shot initialiser does, and how Dagster's processes are started.

Belongs here: setting servers up that others run (``docker-compose.yml``), and becoming one of the long-running
processes. Does not: the embedded servers and their children (``stack``, ``up``), what stands in a database
(``ingestion.database.migrate``).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ingestion.bronze.lake import Lake
from ingestion.database import connections, migrate, roles
from ingestion.settings import ROLES, Settings, SettingsError, load_settings
from orchestration import environment
from orchestration.local import demo
from orchestration.local.client import prepare_home
from orchestration.local.processes import WORKING_FOLDER, LocalServicesError
from orchestration.orphans import CODE_SERVER_SINCE
from orchestration.runner import dagster_instance, dagster_url, export_tools, logins

# Dagster would put the folder it works in on the search path of the code that it loads.
CODE_SERVER = ("dagster", "api", "grpc", "-m", "orchestration.definitions", "--empty-working-directory")
WORKSPACE = Path(__file__).resolve().parents[2] / "docker" / "workspace.yaml"
PROCESSES: dict[str, Sequence[str]] = {
    "code": (*CODE_SERVER, "-h", "0.0.0.0"),  # noqa: S104 - a container
    "webserver": ("dagster_webserver", "-h", "0.0.0.0", "-w", str(WORKSPACE)),  # noqa: S104 - a container
    "daemon": ("dagster._daemon", "run", "-w", str(WORKSPACE)),
}
TOO_SIMPLE = {"postgres", "password", "changeme", "minioadmin", "admin", "secret", "tickmart", "dagster", "bronze"}
SHORTEST_SECRET = 12


def refuse_weak_secrets(environ: Mapping[str, str]) -> None:
    """Raise SettingsError for a password of the stack that is empty, a known default or short; never show it."""
    names = ["PGPASSWORD", "MINIO_SECRET_KEY", *(f"TICKMART_PG_{role.upper()}_PASSWORD" for role in ROLES)]
    for name in names:
        value = environ.get(name, "")
        if value.lower() in TOO_SIMPLE or len(value) < SHORTEST_SECRET:
            raise SettingsError(
                f"{name} is empty, a known default or shorter than {SHORTEST_SECRET} characters (it is not shown): "
                "run `make secrets`, which writes .env"
            )


def initialise(settings: Settings, first_load: Callable[[], dict[str, Any]]) -> str:
    """Set up roles with their logins, schemas, bucket and Dagster's tables; load an empty warehouse; say what was done.

    A first load that fails is told and does not keep the stack from starting: the hourly schedule repeats it.
    """
    if settings.postgres is None or settings.object_store is None:
        raise LocalServicesError("`tickmart init` sets up servers that run already: set PGHOST and MINIO_ENDPOINT")
    refuse_weak_secrets(os.environ)
    passwords = logins(os.environ)
    if passwords is None:
        raise SettingsError("TICKMART_PG_<ROLE>_USER must be the role's own name for each role: see docker-compose.yml")
    done = ["set up" if migrate.bootstrap(settings.postgres, passwords) else "stands"]
    roles.set_passwords(settings.postgres, passwords)
    Lake(settings.object_store).ensure_bucket()
    _export(settings)
    with dagster_instance() as instance:
        instance.get_runs(limit=1)
    demo.settle(settings)
    with (
        connections.closing(connections.connect(settings.postgres, "ingest")) as connection,
        connection.cursor() as cursor,
    ):
        # A restored database has its rows, but no marts: the first load builds them.
        cursor.execute(
            "select exists (select from raw.binance_klines) and exists ("
            "select from pg_class where relname = 'fct_prices' and relnamespace = to_regnamespace('marts'))"
        )
        loaded = cursor.fetchone() == (True,)
    if loaded:
        return f"database {done[0]}; the warehouse holds data"
    summary = first_load()
    reason = f" ({summary['error']}); the hourly schedule tries it again" if summary.get("error") else ""
    return f"database {done[0]}; first load: {summary['status']}{reason}"


def become(name: str, port: int | None, *, read_only: bool) -> None:
    """Replace this process by one of Dagster's, its files under the home and every telemetry off."""
    settings = load_settings()
    prepare_home(settings.home)
    _export(settings)
    if name == "code":
        # Not closed here: Dagster tries a run that died once more as soon as it is closed, and gives up when no code
        # server answers. The sensor `close_dead_runs` runs in one that does.
        os.environ[CODE_SERVER_SINCE] = str(time.time())
        assert settings.postgres is not None
        with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
            demo.follow(connection)
    argv = environment.python("-m", *PROCESSES[name], *(["-p", str(port)] if port is not None else []))
    if read_only:
        argv.append("--read-only")
    click.echo(f"tickmart: {name} starts", err=True)
    sys.stderr.flush()
    os.chdir(settings.home / WORKING_FOLDER)
    env = dict(os.environ) if name == "code" else environment.without_proxies(os.environ)
    os.execve(sys.executable, argv, env)  # noqa: S606


def _export(settings: Settings) -> None:
    os.environ["TICKMART_HOME"] = str(settings.home)
    os.environ["DAGSTER_PG_URL"] = dagster_url(os.environ)
    export_tools(settings)
