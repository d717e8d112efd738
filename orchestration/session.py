"""A command's session: its servers run, the warehouse is set up, and the environment reaches both.

Belongs here: what every command with a database needs. Does not: the command line (``cli``), the servers (``local``),
running a job (``runner``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg2

from ingestion import proxies
from ingestion.database import connections, migrate
from ingestion.database.connections import WarehouseError
from ingestion.settings import ROLES, Role, Settings, load_settings
from ingestion.universe import read_universe
from orchestration.imports import import_in_background
from orchestration.local import demo
from orchestration.local.client import local_services, prepare_home
from orchestration.local.credentials import write_private
from orchestration.local.processes import LocalServicesError
from orchestration.maintenance import disk
from orchestration.observability.attempts import record_failure

# What a run imports while its servers start.
DAGSTER = ("dagster", "dagster_postgres", "orchestration.assets.dagster_dbt", "orchestration.quality.checks")

LIVE_COMMANDS = ("up", "demo")


@contextmanager
def session(*, postgres: bool = True, s3: bool = True, nats: bool = False, set_up: bool = True) -> Iterator[Settings]:
    """Start the local services that are needed, set the warehouse up, and yield the settings that reach both.

    With ``nats`` the broker of live prices is one of them. Without ``set_up`` the database is not changed: it may be
    empty or of another version.

    Raises SettingsError, UniverseError, LocalServicesError or WarehouseError, each with a one-line message.
    """
    initial = load_settings()
    read_universe(initial.universe_path)
    os.environ["TICKMART_HOME"] = str(initial.home)
    prepare_home(initial.home)
    with local_services(
        initial.home,
        postgres=postgres and initial.postgres is None,
        s3=s3 and initial.object_store is None,
        nats=nats and initial.nats_url is None,
        simulator_seed=demo.seed_of(initial.home) if postgres or s3 else None,
    ) as env:
        os.environ.update(env)
        settings = load_settings()
        if set_up and postgres and settings.postgres is not None:
            migrate.bootstrap(settings.postgres, logins(os.environ))
            _export_roles(settings)
            with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
                demo.apply_source_mode(connection)
            settings = load_settings()
        export_tools(settings)
        yield settings


@contextmanager
def run_session(command: str) -> Iterator[Settings]:
    """Open a session for a run, and import what it needs meanwhile; if it fails, record the run as failed.

    `up` and `demo` have live prices unless these are off: their runs then expect the datasets of the stream.
    """
    if command in LIVE_COMMANDS and load_settings().live is None:
        os.environ["TICKMART_LIVE"] = "on"
    home = load_settings().home
    with ExitStack() as opened:
        imports = import_in_background(*DAGSTER)
        try:
            settings = opened.enter_context(session(nats=command in LIVE_COMMANDS and bool(load_settings().live)))
        except (LocalServicesError, WarehouseError, psycopg2.Error) as error:
            record_failure(home, "run", f"tickmart {command}", disk.explained(error, home) or error)
            raise
        imports.join()
        yield settings


def logins(environ: Mapping[str, str]) -> dict[Role, str] | None:
    """Return the passwords of the roles' own logins, None if the owner uses `set role` instead."""
    names: dict[Role, str] = {role: f"TICKMART_PG_{role.upper()}" for role in ROLES}
    if any(environ.get(f"{name}_USER") != role for role, name in names.items()):
        return None
    return {role: environ[f"{name}_PASSWORD"] for role, name in names.items()}


def _export_roles(settings: Settings) -> None:
    """Export how to connect as each role: with its own login, or as the owner with `set role`."""
    assert settings.postgres is not None
    os.environ.update(PGHOST=settings.postgres.host, PGPORT=str(settings.postgres.port))
    os.environ["PGDATABASE"] = settings.postgres.database
    for role in ROLES:
        name = f"TICKMART_PG_{role.upper()}"
        if f"{name}_USER" not in os.environ:
            os.environ[f"{name}_USER"] = settings.postgres.user
            os.environ[f"{name}_PASSWORD"] = settings.postgres.password
            os.environ[f"{name}_ROLE"] = role
    os.environ["DAGSTER_PG_URL"] = dagster_url(os.environ)


def dagster_url(environ: Mapping[str, str]) -> str:
    """Return the SQLAlchemy URL of Dagster's schema in the warehouse's database."""
    role = environ.get("TICKMART_PG_DAGSTER_ROLE", "")
    # A crash may lose the last moments of the run log; commits to the warehouse itself stay synchronous.
    options = "-c search_path=dagster -c timezone=UTC -c synchronous_commit=off" + (f" -c role={role}" if role else "")
    user = quote(environ["TICKMART_PG_DAGSTER_USER"], safe="")
    password = quote(environ["TICKMART_PG_DAGSTER_PASSWORD"], safe="")
    where = f"{proxies.join(environ['PGHOST'], int(environ['PGPORT']))}/{quote(environ['PGDATABASE'], safe='')}"
    # The driver is named: SQLAlchemy 2.1 would read plain postgresql:// as psycopg 3.
    return f"postgresql+psycopg2://{user}:{password}@{where}?options={quote(options)}"


def export_tools(settings: Settings) -> None:
    """Set the variables of Dagster, dbt and GX: files in the home, telemetry off."""
    dagster_home = settings.home / "dagster"
    dagster_home.mkdir(exist_ok=True)
    instance = dagster_home / "dagster.yaml"
    text = Path(__file__).with_name("dagster.yaml").read_text()
    if not instance.exists() or instance.read_text() != text:
        write_private(instance, text)  # atomically: services that share a home start together
    os.environ.update(
        DAGSTER_HOME=str(dagster_home),
        # A range of three years is 1,096 materializations per asset: one by one 34 s, in batches well under one.
        DAGSTER_EVENT_BATCH_SIZE="1000",
        DBT_PROFILES_DIR=str(Path(__file__).resolve().parent.parent / "dbt_project"),
        DBT_LOG_PATH=str(settings.home / "logs" / "dbt"),
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
        DO_NOT_TRACK="1",
        GX_ANALYTICS_ENABLED="false",
        STREAMLIT_BROWSER_GATHER_USAGE_STATS="false",
        # Warnings of the tools are for their developers; tests see them.
        PYTHONWARNINGS="ignore",
    )
