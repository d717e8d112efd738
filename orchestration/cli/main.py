"""The ``tickmart`` command: its options and subcommands.

Belongs here: the root group. Each subcommand is in one of the modules named below, printing is in output.

Lazy imports: the module of a subcommand is imported when that subcommand runs; the imports of all of them take longer
than `tickmart sql`. Only the help of the group imports all.
"""

from __future__ import annotations

import gc
import signal
import sys
from importlib import import_module

import click

from orchestration import environment
from orchestration.cli.demo_home import enter_demo_home

# Each subcommand and its module in this package.
COMMANDS = {
    "run": "run", "backfill": "run", "up": "run", "demo": "run", "check": "run", "rebuild": "run",
    "status": "queries", "sql": "queries",
    "rejected": "data", "prune": "data", "backup": "data", "restore": "data",
    "alert": "alerts",
    "init": "serve", "serve": "serve", "metrics": "serve",
    "doctor": "tools", "simulate": "tools", "dbt": "tools", "docs": "tools", "psql": "tools",
}  # fmt: skip


class Subcommands(click.Group):
    """Imports a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the subcommand of that name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"orchestration.cli.{COMMANDS[cmd_name]}"), cmd_name)
        return command


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="tickmart")
def main(debug: bool) -> None:
    """Load crypto-market history into your own Postgres, model it, check it and show it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell starts background commands with SIGINT ignored; Ctrl-C and kill -INT must still end this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    enter_demo_home()


def start() -> None:
    """Isolate the environment and run the command; `bin/tickmart` starts here."""
    # Collecting garbage takes a fifth of the time of a large import (Dagster, Great Expectations); the default is 700.
    gc.set_threshold(50_000)
    environment.isolate()
    main(prog_name="tickmart")
