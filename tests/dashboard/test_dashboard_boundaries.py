"""What the dashboard imports and reads, and that dbt's exposures declare the same."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from dashboard import database, pages
from dashboard.analysis import bars
from dashboard.pages import PAGES

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "dashboard"
SOURCES = sorted(DASHBOARD.rglob("*.py"))
EVERY_BRANCH = {  # queries that together read every mart of a page
    "price": [{"range": "1D"}, {"range": "1M", "explain": "true"}, {"range": "All"}],
    "compare": [{"range": "7D"}, {"range": "1Y"}],
}


def exposures() -> dict[str, set[str]]:
    file = yaml.safe_load((ROOT / "dbt_project/models/exposures.yml").read_text())
    return {
        exposure["name"]: {re.fullmatch(r"ref\('(\w+)'\)", name).group(1) for name in exposure["depends_on"]}
        for exposure in file["exposures"]
        if exposure["name"] in {page.name for page in PAGES}
    }


def test_every_page_is_an_exposure_of_the_marts_that_it_declares():
    marts = {path.stem for path in (ROOT / "dbt_project/models/marts").rglob("*.sql")}
    # the Dictionary shows the comments of every mart from the catalog
    assert exposures() == {page.name: marts if page.name == "dictionary" else set(page.marts) for page in PAGES}


def test_views_and_declared_pages_are_the_same():
    assert {path.stem for path in (DASHBOARD / "views").glob("*.py")} == {page.name for page in pages.PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_reads_exactly_the_marts_that_it_declares(open_page, marts, current_database, monkeypatch, page):
    read: set[str] = set()

    def record(statement, parameters):
        read.update(re.findall(r"\bmarts\.(\w+)", statement))
        return fetch(statement, parameters)

    fetch = database._fetch
    monkeypatch.setattr(database, "_fetch", record)
    monkeypatch.setattr(bars, "MAX_BARS", 50)  # "All" then uses weekly candles
    for query in EVERY_BRANCH.get(page.name, [{}]):
        current_database.drop()
        assert not open_page(marts, page.name, **query).exception
    assert read == page.marts


def imported_packages(source: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_module_imports_no_other_package_of_tickmart(source):
    assert not imported_packages(source) & {"ingestion", "orchestration", "dbt", "dagster", "great_expectations"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_only_queries_contain_sql_and_only_on_marts(source):
    texts = [node.value for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Constant)]
    statements = [text for text in texts if isinstance(text, str) and re.search(r"\bselect\b.*\bfrom\b", text, re.S)]
    assert not statements or source.parent.name == "queries"
    for statement in statements:
        schemas = set(re.findall(r"\b(?:from|join)\s+([a-z_]+)\.[a-z_]+\s", statement.replace("epoch from", "")))
        assert schemas <= {"marts", "pg_catalog"}, statement


def test_no_top_level_module_shadows_the_standard_library():
    """Streamlit puts the folder of app.py first on sys.path: dashboard/numbers.py would shadow `numbers`."""
    names = {path.stem for path in DASHBOARD.glob("*.py")} | {path.parent.name for path in DASHBOARD.glob("*/*.py")}
    assert not names & set(sys.stdlib_module_names)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_charts_and_tables_use_the_components_that_require_alternative_texts(source):
    direct = re.findall(r"\bst\.(?:plotly_chart|dataframe|table)\(", source.read_text())
    assert source.parent.name == "components" or not direct
