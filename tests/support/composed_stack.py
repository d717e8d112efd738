"""A project of the composed stack on a Docker engine, and asking it: its tables, Dagster, its ports.

Belongs here: what the tests need to drive it. Does not: what is expected of it.
"""

import http.client
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from orchestration.local.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = bool(os.environ.get("TICKMART_COMPOSE_STAND_INS"))
PORTS = (
    "POSTGRES_PORT", "MINIO_CONSOLE_PORT", "DAGSTER_PORT", "DAGSTER_VIEWER_PORT", "DASHBOARD_PORT", "DOCS_PORT",
    "PROMETHEUS_PORT", "GRAFANA_PORT", "ADMINER_PORT", "PUBLIC_HTTP_PORT", "PUBLIC_HTTPS_PORT",
)  # fmt: skip
# Longer than anything here takes on two cores that others use, too.
TIMEOUT_S = 900
LAUNCH = """
    mutation($tags: [ExecutionTag!]) {
      launchRun(executionParams: {
        selector: {repositoryLocationName: "tickmart", repositoryName: "__repository__", jobName: "market_refresh"},
        runConfigData: {}, executionMetadata: {tags: $tags}
      }) { __typename ... on LaunchRunSuccess { run { runId } } }
    }
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
EVENTS = """
    query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename
        ... on MessageEvent { message timestamp stepKey } ... on ErrorEvent { error { message causes { message } } }
    } } } }
"""
ROUTINE = ("Materialization", "AssetCheck", "StepOutput", "LogMessage")


# Kills a process of the engine's machine by its id: neither `docker kill`, after which the engine starts nothing again,
# nor a signal from inside, which the first process of a container ignores.
KILL = "import os, sys; os.kill(int(sys.argv[1]), 9)"


def docker(*arguments: str) -> str:
    """Run docker itself and return what it printed."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def until(what: str, found: Any, within_s: float = TIMEOUT_S) -> Any:
    """Ask until the answer is true, and return it; retry while the server does not answer."""
    deadline = time.monotonic() + within_s
    answer, why = None, None
    while not answer:
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s ({why})"
        time.sleep(1)
        try:
            answer = found()
        except (OSError, http.client.HTTPException) as error:
            why = error
    return answer


class Composed:
    """A project of its own on the engine, with ports and passwords of its own and the profile demo."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.ports = {port: free_port(0) for port in PORTS}
        self.env_file = folder / "secrets"
        if not self.env_file.exists():
            subprocess.run([ROOT / "docker" / "make_secrets.sh", self.env_file], check=True, capture_output=True)
        files = ["-f", str(ROOT / "docker-compose.yml")]
        if STAND_INS:
            files += ["-f", str(ROOT / "tests/compose/stand-ins.yml")]
        self.command = ["docker", "compose", "-p", name, "--env-file", str(self.env_file), *files]
        self.env = {
            **os.environ,
            **{name: str(port) for name, port in self.ports.items()},
            "DASHBOARD_ADDRESS": "127.0.0.1",
            "PUBLIC_HOST": "localhost",
        }

    def run(self, *arguments: str, profiles: tuple[str, ...] = ("demo",)) -> subprocess.CompletedProcess[str]:
        asked = [word for profile in profiles for word in ("--profile", profile)]
        return subprocess.run(
            [*self.command, *asked, *arguments], env=self.env, cwd=ROOT, capture_output=True, text=True, check=False
        )

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-1500:]} {done.stderr[-3000:]}"
        return done.stdout

    def end(self) -> None:
        """Take everything away, whichever profile brought it."""
        self.run("down", "-v", profiles=("*",))

    def sql(self, query: str) -> str:
        """One value."""
        return self("run", "--rm", "-T", "tickmart", "sql", "--csv", query).splitlines()[-1]

    def raw(self, until: str = "infinity") -> str:
        """How many bars were loaded until a moment, and their checksum: the hourly run may bring more meanwhile."""
        return self.sql(
            "select count(*) || ' ' || sum(hashtext(k::text)::bigint) from raw.binance_klines as k "
            f"where loaded_at <= '{until}'"
        )

    def states(self) -> dict[str, str]:
        lines = self.run("ps", "-a", "--format", "json", profiles=("*",)).stdout.splitlines()
        return {s["Service"]: s["Health"] or f"{s['State']} {s['ExitCode']}" for s in map(json.loads, lines)}

    def containers(self) -> dict[str, str]:
        """The ids of the containers by service."""
        lines = self.run("ps", "-a", "--format", "json", profiles=("*",)).stdout.splitlines()
        return {s["Service"]: s["ID"] for s in map(json.loads, lines)}

    def started(self, service: str) -> str:
        return docker("inspect", "-f", "{{.State.StartedAt}}", self.containers()[service])

    def kill(self, service: str) -> None:
        """End the first process of a service with SIGKILL."""
        process = docker("inspect", "-f", "{{.State.Pid}}", self.containers()[service])
        helper = ("--rm", "--pid", "host", "--user", "0", "--entrypoint", "python", "tickmart:local")
        docker("run", *helper, "-c", KILL, process)

    def published(self) -> set[tuple[str, str]]:
        """The services with a port on this machine, each with the address on which it listens."""
        lines = self.run("ps", "--format", "json", profiles=("*",)).stdout.splitlines()
        return {
            (service["Service"], publisher["URL"])
            for service in map(json.loads, lines)
            for publisher in service["Publishers"] or []
            if publisher["PublishedPort"]
        }

    def recorded_status(self, run_id: str) -> str:
        """A run's status in ops.runs; the column's name while it has no row."""
        return self.sql(f"select status from ops.runs where run_id = '{run_id}'")

    def get(self, port: str, path: str = "/") -> tuple[int, str]:
        """A page of a service by the variable that sets its port: status and text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def dagster(self, query: str, port: str = "DAGSTER_PORT", **variables: object) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self.ports[port]}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def runs(self) -> dict[str, dict[str, str]]:
        """Dagster's runs by id, newest first: their tags, and the status beside them."""
        found = self.dagster(RUNS)["runsOrError"]["results"]
        return {r["runId"]: {"status": r["status"], **{t["key"]: t["value"] for t in r["tags"]}} for r in found}

    def ended(self, run_id: str) -> str:
        """The status with which a run ends; what Dagster logged of it is printed unless all was well."""
        status = until(
            f"run {run_id} ends",
            lambda: (s := self.runs()[run_id]["status"]) in ("FAILURE", "SUCCESS", "CANCELED") and s,
        )
        if status != "SUCCESS":
            print(self.story(run_id))
        return status

    def story(self, run_id: str) -> str:
        """What Dagster logged of a run, without its routine."""
        lines = []
        for event in self.dagster(EVENTS, id=run_id)["logsForRun"]["events"]:
            if any(word in event["__typename"] for word in ROUTINE):
                continue
            error = event.get("error") or {"message": "", "causes": []}
            text = " | ".join([event["message"], error["message"], *(c["message"] for c in error["causes"])])
            at = time.strftime("%H:%M:%S", time.gmtime(int(event["timestamp"]) / 1000))
            lines.append(f"{at} {event['__typename']} {event['stepKey'] or ''}: {' '.join(text.split())[:600]}")
        return f"run {run_id}:\n" + "\n".join(lines[-60:])
