"""Runs the processes of ``tickmart up`` and ``demo`` (Dagster, dashboard, Data Docs) until Ctrl-C.

Does not belong here: ending them with this process, which ``orchestration.local.children`` does.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from ingestion import proxies
from ingestion.settings import Settings, SettingsError, home_of
from orchestration import environment
from orchestration.alerting import outbox
from orchestration.cli.connect import session_snippets
from orchestration.local import demo
from orchestration.local.children import Children
from orchestration.local.processes import WORKING_FOLDER, LocalServicesError, free_port, port_owner_message
from orchestration.observability import health
from orchestration.orphans import close_orphans
from orchestration.quality import data_docs
from orchestration.runner import dagster_instance

ROOT = Path(__file__).resolve().parents[2]
# By default Dagster puts its working directory on the search path of the code that it loads.
CODE_SERVER = ("dagster", "api", "grpc", "-m", "orchestration.definitions", "--empty-working-directory")
READY_WITHIN_S = 120.0
CHECK_EVERY_S = 60.0
# Prefixes of variables that the dashboard does not get: anyone may open it.
NOT_FOR_THE_DASHBOARD = (
    "TICKMART_PG_", "DAGSTER_PG_", "MINIO_", "COINGECKO_API_KEY", "X_BEARER_TOKEN", "SLACK_WEBHOOK_URL", "SMTP_URL",
    "HEARTBEAT_URL", "NATS_URL",
)  # fmt: skip


def _port(variable: str, preferred: int) -> int:
    """Return the port in the variable, else the preferred one if it is free, else a free one."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return free_port(preferred)
    if not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise SettingsError(f"{variable}: {text!r} is not a port (1 to 65535)")
    if free_port(int(text)) != int(text):
        raise LocalServicesError(port_owner_message(int(text), variable))
    return int(text)


def _export_ports() -> dict[str, int]:
    """Choose the ports of the servers, and export the addresses that messages link to."""
    ports = {
        "dagster": _port("TICKMART_DAGSTER_PORT", 3000),
        "dashboard": _port("TICKMART_DASHBOARD_PORT", 8501),
        "data-docs": _port("TICKMART_DATA_DOCS_PORT", 8502),
    }
    os.environ["TICKMART_DAGSTER_URL"] = f"http://127.0.0.1:{ports['dagster']}"
    os.environ["TICKMART_DATA_DOCS_URL"] = f"http://127.0.0.1:{ports['data-docs']}"
    return ports


@contextmanager
def only_one(home: Path, command: str = "up") -> Iterator[None]:
    """Hold the lock of `tickmart up`, or another command, in a home; LocalServicesError if another one holds it.

    Two of them would run each schedule twice, and each would close the other's runs.
    """
    with (home / f"{command}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise LocalServicesError(
                f"`tickmart {command}` runs already in {home} (process {holder}): use it, stop it, or set "
                "TICKMART_HOME to another folder"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def run_services(settings: Settings, first_run: Callable[[], None]) -> None:
    """Start the dashboard, run once, start Dagster, and wait for Ctrl-C or the end of one of them."""
    with only_one(settings.home):
        _run_services(settings, first_run)


def _run_services(settings: Settings, first_run: Callable[[], None]) -> None:
    ports, code_port = _export_ports(), free_port(0)
    _close_earlier_runs()
    logs = settings.home / "logs"
    workspace = settings.home / "dagster" / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server:\n      host: 127.0.0.1\n      port: {code_port}\n      location_name: tickmart\n"
    )
    # Dagster's processes have a login for each role and do not get the owner's.
    env = {k: v for k, v in os.environ.items() if k not in ("PGUSER", "PGPASSWORD")}
    env["TICKMART_SCHEDULE"] = "running"
    with Children(settings.home) as children:
        services = _Services(children, settings, env, ports)
        with ExitStack() as reserved:
            for port in (ports["dagster"], code_port):
                reserved.enter_context(_reserve(port))
            # The first visitor waits for the data, not for the server: it imports while the first run fetches.
            services.start_pages()
            click.echo(f"Dashboard   http://127.0.0.1:{ports['dashboard']} shows data after the first run", err=True)
            first_run()
        services.start_dagster(code_port, workspace)
        _print_addresses(settings, ports)
        try:
            ended = _watch(settings, children)
        except (KeyboardInterrupt, SystemExit):
            click.echo("stopping", err=True)
            return
        if ended:
            raise LocalServicesError(
                f"{ended[0]} ended by itself (exit code {ended[1]}); log: {logs / (ended[0] + '.log')}"
            )


@contextmanager
def _reserve(port: int) -> Iterator[None]:
    """Keep other programs from listening on a port that was free."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # taken since: the process that needs it says so
            holder.bind(("127.0.0.1", port))
        yield


@dataclass(frozen=True)
class _Services:
    """The processes of `tickmart up`, and what they are started with."""

    children: Children
    settings: Settings
    env: Mapping[str, str]
    ports: Mapping[str, int]

    def start_pages(self) -> None:
        """Start the dashboard and the server of Data Docs."""
        no_source = environment.without_proxies(self.env)
        page = {"TICKMART_CONNECT": json.dumps(session_snippets(os.environ))}
        self._spawn("dashboard", dashboard_command(self.ports["dashboard"]), dashboard_env(no_source) | page)
        pages = self.settings.home / data_docs.FOLDER
        pages.mkdir(exist_ok=True)
        served = (str(self.ports["data-docs"]), "--bind", "127.0.0.1", "--directory", str(pages))
        self._spawn("data-docs", environment.python("-m", "http.server", *served), environment.system())

    def start_dagster(self, code_port: int, workspace: Path) -> None:
        """Start Dagster and the live collector, and return when Dagster and the dashboard answer."""
        python, no_source = environment.python, environment.without_proxies(self.env)
        code_server = python("-m", *CODE_SERVER, "-h", "127.0.0.1", "-p", str(code_port))
        self._spawn("dagster-code", code_server, self.env)
        self._wait("dagster-code", lambda: free_port(code_port) != code_port)
        web = ("-h", "127.0.0.1", "-p", str(self.ports["dagster"]), "-w", str(workspace))
        self._spawn("dagster-webserver", python("-m", "dagster_webserver", *web), no_source)
        self._spawn("dagster-daemon", python("-m", "dagster._daemon", "run", "-w", str(workspace)), no_source)
        if self.settings.live and self.settings.nats_url is not None:
            self._spawn("stream", python("-m", "ingestion.stream"), self.env)
        self._wait("dashboard", self._answers("dashboard", "_stcore/health"))
        self._wait("dagster-webserver", self._answers("dagster", "server_info"))

    def _log(self, name: str) -> Path:
        return self.settings.home / "logs" / f"{name}.log"

    def _spawn(self, name: str, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self.children.spawn(name, command, variables, self._log(name))

    def _answers(self, name: str, path: str) -> Callable[[], bool]:
        return lambda: proxies.answers(f"http://127.0.0.1:{self.ports[name]}/{path}", 2)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not ready():
            if ended := self.children.wait_any(timeout=0.2):
                raise LocalServicesError(
                    f"{ended[0]} ended while starting (exit code {ended[1]}); log: {self._log(ended[0])}"
                )
            if time.monotonic() > deadline:
                raise LocalServicesError(f"{name} was not ready after {READY_WITHIN_S:.0f} s; log: {self._log(name)}")


def _print_addresses(settings: Settings, ports: Mapping[str, int]) -> None:
    click.echo(f"Dashboard   http://127.0.0.1:{ports['dashboard']}")
    click.echo(f"Dagster     http://127.0.0.1:{ports['dagster']}")
    click.echo(f"Checks      http://127.0.0.1:{ports['data-docs']}")
    where = proxies.join(os.environ["PGHOST"], int(os.environ["PGPORT"]))
    click.echo(f"Postgres    {where}, database {os.environ['PGDATABASE']}")
    click.echo(f"Lake        {os.environ['MINIO_ENDPOINT']}, bucket {os.environ.get('MINIO_BUCKET', 'bronze')}")
    if demo.seed_of(settings.home) is not None:
        click.echo(f"Demo        {demo.hint('status')}, and likewise for other commands")
    click.echo("Refreshes five minutes past each hour. Ctrl-C stops everything.")
    sys.stdout.flush()


def _watch(settings: Settings, children: Children) -> tuple[str, int]:
    """Wait until a child ends and return its name and exit code; check every minute whether the daemon is alive."""
    since = datetime.now(UTC)
    reported: str | None = None
    while not (ended := children.wait_any(timeout=CHECK_EVERY_S)):
        problem = outbox.evaluate_and_send_best_effort(settings, scheduler_since=since)
        if problem:
            health.write_status(settings, health.without_database(settings, problem))
        elif reported:
            health.write_status(settings)
        if problem and problem != reported:
            click.echo(f"tickmart: {problem}", err=True)
        reported = problem
    return ended


def _close_earlier_runs() -> None:
    """Close the runs that a killed `tickmart up` left open: this command starts the only Dagster of its home."""
    from orchestration.resources import Stores  # lazy: it imports Dagster

    with dagster_instance() as instance, Stores().connection("ingest") as connection:
        close_orphans(instance, connection, datetime.now(UTC))


def dashboard_command(port: int) -> list[str]:
    """Return the command that serves the dashboard on loopback."""
    return environment.python(
        "-m", "streamlit", "run", str(ROOT / "dashboard" / "server.py"),
        "--server.address", "127.0.0.1", "--server.port", str(port), "--server.headless", "true",
    )  # fmt: skip


def dashboard_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return the dashboard's environment: libpq's variables for the read-only role, and no other secret.

    Its HOME is the working folder, because Streamlit reads ~/.streamlit/config.toml and secrets.toml.
    """
    variables = {k: v for k, v in env.items() if not k.startswith(NOT_FOR_THE_DASHBOARD)}
    variables = environment.with_home(variables, home_of(env) / WORKING_FOLDER)
    variables["PGUSER"] = os.environ["TICKMART_PG_DASHBOARD_RO_USER"]
    variables["PGPASSWORD"] = os.environ["TICKMART_PG_DASHBOARD_RO_PASSWORD"]
    role = os.environ.get("TICKMART_PG_DASHBOARD_RO_ROLE", "")
    variables["PGOPTIONS"] = "-c timezone=UTC -c statement_timeout=5s" + (f" -c role={role}" if role else "")
    variables["STREAMLIT_CLIENT_SHOW_ERROR_DETAILS"] = "none"
    return variables
