"""The entry points of docker-compose.yml as processes, with the services' own environment, on real servers."""

import subprocess
import sys
import time

import psycopg2
import pytest
import yaml

from ingestion.settings import ROLES
from orchestration.local import demo
from orchestration.local.client import local_services
from orchestration.local.processes import free_port
from support.cli import ONE_COIN, ROOT, TICKMART, TIMEOUT_S, clean_environment

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A Postgres and an S3 server of this module's own: `init` changes the passwords of the server's logins."""
    with local_services(tmp_path_factory.mktemp("services") / "home", postgres=True, s3=True) as env:
        yield env


def environment(service, servers, simulator, home, **more):
    """What compose would give the service, with the addresses and secrets of this test."""
    kept = clean_environment()
    values = {
        "PGHOST": servers["PGHOST"], "PGPORT": servers["PGPORT"], "PGDATABASE": servers["PGDATABASE"],
        "MINIO_ENDPOINT": servers["MINIO_ENDPOINT"], "MINIO_ACCESS_KEY": servers["MINIO_ACCESS_KEY"],
        "MINIO_SECRET_KEY": servers["MINIO_SECRET_KEY"],
        **{f"TICKMART_PG_{role.upper()}_PASSWORD": f"of-this-test-{role}" for role in ROLES},
        **simulator.urls(),
    }  # fmt: skip
    if SERVICES[service]["environment"].get("PGUSER") == "tickmart":
        values |= {"PGUSER": servers["PGUSER"], "PGPASSWORD": servers["PGPASSWORD"]}
    given = {
        name: values.get(name, "" if "${" in str(text) else str(text))
        for name, text in SERVICES[service]["environment"].items()
    }
    return {**kept, **given, "TICKMART_HOME": str(home), **more}


def tickmart(env, *arguments):
    return subprocess.run([TICKMART, *arguments], env=env, capture_output=True, text=True, cwd=ROOT, timeout=TIMEOUT_S)


def healthy(env, *arguments):
    command = [sys.executable, ROOT / "docker" / "health.py", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True).returncode == 0


@pytest.mark.parametrize("weak", ["", "postgres", "short"])
def test_nothing_is_set_up_with_an_empty_default_or_short_password(servers, simulator, tmp_path, weak):
    env = environment("init", servers, simulator, tmp_path, TICKMART_PG_INGEST_PASSWORD=weak)
    done = tickmart(env, "init")
    assert done.returncode == 2
    assert "TICKMART_PG_INGEST_PASSWORD" in done.stderr
    assert "make secrets" in done.stderr


@pytest.mark.slow
def test_a_demo_whose_simulator_is_away_never_turns_to_other_sources(simulator, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with local_services(tmp_path / "servers", postgres=True, s3=True) as servers:
        asked_before = simulator.stats()
        env = environment("init", servers, simulator, home)
        (home / demo.REQUEST_FILE).touch()
        for _ in range(2):  # the second time it is the database that knows
            refused = tickmart(env, "init")
            assert refused.returncode == 1
            assert refused.stderr.endswith("or remove the demo (docker compose --profile demo down -v)\n")
            assert not (home / demo.REQUEST_FILE).exists()
        doctor = tickmart(environment("tickmart", servers, simulator, home), "doctor")
        assert doctor.returncode == 1
        assert "http://simulator:8600" in doctor.stdout + doctor.stderr
    assert simulator.stats()["paths"] == asked_before["paths"]


@pytest.mark.slow
def test_the_initialiser_and_then_each_process_work_with_their_own_logins(servers, simulator, tmp_path):
    home, universe = tmp_path / "home", tmp_path / "universe.csv"
    universe.write_text(ONE_COIN)
    more = {"TICKMART_UNIVERSE": str(universe)}
    done = tickmart(environment("init", servers, simulator, home, **more), "init")
    assert done.returncode == 0, done.stderr
    assert "database set up; first load: ok" in done.stdout
    assert "docker compose run --rm tickmart status" in done.stderr
    assert "docker compose up -d" in done.stderr
    assert "tickmart up" not in done.stderr
    again = tickmart(environment("init", servers, simulator, home, **more), "init")
    assert again.stdout == "tickmart: database is up to date; the warehouse has data\n"
    assert not (home / "postgres").exists()
    page = (home / "docs" / "index.html").read_text()
    assert "fct_daily_summary" in page

    # The demo, asked for by its profile, does not mix with real markets.
    (home / demo.REQUEST_FILE).touch()
    refused = tickmart(environment("init", servers, simulator, home, **more), "init")
    assert refused.returncode == 2
    assert "one of real markets" in refused.stderr
    assert "--env-file docker/demo.env up" in refused.stderr
    assert not (home / demo.REQUEST_FILE).exists()
    assert tickmart(environment("init", servers, simulator, home, **more), "init").returncode == 0

    port = free_port(0)
    code = environment("dagster-code", servers, simulator, home, **more)
    daemon = environment("dagster-daemon", servers, simulator, home)
    assert not healthy(code, "grpc", str(port))
    assert not healthy(daemon, "daemon")
    process = subprocess.Popen([TICKMART, "serve", "code", "--port", str(port)], env=code, cwd=ROOT)
    try:
        deadline = time.monotonic() + 90
        while not healthy(code, "grpc", str(port)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        process.terminate()
        process.wait(120)

    with psycopg2.connect(
        host=servers["PGHOST"], port=servers["PGPORT"], dbname=servers["PGDATABASE"],
        user="dashboard_ro", password="of-this-test-dashboard_ro",
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        cursor.execute("select count(*) > 0 from marts.fct_prices")
        assert cursor.fetchone() == (True,)
