"""The stack as a user keeps it: `tickmart demo` up, looked at from outside, and ended in every way."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from ingestion import proxies
from support.cli import ROOT, TICKMART, TIMEOUT_S, clean_environment, free_ports

pytestmark = pytest.mark.slow


def environment(home: Path) -> dict[str, str]:
    return {**clean_environment(), **free_ports(), "TICKMART_HOME": str(home)}


def start(home: Path) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Start a small demo and return it with the addresses that it printed."""
    process = subprocess.Popen(
        [TICKMART, "demo", "--days", "20"],
        # Ctrl-C ends everything, also where the servers of other commands run on.
        env=environment(home) | {"TICKMART_KEEP_SERVERS_SECONDS": "3600"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    printed: dict[str, str] = {}
    for line in process.stdout:
        found = re.match(r"(\w+) +(\S+)", line)
        if found:
            printed[found[1]] = found[2].rstrip(",")
        if "Ctrl-C" in line:
            return process, printed
    raise AssertionError(f"it ended by itself: {printed}")


def ask(url: str, query: str) -> dict:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["data"]


def processes_of(home: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        line = " ".join(process.info["cmdline"] or [])
        owner = (process.info["environ"] or {}).get("TICKMART_HOME", "")
        if (str(home) in line or owner.startswith(str(home))) and process.pid != os.getpid():
            found.append(line)
    return found


def gone(home: Path, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while processes_of(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "home"


def test_demo_serves_dagster_and_the_dashboard_and_a_kill_leaves_nothing_behind(home):
    process, printed = start(home)
    try:
        with urllib.request.urlopen(f"{printed['Dashboard']}/_stcore/health", timeout=10) as answer:
            assert answer.read() == b"ok"
        with urllib.request.urlopen(printed["Checks"], timeout=10) as answer:
            assert b"bronze_klines" in answer.read()
        assert json.loads((home / "demo" / "status.json").read_text())["links"]["Data Docs"] == printed["Checks"]
        runs = ask(printed["Dagster"], "{ runsOrError { ... on Runs { results { jobName status } } } }")
        assert {"jobName": "market_refresh", "status": "SUCCESS"} in runs["runsOrError"]["results"]
        location = '{repositoryName: "__repository__", repositoryLocationName: "tickmart"}'
        states = "{ ... on Schedules { results { name scheduleState { status } } } }"
        schedules = ask(printed["Dagster"], f"{{ schedulesOrError(repositorySelector: {location}) {states} }}")
        found = {s["name"]: s["scheduleState"]["status"] for s in schedules["schedulesOrError"]["results"]}
        assert found["hourly_refresh"] == "RUNNING"
        groups = ask(printed["Dagster"], "{ assetNodes { groupName assetKey { path } dependencyKeys { path } } }")
        nodes = {"/".join(n["assetKey"]["path"]): n for n in groups["assetNodes"]}
        assert {n["groupName"] for n in nodes.values()} >= {"bronze", "raw", "staging", "intermediate", "marts"}
        assert unbroken(nodes, "marts/fct_prices", "source/binance_api")
        assert unbroken(nodes, "marts/fct_sentiment_daily", "source/alternative_me_api")
        assert unbroken(nodes, "marts/fct_market_snapshots", "source/coingecko_api")
        # A second one would run the schedules twice.
        second = subprocess.run([TICKMART, "demo"], env=environment(home), capture_output=True, text=True, cwd=ROOT)
        assert second.returncode == 1
        assert f"process {process.pid}" in second.stderr
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert gone(home, 40), processes_of(home)


def test_a_killed_stack_starts_again_and_ctrl_c_ends_every_process(home):
    process, printed = start(home)
    try:
        runs = ask(printed["Dagster"], "{ runsOrError { ... on Runs { results { status } } } }")
        assert not [r for r in runs["runsOrError"]["results"] if r["status"] in ("STARTED", "STARTING")]
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0
    assert gone(home, 15), processes_of(home)


def test_the_dashboard_answers_during_the_first_run(tmp_path):
    env = environment(tmp_path / "home")
    address = f"http://127.0.0.1:{env['TICKMART_DASHBOARD_PORT']}/_stcore/health"
    status = tmp_path / "home" / "demo" / "status.json"  # the run writes it last
    with subprocess.Popen([TICKMART, "demo", "--days", "60"], env=env, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            while not proxies.answers(address, 2):
                assert process.poll() is None
                time.sleep(0.1)
            assert not status.exists()
        finally:
            process.send_signal(signal.SIGINT)
    assert gone(tmp_path / "home", 15)


def unbroken(nodes: dict[str, dict], mart: str, source: str) -> bool:
    """Tell whether the mart goes back to the source through the graph's edges."""
    seen, todo = set(), [mart]
    while todo:
        key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        todo += ["/".join(d["path"]) for d in nodes.get(key, {"dependencyKeys": []})["dependencyKeys"]]
    return source in seen


def test_dbt_runs_with_the_environment_set(home):
    done = subprocess.run(
        [TICKMART, "dbt", "ls", "--select", "fct_prices", "--quiet"],
        env={**environment(home), "TICKMART_HOME": str(home / "demo")},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert "tickmart.marts.prices.fct_prices" in done.stdout


def test_docs_serve_one_page_with_the_lineage_and_ctrl_c_ends_it(home):
    env = {**environment(home), "TICKMART_HOME": str(home / "demo")}
    process = subprocess.Popen([TICKMART, "docs"], env=env, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        printed = dict(line.split(maxsplit=1) for line in lines[:2])
        with urllib.request.urlopen(printed["Served"].strip(), timeout=10) as answer:
            page = answer.read().decode()
        taken = subprocess.run(
            [TICKMART, "docs", "--port", printed["Served"].strip().rpartition(":")[2]],
            env=env, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0
    assert printed["Served"].startswith("http://127.0.0.1:")
    assert page == Path(printed["Page"].strip()).read_text()
    assert '"exposure.tickmart.data_quality"' in page
    assert '"source.tickmart.raw.binance_klines"' in page
    assert "compiled_code" in page
    assert '"send_anonymous_usage_stats": false' in page
    assert taken.returncode == 1
    assert re.fullmatch(r"tickmart: port \d+ on 127.0.0.1 is in use by .*--port to a free port\n", taken.stderr)
    assert gone(home, 15), processes_of(home)


def test_docs_can_be_built_alone(home):
    built = subprocess.run(
        [TICKMART, "docs", "--build-only"],
        env={**environment(home), "TICKMART_HOME": str(home / "demo")},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=TIMEOUT_S,
    )
    assert built.returncode == 0, built.stderr
    assert built.stdout == f"Page    {home / 'demo' / 'docs' / 'index.html'}\n"
