"""Spark and Sail as tests use them: whether one is installed, a build, and the rows of a mart.

Not here: the data that they read.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestration.engines.errors import EngineError
from orchestration.engines.installed import java, python_of
from orchestration.engines.parity import read_mart
from support.cli import Home


def needs(engine: str) -> None:
    """Skip the test if the engine is not installed."""
    try:
        python_of(engine)
        if engine == "spark":
            java()
    except EngineError:
        pytest.skip(f"{engine} is not installed: make setup-{engine}, and Java for Spark")


def build(home: Home, engine: str, *options: str, **env: str) -> tuple[int, dict[str, Any]]:
    """Build; return the exit code and the report."""
    code, report = home.run("build", "--engine", engine, *options, **env)
    assert isinstance(report, dict)
    return code, report


def rows_of(tables: Path, mart: str, names: list[str], order: list[str]) -> pa.Table:
    """Return the rows of a mart in an order."""
    found = read_mart(tables / "marts" / mart, names)
    assert found is not None
    return found.sort_by([(name, "ascending") for name in order])
