"""The local services: real servers, started, shared and stopped by real processes."""

import json
import stat
import urllib.error
import urllib.request
from pathlib import Path

import psycopg2
import pytest
from minio import Minio

from orchestration.local.client import local_services
from support.local_services import ask, connect, family, servers, supervisors, wait_until_gone


def test_first_start_gives_a_durable_utf8_database_and_the_last_exit_stops_everything(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    with local_services(home, postgres=True, s3=True) as env:
        started = family(home)
        settings = ["fsync", "full_page_writes", "data_checksums", "server_encoding", "TimeZone", "listen_addresses"]
        found = ask(env, "select " + ", ".join(f"current_setting('{name}')" for name in settings))
        assert found == [("on", "on", "on", "UTF8", "UTC", "127.0.0.1")]
        assert ask(env, "select upper('ä'), 'a' collate \"default\" > 'B'") == [("Ä", True)]
        client = Minio(
            env["MINIO_ENDPOINT"], env["MINIO_ACCESS_KEY"], env["MINIO_SECRET_KEY"], secure=False, region="us-east-1"
        )
        client.make_bucket(env["MINIO_BUCKET"])
        client.fput_object(env["MINIO_BUCKET"], "folder/date=2026-01-01/object", __file__)
        assert (home / "lake" / "bronze" / "folder" / "date=2026-01-01" / "object").read_text() == Path(
            __file__
        ).read_text()
        assert {role for role in env if role.startswith("TICKMART_PG_INGEST_")} == {
            "TICKMART_PG_INGEST_USER",
            "TICKMART_PG_INGEST_PASSWORD",
            "TICKMART_PG_INGEST_ROLE",
        }
    wait_until_gone(started)
    assert not (home / "keeper.json").exists()
    assert not (home / "postgres" / "postmaster.pid").exists()


def test_only_the_servers_that_are_needed_run(home: Path) -> None:
    with local_services(home, postgres=True, s3=False) as env:
        assert not [name for name in env if name.startswith("MINIO_")]
        assert not servers(home, "rclone")
        with local_services(home, postgres=False, s3=True) as more:
            assert not [name for name in more if name.startswith(("PG", "TICKMART_PG"))]
            assert servers(home, "rclone")


def test_nothing_is_started_or_written_when_both_servers_are_brought_by_the_user(tmp_path: Path) -> None:
    with local_services(tmp_path / "home", postgres=False, s3=False) as env:
        assert env == {}
    assert not (tmp_path / "home").exists()


def test_wrong_password_and_wrong_key_are_rejected(home: Path) -> None:
    with local_services(home, postgres=True, s3=True) as env:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            connect(env, password="wrong")
        with pytest.raises(psycopg2.OperationalError, match="password"):
            connect(env, password="")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{env['MINIO_ENDPOINT']}/bronze")
        assert refused.value.code in (400, 403)


def test_a_home_of_a_version_without_the_login_reader_gets_its_password_and_keeps_the_others(home: Path) -> None:
    file = home / "credentials.json"
    credentials = json.loads(file.read_text())
    del credentials["postgres"]["reader"]
    file.write_text(json.dumps(credentials))
    passwords = set()
    for _ in range(2):
        with local_services(home, postgres=True, s3=False) as env:
            passwords.add(env["TICKMART_PG_READER_PASSWORD"])
            assert ask(env, "select value from kept") == [(42,)]
    assert len(passwords) == 1
    now = json.loads(file.read_text())
    assert now["postgres"].pop("reader") in passwords
    assert now == credentials


def test_secrets_are_private_files_and_in_no_log_nor_command_line(home: Path) -> None:
    with local_services(home, postgres=True, s3=True) as env:
        with pytest.raises(psycopg2.Error):
            ask(env, f"create role broken login password '{env['PGPASSWORD']}' nonsense")
        commands = " ".join(" ".join(process.cmdline()) for process in supervisors(home) + servers(home, "rclone"))
        assert stat.S_IMODE((home / "keeper.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    logs = "".join(log.read_text() for log in (home / "logs").iterdir())
    secrets = [value for name, value in env.items() if "PASSWORD" in name or "SECRET" in name]
    assert len(secrets) == 8
    assert not [secret for secret in secrets if secret in commands or secret in logs]


def test_data_and_port_survive_a_restart(home: Path) -> None:
    ports = set()
    for _ in range(2):
        with local_services(home, postgres=True, s3=False) as env:
            ports.add(env["PGPORT"])
            assert ask(env, "select value from kept") == [(42,)]
    assert len(ports) == 1
