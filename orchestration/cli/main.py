"""The ``tickmart`` command: its options and subcommands.

Belongs here: the root group. Each subcommand is in one of the modules named below, printing is in output.

Lazy imports: the module of a subcommand is imported when that subcommand is used; all of them together take longer than
`tickmart sql`.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import click

from orchestration import environment
from orchestration.cli.demo_home import enter_demo_home
from orchestration.local.prepared_dbt import prepared_dbt
from orchestration.quality import process

# Each subcommand: its module in this package, and its line in the help of the group (a test compares it).
COMMANDS = {
    "run": ("run", "Refresh once: fetch, load, build and check."),
    "backfill": ("run", "Load the history of [start, end) in one run."),
    "up": ("run", "Run once, then keep everything running until Ctrl-C."),
    "demo": ("run", "Do what `up` does, offline, with simulated markets."),
    "check": ("run", "Run the quality suites and the dbt tests alone."),
    "rebuild": ("run", "Empty raw and the marts, and rebuild both from bronze."),
    "status": ("queries", "Show the health of each dataset, the last run and alerts."),
    "sql": ("queries", "Run one read-only query, and print its rows."),
    "rejected": ("data", "List or replay records that broke their contract."),
    "prune": ("data", "Remove old logs, runs and rejected records, and the posts that are gone at X; no other data."),
    "backup": ("data", "Write a verified backup to a new folder in TARGET."),
    "restore": ("data", "Restore the backup in the folder SOURCE."),
    "alert": ("alerts", "Show incidents and their alerts, or test the channels."),
    "init": ("serve", "Set up the compose servers and load the first data."),
    "serve": ("serve", "Run one of the processes of docker-compose.yml: Dagster's, or the stream."),
    "metrics": ("serve", "Serve metrics for Prometheus."),
    "doctor": ("tools", "Check versions, settings, sources, stores and the universe."),
    "stream": ("stream", "Collect live prices alone, until Ctrl-C."),
    "build": ("build", "Build the marts of prices, markets, sentiment and on-chain data."),
    "compact": ("data", "Merge the small objects of bronze: hours of live prices, closed days and months."),
    "simulate": ("tools", "Serve the simulated APIs (see simulate --help)."),
    "dbt": ("tools", "Run dbt on the warehouse."),
    "docs": ("tools", "Build the dbt docs as one offline page, and serve it."),
    "connect": ("connect", "Show how to read the marts from other tools, read-only."),
    "export": ("exports", "Write bars to the folder DIR as files for other tools."),
    "publish": ("exports", "Write an immutable release of the marts to the folder DIR."),
    "explain": ("explain", "Show where one value of the marts comes from, and recalculate it."),
    "psql": ("tools", "Open psql on the marts, read-only, or as the owner."),
}


# Runs that start the processes of dbt and of the suites first, so that these import while the run starts. Not those
# that load years of bars: what waits for them takes 300 MB.
SHORT_RUNS = ("run", "up", "demo", "check")


@contextmanager
def prepared_processes() -> Iterator[None]:
    """Start the processes that a run needs later, and end at the end of the block those that it did not use."""
    process.start()
    try:
        with prepared_dbt():
            yield
    finally:
        process.stop()


class Subcommands(click.Group):
    """Imports a subcommand when it is asked for."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that the arguments name, with the processes that it needs started."""
        if args[0] in SHORT_RUNS and not {*args}.intersection(ctx.help_option_names):
            ctx.with_resource(prepared_processes())
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the subcommand of that name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"orchestration.cli.{module}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of the subcommands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


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
