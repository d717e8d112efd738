"""A demo's home: every command works on its data and its simulator, whatever the environment names."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ingestion.proxies import VARIABLES
from ingestion.settings import SOURCE_URLS
from orchestration import environment
from orchestration.local.demo import MARK_FILE
from support.cli import TICKMART, TIMEOUT_S, free_ports
from support.scripted_server import Reply, ScriptedServer, scripted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real_world() -> Iterator[ScriptedServer]:
    """What stands for every real API, and for a server of the user's: nobody in a demo may ask it."""
    with scripted([Reply(500)]) as server:
        yield server


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory, real_world: ScriptedServer) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("demo")
    kept = {k: v for k, v in environment.system(os.environ).items() if k not in VARIABLES}
    port = str(real_world.server_address[1])
    return {
        **kept,
        **free_ports(),
        "HOME": str(folder),
        "TICKMART_HOME": str(folder / "home"),
        "PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "real", "PGPASSWORD": "real-password",
        "PGSSLMODE": "require", "PGCHANNELBINDING": "require", "PGGSSENCMODE": "require",
        "MINIO_ENDPOINT": f"127.0.0.1:{port}", "MINIO_ACCESS_KEY": "real", "MINIO_SECRET_KEY": "real-secret",
        **dict.fromkeys(SOURCE_URLS, real_world.url),
        "SLACK_WEBHOOK_URL": f"{real_world.url}/services/x", "https_proxy": real_world.url,
        "http_proxy": real_world.url, "TICKMART_UNIVERSE": "no-such-file.csv",
    }  # fmt: skip


def tickmart(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TICKMART, *arguments], env=env, cwd=env["HOME"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@pytest.fixture(scope="module")
def demo(surroundings: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A small demo that is up, and the environment that its printed hints address it with."""
    errors = Path(surroundings["HOME"]) / "errors"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [TICKMART, "demo", "--days", "3"], env=surroundings, cwd=surroundings["HOME"], text=True,
            stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
    hint = ""
    for line in process.stdout:
        hint = line.split("`")[1] if line.startswith("Demo") else hint
        if "Ctrl-C" in line:
            break
    try:
        assert hint.endswith(" tickmart status"), errors.read_text()
        yield process, {**surroundings, "TICKMART_HOME": hint.partition("=")[2].partition(" ")[0]}
    finally:
        process.terminate()
        process.wait(60)


def servers_of(home: Path) -> list[str]:
    """The command lines of the Postgres and the simulators that were started for homes below a folder."""
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline", "cwd"])
             if str(home) in " ".join([*(p.info["cmdline"] or []), p.info["cwd"] or ""])]  # fmt: skip
    return [line for line in lines if "/postgres -D" in line or "ingestion.simulator" in line]


def test_every_command_works_on_the_demos_data_and_simulator(demo, real_world):
    process, env = demo
    home = Path(env["TICKMART_HOME"])
    assert process.poll() is None
    status = tickmart(env, "status", "--json")
    assert json.loads(status.stdout)["home"] == str(home)
    assert all(row["rows"] > 0 for row in json.loads(status.stdout)["datasets"])
    counted = tickmart(env, "sql", "select count(*) > 0 as there from marts.fct_prices", "--csv")
    assert counted.stdout.split() == ["there", "true"]
    doctor = tickmart(env, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "PROBLEM" not in doctor.stdout
    assert len(servers_of(home)) == 2
    day = tickmart(env, "sql", "select (min(open_time) - interval '2 days')::date from raw.binance_klines", "--csv")
    done = tickmart(env, "backfill", "--start", day.stdout.split()[-1], "--source", "rest", "--json")
    assert done.returncode == 0, done.stderr
    asked = tickmart(env, "sql", "select distinct split_part(host, ':', 1) as h from ops.source_requests", "--csv")
    assert asked.stdout.split() == ["h", "127.0.0.1"]
    assert not real_world.asked


def test_a_backup_of_a_demo_is_restored_as_a_demo(demo, tmp_path, real_world):
    _, env = demo
    made = tickmart(env, "backup", str(tmp_path / "backups"), "--no-check", "--json")
    assert made.returncode == 0, made.stderr
    elsewhere = {k: v for k, v in env.items() if not k.startswith(("PG", "MINIO_"))} | {
        "TICKMART_HOME": str(tmp_path / "new"), "TICKMART_UNIVERSE": "",
    }  # fmt: skip
    back = tickmart(elsewhere, "restore", json.loads(made.stdout)["path"])
    assert back.returncode == 0, back.stderr
    assert json.loads((tmp_path / "new" / MARK_FILE).read_text()) == {"seed": 3}
    assert tickmart(elsewhere, "doctor").returncode == 0
    assert not real_world.asked


def test_a_demo_rejects_another_seed(demo):
    _, env = demo
    other = tickmart(env, "demo", "--seed", "4")
    assert (other.returncode, other.stdout) == (1, "")
    assert "--seed 3" in other.stderr
