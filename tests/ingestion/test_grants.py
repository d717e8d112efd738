"""What each of tickmart's logins may not do, by trying it on a real server, and what it may."""

import psycopg2
import pytest
from psycopg2 import errors

from ingestion.database import migrate
from ingestion.settings import ROLES
from support.database import fresh_database

TABLES = {
    "raw": "raw.fear_greed",
    "ops": "ops.runs",
    "staging": "staging.probe",
    "marts": "marts.probe",
    "dagster": "dagster.probe",
}
READS = {
    "ingest": {"raw", "ops"},
    "transform": {"raw", "ops", "staging", "marts"},
    "quality_ro": {"raw", "ops", "staging", "marts"},
    "dashboard_ro": {"marts"},
    "reader": {"marts"},
    "dagster": {"dagster"},
}
WRITES = {
    "ingest": {"raw", "ops"},
    "transform": {"staging", "marts"},
    "quality_ro": set(),
    "dashboard_ro": set(),
    "reader": set(),
    "dagster": {"dagster"},
}
DENIED, NOT_PREPARED, NOT_INSTALLED = "42501", "55000", "0A000"
# What each login tries, and the error that stops it.
ATTEMPTS = {
    "a table in public": ("create table public.probe (n int)", DENIED),
    "a function in marts": ("create function marts.probe() returns int language sql return 1", DENIED),
    "a schema": ("create schema probe", DENIED),
    "a temporary table": ("create temp table probe (n int)", DENIED),
    "a large object from bytes": ("select lo_from_bytea(0, 'x')", DENIED),
    "an empty large object": ("select lo_create(0)", DENIED),
    "an empty large object by mode": ("select lo_creat(-1)", DENIED),
    "a large object from a file": ("select lo_import('/etc/hostname')", DENIED),
    "a write to a large object": ("select lo_put(1, 0, 'x')", DENIED),
    "a record in the write-ahead log": ("select pg_logical_emit_message(false, 'a', 'b')", DENIED),
    "a message to listeners by function": ("select pg_notify('a', 'b')", DENIED),
    "a lock of the session": ("select pg_advisory_lock(7421, 200), pg_advisory_unlock(7421, 200)", DENIED),
    "a lock of the transaction": ("select pg_try_advisory_xact_lock(7421, 200)", DENIED),
    "the end of a session": ("select pg_terminate_backend(0)", DENIED),
    "the end of a query": ("select pg_cancel_backend(0)", DENIED),
    "a program": ("copy (select 1) to program 'true'", DENIED),
    "a file": ("copy (select 1) to '/tmp/probe'", DENIED),
    "a file to read": ("select pg_read_file('/etc/passwd')", DENIED),
    "a folder to list": ("select pg_ls_dir('.')", DENIED),
    "the password hashes": ("select rolpassword from pg_authid", DENIED),
    "the password hashes by view": ("select passwd from pg_shadow", DENIED),
    "the access rules": ("select * from pg_hba_file_rules", DENIED),
    "the data folder": ("show data_directory", DENIED),
    "another role": ("set role pg_read_all_data", DENIED),
    "the owner": ("set role tickmart", DENIED),
    "a new role": ("create role probe", DENIED),
    "more rights": ("alter role current_user superuser", DENIED),
    "another login's password": ("alter role {other} password 'x'", DENIED),
    "a setting of the database": ("alter database {database} set timezone = 'UTC'", DENIED),
    "the settings of the server read again": ("select pg_reload_conf()", DENIED),
    "a way to another server": ("create extension postgres_fdw", NOT_INSTALLED),
    "a trusted extension": ("create extension pgcrypto", NOT_INSTALLED),
    "an event trigger": ("create event trigger probe on ddl_command_start execute function f()", DENIED),
    "a prepared transaction": ("prepare transaction 'probe'", NOT_PREPARED),
    "a replication slot": ("select pg_create_physical_replication_slot('probe')", DENIED),
    "a subscription": ("create subscription probe connection '' publication p with (connect = false)", DENIED),
    "the queries of others": (
        "do $$ begin if exists (select from pg_stat_activity where usename <> current_user"
        " and query <> '<insufficient privilege>') then raise 'seen'; end if;"
        " raise insufficient_privilege; end $$",
        DENIED,
    ),
}
# What a login needs, and for what.
NEEDED = {
    ("ingest", "a temporary table"): "the upsert of a load",
    ("transform", "a temporary table"): "incremental models",
    ("ingest", "a lock of the session"): "one writer at a time",
    ("ingest", "a lock of the transaction"): "one writer at a time",
    ("transform", "a lock of the session"): "dbt makes its aggregates once",
    ("transform", "a lock of the transaction"): "dbt makes its aggregates once",
    ("transform", "the end of a session"): "dbt cancels its queries",
    ("transform", "the end of a query"): "dbt cancels its queries",
    ("transform", "a function in marts"): "owns the schema",
}
# What Postgres lets every login do, and why that does no harm.
HARMLESS = {
    "a long sleep": ("select pg_sleep(0)", "30 connections for each reader; any long query does the same"),
    "no time limit": ("set statement_timeout = 0", "a seat belt; the grants and the number of connections stay"),
    "no read-only default": ("set default_transaction_read_only = off", "a seat belt; the grants are the boundary"),
    "its own password": ("alter role current_user password 'x'", "the next start of the server sets it again"),
    "its own settings": ("alter role current_user set work_mem = '1MB'", "they hold for its own sessions alone"),
    "listening": ("listen probe", "nobody sends anything"),
    "a message to listeners": ("notify probe", "nobody listens"),
    "a block of code": ("do $$ begin perform 1; end $$", "it runs with the grants of the login"),
    "the names of tables": ("select relname from pg_class", "the catalogs hold no rows of others"),
}


@pytest.fixture(scope="module")
def connections(stack_env):
    with fresh_database(stack_env) as owner:
        migrate.bootstrap(owner, {role: stack_env[f"TICKMART_PG_{role.upper()}_PASSWORD"] for role in ROLES})
        made = {role: psycopg2.connect(**owner.connect_kwargs(role, stack_env)) for role in ROLES}
        for role, schema in (("transform", "staging"), ("transform", "marts"), ("dagster", "dagster")):
            with made[role], made[role].cursor() as cursor:
                cursor.execute(f"create table {TABLES[schema]} (n int)")
        yield made
        for connection in made.values():
            connection.close()


def allowed(connection, statement: str) -> bool:
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
            return False
        finally:
            connection.rollback()
    return True


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_its_schemas_and_no_other(connections, role):
    read = {schema for schema, table in TABLES.items() if allowed(connections[role], f"select count(*) from {table}")}
    assert read == READS[role]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_writes_its_schemas_and_no_other_even_when_it_switches_read_only_off(connections, role):
    off = "set transaction_read_only = off; "
    for act in ("delete from {0}", "alter table {0} add column probe int", "drop table {0}"):
        changed = {s for s, table in TABLES.items() if allowed(connections[role], off + act.format(table))}
        assert changed == WRITES[role], act


def sqlstate(connection, role: str, statement: str) -> str | None:
    """The error of a statement, tried with read-only and the time limit switched off."""
    other = "ingest" if role != "ingest" else "transform"
    text = statement.replace("{other}", other).replace("{database}", connection.info.dbname)
    with connection.cursor() as cursor:
        try:
            cursor.execute("set transaction_read_only = off; set local statement_timeout = 0")
            cursor.execute(text)
        except psycopg2.Error as error:
            return error.pgcode
        finally:
            connection.rollback()
    return None


@pytest.mark.parametrize("role", ROLES)
def test_a_login_can_do_nothing_beyond_its_work(connections, role):
    found = {what: sqlstate(connections[role], role, statement) for what, (statement, _) in ATTEMPTS.items()}
    wanted = {what: None if (role, what) in NEEDED else state for what, (_, state) in ATTEMPTS.items()}
    assert found == wanted


@pytest.mark.parametrize("role", ROLES)
def test_what_every_login_can_do_is_known(connections, role):
    found = {what: sqlstate(connections[role], role, statement) for what, (statement, _) in HARMLESS.items()}
    assert found == dict.fromkeys(HARMLESS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_a_login_reaches_no_other_database_of_the_embedded_server(connections, stack_env, role, database):
    parameters = connections[role].info.dsn_parameters | {
        "dbname": database, "password": stack_env[f"TICKMART_PG_{role.upper()}_PASSWORD"]
    }  # fmt: skip
    with pytest.raises(psycopg2.OperationalError, match=f'permission denied for database "{database}"'):
        psycopg2.connect(**parameters)


def test_a_database_from_before_gets_its_functions_restricted_at_the_next_start(stack_env):
    with fresh_database(stack_env) as owner, psycopg2.connect(**owner.connect_kwargs()) as connection:
        with connection.cursor() as cursor:
            cursor.execute("grant execute on function lo_create(oid) to public")
            cursor.execute("comment on schema ops is 'tickmart of an earlier version'")
        connection.commit()
        assert migrate.bootstrap(owner)
        with connection.cursor() as cursor:
            cursor.execute("select has_function_privilege('public', 'lo_create(oid)', 'execute')")
            assert cursor.fetchone() == (False,)


def test_no_role_has_an_attribute_of_an_administrator(connections):
    with connections["ingest"].cursor() as cursor:
        cursor.execute(
            "select rolname from pg_roles where rolname = any(%s)"
            " and (rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls)",
            (list(ROLES),),
        )
        assert cursor.fetchall() == []
    connections["ingest"].rollback()


def test_only_those_who_load_and_build_have_temporary_tables(connections):
    off = "set transaction_read_only = off; "
    may = {role for role in ROLES if allowed(connections[role], off + "create temp table probe (n int)")}
    assert may == {"ingest", "transform"}


def test_readers_are_limited_in_time_and_number(connections):
    limits = {}
    for role in ("dashboard_ro", "quality_ro", "reader"):
        with connections[role].cursor() as cursor:
            cursor.execute(
                "select current_setting('statement_timeout'), current_setting('transaction_read_only'), rolconnlimit"
                " from pg_roles where rolname = current_user"
            )
            limits[role] = cursor.fetchone()
        connections[role].rollback()
    assert limits == {"dashboard_ro": ("5s", "on", 30), "quality_ro": ("10min", "on", 30), "reader": ("5min", "on", 10)}
