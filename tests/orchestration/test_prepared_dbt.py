"""dbt that is started early runs the command that a build gives it, and never outlives the run that started it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from orchestration.assets.dbt import DBT, DIGEST_FILE, target_folder
from orchestration.local import prepared_dbt
from orchestration.local.prepared_dbt import PARTIAL_PARSE

pytestmark = pytest.mark.servers


def processes() -> set[int]:
    """The dbts that this process has prepared and that run."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while it was read
            if prepared_dbt.__file__ in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
    return found


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Parsed(NamedTuple):
    """A `dbt parse` that has ended."""

    pid: int
    code: int
    output: str


def parse_in(folder: Path) -> Parsed:
    """Run `dbt parse` with profiles in a folder that does not exist, which only the environment names."""
    env = {**os.environ, "DBT_PROFILES_DIR": str(folder / "none"), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    process = prepared_dbt.start_dbt([DBT, "parse"], env, folder)
    output, _ = process.communicate()
    assert process.args == [DBT, "parse"]
    return Parsed(process.pid, process.returncode, output.decode())


def test_a_build_runs_in_the_prepared_process_with_its_own_arguments_environment_and_folder(tmp_path):
    before = processes()
    with prepared_dbt.prepared_dbt():
        [prepared] = processes() - before
        found = parse_in(tmp_path)
    assert (found.pid, found.code) == (prepared, 2)
    assert str(tmp_path / "none") in found.output


def test_a_second_build_and_one_without_a_prepared_process_start_their_own(tmp_path):
    with prepared_dbt.prepared_dbt():
        found = [parse_in(tmp_path), parse_in(tmp_path)]
    found.append(parse_in(tmp_path))
    assert [parsed.code for parsed in found] == [2, 2, 2]
    assert len({parsed.pid for parsed in found}) == 3


def test_a_build_starts_its_own_process_when_the_prepared_one_was_killed(tmp_path):
    before = processes()
    with prepared_dbt.prepared_dbt():
        [prepared] = processes() - before
        os.kill(prepared, signal.SIGKILL)
        psutil.Process(prepared).wait(30)
        assert parse_in(tmp_path).code == 2


def test_one_process_at_a_time_is_prepared_and_none_without_a_run(tmp_path):
    before = processes()
    prepared_dbt.prepare_next()
    assert processes() == before
    with prepared_dbt.prepared_dbt():
        first = processes() - before
        prepared_dbt.prepare_next()
        assert processes() - before == first
        assert parse_in(tmp_path).code == 2
        prepared_dbt.prepare_next()
        assert len(processes() - before - first) == 1
    assert processes() == before


def test_the_prepared_process_ends_with_a_run_that_builds_nothing():
    before = processes()
    with prepared_dbt.prepared_dbt():
        assert len(processes() - before) == 1
    assert processes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends when it has imported dbt")
def test_the_prepared_process_ends_with_a_run_that_is_killed():
    program = (
        "import json, os, psutil, signal\n"
        "from orchestration.local.prepared_dbt import prepared_dbt\n"
        "with prepared_dbt():\n"
        "    print(json.dumps([c.pid for c in psutil.Process().children()]), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    [prepared] = json.loads(done.stdout)
    deadline = time.monotonic() + 60
    while runs(prepared):
        assert time.monotonic() < deadline
        time.sleep(0.05)


PROJECT = {
    "dbt_project.yml": "{name: small, profile: small, config-version: 2}",
    "profiles.yml": "small: {target: a, outputs: {a: {type: postgres, host: none, port: 1, user: u, password: p,"
    " dbname: d, schema: s}}}",
    "models/bars.sql": "select 1 as before",
}


def models_of(folder: Path) -> list[str]:
    """The SQL of the models, as `dbt ls` reads the project with what its target folder has."""
    env = {
        **os.environ, "DBT_PROFILES_DIR": str(folder), "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }  # fmt: skip
    keys = ["--resource-type", "model", "--output", "json", "--output-keys", "raw_code", "--quiet"]
    process = prepared_dbt.start_dbt([DBT, "ls", *keys], env, folder)
    output, _ = process.communicate()
    assert process.returncode == 0, output.decode()
    return [json.loads(line)["raw_code"] for line in output.decode().splitlines() if line.startswith("{")]


def write_project(folder: Path) -> None:
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def test_what_a_build_brings_is_not_parsed_again_and_a_project_that_changed_is(tmp_path):
    write_project(tmp_path)
    assert models_of(tmp_path) == ["select 1 as before"]
    parsed = tmp_path / "target" / PARTIAL_PARSE
    (tmp_path / "models/bars.sql").write_text("select 1 as after")
    parsed.rename(tmp_path / "target" / prepared_dbt.PARSED)
    assert models_of(tmp_path) == ["select 1 as before"]
    (tmp_path / "target" / prepared_dbt.PARSED).rename(parsed)
    assert models_of(tmp_path) == ["select 1 as after"]


def test_what_was_read_early_is_used_only_if_the_build_brings_the_same(tmp_path, monkeypatch):
    write_project(tmp_path)
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path / "home"))
    parsed, brought = (tmp_path / "target" / name for name in (PARTIAL_PARSE, prepared_dbt.PARSED))
    contents = {}
    for text in ("select 1 as before", "select 1 as after"):
        (tmp_path / "models/bars.sql").write_text(text)
        assert models_of(tmp_path) == [text]
        contents[text] = parsed.read_bytes()
    parsed.unlink()
    (tmp_path / "models/bars.sql").write_text("select 1 as never_parsed")
    in_home = tmp_path / "home/dbt" / PARTIAL_PARSE
    in_home.parent.mkdir(parents=True)
    before, after = contents
    for early, text in [(contents[before], before), (contents[before], after), (contents[before][:-100], after)]:
        in_home.write_bytes(early)
        brought.write_bytes(contents[text])
        with prepared_dbt.prepared_dbt():
            assert models_of(tmp_path) == [text]
    brought.unlink()
    in_home.write_bytes(contents[before])
    with prepared_dbt.prepared_dbt():
        assert models_of(tmp_path) == ["select 1 as never_parsed"]


@pytest.mark.parametrize(("digest", "file"), [("of now", prepared_dbt.PARSED), ("of tomorrow", PARTIAL_PARSE)])
def test_a_build_brings_what_was_parsed_of_this_very_project(tmp_path, digest, file):
    (tmp_path / PARTIAL_PARSE).write_bytes(b"parsed")
    (tmp_path / DIGEST_FILE).write_text("of now")
    target = target_folder(tmp_path, "run", digest)
    assert [path.name for path in target.iterdir()] == [file]
