"""The notebooks use what a user has: the client and common libraries. `make notebooks` executes them."""

import ast
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
DRIVER = FOLDER / "execute.py"
NOTEBOOKS = sorted(set(FOLDER.glob("*.py")) - {DRIVER})
LIBRARIES = {"tickmart", "plotly", "numpy", "pandas", "polars", "scipy"}


def imported(notebook: Path) -> set[str]:
    """The packages that a notebook imports."""
    nodes = list(ast.walk(ast.parse(notebook.read_text())))
    names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_there_are_five_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "backtest_export", "data_quality", "quick_start", "sentiment_and_returns", "volatility_and_drawdown",
    ]  # fmt: skip


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_the_client_and_libraries_for_data_only(notebook: Path) -> None:
    packages = imported(notebook)
    assert "tickmart" in packages
    assert packages - LIBRARIES <= sys.stdlib_module_names


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_percent_script_that_opens_with_its_title(notebook: Path) -> None:
    text = notebook.read_text()
    cells = text.split("\n# %%")
    assert "format_name: percent" in cells[0]
    assert cells[1].startswith(" [markdown]\n# # ")
    assert sum(cell.startswith(" [markdown]") for cell in cells) >= 5


@pytest.mark.servers
def test_a_cell_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sys.path.insert(0, str(FOLDER))
    try:
        import execute
    finally:
        sys.path.remove(str(FOLDER))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in (("jupytext", "exit 0"), ("jupyter-nbconvert", "echo KeyError: close >&2; exit 1")):
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setattr(execute, "TOOLS", tools)
    assert "KeyError: close" in execute.execute(FOLDER / "quick_start.py", {})
