"""Clients, supervisors and servers that end or are killed: nothing is left, and the next start works."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from orchestration.local.children import Children
from orchestration.local.client import local_services
from orchestration.local.processes import LocalServicesError
from support.cli import ROOT
from support.local_services import (
    TIMEOUT_S,
    ask,
    connect,
    environment_of,
    family,
    group_of,
    leave,
    remove,
    runs,
    servers,
    start_client,
    supervisors,
    wait_for,
    wait_until_gone,
)


def test_clients_share_the_servers_until_the_last_one_leaves(home: Path) -> None:
    first, second = start_client(home), start_client(home)
    environment = environment_of(first)
    assert environment_of(second) == environment
    started = family(home)
    os.killpg(first.pid, signal.SIGINT)  # Ctrl-C in the terminal of the client that started the supervisor
    first.communicate(timeout=TIMEOUT_S)
    assert ask(environment, "select value from kept") == [(42,)]
    leave(second)
    wait_until_gone(started)


def test_five_concurrent_first_starts_share_one_supervisor(tmp_path: Path) -> None:
    home = tmp_path / "home"
    clients = [start_client(home) for _ in range(5)]
    environments = [environment_of(client) for client in clients]
    assert all(environment == environments[0] for environment in environments)
    assert len(supervisors(home)) == 1
    started = family(home)
    for client in clients:
        client.stdin.close()
    for client in clients:
        assert client.wait(TIMEOUT_S) == 0
    wait_until_gone(started)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_killed_client_leaves_no_server_and_the_next_start_works(home: Path, ending: signal.Signals) -> None:
    client = start_client(home)
    environment_of(client)
    started = family(home)
    client.send_signal(ending)
    client.communicate(timeout=TIMEOUT_S)
    wait_until_gone(started)
    with local_services(home, postgres=True, s3=False) as env:
        assert ask(env, "select value from kept") == [(42,)]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends the servers of a killed supervisor")
def test_a_killed_supervisor_leaves_no_server(home: Path) -> None:
    client = start_client(home)
    environment_of(client)
    started = family(home)
    supervisors(home)[0].kill()
    wait_until_gone(started)
    client.communicate(timeout=TIMEOUT_S)


def test_the_next_start_works_immediately_after_the_supervisor_was_killed(home: Path) -> None:
    client = start_client(home)
    environment_of(client)
    started = family(home)
    supervisors(home)[0].kill()
    with local_services(home, postgres=True, s3=True) as env:
        assert ask(env, "select value from kept") == [(42,)]
        assert not any(map(runs, started))
    client.communicate(timeout=TIMEOUT_S)


def test_killed_postmaster_is_replaced_on_its_port_and_its_busy_backends_end(home: Path) -> None:
    with local_services(home, postgres=True, s3=False) as env:
        ask(env, "insert into kept values (43)")
        busy = connect(env)
        with busy.cursor() as cursor:
            cursor.execute("select pg_backend_pid()")
            backend = psutil.Process(cursor.fetchone()[0])
        before = servers(home, "postgres")
        assert backend in before
        backend.parent().kill()
        wait_until_gone(before)
        busy.close()

        def answer() -> list[tuple[Any, ...]]:
            with contextlib.suppress(psycopg2.OperationalError):
                return ask(env, "select value from kept order by value")
            return []

        assert wait_for(answer, "a new Postgres") == [(42,), (43,)]
        after = family(home)
    wait_until_gone(after)


def test_supervisor_and_postgres_killed_together_do_not_block_the_next_start(home: Path) -> None:
    client = start_client(home)
    environment_of(client)
    started = family(home)
    for process in [*supervisors(home), *servers(home, "postgres")]:
        with contextlib.suppress(psutil.NoSuchProcess):  # the end of the supervisor ends its servers, too
            process.kill()
    client.kill()
    client.communicate(timeout=TIMEOUT_S)
    with local_services(home, postgres=True, s3=True) as env:
        assert ask(env, "select value from kept") == [(42,)]
    wait_until_gone(started)


def test_initdb_killed_half_way_does_not_poison_the_next_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    client = start_client(home)
    wait_for(lambda: list(home.glob("postgres.init-*/data/base")), "initdb at work")
    client.kill()
    supervisors(home)[0].kill()
    client.communicate(timeout=TIMEOUT_S)
    assert not (home / "postgres").exists()
    with local_services(home, postgres=True, s3=False) as env:
        assert ask(env, "select 1") == [(1,)]
    assert not list(home.glob("postgres.init-*"))


def test_registered_children_and_theirs_end_with_a_killed_client(home: Path) -> None:
    client = start_client(home, "children")
    environment_of(client)

    def born() -> list[psutil.Process]:
        found = []
        for child in psutil.Process(client.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child] if child.name() == "sleep" else []
        return found if len(found) == 2 else []

    children = wait_for(born, "the child and the child's child")
    started = family(home)
    client.kill()
    client.communicate(timeout=TIMEOUT_S)
    wait_until_gone([*children, *started])


def test_children_report_their_end_and_stop_even_if_they_ignore_sigterm(home: Path) -> None:
    with Children(home) as children:
        log = home / "logs" / "child.log"
        stubborn = children.spawn("stubborn", ["sh", "-c", "trap '' TERM; echo ready; sleep 600; sleep 600"], {}, log)
        wait_for(lambda: log.exists() and log.read_text() == "ready\n", "the child's first line in its log")
        brief = children.spawn("brief", ["sh", "-c", 'sleep 600 & exit "$CODE"'], {"CODE": "7"}, log)
        assert children.wait_any() == ("brief", 7)
        assert not [process for process in psutil.process_iter() if runs(process) and group_of(process) == brief.pid]
        assert children.wait_any(timeout=0.01) is None
        children.stop_all(grace_s=0.1)
        assert stubborn.returncode == -signal.SIGKILL
        with pytest.raises(LocalServicesError, match=r"missing cannot be started .*no-such-program"):
            children.spawn("missing", ["/no-such-program"], {}, log)


def test_waiting_for_children_ends_when_the_supervisor_dies(home: Path) -> None:
    with Children(home) as children:
        children.spawn("patient", ["sleep", "600"], {}, home / "logs" / "child.log")
        supervisors(home)[0].kill()
        with pytest.raises(LocalServicesError, match=r"supervisor.* ended: see .*keeper\.log"):
            children.wait_any()


def test_the_supervisor_of_a_removed_home_leaves_its_successor_alone(home: Path, initialized: Path) -> None:
    client = start_client(home)
    environment_of(client)
    started = family(home)
    remove(home)
    subprocess.run(["cp", "-a", initialized, home], check=True)
    with local_services(home, postgres=True, s3=False) as env:
        wait_until_gone(started)
        assert ask(env, "select value from kept") == [(42,)]
    client.communicate(timeout=TIMEOUT_S)


def test_the_supervisor_serves_no_client_without_its_token(home: Path) -> None:
    with local_services(home, postgres=True, s3=False) as env:
        state = json.loads((home / "keeper.json").read_text())
        for greeting in (b'{"token": "wrong"}\n{"need": ["s3"]}\n', b"GET / HTTP/1.1\r\n\r\n", b"[]\n"):
            with socket.create_connection(("127.0.0.1", state["port"]), timeout=TIMEOUT_S) as connection:
                connection.sendall(greeting)
                assert connection.recv(100) == b""
        assert ask(env, "select value from kept") == [(42,)]
        assert not servers(home, "rclone")


def test_unfinished_uploads_of_a_killed_s3_server_are_removed_and_objects_stay(home: Path) -> None:
    folder = home / "lake" / "bronze" / "folder"
    folder.mkdir(parents=True)
    for name in ("object", ".rclone_temp_put_1"):
        (folder / name).write_text("content")
    with local_services(home, postgres=False, s3=True):
        assert [path.name for path in folder.iterdir()] == ["object"]


def test_the_supervisor_and_its_servers_get_nothing_of_the_users_environment(tmp_path: Path) -> None:
    foreign = {"PGSERVICE": "prod", "DBT_TARGET": "prod", "SLACK_WEBHOOK_URL": "secret", "PGPASSWORD": "secret"}
    client = start_client(tmp_path / "home", env=dict(os.environ, PYTHONPATH=str(ROOT), **foreign), cwd=tmp_path)
    environment_of(client)
    processes = [*supervisors(tmp_path / "home"), *family(tmp_path / "home")]
    assert len(processes) > 2
    for process in processes:
        assert not set(foreign) & set(process.environ())
        assert Path(process.cwd()).is_relative_to(tmp_path / "home")
    leave(client)
