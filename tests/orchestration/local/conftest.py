"""Homes of the local services for tests: initialized once, copied for each test."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestration.local.client import local_services
from support.local_services import CLIENT, ask, commands_with, supervisors, wait_for


@pytest.fixture(scope="module")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped home with a database and one row in it, to be copied."""
    home = tmp_path_factory.mktemp("initialized") / "home"
    with local_services(home, postgres=True, s3=False) as env:
        ask(env, "create table kept (value integer)", "insert into kept values (42)")
    return home


@pytest.fixture
def home(initialized: Path, tmp_path: Path) -> Iterator[Path]:
    """A home of the test's own, whose servers are gone afterwards whatever the test did."""
    target = tmp_path / "home"
    subprocess.run(["cp", "-a", initialized, target], check=True)
    yield target
    for process in commands_with(target, CLIENT):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_for(lambda: not supervisors(target), "the end of the supervisor")
