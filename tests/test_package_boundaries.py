"""Names of modules. Import boundaries are import-linter contracts in pyproject.toml, checked by `make lint`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_no_module_is_called_common_or_utils():
    folders = ("ingestion", "orchestration", "dashboard", "dbt_project")
    names = {path.stem for folder in folders for path in (ROOT / folder).rglob("*")}
    assert not names & {"common", "utils", "util", "helpers"}
