"""The client as its users have it: in an environment of its own, and as its documentation shows it."""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tickmart as tm
from orchestration.install_dependencies import pip_settings, uv_environment
from tickmart import postgres, source

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
READ = """
import sys, json, tickmart as tm
database, release = tm.connect(), tm.open(sys.argv[1])
tables = [found.bars(["BTC", "eth"], gaps="null").table for found in (database, release)]
exact = database.bars("BTC", start="2024-01-01", end="2024-01-01T01:00", decimals=True).to_pylist()[0]["close"]
try:
    refused = str(release.sql("select 1"))
except tm.TickmartError as error:
    refused = str(error)
print(json.dumps({
    "from": tm.__file__, "rows": tables[0].num_rows, "equal": tables[0].equals(tables[1]), "close": str(exact),
    "refused": refused, "loaded": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""
# The same query on both, and what must not work on a release: `sql()` there runs in this process.
QUERIES = """
import sys, json, tickmart as tm
database, release = tm.connect(), tm.open(sys.argv[1])
query = "select crypto_id, close, opened_at from marts.fct_prices where crypto_id = %(coin)s order by opened_at"
results = [found.sql(query, {"coin": "bitcoin"}) for found in (database, release)]
refused = []
for statement in sys.argv[2:]:
    try:
        release.sql(statement)
    except tm.TickmartError as error:
        refused.append(str(error))
frame = results[0].to_polars()
print(json.dumps({
    "rows": len(results[0]), "equal": results[0].table.equals(results[1].table), "refused": refused,
    "polars": [frame.height, str(frame.schema["close"])], "pandas": len(results[0].to_pandas()),
}))
"""


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The variables under which uv installs as pip would here."""
    pip = [sys.executable, "-I", "-m", "pip", "config", "list"]
    listing = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    return uv_environment(pip_settings(listing), os.environ)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """A new virtual environment with the client only."""
    folder = tmp_path_factory.mktemp("client") / "venv"
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder], env=environment, check=True)
    install(folder / "bin" / "python", environment, str(ROOT / "tickmart"))
    return folder / "bin" / "python"


def install(python: Path, environment: dict[str, str], *packages: str) -> None:
    command = [UV, "pip", "install", "-q", "--python", python, *packages]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(python: Path, url: str, folder: Path, program: str, *arguments: str) -> dict:
    """Run a program outside the repository and return what it prints."""
    done = subprocess.run(
        [python, "-I", "-c", program, folder, *arguments],
        env={"PATH": os.environ["PATH"], "TICKMART_URL": url},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_the_client_alone_reads_the_database_and_a_release(python: Path, url: str, release_folder: Path) -> None:
    found = run(python, url, release_folder, READ)
    assert not Path(found["from"]).is_relative_to(ROOT)
    assert found["equal"]
    assert found["rows"] == 2 * 40 * 24
    assert found["close"] == "42002.123456789012345678901"
    assert "pip install duckdb" in found["refused"]
    pipeline = {
        "ingestion",
        "orchestration",
        "dashboard",
        "dagster",
        "dbt",
        "great_expectations",
        "streamlit",
        "pandas",
    }
    assert not pipeline & set(found["loaded"])


@pytest.mark.slow
def test_with_duckdb_sql_reads_a_release_and_nothing_else(
    python: Path, environment: dict[str, str], url: str, release_folder: Path, tmp_path: Path
) -> None:
    install(python, environment, "duckdb", "pandas", "polars")
    target = tmp_path / "written.csv"
    statements = [
        f"copy (select 1) to '{target}'",
        f"select * from read_csv('{tmp_path}/*.csv')",
        f"attach '{tmp_path}/new.duckdb'",
        "create table marts.mine (a integer)",
        "select 1; select 2",
        "select nothing",
    ]
    found = run(python, url, release_folder, QUERIES, *statements)
    assert found["equal"]
    assert found["rows"] == found["pandas"] == 40 * 24 - 3
    assert found["polars"] == [found["rows"], "Float64"]
    assert len(found["refused"]) == len(statements)
    assert not any("\n" in message for message in found["refused"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", [source, postgres, tm])
def test_docstrings_are_right(module: ModuleType, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKMART_URL", url)
    monkeypatch.setattr(tm, "_default", None)
    assert doctest.testmod(module).failed == 0


def test_the_documentation_is_right(url: str, release_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKMART_URL", url)
    monkeypatch.setattr(tm, "_default", None)
    page = (ROOT / "docs" / "client.md").read_text().replace('"releases"', repr(str(release_folder)))
    # The end of a code block is not output.
    examples = doctest.DocTestParser().get_doctest(page.replace("```", ""), {}, "client.md", None, 0)
    assert examples.examples
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples).failed == 0
