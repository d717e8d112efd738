"""Commands that only read the database: status and sql.

Lazy imports: ``health`` and ``output`` import the declared datasets, and these import Arrow, which takes as long as
starting the servers. `tickmart sql` does without; `tickmart status` imports them while the servers start. ``lake_sql``
imports Arrow and DuckDB for `tickmart sql --lake` alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg2

from ingestion.database import connections
from ingestion.database.connections import Connection, WarehouseError
from ingestion.settings import Role, Settings, load_settings
from orchestration.cli.errors import clear_errors, print_error
from orchestration.cli.terminal import console, print_query, print_rows
from orchestration.imports import import_in_background
from orchestration.local.processes import LocalServicesError
from orchestration.maintenance import disk
from orchestration.session import session

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@contextmanager
def warehouse(role: Role) -> Iterator[tuple[Settings, Connection]]:
    """Open a session with the database alone, and a connection in a role."""
    with session(s3=False) as settings, connections.connected(settings.postgres, role) as connection:
        yield settings, connection


@click.command()
@json_option
@clear_errors
def status(as_json: bool) -> None:
    """Show the health of each dataset, the last run and alerts.

    Exit code: 0 healthy, 1 degraded (or no database), 3 a warning or unknown.
    """
    import_in_background("orchestration.observability.health", "orchestration.cli.output")
    settings = load_settings()
    try:
        with session(s3=False) as settings:
            from orchestration.observability import health

            found = health.status(settings)
    except (LocalServicesError, WarehouseError, psycopg2.Error) as error:
        from orchestration.observability import health

        problem = disk.explained(error, settings.home) or " ".join(str(error).split())[:500]
        print_error(problem)
        found = health.without_database(settings, problem)
    from orchestration.cli.output import print_json, print_status

    health.write_status(settings, found)
    if as_json:
        print_json(found)
    else:
        print_status(found, console())
    sys.exit(health.EXIT[found["status"]])


@click.command()
@click.argument("query")
@click.option("--csv", "form", flag_value="csv", help='Print CSV; null is an empty field, an empty text is "".')
@click.option("--json", "form", flag_value="json", help="Print an array of objects.")
@click.option("--lake", is_flag=True, help="Query the Parquet files of bronze with DuckDB: a view for each dataset.")
@clear_errors
def sql(query: str, form: str | None, lake: bool) -> None:
    """Run one read-only query, and print its rows."""
    if lake:
        _query_lake(query, form or "table")
        return
    with warehouse("quality_ro") as (_, connection):
        connection.set_session(readonly=True)
        print_query(connection, query, form or "table")


def _query_lake(query: str, form: str) -> None:
    from orchestration.exports import lake_sql

    with session(postgres=False) as settings:
        assert settings.object_store is not None
        with lake_sql.lake_connection(settings.object_store) as connection:
            print_rows(*lake_sql.run_query(connection, query), form)
