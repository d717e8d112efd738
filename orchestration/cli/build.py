"""The command build: the models on Postgres, Spark or Sail, compared with Postgres and published there."""

from __future__ import annotations

import sys
from typing import Any

import click

from ingestion.database import connections
from orchestration.cli import terminal
from orchestration.cli.errors import EXIT_CODES, clear_errors, print_error
from orchestration.cli.output import print_json
from orchestration.cli.terminal import console, line
from orchestration.engines import build as engine_build
from orchestration.engines import parity, ranges
from orchestration.engines import publish as engine_publish
from orchestration.engines.installed import ENGINES
from orchestration.session import session


@click.command("build")
@click.option("--engine", type=click.Choice(["postgres", *ENGINES]), required=True, help="Where the models are built.")
@click.option(
    "--compare", is_flag=True, help="Compare the marts with Postgres', row for row; exit code 1 on a difference."
)
@click.option("--publish", is_flag=True, help="Copy the marts into schema marts_engine of Postgres.")
@click.option("--start", help="First UTC day, YYYY-MM-DD: build the days of a range only, of the tables by month.")
@click.option("--end", help="UTC day after the last, YYYY-MM-DD; default: today is the last.")
@click.option("--select", "select", multiple=True, metavar="MART", help="With --start: this mart alone; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def build(
    engine: str, compare: bool, publish: bool, start: str | None, end: str | None, select: tuple[str, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Build the marts of prices, markets, sentiment and on-chain data.

    On Spark and Sail the models read bronze and write Parquet tables to TICKMART_WAREHOUSE. A build that fails leaves
    the tables before it. With --start, fct_market_prices and fct_onchain_transactions are built for a range of days;
    their other days and all other tables stay as they are.
    """
    if (end or select) and not start:
        raise click.UsageError("--end and --select need --start")
    if engine == "postgres":
        from orchestration.cli.run import build_on_postgres

        if compare or publish or start:
            raise click.UsageError("--compare, --publish and --start are for the engines spark and sail")
        build_on_postgres(as_json)
        return
    days = ranges.parse(start, end, select) if start else None
    with session(postgres=compare or publish, set_up=False) as settings:
        done = engine_build.build(settings, engine, days=days)
        report: dict[str, Any] = {"engine": engine, "tables": str(done.tables), "seconds": done.seconds}
        report["models"] = {r["name"]: r["status"] for r in done.results if r["kind"] == "model"}
        report["tests"] = {r["name"]: r["status"] for r in done.results if r["kind"] == "test"}
        if days:
            report["days"] = [str(days.first), str(days.end)]
            report["rows"] = ranges.rows_of(done.tables, days)
        comparisons: list[parity.Comparison] = []
        if compare or publish:
            assert settings.postgres is not None
            with connections.closing(connections.connect(settings.postgres)) as connection:
                if compare:
                    comparisons = parity.compare(connection, done.tables, done.marts, days)
                    report["marts"] = [c.as_json() for c in comparisons]
                if publish:
                    report["published"] = engine_publish.publish(connection, done.tables, done.marts)
    if as_json:
        print_json(report)
    else:
        _print(report, comparisons)
    for comparison in comparisons:
        if not comparison.is_equal:
            print_error(f"{comparison.mart} on {engine}: {comparison.problem or 'differs from Postgres'}")
    sys.exit(EXIT_CODES["ok"] if all(c.is_equal for c in comparisons) else EXIT_CODES["failed"])


def _print(report: dict[str, Any], comparisons: list[parity.Comparison]) -> None:
    out = console()
    seconds = ", ".join(f"{stage} {value} s" for stage, value in report["seconds"].items())
    line(out, f"{report['engine']}: {len(report['models'])} models, {len(report['tests'])} tests ({seconds})")
    if "days" in report:
        listed = ", ".join(f"{mart} {rows:,} rows" for mart, rows in report["rows"].items())
        line(out, f"days {report['days'][0]} to before {report['days'][1]}: {listed}")
    if comparisons:
        terminal.table(
            out,
            ("mart", "identical", "modified", "missing", "added", "", "columns that differ"),
            [
                (c.mart, f"{c.identical:,}", f"{c.modified:,}", f"{c.missing:,}", f"{c.added:,}",
                 "equal" if c.is_equal else "DIFFERS", c.problem or ", ".join(c.columns))
                for c in comparisons
            ],
        )  # fmt: skip
        for c in comparisons:
            for sample in c.samples:
                line(out, f"  {c.mart}: {sample}")
            for places, count in c.rounded.items():
                line(out, f"  {c.mart}: {count:,} decimals rounded {places}")
    line(out, f"tables: {report['tables']}")
    if "published" in report:
        line(out, f"published to Postgres, schema {engine_publish.SCHEMA}: {sum(report['published'].values()):,} rows")
