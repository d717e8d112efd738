"""The simulated market and the loaded home that the tests of the command start from."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingestion.simulator.server import Simulator, simulator
from support.cli import MARKET_NOW, Home


@pytest.fixture(scope="module")
def market() -> Iterator[Simulator]:
    with simulator(seed=3, now=MARKET_NOW, now_moves=True) as server:
        yield server


@dataclass(frozen=True)
class FirstRun:
    """The first `tickmart run` of a new home: its exit code, its summary, the home, and a copy that nobody starts."""

    code: int
    summary: dict[str, Any]
    home: Home
    template: Path


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, market: Simulator) -> FirstRun:
    """Thirty days of three coins, loaded once for a module. No test changes this home: see `home_after_a_run`."""
    home = Home(tmp_path_factory.mktemp("first_run") / "home", market.urls())
    home.env |= {"COINGECKO_API_KEY": "CG-canary-key"}
    code, summary = home.run("run")
    template = home.path.with_name("template")
    subprocess.run(["cp", "-a", home.path, template], check=True)
    return FirstRun(code, summary, home, template)


@pytest.fixture
def home_after_a_run(first_run: FirstRun, market: Simulator, tmp_path: Path) -> Iterator[Home]:
    """A home of the test's own, in which one run has loaded thirty days; the market's faults end with the test."""
    assert first_run.code == 0, first_run.summary
    home = Home(tmp_path / "home", market.urls())
    subprocess.run(["cp", "-a", first_run.template, home.path], check=True)
    home.env["COINGECKO_API_KEY"] = first_run.home.env["COINGECKO_API_KEY"]
    home.output += first_run.home.output
    yield home
    market.faults.clear()
