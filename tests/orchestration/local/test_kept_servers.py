"""Servers that run on between commands: who keeps them, who gets them, and what ends them."""

import contextlib
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestration.local import client
from support.cli import ROOT, TICKMART, Home
from support.local_services import (
    TIMEOUT_S,
    ask,
    environment_of,
    family,
    leave,
    remove,
    servers,
    start_client,
    supervisors,
    wait_for,
    wait_until_gone,
)

KEEP = "TICKMART_KEEP_SERVERS_SECONDS"
LONG = {KEEP: "3600"}


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped home with a warehouse, to be copied."""
    home = Home(tmp_path_factory.mktemp("kept") / "home", {})
    home.sql("select 1")
    wait_for(lambda: not supervisors(home.path), "the end of the supervisor")
    return home.path


@pytest.fixture
def home(set_up: Path, tmp_path: Path) -> Iterator[Home]:
    """A home of the test's own, without servers at first and at the end."""
    made = Home(tmp_path / "home", {})
    subprocess.run(["cp", "-a", set_up, made.path], check=True)
    yield made
    for process in supervisors(made.path):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    wait_for(lambda: not supervisors(made.path), "the end of the supervisor")


def keep(home: Home) -> dict[psutil.Process, str]:
    """Run a command whose servers run on, and return the processes that do."""
    done = home.tickmart("sql", "select 1", **LONG)
    assert done.returncode == 0, done.stderr
    started = family(home.path)
    assert "postgres" in started.values()
    return started


def postmaster(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().split()[0])


def test_the_next_command_gets_the_servers_of_the_one_before_and_may_end_them(home: Home) -> None:
    started = keep(home)
    first = postmaster(home.path)
    assert home.tickmart("psql", "-c", "select 1", **LONG).returncode == 0  # it exits inside its session
    assert postmaster(home.path) == first
    home.sql("select 1")  # the tests' default is 0
    wait_until_gone(started)


def test_a_later_command_gets_a_server_that_does_not_run_yet(home: Home) -> None:
    keep(home)
    first = postmaster(home.path)
    assert not servers(home.path, "rclone")
    done = home.tickmart("rejected", "replay", **LONG)
    assert done.returncode == 0, done.stderr
    assert servers(home.path, "rclone")
    assert postmaster(home.path) == first


def test_servers_stop_after_their_time(home: Home) -> None:
    started = keep(home)
    assert home.tickmart("sql", "select 1", **{KEEP: "0.5"}).returncode == 0
    wait_until_gone(started)


@pytest.mark.parametrize("failing", [("sql", "select nothing"), ("psql", "-c", "select nothing")])
def test_a_command_that_fails_leaves_no_server(home: Home, failing: tuple[str, ...]) -> None:
    started = keep(home)
    assert home.tickmart(*failing, **LONG).returncode == 1
    wait_until_gone(started)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_or_killed_command_leaves_no_server(home: Home, ending: signal.Signals) -> None:
    started = keep(home)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT_S)
        command = home.start("doctor", **LONG, BINANCE_BASE_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        asked, _ = silent.accept()  # its session is open, and it waits for a response
        command.send_signal(ending)
        command.communicate(timeout=TIMEOUT_S)
        asked.close()
    assert command.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(ending, -ending)
    wait_until_gone(started)


def test_a_command_that_ends_beside_another_one_stops_nothing(home: Home) -> None:
    with subprocess.Popen(
        [TICKMART, "psql"], env=home.env | LONG, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdin.write("select 'ready';\n")
        other.stdin.flush()
        wait_for(lambda: "ready" in other.stdout.readline(), "the first answer of psql")
        first = postmaster(home.path)
        home.sql("select 1")
        other.stdin.write("select 'still there';\n")
        other.stdin.close()
        assert "still there" in other.stdout.read()
        assert other.wait(TIMEOUT_S) == 0
    assert postmaster(home.path) == first
    assert supervisors(home.path)


def test_a_long_service_leaves_no_server_when_it_is_stopped(home: Home) -> None:
    started = keep(home)
    stream = home.start("stream", **LONG, OKX_WS_URL="ws://127.0.0.1:9/", OKX_BASE_URL="http://127.0.0.1:9")
    assert "Live prices" in stream.stderr.readline()
    stream.send_signal(signal.SIGINT)
    stream.communicate(timeout=TIMEOUT_S)
    wait_until_gone(started)


def test_a_supervisor_that_is_killed_between_commands_does_not_block_the_next_one(home: Home) -> None:
    started = keep(home)
    supervisors(home.path)[0].kill()
    assert home.sql("select 1 as one") == [{"one": "1"}]
    wait_until_gone(started)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second folder with this code."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in ("ingestion", "orchestration"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "simulator"))
    return folder


def test_the_code_of_another_folder_gets_servers_of_its_own(home: Home, checkout: Path, tmp_path: Path) -> None:
    started = keep(home)
    other = start_client(home.path, "postgres", env=dict(os.environ, PYTHONPATH=str(checkout)), cwd=tmp_path)
    assert ask(environment_of(other), "select 1") == [(1,)]
    wait_until_gone(started)
    leave(other)


def test_code_that_was_replaced_in_its_folder_gets_new_servers(home: Home, checkout: Path, tmp_path: Path) -> None:
    sql = [sys.executable, "-m", "orchestration.cli", "sql", "select 1"]
    env = home.env | LONG | {"PYTHONPATH": str(checkout)}
    for _ in range(2):
        subprocess.run(sql, env=env, cwd=tmp_path, check=True, capture_output=True)
        started = family(home.path)
        (checkout / "orchestration" / "local" / "postgres.py").touch()
        wait_until_gone(started)


def test_a_removed_home_has_no_servers(home: Home) -> None:
    started = keep(home)
    remove(home.path)
    wait_until_gone(started)


def test_a_command_never_writes_to_data_that_were_moved_away_or_copied_from(home: Home, tmp_path: Path) -> None:
    keep(home)
    original = postmaster(home.path)
    copy = Home(tmp_path / "copy", {})
    subprocess.run(["cp", "-a", home.path, copy.path], check=True)
    assert copy.tickmart("psql", "--owner", "-c", "create table public.of_the_copy ()").returncode == 0
    assert psutil.pid_exists(original)
    (home.path / "postgres").rename(tmp_path / "moved")
    count = "select count(*) as found from pg_tables where schemaname = 'public'"
    assert home.sql(count) == [{"found": "0"}]
    assert not psutil.pid_exists(original)
    assert (home.path / "postgres" / "PG_VERSION").exists()
    assert copy.sql(count) == [{"found": "1"}]


def test_by_default_a_terminal_keeps_servers_and_a_script_does_not(home: Home) -> None:
    env = {name: value for name, value in home.env.items() if name != KEEP}
    sql = [TICKMART, "sql", "select 1"]
    screen, terminal = pty.openpty()
    try:
        for keyboard, errors in ((terminal, subprocess.PIPE), (subprocess.DEVNULL, terminal)):
            subprocess.run(sql, env=env, stdin=keyboard, stderr=errors, stdout=subprocess.PIPE, check=True)
            started = family(home.path)
            assert started
        subprocess.run(sql, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        wait_until_gone(started)
    finally:
        os.close(screen)
        os.close(terminal)


@pytest.mark.parametrize("first", ["getpid", "getppid"])
def test_by_default_nothing_is_kept_in_a_container_that_ends_with_the_command(
    monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    assert client.keep_seconds(None) > 0
    monkeypatch.setattr(os, first, lambda: 1)
    assert client.keep_seconds(None) == 0
    assert client.keep_seconds(5) == 5
