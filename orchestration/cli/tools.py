"""Commands that hand over to another program (dbt, psql, the simulator), and doctor.

Does not belong here: dbt as a part of a run (``orchestration.assets.dbt``), whose import takes seconds and is therefore
made inside functions.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from orchestration import environment
from orchestration.cli.errors import clear_errors
from orchestration.cli.terminal import console, line
from orchestration.local.processes import LocalServicesError, free_port, port_owner_message
from orchestration.maintenance import doctor as maintenance_doctor
from orchestration.maintenance.postgres_client import postgres_client
from orchestration.session import session

PASS_THROUGH = {"ignore_unknown_options": True}


@click.command()
@clear_errors
def doctor() -> None:
    """Check versions, settings, sources, stores and the universe."""
    passed = True
    with session() as settings:
        for finding in maintenance_doctor.findings(settings):
            passed &= finding.ok
            line(console(), f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.subject}: {finding.message}")
    sys.exit(0 if passed else 1)


@click.command(context_settings=PASS_THROUGH, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@clear_errors
def simulate(arguments: Sequence[str]) -> None:
    """Serve the simulated APIs (see simulate --help)."""
    os.execv(sys.executable, environment.python("-m", "ingestion.simulator", *arguments))  # noqa: S606


@click.command(context_settings=PASS_THROUGH, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@clear_errors
def dbt(arguments: Sequence[str]) -> None:
    """Run dbt on the warehouse.

    Example: tickmart dbt build --select fct_prices
    """
    with session(s3=False) as settings:
        sys.exit(run_dbt(settings.home / "dbt" / "cli", arguments))


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), help="Port on 127.0.0.1; default: 8580, or a free one.")
@click.option("--build-only", is_flag=True, help="Write the page without serving it.")
@clear_errors
def docs(port: int | None, build_only: bool) -> None:
    """Build the dbt docs as one offline page, and serve it."""
    if port and free_port(port) != port:
        raise LocalServicesError(port_owner_message(port, "--port"))
    with session(s3=False) as settings:
        page = write_docs(settings.home)
    click.echo(f"Page    {page}")
    if not build_only:
        _serve(page, port or free_port(8580))


@click.command(context_settings=PASS_THROUGH, add_help_option=False)
@click.option("--owner", is_flag=True, help="As the owner, who may change everything.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@clear_errors
def psql(owner: bool, arguments: Sequence[str]) -> None:
    """Open psql on the marts, read-only, or as the owner.

    Example: tickmart psql --owner -c "select * from ops.runs"
    """
    with session(s3=False) as settings:
        assert settings.postgres is not None
        login = settings.postgres.connect_kwargs(None if owner else "reader")
        program = postgres_client("psql")
        env = {**os.environ, "PGUSER": str(login["user"]), "PGPASSWORD": str(login["password"])}
        env["PGOPTIONS"] = str(login["options"])
        sys.exit(run_on_terminal([program, *arguments], env))


def run_on_terminal(argv: Sequence[str], env: dict[str, str], folder: Path | None = None) -> int:
    """Run a program on this terminal, in ``folder``, and return its exit code; Ctrl-C goes to the program."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen(
            argv,
            env=env,
            cwd=folder,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            return process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)


def run_dbt(target: Path, arguments: Sequence[str]) -> int:
    """Run dbt on the project with its artifacts in ``target``, and return its exit code."""
    from orchestration.assets.dbt import DBT, PROJECT_DIR

    env = {**os.environ, "DBT_TARGET_PATH": str(target), "DBT_PROJECT_DIR": str(PROJECT_DIR)}
    return run_on_terminal([DBT, *arguments], env, PROJECT_DIR)


def write_docs(home: Path) -> Path:
    """Write dbt's documentation as one self-contained page, and return its path."""
    from orchestration.assets.dbt import DIGEST_FILE, PROJECT_DIR, dbt_project_digest

    target, page = home / "dbt" / "cli", home / "docs" / "index.html"
    if code := run_dbt(target, ["docs", "generate", "--static", "--quiet"]):
        raise LocalServicesError(f"dbt docs generate ended with exit code {code}; see its output above")
    page.parent.mkdir(exist_ok=True)
    shutil.copyfile(target / "static_index.html", page)
    page.with_name(DIGEST_FILE).write_text(dbt_project_digest(PROJECT_DIR))
    return page


def docs_are_current(home: Path) -> bool:
    """Return whether the page of `write_docs` was built from this version of the dbt project."""
    from orchestration.assets.dbt import DIGEST_FILE, PROJECT_DIR, dbt_project_digest

    digest_file = home / "docs" / DIGEST_FILE
    return digest_file.exists() and digest_file.read_text() == dbt_project_digest(PROJECT_DIR)


def _serve(page: Path, port: int) -> None:
    """Serve a page on loopback until Ctrl-C."""
    handler = partial(SimpleHTTPRequestHandler, directory=page.parent)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        click.echo(f"Served  http://127.0.0.1:{server.server_port}\nCtrl-C ends it.")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
