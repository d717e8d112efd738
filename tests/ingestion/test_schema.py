"""Migrations: a database of any released version gets the schema of a new one and keeps its rows, or an error says why.

``released/`` has a pg_dump of raw and ops for each released version, with rows in every table. A release adds its file
(CONTRIBUTING.md says how); none is ever changed.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg2 import sql

from ingestion.database import connections, migrate
from ingestion.database.connections import WarehouseError
from ingestion.settings import Postgres, load_settings
from ingestion.sources.datasets import DATASETS
from ingestion.universe import Asset
from orchestration.alerting import outbox
from orchestration.maintenance.postgres_client import postgres_client
from support.database import fresh_database

RELEASED = sorted(Path(__file__).with_name("released").glob("*.sql"))
LATER = (
    "alter table raw.fear_greed add column note text not null default 'none'; create index on ops.runs (started_at);"
)


def ask(postgres: Postgres, statement: str) -> list[tuple]:
    with connections.closing(connections.connect(postgres)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def client(postgres: Postgres, program: str, *arguments: str) -> str:
    """The output of one of Postgres' client programs."""
    env = {**os.environ, "PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user}
    env |= {"PGPASSWORD": postgres.password, "PGDATABASE": postgres.database}
    command = [postgres_client(program, 18), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def schema_dump(postgres: Postgres) -> str:
    """Columns, types, constraints, indexes, owners, grants and comments of raw and ops."""
    dump = client(postgres, "pg_dump", "--schema-only", "--schema", "raw", "--schema", "ops")
    return re.sub(r"^\\(un)?restrict .*$", "", dump, flags=re.MULTILINE)


Rows = dict[str, list[dict[str, object]]]


def rows(postgres: Postgres, before: Rows | None = None) -> Rows:
    """The rows of every table of raw and ops, with only the columns that ``before`` has."""
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
    """An empty database on a server that has tickmart's roles."""
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
    """The migrations and one more."""
    shutil.copytree(migrate.MIGRATIONS, tmp_path / "migrations")
    add(tmp_path / "migrations", LATER)
    return tmp_path / "migrations"


def add(folder: Path, text: str) -> None:
    (folder / f"{len(list(folder.glob('*.sql'))) + 1:04}_added.sql").write_text(text)


def count(folder: Path) -> int:
    return len(list(folder.glob("*.sql")))


# -- from every released version ---------------------------------------------------------------------------------------


def released(postgres: Postgres, dump: Path, *, counted: bool) -> None:
    """Restore a released version's dump into an empty database."""
    client(postgres, "psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", str(dump))
    if not counted:  # as the development versions before 0.1.0 left it
        ask(postgres, "drop table ops.migrations; comment on schema ops is 'tickmart 8281caa3'")


@pytest.mark.parametrize("counted", [True, False], ids=["released", "from before migrations were counted"])
@pytest.mark.parametrize("dump", RELEASED, ids=lambda path: path.stem)
@pytest.mark.parametrize("future", [False, True], ids=["now", "with a migration more"])
def test_a_released_database_gets_the_schema_of_a_new_one_and_keeps_its_rows(
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
        assert schema_dump(empty) == schema_dump(new)
    after = rows(empty, before)
    assert {name: after[name] for name in before} == before
    assert ask(empty, "select count(*), max(number) from ops.migrations") == [(count(folder), count(folder))]
    # Identity columns continue.
    ask(empty, "insert into ops.backfills (dataset, source, start_date, end_date) values ('x', 'rest', now(), now())")


def test_this_version_has_its_dump() -> None:
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


# -- checks get ids (0006) ---------------------------------------------------------------------------------------------

LATELY = datetime.now(UTC) - timedelta(hours=1)


def record(postgres: Postgres, asset: str, check: str, status: str, run: str = "old", at: datetime = LATELY) -> None:
    ask(
        postgres,
        "insert into ops.check_results (run_id, asset, check_name, source, severity, status, observed, checked_at)"
        f" values ('{run}', '{asset}', $${check}$$, 'great_expectations', 'warn', '{status}', 'o', '{at}')",
    )


def open_incident(postgres: Postgres, asset: str, check: str) -> int:
    """An incident of a failed check whose alert was sent."""
    [(number,)] = ask(
        postgres,
        "insert into ops.incidents (fingerprint, kind, severity, title, detail)"
        f" values ($$check_failed:{asset}:{check}$$, 'check_failed', 'warn', 't', 'd') returning incident_id",
    )
    ask(
        postgres,
        "insert into ops.alerts (incident_id, channel, event, dedup_key, message, sent_at)"
        f" values ({number}, 'slack', 'opened', 'incident {number} opened 0', '{{}}', now())",
    )
    return int(number)


def evaluate(postgres: Postgres) -> list[tuple]:
    """Evaluate the incidents once; return every alert of a failed check since the migration."""
    settings = load_settings(
        {
            "PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user,
            "PGPASSWORD": postgres.password, "PGDATABASE": postgres.database, "SLACK_WEBHOOK_URL": "https://x.example/s",
        }
    )  # fmt: skip
    with connections.closing(connections.connect(postgres, "ingest")) as connection:
        outbox.evaluate(connection, settings, datetime.now(UTC))
    return ask(
        postgres,
        "select incident_id, a.event from ops.alerts as a inner join ops.incidents using (incident_id)"
        " where kind = 'check_failed' and a.sent_at is null order by alert_id",
    )


@pytest.mark.parametrize("dump", RELEASED, ids=lambda path: path.stem)
def test_history_and_incidents_of_a_released_database_continue_under_the_new_check_ids(
    empty: Postgres, dump: Path
) -> None:
    released(empty, dump, counted=True)
    asset = "raw/binance_klines"
    record(empty, asset, "no more bars than hours", "failed")
    incident = open_incident(empty, asset, "no more bars than hours")
    record(empty, "marts/fct_prices", "unique_grain_fct_prices", "passed")
    migrate.bootstrap(empty)
    history = "select check_name, description from ops.check_results where run_id = 'old' order by check_id"
    assert ask(empty, history) == [
        ("bars_per_day_at_most_24", "no more bars than hours"), ("unique_grain_fct_prices", None),
    ]  # fmt: skip
    assert evaluate(empty) == [], "a check that still fails is known"
    record(empty, asset, "bars_per_day_at_most_24", "failed", "new", LATELY + timedelta(minutes=1))
    assert evaluate(empty) == []
    record(empty, asset, "bars_per_day_at_most_24", "passed", "newer", LATELY + timedelta(minutes=2))
    assert evaluate(empty) == [(incident, "recovered")]


@pytest.mark.parametrize("dump", RELEASED, ids=lambda path: path.stem)
def test_checks_that_repeated_a_contract_continue_as_one(empty: Postgres, dump: Path) -> None:
    released(empty, dump, counted=True)
    asset = "bronze/binance_klines"
    for check, status in (
        ("close is above 0", "passed"), ("high is above 0", "failed"), ("low is above 0", "failed"),
        ("open is above 0", "passed"), ("every bar opens on the day of its object", "passed"),
    ):  # fmt: skip
        record(empty, asset, check, status)
    _, incident = (open_incident(empty, asset, check) for check in ("high is above 0", "low is above 0"))
    migrate.bootstrap(empty)
    assert sorted(ask(empty, "select check_name, status from ops.check_results where run_id = 'old'")) == [
        ("bars_open_on_object_day", "passed"), ("records_meet_contract", "failed"),
    ]  # fmt: skip
    assert evaluate(empty) == []
    record(empty, asset, "records_meet_contract", "passed", "new", LATELY + timedelta(minutes=1))
    assert evaluate(empty) == [(incident, "recovered")]


# -- declarations and tables -------------------------------------------------------------------------------------------


def test_raw_tables_match_their_datasets(postgres: Postgres) -> None:
    """A change of a dataset's columns, key or partitions needs a migration."""
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
        if dataset.whole_objects:  # provenance is that of the object, and the key that of another table
            assert columns == sorted(declared), table
            continue
        kept = {"source_url": "text", "fetched_at": "timestamp with time zone"}
        provenance += [(name, kept[name], True) for name in dataset.raw_provenance]
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


def test_the_universe_table_has_the_columns_of_its_file(postgres: Postgres) -> None:
    found = ask(
        postgres,
        "select attname::text from pg_attribute where attrelid = 'raw.universe'::regclass and attnum > 0"
        " order by attnum",
    )
    assert [name for (name,) in found] == [*(f.name for f in fields(Asset)), "loaded_at", "batch_id"]


# -- applying migrations -----------------------------------------------------------------------------------------------


def test_concurrent_processes_apply_a_migration_once(empty: Postgres, later: Path) -> None:
    add(later, "select pg_sleep(0.3); create table ops.single (n int); insert into ops.single values (1);")
    applied: list[bool] = []
    together = threading.Barrier(6)

    def start() -> None:
        together.wait()
        applied.append(migrate.bootstrap(empty, migrations=later))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(applied) == 6
    assert ask(empty, "select count(*) from ops.single") == [(1,)]
    assert ask(empty, "select number from ops.migrations order by 1") == [(n + 1,) for n in range(count(later))]
    assert migrate.bootstrap(empty, migrations=later) is False


def test_a_failed_migration_is_named_and_rolled_back(postgres: Postgres, later: Path) -> None:
    add(later, "create table ops.half (n int); insert into ops.runs select null;")
    last = count(later) - 1
    with pytest.raises(WarehouseError, match=rf"migration {last + 1} \(added\) failed and was rolled back: .*null"):
        migrate.bootstrap(postgres, migrations=later)
    assert ask(postgres, "select to_regclass('ops.half'), max(number) from ops.migrations") == [(None, last)]
    sorted(later.glob("*.sql"))[-1].write_text("create table ops.half (n int);")
    assert migrate.bootstrap(postgres, migrations=later)
    assert ask(postgres, "select max(number) from ops.migrations") == [(last + 1,)]


def test_new_tables_belong_to_ingest_and_are_readable_by_the_reading_roles(postgres: Postgres, later: Path) -> None:
    add(later, "create table raw.news (n int); create table ops.more (n int);")
    migrate.bootstrap(postgres, migrations=later)
    readers = ask(
        postgres,
        "select c.relname::text, r.rolname::text from pg_class as c cross join pg_roles as r"
        " where c.relname in ('news', 'more') and r.rolname in ('ingest', 'transform', 'quality_ro', 'dashboard_ro')"
        " and has_table_privilege(r.rolname, c.oid, 'select') and c.relowner = 'ingest'::regrole order by 1, 2",
    )
    assert readers == [(t, r) for t in ("more", "news") for r in ("ingest", "quality_ro", "transform")]


def test_a_database_of_a_newer_version_is_rejected_unchanged(postgres: Postgres, later: Path) -> None:
    migrate.bootstrap(postgres, migrations=later)
    before = schema_dump(postgres)
    with pytest.raises(WarehouseError, match=r"migration \d+ \(added\)") as no:
        migrate.bootstrap(postgres)
    assert "\n" not in str(no.value)
    assert schema_dump(postgres) == before


def test_a_migration_that_changed_after_it_was_applied_is_an_error(postgres: Postgres, later: Path) -> None:
    first = later / "0001_raw_and_ops.sql"
    first.write_text(first.read_text() + "\nalter table ops.runs add column note text;")
    with pytest.raises(WarehouseError, match=r"migration 1 \(raw_and_ops\)"):
        migrate.bootstrap(postgres, migrations=later)
    assert ask(postgres, "select max(number) from ops.migrations") == [(count(migrate.MIGRATIONS),)]


def test_migration_numbers_have_no_gap_and_no_duplicate(postgres: Postgres, later: Path) -> None:
    shutil.copy(later / f"{count(later):04}_added.sql", later / f"{count(later):04}_duplicate.sql")
    with pytest.raises(WarehouseError, match=rf"_duplicate\.sql.*{count(later):04}_"):
        migrate.bootstrap(postgres, migrations=later)


def test_a_manually_restored_database_gets_its_missing_schemas_and_grants(postgres: Postgres, empty: Postgres) -> None:
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
