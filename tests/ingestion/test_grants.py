"""What each of tickmart's logins may not do, by trying it on a real server, and what it may."""

import psycopg2
import pytest
from chain import fresh_database
from psycopg2 import errors

from ingestion import schema
from ingestion.settings import ROLES

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
    "dagster": {"dagster"},
}
WRITES = {
    "ingest": {"raw", "ops"},
    "transform": {"staging", "marts"},
    "quality_ro": set(),
    "dashboard_ro": set(),
    "dagster": {"dagster"},
}
NOT_FOR_ANYBODY = (
    "create table public.probe (n int)",
    "create schema probe",
    "create role probe",
    "alter role ingest superuser",
    "copy (select 1) to program 'true'",
    "select pg_read_file('/etc/passwd')",
    "select rolpassword from pg_authid",
)


@pytest.fixture(scope="module")
def connections(stack_env):
    with fresh_database(stack_env) as owner:
        schema.bootstrap(owner, {role: stack_env[f"TICKMART_PG_{role.upper()}_PASSWORD"] for role in ROLES})
        made = {role: psycopg2.connect(**owner.connect_kwargs(role, stack_env)) for role in ROLES}
        for role, room in (("transform", "staging"), ("transform", "marts"), ("dagster", "dagster")):
            with made[role], made[role].cursor() as cursor:
                cursor.execute(f"create table {TABLES[room]} (n int)")
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


@pytest.mark.parametrize("statement", NOT_FOR_ANYBODY)
def test_no_role_reaches_beyond_the_warehouse(connections, statement):
    off = "set transaction_read_only = off; "
    assert [role for role in ROLES if allowed(connections[role], off + statement)] == []


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
    for role in ("dashboard_ro", "quality_ro"):
        with connections[role].cursor() as cursor:
            cursor.execute(
                "select current_setting('statement_timeout'), current_setting('transaction_read_only'), rolconnlimit"
                " from pg_roles where rolname = current_user"
            )
            limits[role] = cursor.fetchone()
        connections[role].rollback()
    assert limits == {"dashboard_ro": ("5s", "on", 30), "quality_ro": ("10min", "on", 30)}
