"""What gets through of the user's environment, and that every setting which is read does."""

import ast
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import settings
from orchestration import environment
from orchestration.assets.dbt import parse
from orchestration.cli.up import dashboard_env
from orchestration.orphans import _alive
from support.cli import ROOT, TICKMART
from support.scripted_server import Reply, scripted

FOREIGN = {
    "PYTHONPATH": "/x", "PYTHONHOME": "/x", "PYTHONSTARTUP": "/x", "PYTHONWARNINGS": "error", "DBT_TARGET": "prod",
    "DBT_ENGINE_TARGET": "prod", "DBT_PROFILES_DIR": "/x", "DAGSTER_HOME": "/x", "DAGSTER_PG_URL": "x",
    "STREAMLIT_SERVER_PORT": "1", "GX_CLOUD_ACCESS_TOKEN": "x", "GE_HOME": "/x", "PGHOSTADDR": "10.255.255.1",
    "PGSERVICE": "prod", "PGSERVICEFILE": "/x", "PGSYSCONFDIR": "/x", "PGOPTIONS": "-c role=x", "PGTZ": "Asia/Tokyo",
    "PGTARGETSESSIONATTRS": "standby", "PGAPPNAME": "x", "PGCONNECT_TIMEOUT": "1", "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "German", "RCLONE_CONFIG": "/x", "AWS_ACCESS_KEY_ID": "x", "POSTGRES_PASSWORD": "x",
    "GRPC_VERBOSITY": "debug", "COVERAGE_PROCESS_START": "/x", "LD_PRELOAD": "/x.so",
}  # fmt: skip


def isolated(environ: Mapping[str, str]) -> dict[str, str]:
    left = dict(environ)
    environment.isolate(left)
    return left


def names_in(path: Path) -> set[str]:
    """The upper-case words of a module that can only be names of variables."""
    words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    starts = ("TICKMART_", "MINIO_", "BINANCE_", "COINGECKO_", "FEAR_GREED_", "SLACK_", "SMTP_", "ALERT_", "HEARTBEAT_")
    return {w for w in words if isinstance(w, str) and w.startswith(starts) and w.replace("_", "").isalnum()}


def test_every_setting_that_is_read_gets_through():
    read = names_in(ROOT / "ingestion" / "settings.py") | {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"}
    assert {"BINANCE_BASE_URL", "SMTP_URL", "TICKMART_HTTP_DEADLINE_SECONDS"} <= read
    kept = isolated(dict.fromkeys(read, "/value"))
    assert read <= set(kept)
    assert settings.load_settings(isolated({"TICKMART_MARKETS_EVERY_MINUTES": "5"})).markets_every_minutes == 5


def test_variables_of_other_programs_do_not_get_through():
    assert not set(FOREIGN) & set(isolated(FOREIGN))


TOOLS = st.sampled_from(["DBT_", "DAGSTER_", "STREAMLIT_", "GX_", "PG", "PGSSL", "PYTHON", "RCLONE_", "AWS_"])
WORDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=12)


@given(st.dictionaries(st.builds(str.__add__, TOOLS, WORDS), st.just("x"), max_size=8))
def test_no_other_variable_of_a_tool_gets_through(environ):
    own = {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", *environment.OWN_SERVER}
    python = {"PYTHONSAFEPATH", "PYTHONNOUSERSITE", "PYTHONUNBUFFERED"}
    assert set(isolated(environ)) <= own | python


def test_the_operating_systems_variables_and_proxies_get_through():
    system = {
        "PATH": "/bin", "HOME": "/h", "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "TERM": "xterm", "TMPDIR": "/t",
        "NO_COLOR": "1", "SSL_CERT_FILE": "/ca.pem", "HTTPS_PROXY": "http://p:1", "no_proxy": "x",
    }  # fmt: skip
    kept = isolated(system)
    assert {name: kept[name] for name in system if name != "no_proxy"} == {
        k: v for k, v in system.items() if k != "no_proxy"
    }


def test_tls_settings_of_libpq_count_only_for_the_users_own_server():
    tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "system", "PGPASSFILE": "/p", "PGCHANNELBINDING": "require"}
    assert not set(tls) & set(isolated(tls))
    assert isolated({**tls, "PGHOST": "db.example"}).items() >= tls.items()


def test_a_relative_path_means_the_folder_that_the_command_was_called_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = isolated({"TICKMART_UNIVERSE": "u.csv", "TICKMART_HOME": "home", "SSL_CERT_FILE": "ca.pem"})
    assert kept["TICKMART_UNIVERSE"] == str(tmp_path / "u.csv")
    assert kept["TICKMART_HOME"] == str(tmp_path / "home")
    assert kept["SSL_CERT_FILE"] == str(tmp_path / "ca.pem")


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_loopback_is_excluded_from_a_proxy_for_every_library(name):
    for given_ in ({}, {"NO_PROXY": "corp.example"}):
        kept = isolated({name: "http://p:1", **given_})
        assert {"127.0.0.1", "localhost", "::1", *given_.values()} <= set(kept["no_proxy"].split(","))


def test_a_child_without_settings_gets_no_secret():
    secret = {"SLACK_WEBHOOK_URL": "x", "PGPASSWORD": "x", "MINIO_SECRET_KEY": "x", "TICKMART_PG_INGEST_PASSWORD": "x"}
    assert set(environment.system({**secret, "PATH": "/bin"})) == {"PATH"}


def test_the_dashboard_reads_no_configuration_of_the_user_but_his_certificates(tmp_path, monkeypatch):
    certificates = tmp_path / "me" / ".postgresql"
    certificates.mkdir(parents=True)
    (certificates / "root.crt").write_text("")
    for name in ("USER", "PASSWORD"):
        monkeypatch.setenv(f"TICKMART_PG_DASHBOARD_RO_{name}", "x")
    env = dashboard_env({"HOME": str(tmp_path / "me"), "PGHOST": "db", "TICKMART_HOME": str(tmp_path / "home")})
    assert Path(env["HOME"]).is_relative_to(tmp_path / "home")
    assert env["PGSSLROOTCERT"] == str(certificates / "root.crt")
    assert "PGSSLKEY" not in env


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with packages and modules of the names that tickmart and its libraries import."""
    for name in ("ingestion", "orchestration", "dashboard", "dagster", "dbt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('the foreign {name} was imported')\n")
    for name in ("secrets", "calendar", "click", "re", "json", "logging", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the foreign {name}.py was imported')\n")
    return tmp_path


@pytest.mark.parametrize(
    "given_",
    [
        {"PYTHONPATH": "."},
        {"PYTHONHOME": "/nonexistent"},
        {"PYTHONSTARTUP": "./secrets.py", "PYTHONINSPECT": ""},
        {"PYTHONUSERBASE": ".", "PYTHONPLATLIBDIR": "nonexistent"},
        {"PYTHONWARNINGS": "error"},
    ],
    ids=lambda value: next(iter(value)),
)
def test_the_command_imports_its_own_code_alone(hostile, given_):
    env = {**environment.system(), "HOME": str(hostile), **given_}
    done = subprocess.run([TICKMART, "--version"], cwd=hostile, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()[:1]) == (0, ["tickmart,"]), done.stderr


def test_the_command_works_through_a_symbolic_link(tmp_path):
    link = tmp_path / "a folder" / "tm"
    link.parent.mkdir()
    link.symlink_to(TICKMART)
    done = subprocess.run([link, "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_simulator_of_the_command_ignores_modules_in_the_folder(hostile):
    done = subprocess.run([TICKMART, "simulate", "--help"], cwd=hostile, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_passes_no_python_path_on(hostile, tmp_path):
    probe = tmp_path / "probe.mk"
    probe.write_text(f"include {ROOT / 'Makefile'}\nprobe:\n\t@env\n")
    env = {**os.environ, "PYTHONPATH": str(hostile), "PYTHONHOME": "/nonexistent"}
    done = subprocess.run(["make", "-f", probe, "probe"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not {line.partition("=")[0] for line in done.stdout.splitlines()} & {"PYTHONPATH", "PYTHONHOME"}


def test_a_run_of_a_living_command_is_not_taken_for_a_dead_one(tmp_path):
    """The command's own process is known by its command line, wherever the checkout lies."""
    env = {**environment.system(), "TICKMART_HOME": str(tmp_path), "PGHOST": "127.0.0.1", "PGPORT": "9"}
    process = subprocess.Popen([TICKMART, "metrics", "--port", "0"], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("Metrics")
        assert _alive(process.pid)
    finally:
        process.kill()
        process.wait()
    assert not _alive(process.pid)


@pytest.mark.slow
def test_dbt_asks_nobody_outside(tmp_path, monkeypatch):
    """Dagster's own way of finding dbt's version would ask PyPI before each run."""
    with scripted([Reply(403)]) as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
        assert parse(tmp_path / "dbt").manifest_path.exists()
        assert not proxy.asked
