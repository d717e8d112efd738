"""A database of any released version becomes this version's, as a new one is, and keeps its rows; else it is told.

``released/`` holds what each released version left behind: pg_dump of raw and ops, with rows in every table. A release
adds its file (CONTRIBUTING.md says how); none is ever changed.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from chain import fresh_database
from psycopg2 import sql

from ingestion.database import connections, migrate
from ingestion.database.connections import WarehouseError
from ingestion.settings import Postgres
from ingestion.sources.registry import DATASETS
from ingestion.universe import Asset
from orchestration.cli.external_tools import postgres_client

RELEASED = sorted(Path(__file__).with_name("released").glob("*.sql"))
LATER = (
    "alter table raw.fear_greed add column note text not null default 'none'; create index on ops.runs (started_at);"
)


def ask(postgres: Postgres, statement: str) -> list[tuple]:
    with connections.closing(connections.connect(postgres)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def client(postgres: Postgres, program: str, *arguments: str) -> str:
    """The output of one of Postgres' own programs."""
    env = {**os.environ, "PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user}
    env |= {"PGPASSWORD": postgres.password, "PGDATABASE": postgres.database}
    command = [postgres_client(program, 18), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def catalogue(postgres: Postgres) -> str:
    """Everything that Postgres knows of raw and ops: columns, types, constraints, indexes, owners, grants, comments."""
    told = client(postgres, "pg_dump", "--schema-only", "--schema", "raw", "--schema", "ops")
    return re.sub(r"^\\(un)?restrict .*$", "", told, flags=re.MULTILINE)


Rows = dict[str, list[dict[str, object]]]


def rows(postgres: Postgres, before: Rows | None = None) -> Rows:
    """The rows of every table of raw and ops, of which only the columns that ``before`` knows."""
    tables = ask(
        postgres,
        "select schemaname || '.' || tablename from pg_tables"
        " where schemaname in ('raw', 'ops') and tablename <> 'migrations' order by 1",
    )
    found: Rows = {name: [r[0] for r in ask(postgres, f"select to_jsonb(t) from {name} as t")] for (name,) in tables}
    known = {name: set(held[0]) for name, held in (before or found).items() if held}
    return {
        name: sorted(({k: v for k, v in row.items() if k in known.get(name, ())} for row in held), key=str)
        for name, held in found.items()
    }


@contextlib.contextmanager
def database(server: Postgres) -> Iterator[Postgres]:
    """A database without anything of tickmart's, on a server that has its roles."""
    made = Postgres(server.host, server.port, f"test_{secrets.token_hex(6)}", server.user, server.password)
    with connections.closing(connections.connect(server)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("create database {}").format(sql.Identifier(made.database)))
            try:
                yield made
            finally:
                cursor.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(made.database)))


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[Postgres]:
    with database(postgres) as made:
        yield made


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The released migrations and one more."""
    shutil.copytree(migrate.MIGRATIONS, tmp_path / "migrations")
    add(tmp_path / "migrations", LATER)
    return tmp_path / "migrations"


def add(folder: Path, text: str) -> None:
    (folder / f"{len(list(folder.glob('*.sql'))) + 1:04}_added.sql").write_text(text)


def count(folder: Path) -> int:
    return len(list(folder.glob("*.sql")))


# -- from every released version ---------------------------------------------------------------------------------------


def released(postgres: Postgres, dump: Path, *, counted: bool) -> None:
    """Bring an empty database to where a released version left it."""
    client(postgres, "psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", str(dump))
    if not counted:  # as the development versions before 0.1.0 left it
        ask(postgres, "drop table ops.migrations; comment on schema ops is 'tickmart 8281caa3'")


@pytest.mark.parametrize("counted", [True, False], ids=["released", "from before migrations were counted"])
@pytest.mark.parametrize("dump", RELEASED, ids=lambda path: path.stem)
@pytest.mark.parametrize("future", [False, True], ids=["now", "with a migration more"])
def test_a_released_database_becomes_what_a_new_one_is_and_keeps_its_rows(
    empty: Postgres, later: Path, dump: Path, counted: bool, future: bool
) -> None:
    if not counted and dump != RELEASED[0]:
        pytest.skip("later versions count")
    folder = later if future else migrate.MIGRATIONS
    released(empty, dump, counted=counted)
    before = rows(empty)
    assert all(before[name] for name in before if not name.startswith("raw.binance_klines_"))
    migrate.bootstrap(empty, migrations=folder)
    with database(empty) as new:
        migrate.bootstrap(new, migrations=folder)
        assert catalogue(empty) == catalogue(new)
    after = rows(empty, before)
    assert {name: after[name] for name in before} == before
    assert ask(empty, "select count(*), max(number) from ops.migrations") == [(count(folder), count(folder))]
    # Identities go on where they stood.
    ask(empty, "insert into ops.backfills (dataset, source, start_date, end_date) values ('x', 'rest', now(), now())")


def test_a_release_left_its_dump() -> None:
    from importlib.metadata import version

    assert version("tickmart") in {path.stem for path in RELEASED}


@pytest.mark.parametrize("dump", RELEASED, ids=lambda path: path.stem)
def test_a_released_migration_is_never_changed(dump: Path) -> None:
    known = {str(m.number): m.checksum for m in migrate.read_migrations()}
    applied = re.findall(r"^(\d+)\t\w+\t([0-9a-f]{64})\t", dump.read_text(), re.MULTILINE)
    assert applied
    assert {number: known[number] for number, _ in applied} == dict(applied)


def test_no_migration_ends_its_own_transaction() -> None:
    for migration in migrate.read_migrations():
        plain = re.sub(r"--.*|\$\$.*?\$\$|'[^']*'", "", migration.text, flags=re.DOTALL | re.MULTILINE)
        assert not re.search(r"\b(commit|rollback|begin|concurrently)\b", plain), migration.name


# -- what is declared and what stands ----------------------------------------------------------------------------------


def test_raw_tables_are_as_their_datasets_declare_them(postgres: Postgres) -> None:
    """Who changes a dataset's columns, key or parts writes a migration with it."""
    for dataset in DATASETS:
        table = f"raw.{dataset.name}"
        columns = ask(
            postgres,
            "select attname::text, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
            f" where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped order by attname",
        )
        names = {"timestamptz": "timestamp with time zone"}
        declared = [(c.name, names.get(c.postgres, c.postgres), c.required) for c in dataset.columns]
        provenance = [("loaded_at", "timestamp with time zone", True), ("batch_id", "text", True)]
        assert columns == sorted([*declared, *provenance]), table
        key = ask(
            postgres,
            "select attname::text from pg_index cross join unnest(indkey) with ordinality as k (attnum, place)"
            " inner join pg_attribute using (attnum)"
            f" where indrelid = '{table}'::regclass and attrelid = indrelid and indisprimary order by place",
        )
        assert tuple(name for (name,) in key) == dataset.key, table
        parts = ask(
            postgres,
            "select pg_get_expr(c.relpartbound, c.oid) from pg_inherits inner join pg_class as c on c.oid = inhrelid"
            f" where inhparent = '{table}'::regclass",
        )
        values = dataset.parts[1] if dataset.parts else ()
        assert sorted(bound for (bound,) in parts) == sorted(f"FOR VALUES IN ('{value}')" for value in values), table


def test_the_table_of_the_universe_has_its_files_columns(postgres: Postgres) -> None:
    found = ask(
        postgres,
        "select attname::text from pg_attribute where attrelid = 'raw.universe'::regclass and attnum > 0"
        " order by attnum",
    )
    assert [name for (name,) in found] == [*(f.name for f in fields(Asset)), "loaded_at", "batch_id"]


# -- how a migration is applied ----------------------------------------------------------------------------------------


def test_processes_that_start_together_apply_a_migration_once(empty: Postgres, later: Path) -> None:
    add(later, "select pg_sleep(0.3); create table ops.once (n int); insert into ops.once values (1);")
    did: list[bool] = []
    together = threading.Barrier(6)

    def start() -> None:
        together.wait()
        did.append(migrate.bootstrap(empty, migrations=later))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(did) == 6
    assert ask(empty, "select count(*) from ops.once") == [(1,)]
    assert ask(empty, "select number from ops.migrations order by 1") == [(n + 1,) for n in range(count(later))]
    assert migrate.bootstrap(empty, migrations=later) is False


def test_a_migration_that_fails_leaves_nothing_and_names_itself(postgres: Postgres, later: Path) -> None:
    add(later, "create table ops.half (n int); insert into ops.runs select null;")
    stood = count(later) - 1
    with pytest.raises(WarehouseError, match=rf"migration {stood + 1} \(added\) failed and was rolled back: .*null"):
        migrate.bootstrap(postgres, migrations=later)
    assert ask(postgres, "select to_regclass('ops.half'), max(number) from ops.migrations") == [(None, stood)]
    sorted(later.glob("*.sql"))[-1].write_text("create table ops.half (n int);")
    assert migrate.bootstrap(postgres, migrations=later)
    assert ask(postgres, "select max(number) from ops.migrations") == [(stood + 1,)]


def test_what_a_migration_makes_is_ingests_and_can_be_read_by_the_readers(postgres: Postgres, later: Path) -> None:
    add(later, "create table raw.news (n int); create table ops.more (n int);")
    migrate.bootstrap(postgres, migrations=later)
    readers = ask(
        postgres,
        "select c.relname::text, r.rolname::text from pg_class as c cross join pg_roles as r"
        " where c.relname in ('news', 'more') and r.rolname in ('ingest', 'transform', 'quality_ro', 'dashboard_ro')"
        " and has_table_privilege(r.rolname, c.oid, 'select') and c.relowner = 'ingest'::regrole order by 1, 2",
    )
    assert readers == [(t, r) for t in ("more", "news") for r in ("ingest", "quality_ro", "transform")]


def test_a_database_of_a_newer_version_is_refused_untouched(postgres: Postgres, later: Path) -> None:
    migrate.bootstrap(postgres, migrations=later)
    before = catalogue(postgres)
    with pytest.raises(
        WarehouseError, match=r"^database .* is at migration \d+ \(added\), tickmart .* a newer one"
    ) as no:
        migrate.bootstrap(postgres)
    assert "\n" not in str(no.value)
    assert catalogue(postgres) == before


def test_a_migration_that_was_changed_after_it_was_applied_is_told(postgres: Postgres, later: Path) -> None:
    first = later / "0001_raw_and_ops.sql"
    first.write_text(first.read_text() + "\nalter table ops.runs add column note text;")
    with pytest.raises(WarehouseError, match=r"migration 1 \(raw_and_ops\) is not the one that was applied"):
        migrate.bootstrap(postgres, migrations=later)
    assert ask(postgres, "select max(number) from ops.migrations") == [(count(migrate.MIGRATIONS),)]


def test_numbers_without_a_gap_and_without_a_twin(postgres: Postgres, later: Path) -> None:
    shutil.copy(later / f"{count(later):04}_added.sql", later / f"{count(later):04}_twin.sql")
    with pytest.raises(
        WarehouseError, match=rf"_twin\.sql: the next migration is called {count(later):04}_<name>\.sql"
    ):
        migrate.bootstrap(postgres, migrations=later)


def test_a_database_restored_by_hand_gets_the_schemas_and_grants_that_its_dump_lacks(
    postgres: Postgres, empty: Postgres
) -> None:
    released(empty, RELEASED[-1], counted=True)
    mark = ask(postgres, "select obj_description('ops'::regnamespace)")[0][0]
    ask(empty, f"comment on schema ops is '{mark}'")
    assert migrate.bootstrap(empty)
    with fresh_database_like(postgres) as new:
        schemas = "select nspname, nspacl::text from pg_namespace where nspname !~ '^pg_' order by 1"
        assert ask(empty, schemas) == ask(new, schemas)


@contextlib.contextmanager
def fresh_database_like(postgres: Postgres) -> Iterator[Postgres]:
    environment = {"PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user}
    with fresh_database({**environment, "PGPASSWORD": postgres.password}) as new:
        yield new
