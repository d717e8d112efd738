"""docker-compose.yml, the Dockerfile and `make secrets`, checked without an engine: ports, pins, dependencies."""

import os
import re
import shutil
import stat
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
import yaml

from orchestration.local.processes import free_port

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
ALWAYS = {name for name, service in SERVICES.items() if "profiles" not in service}
ONE_SHOT = {"init", "tickmart", "demo"}
OURS = "${TICKMART_IMAGE:-tickmart:local}"
by_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_the_compose_file_keeps_the_schema():
    checker = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    done = subprocess.run(checker, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_what_starts_by_itself_is_the_stack_and_what_is_extra_has_a_profile():
    assert {
        "postgres", "minio", "init", "dagster-code", "dagster-daemon", "dagster-webserver", "dashboard", "docs", "nats",
        "stream",
    } == ALWAYS  # fmt: skip
    profiles = {p for service in SERVICES.values() for p in service.get("profiles", [])}
    assert profiles == {"demo", "monitoring", "public", "admin", "viewer", "tools"}


def test_only_the_dashboard_and_its_proxy_are_published_beyond_this_machine():
    published = {name: port for name, s in SERVICES.items() for port in s.get("ports", [])}
    open_ones = {name for name, port in published.items() if not port.startswith("127.0.0.1:")}
    assert open_ones == {"dashboard", "proxy"}
    assert set(published) - {"proxy"} <= {name for name, p in published.items() if p.count(":") >= 2}


@by_service
def test_a_service_has_no_more_rights_than_its_work_needs(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["pids_limit"] <= 256
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    extra = {"postgres": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"], "proxy": ["NET_BIND_SERVICE"]}
    assert service.get("cap_add", []) == extra.get(name, [])
    assert not service.get("privileged")
    assert not [v for v in service.get("volumes", []) if "docker.sock" in v]


@by_service
def test_an_image_is_ours_or_pinned_by_tag_and_digest_in_one_variable(name):
    image = SERVICES[name]["image"]
    if image != OURS:
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[\w./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}\}", image)


def test_our_image_is_built_by_one_service_that_every_start_contains():
    assert {name for name, service in SERVICES.items() if "build" in service} == {"init"}
    assert SERVICES["init"]["image"] == OURS
    assert "init" in ALWAYS


def test_the_demo_beside_a_stack_is_a_project_of_its_own_with_other_ports():
    text = (ROOT / "docker-compose.yml").read_text()
    defaults = dict(re.findall(r"\$\{(\w+_PORT):-(\d+)\}", text))
    demo = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "docker" / "demo.env").read_text(), re.MULTILINE))
    assert demo["COMPOSE_PROJECT_NAME"] == "tickmart-demo"
    assert demo["COMPOSE_PROFILES"] == "demo"
    ports = {name: port for name, port in demo.items() if name.endswith("_PORT")}
    assert set(ports) == set(defaults)
    assert not set(ports.values()) & set(defaults.values())
    assert len(set(ports.values())) == len(ports)


@by_service
def test_a_service_is_watched_and_comes_back(name):
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(check)


def test_start_order_follows_health():
    waits = {
        (name, on): how["condition"]
        for name, service in SERVICES.items()
        for on, how in service.get("depends_on", {}).items()
    }
    assert {(on, how) for (_, on), how in waits.items() if how != "service_healthy"} == {
        ("init", "service_completed_successfully"),
        ("demo", "service_completed_successfully"),
    }
    assert waits["init", "postgres"] == waits["init", "minio"] == "service_healthy"
    for name in ("dagster-code", "dashboard", "docs", "metrics"):
        assert waits[name, "init"] == "service_completed_successfully"
    assert waits["dagster-daemon", "dagster-code"] == waits["dagster-webserver", "dagster-code"] == "service_healthy"


def test_no_password_has_a_default_and_a_missing_one_says_what_to_do():
    text = (ROOT / "docker-compose.yml").read_text()
    secret = r"\$\{((?:\w*PASSWORD|MINIO_ROOT_USER)\b[^}]*)\}"
    used = re.findall(secret, text)
    assert {use.partition(":?")[2] for use in used} == {"run make secrets"}
    literal = re.findall(r"^\s*\w*(?:PASSWORD|SECRET)\w*: (?!\$\{)(.+)$", text, re.MULTILINE)
    assert literal == []
    made = re.findall(r"[A-Z_]{8,}", (ROOT / "docker" / "make_secrets.sh").read_text())
    assert {use.partition(":?")[0] for use in used} <= set(made)


def test_each_service_knows_only_the_logins_that_it_works_with():
    knows = {
        name: {key for key in service.get("environment", {}) if "PASSWORD" in key or "SECRET" in key}
        for name, service in SERVICES.items()
    }
    assert knows["dashboard"] == {"PGPASSWORD"}
    assert SERVICES["dashboard"]["environment"]["PGUSER"] == "dashboard_ro"
    assert knows["dagster-daemon"] == knows["dagster-webserver"] == {"TICKMART_PG_DAGSTER_PASSWORD"}
    assert knows["metrics"] == {"TICKMART_PG_QUALITY_RO_PASSWORD"}
    owners = {name for name, s in SERVICES.items() if "PGPASSWORD" in knows[name] and name != "dashboard"}
    assert owners == {"init", "tickmart"}


def test_the_dashboard_reaches_the_database_and_neither_the_bucket_nor_dagster():
    shared = {
        name
        for name, service in SERVICES.items()
        if set(service.get("networks", [])) & set(SERVICES["dashboard"]["networks"])
    }
    assert shared == {"dashboard", "postgres", "proxy"}
    assert COMPOSE["networks"]["reading"] == {"internal": True}


def test_links_use_the_published_ports_for_runs_and_dashboard():
    for variable, service in (("DAGSTER", "dagster-webserver"), ("DATA_DOCS", "docs"), ("DBT_DOCS", "docs")):
        name = f"TICKMART_{variable}_URL"
        addresses = {SERVICES[user]["environment"][name] for user in ("init", "dagster-code", "tickmart", "dashboard")}
        [port] = {p.rpartition(":")[0] for p in SERVICES[service]["ports"]}
        assert len(addresses) == 1
        assert f"-http://{port}" in addresses.pop()


def test_what_serves_pages_may_read_the_home_and_write_nothing_of_it():
    assert SERVICES["docs"]["volumes"] == ["home:/var/lib/tickmart:ro"]
    assert not [key for key in SERVICES["docs"].get("environment", {}) if "PASSWORD" in key]


def test_what_serves_pages_shows_the_two_folders_and_nothing_else_of_the_home(tmp_path):
    for name in ("data_docs", "docs", "dagster", "data_docs/empty"):
        (tmp_path / name).mkdir()
    for name in ("data_docs/index.html", "docs/index.html", "dagster/dagster.yaml", "status.json"):
        (tmp_path / name).write_text(f"this is {name}")
    (tmp_path / "docs" / "way_out").symlink_to(tmp_path / "status.json")
    port = free_port(0)
    process = subprocess.Popen([sys.executable, ROOT / "docker" / "pages.py", tmp_path, str(port)])
    try:
        while free_port(port) == port:
            assert process.poll() is None

        def ask(path):
            connection = HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        status, listed = ask("/")
        assert status == 200
        assert re.findall(r'href="(.*?)"', listed) == ["data_docs/", "docs/"]
        assert ask("/data_docs/") == (200, "this is data_docs/index.html")
        assert ask("/docs/index.html") == (200, "this is docs/index.html")
        for hidden in (
            "/status.json", "/dagster/dagster.yaml", "/dagster/", "/data_docs/../status.json", "/docs/way_out",
            "/data_docs/%2e%2e/status.json", "//status.json", "/data_docs/empty/", "/docsx",
        ):  # fmt: skip
            assert ask(hidden)[0] == 404, hidden
    finally:
        process.kill()
        process.wait()


def test_postgres_18_stores_its_data_in_the_volume():
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert "postgres:18" in SERVICES["postgres"]["image"]
    assert "scram-sha-256" in SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]


def test_the_image_is_built_of_locked_packages_and_runs_as_nobody_in_particular():
    text = (ROOT / "Dockerfile").read_text()
    default = re.search(r"ARG PYTHON_IMAGE=(\S+)", text)
    assert default is not None
    assert default[1] in SERVICES["init"]["build"]["args"]["PYTHON_IMAGE"]
    assert "--require-hashes" in text
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]
    assert not re.search(r"https?://|--index-url|\bapt-get\b|curl |wget ", text)
    after = text.rpartition("FROM ")[2]
    assert "\nUSER 10001\n" in after
    assert "HEALTHCHECK" in after


@pytest.fixture
def compose() -> list[str]:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("no docker compose here")
    return ["docker", "compose"]


def test_compose_accepts_the_file_with_secrets_and_rejects_it_without(compose, tmp_path):
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "DOCKER_CONFIG") if k in os.environ}
    (tmp_path / "empty").touch()
    config = [*compose, "-f", ROOT / "docker-compose.yml", "--profile", "*", "--env-file"]
    refused = subprocess.run([*config, tmp_path / "empty", "config", "-q"], env=kept, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "run make secrets" in refused.stderr
    secrets(tmp_path / "env")
    taken = subprocess.run([*config, tmp_path / "env", "config", "-q"], env=kept, capture_output=True, text=True)
    assert taken.returncode == 0, taken.stderr


def secrets(path: Path) -> str:
    subprocess.run([ROOT / "docker" / "make_secrets.sh", path], check=True, capture_output=True)
    return path.read_text()


def test_make_secrets_writes_random_passwords_for_the_owners_eyes_and_never_changes_one(tmp_path):
    path = tmp_path / ".env"
    path.write_text("SLACK_WEBHOOK_URL=\nPOSTGRES_PASSWORD=of-long-ago")  # no newline at the end
    first = secrets(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in first.splitlines())
    assert values.pop("POSTGRES_PASSWORD") == "of-long-ago"
    assert values.pop("SLACK_WEBHOOK_URL") == ""
    assert len(values) == len(set(values.values())) == 10
    assert all(re.fullmatch(r"[0-9a-f]{40}", value) for value in values.values())
    assert secrets(path) == first
    assert secrets(tmp_path / "other") != first
