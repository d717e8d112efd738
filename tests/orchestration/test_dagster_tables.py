"""Dagster's own tables go along when Dagster is upgraded: whoever starts first does `dagster instance migrate`."""

import subprocess
import sys

import psycopg2
import pytest

from support.cli import ROOT, clean_environment

# What a start does; and the tables as an older Dagster left them, its last change undone by its own script.
START = """
from orchestration.runner import dagster_instance
from orchestration.session import session
with session(s3=False), dagster_instance() as instance:
    instance.get_runs(limit=1)
"""
UNDO = """
from dagster._core.storage.sql import run_alembic_downgrade
from dagster_postgres.utils import pg_alembic_config
from orchestration.runner import dagster_instance
from orchestration.session import session
import dagster_postgres.run_storage.run_storage as storage
with session(s3=False), dagster_instance() as instance, instance.run_storage.connect() as connection:
    run_alembic_downgrade(pg_alembic_config(storage.__file__), connection, rev="6b7fb194ff9c")
"""
ADDED = """
select count(*) from information_schema.columns
where table_schema = 'dagster' and (table_name, column_name) = ('concurrency_limits', 'using_default_limit')
"""


@pytest.mark.slow
def test_tables_of_an_older_dagster_are_migrated_and_those_of_a_newer_one_rejected(postgres, tmp_path):
    env = clean_environment()
    env |= {"PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user}
    env |= {"PGPASSWORD": postgres.password, "PGDATABASE": postgres.database, "TICKMART_HOME": str(tmp_path)}

    def python(code):
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT, timeout=120)

    def ask(statement):
        with psycopg2.connect(**postgres.connect_kwargs()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    assert python(START).returncode == 0
    head = ask("select version_num from dagster.alembic_version")
    assert ask(ADDED) == 1
    assert python(UNDO).returncode == 0
    assert ask(ADDED) == 0

    ask("update ops.versions set version = '1.9.0' where name = 'dagster'")
    done = python(START)
    assert done.returncode == 0, done.stderr
    assert ask(ADDED) == 1
    assert ask("select version_num from dagster.alembic_version") == head

    ask("update dagster.alembic_version set version_num = 'of_tomorrow'; update ops.versions set version = '99.0'")
    refused = python(START)
    assert refused.returncode == 1
    assert "LocalServicesError: schema dagster is of a newer Dagster" in refused.stderr.splitlines()[-1]
