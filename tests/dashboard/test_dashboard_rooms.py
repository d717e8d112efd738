"""What the dashboard may read and import, and that dbt knows it."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from dashboard import queries

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "dashboard"
SOURCES = sorted(DASHBOARD.rglob("*.py"))


def exposures() -> dict[str, set[str]]:
    file = yaml.safe_load((ROOT / "dbt_project/models/exposures.yml").read_text())
    return {
        exposure["name"]: {re.fullmatch(r"ref\('(\w+)'\)", name).group(1) for name in exposure["depends_on"]}
        for exposure in file["exposures"]
    }


@pytest.mark.parametrize("page", sorted(queries.tables_by_page()))
def test_dbt_knows_exactly_the_marts_that_a_page_reads(page):
    marts = {path.stem for path in (ROOT / "dbt_project/models/marts").rglob("*.sql")}
    # the dictionary shows the comments of every one of them, out of the catalogue
    assert exposures()[page] == (marts if page == "dictionary" else queries.tables_by_page()[page])


def test_every_page_is_an_exposure_and_every_exposure_a_page():
    assert set(exposures()) == set(queries.tables_by_page())


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_dashboard_imports_no_other_room(source):
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert not names & {"ingestion", "orchestration", "dbt", "dagster", "great_expectations"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_sql_stands_in_queries_alone_and_names_marts_alone(source):
    texts = [node.value for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Constant)]
    statements = [text for text in texts if isinstance(text, str) and re.search(r"\bselect\b.*\bfrom\b", text, re.S)]
    if source.name != "queries.py":
        assert not statements
    for statement in statements:
        schemas = set(re.findall(r"\b(?:from|join)\s+([a-z_]+)\.[a-z_]+\s", statement.replace("epoch from", "")))
        assert schemas <= {"marts", "pg_catalog"}, statement


def test_no_module_hides_one_of_the_standard_library():
    """Streamlit puts the script's folder first on the path: dashboard/numbers.py would be everybody's `numbers`."""
    assert not {path.stem for path in DASHBOARD.glob("*.py")} & set(sys.stdlib_module_names)


def test_no_folder_is_called_pages():
    """Streamlit serves every script in pages/ by itself until the first session has run the entry script."""
    assert not (DASHBOARD / "pages").exists()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_charts_and_tables_are_shown_by_the_functions_that_demand_their_words(source):
    bare = re.findall(r"\bst\.(?:plotly_chart|dataframe|table)\(", source.read_text())
    assert source.name == "shell.py" or not bare
