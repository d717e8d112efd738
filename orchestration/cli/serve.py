"""The entry points of docker-compose.yml (init, serve) and of Prometheus (metrics).

Does not belong here: the embedded servers (``orchestration.local``), migrations (``ingestion.database.migrate``).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from ingestion import proxies
from ingestion.bronze.lake import Lake
from ingestion.database import connections, migrate, roles
from ingestion.settings import ROLES, Settings, SettingsError, load_settings
from orchestration import environment
from orchestration.cli.errors import clear_errors
from orchestration.cli.output import print_summary
from orchestration.cli.run import refresh
from orchestration.cli.terminal import console
from orchestration.cli.tools import docs_are_current, write_docs
from orchestration.cli.up import CODE_SERVER
from orchestration.local import demo
from orchestration.local.client import local_services, prepare_home
from orchestration.local.nats import nats_binary, write_config
from orchestration.local.processes import WORKING_FOLDER, LocalServicesError
from orchestration.observability import metrics as observability_metrics
from orchestration.orphans import CODE_SERVER_SINCE
from orchestration.runner import dagster_instance
from orchestration.session import dagster_url, export_tools, logins, session

WORKSPACE = Path(__file__).resolve().parents[2] / "docker" / "workspace.yaml"
BROKER = "broker"
PROCESSES: dict[str, Sequence[str]] = {
    "code": (*CODE_SERVER, "-h", "0.0.0.0"),  # noqa: S104 - a container
    "webserver": ("dagster_webserver", "-h", "0.0.0.0", "-w", str(WORKSPACE)),  # noqa: S104 - a container
    "stream": ("ingestion.stream",),
    "daemon": ("dagster._daemon", "run", "-w", str(WORKSPACE)),
}
# The processes that ask the sources; the others reach tickmart's own services only.
ASK_SOURCES = ("code", "stream")
WEAK_SECRETS = {"postgres", "password", "changeme", "minioadmin", "admin", "secret", "tickmart", "dagster", "bronze"}
MIN_SECRET_LENGTH = 12


@click.command()
@clear_errors
def init() -> None:
    """Set up the compose servers and load the first data."""
    settings = load_settings()
    prepare_home(settings.home)
    click.echo(f"tickmart: {initialize(settings)}")
    if not docs_are_current(settings.home):
        try:
            write_docs(settings.home)
        except LocalServicesError as error:  # the services start without the page; the next start tries again
            click.echo(f"tickmart: {error}", err=True)


@click.command()
@click.argument("process", type=click.Choice([*PROCESSES, BROKER]))
@click.option("--port", type=click.IntRange(1, 65_535), help="Port on all addresses.")
@click.option("--read-only", is_flag=True, help="Start a webserver that can only show, not launch.")
@clear_errors
def serve(process: str, port: int | None, read_only: bool) -> None:
    """Run one of the processes of docker-compose.yml: Dagster's, or the stream."""
    # It replaces this process, with its files in the home and telemetry off.
    settings = load_settings()
    prepare_home(settings.home)
    if process == BROKER:
        _serve_broker(settings.home)
    _export(settings)
    if process == "code":
        # Runs of an earlier code server are closed by the sensor `close_dead_runs`, not here: Dagster retries a run as
        # soon as it is closed, and that needs a code server that answers.
        os.environ[CODE_SERVER_SINCE] = str(time.time())
    if process in ASK_SOURCES:
        with connections.connected(settings.postgres, "ingest") as connection:
            demo.apply_source_mode(connection)
    argv = environment.python("-m", *PROCESSES[process], *(["-p", str(port)] if port is not None else []))
    argv += ["--read-only"] * read_only
    click.echo(f"tickmart: starting {process}", err=True)
    sys.stderr.flush()
    os.chdir(settings.home / WORKING_FOLDER)
    env = dict(os.environ) if process in ASK_SOURCES else environment.without_proxies(os.environ)
    os.execve(sys.executable, argv, env)  # noqa: S606


def _serve_broker(home: Path) -> NoReturn:
    """Replace this process by the broker, with its files in the home, on all addresses of its container."""
    password = os.environ.get("NATS_PASSWORD", "")
    if len(password) < MIN_SECRET_LENGTH:
        raise SettingsError(
            f"NATS_PASSWORD is empty or shorter than {MIN_SECRET_LENGTH} characters (not shown): run `make secrets`, "
            "which writes .env"
        )
    login = {"user": "tickmart", "password": password}
    config = write_config(home, "0.0.0.0:4222", login, 'http: "127.0.0.1:8222"\n')
    os.execve(nats_binary(), ["nats-server", "--config", str(config)], environment.system())  # noqa: S606


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=9464, show_default=True, help="0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@clear_errors
def metrics(port: int, host: str) -> None:
    """Serve metrics for Prometheus."""
    settings = load_settings()
    with local_services(settings.home, postgres=settings.postgres is None, s3=False) as env:
        os.environ.update(env)
        server, thread = observability_metrics.serve(load_settings(), host, port)
        click.echo(f"Metrics http://{proxies.join(host, server.server_port)}/metrics")
        sys.stdout.flush()
        thread.join()


def check_secrets(environ: Mapping[str, str]) -> None:
    """Raise SettingsError, without the value, for a password that is empty, short or a known default."""
    names = ["PGPASSWORD", "MINIO_SECRET_KEY", *(f"TICKMART_PG_{role.upper()}_PASSWORD" for role in ROLES)]
    for name in names:
        value = environ.get(name, "")
        if value.lower() in WEAK_SECRETS or len(value) < MIN_SECRET_LENGTH:
            raise SettingsError(
                f"{name} is empty, a known default or shorter than {MIN_SECRET_LENGTH} characters (not shown): "
                "run `make secrets`, which writes .env"
            )


def initialize(settings: Settings) -> str:
    """Create roles, schemas, bucket and Dagster's tables, load an empty warehouse, and return a line about it.

    A failed first load is reported in that line only: the services start, and the hourly schedule tries again.
    """
    if settings.postgres is None or settings.object_store is None:
        raise LocalServicesError("`tickmart init` needs running servers: set PGHOST and MINIO_ENDPOINT")
    check_secrets(os.environ)
    passwords = logins(os.environ)
    if passwords is None:
        raise SettingsError("TICKMART_PG_<ROLE>_USER must be the role's own name for each role: see docker-compose.yml")
    done = "set up" if migrate.bootstrap(settings.postgres, passwords) else "is up to date"
    roles.set_passwords(settings.postgres, passwords)
    Lake(settings.object_store).ensure_bucket()
    _export(settings)
    with dagster_instance() as instance:
        instance.get_runs(limit=1)
    demo.validate_source_mode(settings)
    with connections.connected(settings.postgres, "ingest") as connection:
        # A restored database has its rows, but no marts: the first load builds them.
        query = """
            select exists (select from raw.binance_klines) and exists (
                select from pg_class where relname = 'fct_prices' and relnamespace = to_regnamespace('marts')
            )
        """
        [(loaded,)] = connections.fetch(connection, query)
    if loaded:
        return f"database {done}; the warehouse has data"
    with session() as ready:
        summary = refresh(ready, "init")
    print_summary(summary, console(sys.stderr))
    reason = f" ({summary['error']}); the hourly schedule tries again" if summary.get("error") else ""
    return f"database {done}; first load: {summary['status']}{reason}"


def _export(settings: Settings) -> None:
    os.environ["TICKMART_HOME"] = str(settings.home)
    os.environ["DAGSTER_PG_URL"] = dagster_url(os.environ)
    export_tools(settings)
