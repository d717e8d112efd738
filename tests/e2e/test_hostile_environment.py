"""tickmart called in another project's folder, with that project's .env, packages and variables: nothing changes."""

import contextlib
import json
import re
import signal
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request

import psutil
import pytest

from ingestion.proxies import VARIABLES, open_directly
from ingestion.simulator.server import Simulator
from orchestration import environment
from support.cli import ROOT, TICKMART, TIMEOUT_S, free_ports

PACKAGES = ("ingestion", "orchestration", "dashboard", "dagster", "dagster_webserver", "dbt", "streamlit", "psycopg2")
MODULES = ("secrets", "calendar", "click", "logging", "types", "json", "queue", "sitecustomize", "usercustomize")
VARIABLES_OF_OTHERS = {
    "PYTHONSTARTUP": "secrets.py", "PYTHONHOME": "/nonexistent", "PYTHONWARNINGS": "error", "PYTHONUSERBASE": ".",
    "DBT_TARGET": "prod", "DBT_PROFILE": "other", "DBT_EMPTY": "true", "DBT_FAIL_FAST": "true", "DBT_SCHEMA": "x",
    "DBT_PROJECT_DIR": ".", "DBT_PROFILES_DIR": ".", "DBT_TARGET_PATH": "elsewhere", "DBT_WARN_ERROR": "true",
    "DAGSTER_HOME": ".", "DAGSTER_PG_URL": "postgresql://nobody@127.0.0.1:9/x", "DAGSTER_WORKSPACE": "x",
    "DAGSTER_MODULE_NAME": "x", "STREAMLIT_SERVER_PORT": "9", "STREAMLIT_SERVER_BASE_URL_PATH": "elsewhere",
    "GX_CLOUD_ACCESS_TOKEN": "x", "GX_CLOUD_BASE_URL": "http://127.0.0.1:9", "GX_HOME": ".",
    "PGHOSTADDR": "10.255.255.1", "PGSERVICE": "prod", "PGSERVICEFILE": "services", "PGSYSCONFDIR": ".",
    "PGOPTIONS": "-c role=nobody", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nonexistent", "PGREQUIREAUTH": "none",
    "PGTARGETSESSIONATTRS": "standby", "PGCHANNELBINDING": "require", "PGCONNECT_TIMEOUT": "x", "PGPASSFILE": "pgpass",
    "PGCLIENTENCODING": "EUC_JP", "PGTZ": "Asia/Tokyo", "PGDATESTYLE": "German", "PGGSSENCMODE": "require",
    "RCLONE_CONFIG": "rclone.conf", "RCLONE_ADDR": ":9", "http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9",
}  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another project's folder, which is the user's home folder too."""
    folder = tmp_path_factory.mktemp("project")
    subprocess.run(["sh", ROOT / "docker" / "make_secrets.sh", ".env"], cwd=folder, check=True, capture_output=True)
    with (folder / ".env").open("a") as file:
        file.write("PGHOST=db.example.invalid\nPGPASSWORD=other\nDBT_TARGET=prod\nTICKMART_HOME=/nonexistent\n")
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise SystemExit('the foreign package {name} was imported')\n")
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('the foreign {name}.py was imported')\n")
    (folder / ".streamlit").mkdir()
    (folder / ".streamlit" / "config.toml").write_text(
        '[server]\nbaseUrlPath = "elsewhere"\nsslCertFile = "none.pem"\n'
    )
    (folder / "services").write_text("[prod]\nhost=db.example.invalid\nport=5439\nsslmode=require\nuser=me\n")
    (folder / "workspace.yaml").write_text("load_from:\n  - python_module: nonexistent\n")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: nonsense}\n")
    (folder / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "nonexistent"\n')
    (folder / "dbt_project.yml").write_text("name: other\n")
    (folder / "profiles.yml").write_text("other: {target: prod}\n")
    (folder / "universe.csv").write_text("crypto_id,binance_symbol,name,category\nbitcoin,BTCUSDT,Bitcoin,store\n")
    return folder


@pytest.fixture(scope="module")
def env(folder: Path, shared_simulator: Simulator) -> dict[str, str]:
    kept = {k: v for k, v in environment.system().items() if k not in VARIABLES}
    home = {"HOME": str(folder), "TICKMART_HOME": "home", "TICKMART_UNIVERSE": "universe.csv"}
    return {**kept, **shared_simulator.urls(), **free_ports(), **home, "PYTHONPATH": str(folder), **VARIABLES_OF_OTHERS}


def tickmart(folder: Path, env: dict[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        [TICKMART, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


@pytest.fixture(scope="module")
def up(folder: Path, env: dict[str, str]) -> Iterator[dict[str, str]]:
    """The addresses of everything that `tickmart up` runs."""
    process = subprocess.Popen(
        [TICKMART, "up"], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=(folder / "up.err").open("w"), text=True
    )
    addresses: dict[str, str] = {"pid": str(process.pid)}
    for line in process.stdout:
        if found := re.match(r"(\w+) +(\S+)", line):
            addresses[found[1]] = found[2]
        if "Ctrl-C" in line:
            break
    try:
        assert process.poll() is None, (folder / "up.err").read_text()[-2000:]
        yield addresses
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def graphql(dagster: str, query: str, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = Request(f"{dagster}/graphql", body, {"Content-Type": "application/json"})
    with open_directly(request, timeout=30) as answer:
        return json.load(answer)["data"]


def test_a_run_that_dagster_launches_succeeds(up):
    selector = {"repositoryName": "__repository__", "repositoryLocationName": "tickmart", "jobName": "markets_refresh"}
    launched = graphql(
        up["Dagster"],
        "mutation($p: ExecutionParams!){launchRun(executionParams:$p){... on LaunchRunSuccess{run{runId}}}}",
        p={"selector": selector, "runConfigData": {}},
    )
    run = launched["launchRun"]["run"]["runId"]
    deadline = time.monotonic() + 240
    state = ""
    while state not in ("SUCCESS", "FAILURE", "CANCELED") and time.monotonic() < deadline:
        time.sleep(1)
        found = graphql(up["Dagster"], "query($r:ID!){runOrError(runId:$r){... on Run{status}}}", r=run)
        state = found["runOrError"]["status"]
    assert state == "SUCCESS"


def test_the_dashboard_is_served_as_configured(up):
    with open_directly(f"{up['Dashboard']}/_stcore/health", timeout=10) as answer:
        assert answer.read() == b"ok"
    with pytest.raises(urllib.error.HTTPError):
        open_directly(f"{up['Dashboard']}/elsewhere/_stcore/health", timeout=10)


def test_every_process_has_only_its_own_variables_and_a_folder_of_the_home(up, folder):
    foreign = set(VARIABLES_OF_OTHERS.items()) - {
        (k, v) for k, v in VARIABLES_OF_OTHERS.items() if "proxy" in k.lower()
    }
    seen = 0
    for process in psutil.Process(int(up["pid"])).children(recursive=True):
        # Backends and children of Dagster's daemon end at any time; a zombie has no environment.
        with contextlib.suppress(psutil.NoSuchProcess):
            command, cwd, environment = process.cmdline(), process.cwd(), process.environ()
            assert not foreign & set(environment.items()), command
            assert Path(cwd) != folder, command
            seen += 1
    assert seen > 5


def test_status_and_sql_show_what_up_has_loaded(up, folder, env):
    empty = {row["dataset"] for row in tickmart_status(folder, env)["datasets"] if not row["rows"]}
    # GDELT is requested for the last days of this machine's clock, which the simulator's has not reached.
    assert empty <= {"headlines_gdelt"}
    rows = tickmart(folder, env, "sql", "select count(*) > 500 as loaded, current_setting('timezone') as zone "
                    "from marts.fct_prices group by 2", "--csv")  # fmt: skip
    assert rows.splitlines() == ["loaded,zone", "true,UTC"]


def tickmart_status(folder: Path, env: dict[str, str]) -> Any:
    """The status, whose exit code depends on the age of the simulated data too."""
    done = subprocess.run(
        [TICKMART, "status", "--json"], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", ["run", "check"])
def test_commands_work_beside_it(up, folder, env, command):
    assert tickmart(folder, env, command, "--json")["status"] == "ok"


def test_nothing_was_written_into_the_folder(up, folder):
    ours = {"home", "up.err"}
    theirs = {*PACKAGES, *(f"{name}.py" for name in MODULES), ".env", ".streamlit", "services", "workspace.yaml",
              "dagster.yaml", "pyproject.toml", "dbt_project.yml", "profiles.yml", "universe.csv"}  # fmt: skip
    assert {path.name for path in folder.iterdir()} <= ours | theirs
