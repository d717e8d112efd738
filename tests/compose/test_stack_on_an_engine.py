"""The composed stack on a Docker engine: built, started, loaded, killed, backed up, taken down and started again.

Needs an engine. TICKMART_BUILD_ARGS are arguments of docker build; where registries are out of reach,
TICKMART_COMPOSE_STAND_INS=1 replaces every image but our own by stand-ins, which build_stand_ins.sh builds. The
tests follow one life of the stack, in this order.
"""

import json
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from support.composed_stack import LAUNCH, ROOT, STAND_INS, Composed, until

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ONE_SHOT = {"init", "demo", "tickmart"}
HEALTHY_AGAIN_WITHIN_S = 120


def engine() -> bool:
    docker = shutil.which("docker")
    return docker is not None and not subprocess.run([docker, "info"], capture_output=True).returncode


pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not engine(), reason="no Docker engine answers"),
]


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    arguments = shlex.split(os.environ.get("TICKMART_BUILD_ARGS", ""))
    subprocess.run(["docker", "build", "-q", "-t", "tickmart:local", *arguments, ROOT], check=True)
    project = Composed("tickmart-test", tmp_path_factory.mktemp("composed"))
    project.end()
    try:
        project("up", "-d", "--no-build", "--wait", "--wait-timeout", "900")
        yield project
    finally:
        print(project.run("logs", "--no-color", "--tail", "60", profiles=("*",)).stdout[-20_000:])
        project.end()


def days_ago(days: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=days)).isoformat()


def test_the_image_is_below_one_and_a_half_gigabytes(composed):
    size = subprocess.run(
        ["docker", "image", "inspect", "-f", "{{.Size}} {{.Config.User}}", "tickmart:local"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert int(size[0]) < 1_500_000_000
    assert size[1] == "10001"


def test_everything_becomes_healthy_with_the_last_thirty_days_loaded(composed):
    states = composed.states()
    assert states.pop("init") == states.pop("demo") == "exited 0"
    assert set(states.values()) == {"healthy"}
    assert composed.sql("select count(distinct date) from marts.fct_daily_summary") == "30"
    assert composed.get("DASHBOARD_PORT")[0] == 200
    assert "<h1>Data Docs</h1>" in composed.get("DOCS_PORT", "/data_docs/")[1]
    assert "fct_daily_summary" in composed.get("DOCS_PORT", "/docs/")[1]
    assert composed.get("DOCS_PORT", "/status.json")[0] == 404


def test_starting_again_without_a_change_recreates_no_container(composed):
    before = composed.containers()
    composed("up", "-d", "--no-build", "--wait")
    assert composed.containers() == before


def test_the_profile_demo_alone_asks_nobody_but_the_simulator(composed):
    assert composed.sql("select string_agg(distinct host, ' ') from ops.source_requests") == "simulator:8600"


def test_no_port_is_open_to_others_but_those_that_are_meant_to_be(composed):
    assert {address for _, address in composed.published()} == {"127.0.0.1"}


def test_a_backfill_in_a_container_of_its_own_adds_history(composed):
    before = int(composed.raw().split()[0])
    composed("run", "--rm", "-T", "tickmart", "backfill", "--start", days_ago(65), "--end", days_ago(60))
    assert int(composed.raw().split()[0]) > before


def test_a_container_that_is_killed_in_a_backfill_has_its_run_closed_and_the_next_one_is_clean(composed):
    earlier = set(composed.runs())
    days = ("--start", days_ago(1500), "--end", days_ago(700))
    container = composed("run", "-d", "-T", "tickmart", "backfill", *days).split()[-1]
    [killed] = until("the backfill begins", lambda: set(composed.runs()) - earlier)
    until("it loads", lambda: composed.sql(f"select count(*) from ops.run_stages where run_id = '{killed}'") != "0")
    subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True)
    # Its last heartbeat is three minutes ago by then.
    assert composed.ended(killed) == "FAILURE"
    until("the run is recorded as failed", lambda: composed.recorded_status(killed) == "failed")
    composed("run", "--rm", "-T", "tickmart", "run")
    # Whoever typed it types it again; Dagster does not.
    assert killed not in {run.get("dagster/parent_run_id") for run in composed.runs().values()}


def test_a_code_server_that_dies_in_a_run_leaves_a_failed_run_that_is_retried(composed):
    tags = [
        {"key": "dagster/asset_partition_range_start", "value": days_ago(150)},
        {"key": "dagster/asset_partition_range_end", "value": days_ago(100)},
    ]
    died = composed.dagster(LAUNCH, tags=tags)["launchRun"]["run"]["runId"]
    until("the run starts", lambda: composed.runs()[died]["status"] == "STARTED")
    composed.run("exec", "-T", "dagster-code", "sh", "-c", "kill -9 -1")
    assert composed.ended(died) == "FAILURE"
    until("the run is recorded as failed", lambda: composed.recorded_status(died) == "failed")
    [retry] = until(
        "Dagster tries it again",
        lambda: [run for run, tags in composed.runs().items() if tags.get("dagster/parent_run_id") == died],
    )
    assert composed.ended(retry) == "SUCCESS"
    until("the retry is recorded", lambda: composed.recorded_status(retry) == "ok")
    assert int(composed.sql("select count(*) from ops.incidents where kind = 'run_failed'")) >= 1
    composed("up", "-d", "--no-build", "--wait")


def test_a_backup_is_restored_into_empty_volumes_with_every_row(composed, tmp_path):
    moment = composed.sql("select now()")
    path = json.loads(composed("run", "--rm", "-T", "tickmart", "backup", "--json"))["path"]
    shutil.copy(composed.env_file, tmp_path / "secrets")
    other = Composed("tickmart-test-restored", tmp_path)
    other.end()
    try:
        other("up", "-d", "--no-build", "--wait", "postgres", "minio")
        volume = f"{composed.name}_backups:/backups:ro"
        print(other("run", "--rm", "-T", "-v", volume, "tickmart", "restore", path))
        assert other.raw(moment) == composed.raw(moment)
    finally:
        other.end()


def test_prometheus_scrapes_the_metrics_and_loads_the_rules(composed):
    services = ["metrics", "prometheus", *([] if STAND_INS else ["grafana"])]
    done = composed.run("up", "-d", "--no-build", "--wait", *services, profiles=("demo", "monitoring"))
    assert done.returncode == 0, done.stderr

    def asked(path):
        return json.loads(composed.get("PROMETHEUS_PORT", f"/api/v1/{path}")[1])["data"]

    until("a scrape", lambda: asked("query?query=tickmart_up")["result"])
    assert {t["labels"]["job"]: t["health"] for t in asked("targets")["activeTargets"]} == {"tickmart": "up"}
    assert asked("query?query=tickmart_up")["result"][0]["value"][1] == "1"
    jobs = asked("query?query=tickmart_run_last_success_timestamp_seconds")["result"]
    assert "market_refresh" in {series["metric"]["job_name"] for series in jobs}
    until("each rule is asked", lambda: {r["health"] for r in asked("rules")["groups"][0]["rules"]} == {"ok"})
    names = {rule["name"] for rule in asked("rules")["groups"][0]["rules"]}
    assert {"TickmartDatabaseDown", "TickmartNeverSucceeded"} <= names
    mount = f"{ROOT}/tests/compose/rules_test.yml:/etc/prometheus/rules_test.yml:ro"
    tool = ("--entrypoint", "promtool", "-v", mount, "prometheus", "test", "rules", "/etc/prometheus/rules_test.yml")
    done = composed.run("run", "--rm", "-T", "--no-deps", *tool, profiles=("monitoring",))
    assert done.returncode == 0, done.stdout + done.stderr
    if not STAND_INS:
        assert composed.get("GRAFANA_PORT", "/api/health")[0] == 200


def test_caddy_shows_the_dashboard_over_tls_with_its_websocket_and_hides_the_rest(composed):
    done = composed.run("up", "-d", "--no-build", "--wait", "proxy", profiles=("demo", "public"))
    assert done.returncode == 0, done.stderr
    port = composed.ports["PUBLIC_HTTPS_PORT"]
    authority = "/data/caddy/pki/authorities/local/root.crt"
    trusted = composed.run("exec", "-T", "proxy", "cat", authority, profiles=("public",)).stdout
    context = ssl.create_default_context(cadata=trusted)

    def asked(path, *headers, enough=200):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(headers or ["Connection: close"])]
            secure.sendall("\r\n".join([*lines, "", ""]).encode())
            answer = b""
            while len(answer) < enough and (more := secure.recv(4096)):
                answer += more
        return answer.decode(errors="replace")

    page = asked("/", enough=10_000)
    assert page.startswith("HTTP/1.1 200")
    assert "Strict-Transport-Security: max-age=31536000" in page
    assert asked("/_stcore/health").startswith("HTTP/1.1 200")
    upgrade = (
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Origin: https://localhost",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    assert asked("/_stcore/stream", *upgrade, enough=12).startswith("HTTP/1.1 101")
    foreign = [line.replace("https://localhost", "https://elsewhere.example") for line in upgrade]
    assert asked("/_stcore/stream", *foreign, enough=12).startswith("HTTP/1.1 403")
    for hidden in ("/_stcore/metrics", "/_stcore/upload_file/x"):
        assert asked(hidden).startswith("HTTP/1.1 404")
    with socket.create_connection(("127.0.0.1", composed.ports["PUBLIC_HTTP_PORT"]), timeout=30) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 308 " in plain.recv(4096)


def test_adminer_lets_the_owner_in_and_the_viewer_starts_nothing(composed):
    profiles = ("demo", "admin", "viewer")
    done = composed.run("up", "-d", "--no-build", "--wait", "adminer", "dagster-viewer", profiles=profiles)
    assert done.returncode == 0, done.stderr
    secrets = dict(line.split("=", 1) for line in composed.env_file.read_text().splitlines())
    login = {"driver": "pgsql", "server": "postgres", "db": "tickmart", "username": "tickmart"}
    form = {f"auth[{key}]": value for key, value in {**login, "password": secrets["POSTGRES_PASSWORD"]}.items()}
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    url = f"http://127.0.0.1:{composed.ports['ADMINER_PORT']}/"
    with browser.open(url, urllib.parse.urlencode(form).encode(), timeout=30) as page:
        assert "Logout" in page.read().decode()
    refused = composed.dagster(LAUNCH, "DAGSTER_VIEWER_PORT", tags=[])["launchRun"]["__typename"]
    assert refused == "UnauthorizedError"
    assert {service for service, address in composed.published() if address != "127.0.0.1"} == {"proxy"}


@pytest.mark.parametrize("service", sorted(set(SERVICES) - ONE_SHOT))
def test_a_killed_service_comes_back_and_the_whole_stack_is_healthy_within_two_minutes(composed, service):
    if service == "grafana" and STAND_INS:
        pytest.skip("there is no stand-in for Grafana")
    moment = composed.sql("select now()")
    rows, before = composed.raw(moment), composed.started(service)
    composed.kill(service)

    def healthy():
        return composed.started(service) != before and set(composed.states().values()) <= {"healthy", "exited 0"}

    until(f"the stack is healthy after {service} was killed", healthy, HEALTHY_AGAIN_WITHIN_S)
    assert composed.raw(moment) == rows


def test_after_all_these_kills_a_run_succeeds(composed):
    composed("run", "--rm", "-T", "tickmart", "run")


def test_down_and_up_again_loses_no_row_and_loads_none_again(composed):
    moment = composed.sql("select now()")
    before = composed.raw(moment)
    assert composed.run("down", profiles=("*",)).returncode == 0
    # Without its simulator a demo does not turn to the real markets.
    assert composed.run("up", "-d", "--no-build", profiles=()).returncode != 0
    assert composed.states()["init"] == "exited 1"
    assert "http://simulator:8600" in composed.run("logs", "--no-color", "init").stdout
    composed("up", "-d", "--no-build", "--wait", "--wait-timeout", "900")
    assert composed.raw(moment) == before
    assert "the warehouse has data" in composed("logs", "--no-color", "init")
