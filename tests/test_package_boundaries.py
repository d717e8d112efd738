"""The walls between the rooms, read from the syntax trees: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"ingestion", "orchestration", "dashboard", "dbt_project", "tests"}
TOOLS = {"dagster", "dagster_dbt", "dbt", "great_expectations", "streamlit"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("ingestion"), ids=lambda p: str(p.relative_to(ROOT)))
def test_ingestion_imports_neither_the_other_packages_nor_their_tools(path):
    assert not tops(path) & ((OURS - {"ingestion"}) | TOOLS)


@pytest.mark.parametrize("path", files("ingestion"), ids=lambda p: str(p.relative_to(ROOT)))
def test_clients_and_simulator_do_not_know_each_other(path):
    inside = "simulator" in path.relative_to(ROOT).parts
    ours = {name for name in imports(path) if name.startswith("ingestion")}
    strangers = {name for name in ours if name.startswith("ingestion.simulator") != inside and name != "ingestion"}
    assert not strangers


@pytest.mark.parametrize("path", files("orchestration"), ids=lambda p: str(p.relative_to(ROOT)))
def test_orchestration_imports_only_ingestion_of_ours_and_never_the_simulator(path):
    assert not tops(path) & (OURS - {"ingestion", "orchestration"})
    assert not [name for name in imports(path) if name.startswith("ingestion.simulator")]


@pytest.mark.parametrize("path", files("dashboard"), ids=lambda p: str(p.relative_to(ROOT)))
def test_dashboard_imports_nothing_of_ours_but_itself(path):
    assert not tops(path) & (OURS - {"dashboard"})


def test_no_module_is_called_common_or_utils():
    names = {path.stem for folder in OURS - {"tests"} for path in (ROOT / folder).rglob("*")}
    assert not names & {"common", "utils", "util", "helpers"}
