"""Builds in the ``ops`` schema: the versions of the raw tables, and the inputs of each dbt node's last build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psycopg2.extras import execute_values

from ingestion.database.connections import Connection


@dataclass(frozen=True)
class BuildState:
    """What a build is planned from.

    ``versions`` has a value for each raw table with rows, and another one after its rows changed. ``built`` has the
    inputs of the nodes built in the last day. ``relations`` are the relations of the database as "schema.name".
    """

    versions: Mapping[str, str]
    built: Mapping[str, str]
    relations: frozenset[str]


def read_state(connection: Connection, schemas: Iterable[str]) -> BuildState:
    """Return the state, with the relations of ``schemas``."""
    with connection, connection.cursor() as cursor:
        # Sums, not the newest time, which stays when the clock was set back.
        cursor.execute(
            """
            select dataset, count(*) || ' objects, ' || sum(extract(epoch from changed_at))
            from ops.load_ledger where changed_at is not null group by dataset
            union all
            select 'universe', count(*) || ' rows, ' || sum(extract(epoch from loaded_at))
            from raw.universe having count(*) > 0
            union all
            -- A new lexicon scores all headlines again, without a new object.
            select 'headline_scores', count(*) || ' rows, ' || sum(extract(epoch from loaded_at))
            from raw.headline_scores having count(*) > 0
            """
        )
        versions = dict(cursor.fetchall())
        # A node is built at least daily, so that its tests have a recent result.
        cursor.execute("select node, inputs from ops.model_builds where built_at > now() - interval '1 day'")
        built = dict(cursor.fetchall())
        cursor.execute(
            """
            select nspname || '.' || relname
            from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace
            where nspname = any(%s) and relkind in ('r', 'p', 'v', 'm')
            """,
            (sorted(schemas),),
        )
        return BuildState(versions, built, frozenset(name for (name,) in cursor.fetchall()))


def begin_build(connection: Connection, nodes: Iterable[str]) -> None:
    """Delete the records of nodes whose build begins: a build that is killed leaves them to the next run."""
    with connection, connection.cursor() as cursor:
        cursor.execute("delete from ops.model_builds where node = any(%s)", (sorted(nodes),))


def record_builds(connection: Connection, run_id: str, inputs: Mapping[str, str]) -> None:
    """Record the inputs of nodes whose build succeeded."""
    with connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            """
            insert into ops.model_builds (node, inputs, run_id) values %s
            on conflict (node) do update set
                inputs = excluded.inputs, run_id = excluded.run_id, built_at = excluded.built_at
            """,
            [(node, text, run_id) for node, text in sorted(inputs.items())],
        )
