"""The composed stack on a Docker engine: built, started, loaded, killed, taken down and started again.

Needs an engine. TICKMART_BUILD_ARGS are arguments of docker build; where registries are out of reach,
TICKMART_COMPOSE_STAND_INS=1 replaces the images of Postgres and the S3 server by those of this folder, which have to be
built before: docs/deployment.md tells how.
"""

import json
import os
import shlex
import shutil
import subprocess
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.stack import free_port

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
    mutation($tags: [ExecutionTag!]) {
      launchRun(executionParams: {
        selector: {repositoryLocationName: "tickmart", repositoryName: "__repository__", jobName: "market_refresh"},
        runConfigData: {}, executionMetadata: {tags: $tags}
      }) { ... on LaunchRunSuccess { run { runId } } }
    }
"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def engine() -> bool:
    docker = shutil.which("docker")
    return docker is not None and not subprocess.run([docker, "info"], capture_output=True).returncode


pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not engine(), reason="no Docker engine answers"),
]


class Composed:
    """A project of its own on the engine, with the demo profile's simulator."""

    def __init__(self, folder: Path) -> None:
        names = ("POSTGRES_PORT", "MINIO_CONSOLE_PORT", "DAGSTER_PORT", "DASHBOARD_PORT")
        self.ports = {name: free_port(0) for name in names}
        env_file = folder / "secrets"
        subprocess.run([ROOT / "docker" / "make_secrets.sh", env_file], check=True, capture_output=True)
        files = ["-f", ROOT / "docker-compose.yml"]
        if os.environ.get("TICKMART_COMPOSE_STAND_INS"):
            files += ["-f", ROOT / "tests/compose/stand-ins.yml"]
        envs = ["--env-file", env_file, "--env-file", ROOT / "docker/demo.env"]
        self.command = ["docker", "compose", "-p", "tickmart-test", *envs, *files]
        self.env = {
            **os.environ,
            **{name: str(port) for name, port in self.ports.items()},
            "DASHBOARD_ADDRESS": "127.0.0.1",
        }

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run([*self.command, *arguments], env=self.env, cwd=ROOT, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def sql(self, query: str) -> str:
        return self("run", "--rm", "-T", "tickmart", "sql", "--csv", query).splitlines()[-1]

    def raw(self) -> str:
        return self.sql("select count(*) || ' ' || sum(hashtext(k::text)::bigint) from raw.binance_klines as k")

    def states(self) -> dict[str, str]:
        lines = self("ps", "-a", "--format", "json").splitlines()
        return {s["Service"]: s["Health"] or f"{s['State']} {s['ExitCode']}" for s in map(json.loads, lines)}

    def dagster(self, query: str, **variables: object) -> dict:
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self.ports['DAGSTER_PORT']}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def until(self, wanted: set[str], run_id: str) -> str:
        deadline = time.monotonic() + 180
        while True:
            status = self.dagster(STATUS, id=run_id)["runOrError"]["status"]
            if status in wanted:
                return status
            assert time.monotonic() < deadline, status
            time.sleep(0.5)


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    arguments = shlex.split(os.environ.get("TICKMART_BUILD_ARGS", ""))
    subprocess.run(["docker", "build", "-q", "-t", "tickmart:local", *arguments, ROOT], check=True)
    project = Composed(tmp_path_factory.mktemp("composed"))
    project("down", "-v", check=False)
    try:
        project("up", "-d", "--no-build", "--wait", "--wait-timeout", "600")
        yield project
    finally:
        print(project("logs", "--no-color", "--tail", "60", check=False)[-20_000:])
        project("down", "-v", check=False)


def test_the_image_is_below_one_and_a_half_gigabytes():
    size = subprocess.run(
        ["docker", "image", "inspect", "-f", "{{.Size}} {{.Config.User}}", "tickmart:local"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert int(size[0]) < 1_500_000_000
    assert size[1] == "10001"


def test_everything_becomes_healthy_with_the_last_thirty_days_loaded(composed):
    states = composed.states()
    assert states.pop("init") == "exited 0"
    assert set(states.values()) == {"healthy"}
    assert composed.sql("select count(distinct date) from marts.fct_daily_summary") == "30"
    with urllib.request.urlopen(f"http://127.0.0.1:{composed.ports['DASHBOARD_PORT']}/", timeout=10) as page:
        assert page.status == 200


def test_a_backfill_in_a_container_of_its_own_adds_history(composed):
    before = int(composed.raw().split()[0])
    end = datetime.now(UTC).date() - timedelta(days=60)
    days = ("--start", (end - timedelta(days=5)).isoformat(), "--end", end.isoformat())
    composed("run", "--rm", "-T", "tickmart", "backfill", *days)
    assert int(composed.raw().split()[0]) > before


def test_a_code_server_that_dies_in_a_run_leaves_a_failed_run_and_comes_back_for_a_clean_one(composed):
    today = datetime.now(UTC).date()
    tags = [
        {"key": "dagster/asset_partition_range_start", "value": (today - timedelta(days=150)).isoformat()},
        {"key": "dagster/asset_partition_range_end", "value": (today - timedelta(days=100)).isoformat()},
    ]
    run_id = composed.dagster(LAUNCH, tags=tags)["launchRun"]["run"]["runId"]
    composed.until({"STARTED"}, run_id)
    composed("exec", "-T", "dagster-code", "sh", "-c", "kill -9 -1", check=False)
    assert composed.until({"FAILURE", "SUCCESS", "CANCELED"}, run_id) == "FAILURE"
    composed("up", "-d", "--no-build", "--wait")
    again = composed.dagster(LAUNCH, tags=tags)["launchRun"]["run"]["runId"]
    assert composed.until({"FAILURE", "SUCCESS", "CANCELED"}, again) == "SUCCESS"
    assert int(composed.sql("select count(*) from ops.incidents where kind = 'run_failed'")) >= 1


def test_down_and_up_again_keeps_every_row_and_loads_nothing_anew(composed):
    before = composed.raw()
    composed("down")
    composed("up", "-d", "--no-build", "--wait", "--wait-timeout", "300")
    assert composed.raw() == before
    assert "the warehouse holds data" in composed("logs", "--no-color", "init")
