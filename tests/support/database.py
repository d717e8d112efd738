"""Databases and buckets of a test's own on the session's servers, and connections to them."""

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace

from psycopg2 import sql

from ingestion.database import connections, migrate
from ingestion.settings import ObjectStore, Postgres


@contextlib.contextmanager
def fresh_database(environment: dict[str, str]) -> Iterator[Postgres]:
    """A new database on the session's server, with tickmart's roles, schemas and tables; dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    owner = Postgres(
        environment["PGHOST"], int(environment["PGPORT"]), name, environment["PGUSER"], environment["PGPASSWORD"]
    )
    _administrate(owner, sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        migrate.bootstrap(owner)
        yield owner
    finally:
        _administrate(owner, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _administrate(owner: Postgres, statement: sql.Composed) -> None:
    with connections.closing(connections.connect(replace(owner, database="postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


def bucket_of(environment: dict[str, str]) -> ObjectStore:
    """The session's S3 server with a bucket that nobody has used."""
    return ObjectStore(
        environment["MINIO_ENDPOINT"],
        environment["MINIO_ACCESS_KEY"],
        environment["MINIO_SECRET_KEY"],
        f"test-{secrets.token_hex(6)}",
    )
