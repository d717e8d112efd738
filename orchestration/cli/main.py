"""The ``tickmart`` command: its options and subcommands.

Belongs here: the root group. The subcommands are in run, data, alerts, serve and tools, printing is in output.
"""

from __future__ import annotations

import signal
import sys

import click

from orchestration import environment
from orchestration.cli import alerts, data, run, serve, tools
from orchestration.cli.up import enter_demo_home


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="tickmart")
def main(debug: bool) -> None:
    """Load crypto-market history into your own Postgres, model it, check it and show it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell starts background commands with SIGINT ignored; Ctrl-C and kill -INT must still end this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    enter_demo_home()


for command in (
    run.run, run.backfill, run.up, run.demo, run.check, run.rebuild,
    data.status, data.sql, data.rejected, data.prune, data.backup, data.restore,
    alerts.alert, serve.init, serve.serve, serve.metrics,
    tools.doctor, tools.simulate, tools.dbt, tools.docs, tools.psql,
):  # fmt: skip
    main.add_command(command)


def start() -> None:
    """Isolate the environment and run the command; `bin/tickmart` starts here."""
    environment.isolate()
    main(prog_name="tickmart")
