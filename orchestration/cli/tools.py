"""Commands that hand over to another program (dbt, psql, the simulator), and doctor."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from orchestration import environment
from orchestration.cli import external_tools
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
            passed &= finding.passed
            line(console(), f"{'ok     ' if finding.passed else 'PROBLEM'} {finding.subject}: {finding.detail}")
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
        sys.exit(external_tools.dbt(settings.home / "dbt" / "cli", arguments))


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), help="Port on 127.0.0.1; default: 8580, or a free one.")
@click.option("--build-only", is_flag=True, help="Write the page without serving it.")
@clear_errors
def docs(port: int | None, build_only: bool) -> None:
    """Build the dbt docs as one offline page, and serve it."""
    if port and free_port(port) != port:
        raise LocalServicesError(port_owner_message(port, "--port"))
    with session(s3=False) as settings:
        page = external_tools.write_docs(settings.home)
    click.echo(f"Page    {page}")
    if not build_only:
        external_tools.serve(page, port or free_port(8580))


@click.command(context_settings=PASS_THROUGH, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@clear_errors
def psql(arguments: Sequence[str]) -> None:
    """Open psql on the warehouse, as its owner."""
    with session(s3=False) as settings:
        assert settings.postgres is not None
        owner = settings.postgres
        program = postgres_client("psql")
        env = {**os.environ, "PGUSER": owner.user, "PGPASSWORD": owner.password, "PGTZ": "UTC"}
        sys.exit(external_tools.run_on_terminal([program, *arguments], env))
