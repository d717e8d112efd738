"""A database or store that cannot be used is named with its cause and a fix, each cause on a server that has it."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from ingestion.bronze.lake import Lake, LakeError
from ingestion.database import connections, roles
from ingestion.database.connections import WarehouseError
from ingestion.settings import ROLES, Postgres
from support.database import bucket_of, fresh_database
from support.scripted_server import Reply, scripted


@pytest.fixture(scope="module")
def owner(stack_env: dict[str, str]) -> Iterator[Postgres]:
    with fresh_database(stack_env) as made:
        yield made


@contextmanager
def speaking(answer: bytes) -> Iterator[int]:
    """A server that answers every connection with these bytes; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(1024)[4:8] == b"\x04\xd2\x16\x2f":  # "do you speak TLS?"
                        connection.sendall(b"N")
                        connection.recv(1024)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def fatal(state: str, message: str) -> bytes:
    """Postgres' message of a fatal error."""
    body = b"".join(f"{kind}{text}".encode() + b"\0" for kind, text in (("S", "FATAL"), ("C", state), ("M", message)))
    return b"E" + (len(body) + 5).to_bytes(4, "big") + body + b"\0"


def refusal(postgres: Postgres, role: Any = None) -> str:
    with pytest.raises(WarehouseError) as refused:
        connections.connect(postgres, role).close()
    message = str(refused.value)
    assert "\n" not in message
    assert f"{postgres.host}:{postgres.port}/{postgres.database}" in message
    assert postgres.password not in message
    return message


@pytest.mark.parametrize(
    ("wrong", "cause", "fix"),
    [
        ({"password": "not-the-password"}, "no such user with this password", "PGPASSWORD"),
        ({"user": "nobody-here"}, "no such user with this password", "PGUSER"),
        ({"database": "no_such_database"}, "no such database", "PGDATABASE"),
        ({"host": "no-such-host.invalid"}, "no host of this name", "PGHOST"),
        ({"port": 9}, "nothing listens there", "PGPORT"),
    ],
    ids=["password", "user", "database", "host", "port"],
)
def test_a_wrong_setting_is_named(owner: Postgres, wrong: dict[str, Any], cause: str, fix: str) -> None:
    message = refusal(replace(owner, **wrong))
    assert cause in message
    assert f"set {fix}" in message or f"and {fix}" in message


def test_a_missing_password_is_named(owner: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    with pytest.raises(WarehouseError, match=r"has no password .*PGPASSWORD"):
        connections.connect(replace(owner, password=""))


@pytest.mark.parametrize(
    ("change", "back", "cause"),
    [
        ("alter role quality_ro password 'another'", "", "no such user with this password"),
        ("alter role quality_ro nologin", "alter role quality_ro login", "may not log in"),
        (
            "alter role quality_ro connection limit 0", "alter role quality_ro connection limit 30",
            "no connection left",
        ),
    ],
    ids=["password", "no login", "connections"],
)  # fmt: skip
def test_a_login_of_a_role_is_named_by_its_own_variables(
    owner: Postgres, stack_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, change: str, back: str, cause: str
) -> None:
    passwords = {role: stack_env[f"TICKMART_PG_{role.upper()}_PASSWORD"] for role in ROLES}
    roles.set_passwords(owner, passwords)
    monkeypatch.setenv("TICKMART_PG_QUALITY_RO_USER", "quality_ro")
    monkeypatch.setenv("TICKMART_PG_QUALITY_RO_PASSWORD", passwords["quality_ro"])
    monkeypatch.setenv("TICKMART_PG_QUALITY_RO_ROLE", "")
    with psycopg2.connect(**owner.connect_kwargs()) as connection, connection.cursor() as cursor:
        cursor.execute(change)
    try:
        message = refusal(owner, "quality_ro")
    finally:
        with psycopg2.connect(**owner.connect_kwargs()) as connection, connection.cursor() as cursor:
            cursor.execute(back or "select 1")
        roles.set_passwords(owner, passwords)
    assert cause in message
    assert "as quality_ro: " in message
    assert "PGUSER" not in message


@pytest.mark.parametrize(
    ("state", "said", "cause", "fix"),
    [
        ("57P03", "the database system is starting up", "the server is starting", "wait"),
        ("57P03", "the database system is shutting down", "shutting down", "start it"),
        ("53300", "sorry, too many clients already", "no connection left", "max_connections"),
        (
            "28000", 'no pg_hba.conf entry for host "1.2.3.4", user "me", database "db", no encryption',
            "without TLS", "PGSSLMODE=require",
        ),
        ("28000", 'no pg_hba.conf entry for host "1.2.3.4", user "me"', "pg_hba.conf rejects", "add a line"),
        ("42501", 'permission denied for database "db"', "may not connect", "grant it connect"),
    ],
)  # fmt: skip
def test_what_a_server_says_is_understood(owner: Postgres, state: str, said: str, cause: str, fix: str) -> None:
    with speaking(fatal(state, said)) as port:
        message = refusal(replace(owner, port=port))
    assert cause in message
    assert fix in message
    assert said[:60] in message


def test_a_server_without_tls_and_a_port_of_something_else_are_named(
    owner: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "the program that listens there is not Postgres" in refusal(replace(owner, port=port))
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "the server has no TLS" in refusal(owner)


# -- the object store --------------------------------------------------------------------------------------------------


def xml(status: int, code: str) -> Reply:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said so</Message></Error>".encode()
    return Reply(status, body, headers={"Content-Type": "application/xml"})


def write(lake: Lake) -> str:
    with pytest.raises(LakeError) as refused:
        lake.put("some/key", b"x")
    message = str(refused.value)
    assert "\n" not in message
    assert lake.store.endpoint in message
    assert lake.store.secret_key not in message
    return message


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [({"access_key": "nobody"}, "MINIO_ACCESS_KEY"), ({"secret_key": "wrong-secret"}, "MINIO_SECRET_KEY")],
    ids=["access key", "secret key"],
)
def test_a_wrong_key_is_named(stack_env: dict[str, str], wrong: dict[str, str], variable: str) -> None:
    assert f"set {variable}" in write(Lake(replace(bucket_of(stack_env), **wrong), attempts=0))


def test_a_missing_bucket_is_named(stack_env: dict[str, str]) -> None:
    assert "no such bucket" in write(Lake(bucket_of(stack_env), attempts=0))


def test_tls_where_the_store_has_none_is_named(stack_env: dict[str, str]) -> None:
    assert "MINIO_SECURE=false" in write(Lake(replace(bucket_of(stack_env), secure=True), attempts=0))


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (lambda: xml(403, "RequestTimeTooSkewed"), "set the clocks"),
        (lambda: xml(507, "XMinioStorageFull"), "its disk is full"),
        (lambda: xml(403, "AccessDenied"), "read, write and list"),
        (lambda: Reply(405, b"<html>hello</html>", headers={"Content-Type": "text/html"}), "not an S3 server"),
    ],
    ids=["clock", "full", "policy", "another server"],
)
def test_what_a_store_says_is_understood(
    stack_env: dict[str, str], reply: Callable[[], Reply], cause: str
) -> None:  # fmt: skip
    with scripted(lambda _: reply()) as server:
        store = replace(bucket_of(stack_env), endpoint=server.url.removeprefix("http://"))
        assert cause in write(Lake(store, attempts=0))


def test_no_test_reads_the_callers_server() -> None:
    assert "PGHOST" not in os.environ
