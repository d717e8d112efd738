"""The simulated market and the loaded home that the tests of the command start from."""

import contextlib
import fcntl
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingestion.simulator.server import Simulator, simulator
from orchestration.local.client import local_services
from support.cli import MARKET_NOW, Home

# The market of a module: later than any first run ends, and 38 minutes before another hour closes.
MARKET_LATER = MARKET_NOW.replace("12:02", "12:22")
GECKO_KEY = {"COINGECKO_API_KEY": "CG-canary-key"}


@pytest.fixture(scope="module")
def market() -> Iterator[Simulator]:
    with simulator(seed=3, now=MARKET_LATER, now_moves=True) as server:
        yield server


@pytest.fixture
def serve() -> Iterator[Callable[[Home], Home]]:
    """Keep the servers of a home running until the test ends: each command would start and stop them (10 to 20 s)."""
    with contextlib.ExitStack() as running:

        def keep(home: Home) -> Home:
            running.enter_context(local_services(home.path, postgres=True, s3=True))
            return home

        yield keep


@dataclass(frozen=True)
class FirstRun:
    """The first `tickmart run` of a new home: its exit code, its summary, the home, and a copy that nobody starts."""

    code: int
    summary: dict[str, Any]
    home: Home
    template: Path


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with the home of a first run and what the run printed: thirty days of three coins, for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "first_run"
    folder.mkdir(exist_ok=True)
    printed = folder / "printed.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            with simulator(seed=3, now=MARKET_NOW, now_moves=True) as server:
                home = Home(folder / "home", server.urls())
                home.env |= GECKO_KEY
                code, summary = home.run("run")
            printed.write_text(json.dumps([code, summary, home.output]))
    return folder


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, market: Simulator, loaded: Path) -> FirstRun:
    """A copy of the loaded home for a module. No test changes it: see `home_after_a_run`."""
    home = Home(tmp_path_factory.mktemp("first_run") / "home", market.urls())
    home.env |= GECKO_KEY
    code, summary, home.output = json.loads((loaded / "printed.json").read_text())
    subprocess.run(["cp", "-a", loaded / "home", home.path], check=True)
    return FirstRun(code, summary, home, loaded / "home")


@pytest.fixture
def home_after_a_run(first_run: FirstRun, market: Simulator, tmp_path: Path) -> Iterator[Home]:
    """A home of the test's own, in which one run has loaded thirty days; the market's faults end with the test."""
    assert first_run.code == 0, first_run.summary
    home = Home(tmp_path / "home", market.urls())
    subprocess.run(["cp", "-a", first_run.template, home.path], check=True)
    home.env |= GECKO_KEY
    home.output += first_run.home.output
    yield home
    market.faults.clear()


@pytest.fixture
def served_home(home_after_a_run: Home, serve: Callable[[Home], Home]) -> Home:
    """The same home with its servers running."""
    return serve(home_after_a_run)
