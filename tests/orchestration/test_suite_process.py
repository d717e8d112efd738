"""The process of the suites runs what a run sends it, with the run's environment, and never outlives the run."""

import operator
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from orchestration.quality import process
from support.cli import ROOT

pytestmark = pytest.mark.servers


@pytest.fixture(autouse=True)
def none_before_and_after() -> Iterator[None]:
    process.stop()
    yield
    process.stop()


def test_calls_run_in_one_other_process_with_the_environment_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKMART_TEST_ENVIRONMENT", "before")
    process.start()
    monkeypatch.setenv("TICKMART_TEST_ENVIRONMENT", "at the call")
    assert process.call(os.getenv, "TICKMART_TEST_ENVIRONMENT") == "at the call"
    pid = process.call(os.getpid)
    assert (pid != os.getpid(), process.call(os.getpid)) == (True, pid)


def test_what_a_library_prints_is_no_reply() -> None:
    process.call(print, "a warning")
    assert process.call(operator.add, 1, 1) == 2


def test_a_call_that_raises_is_one_error_and_the_next_call_runs() -> None:
    with pytest.raises(process.SuiteProcessError) as raised:
        process.call(operator.truediv, 1, 0)
    assert "ZeroDivisionError" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert process.call(operator.add, 1, 1) == 2


def test_a_killed_process_is_one_error_and_the_next_call_runs() -> None:
    pid = process.call(os.getpid)
    with pytest.raises(process.SuiteProcessError):
        process.call(os.kill, pid, signal.SIGKILL)
    assert process.call(os.getpid) != pid


def test_stopping_ends_the_process() -> None:
    pid = process.call(os.getpid)
    process.stop()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("ends", ["import sys; sys.exit()", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_process_ends_with_the_one_that_started_it(ends: str) -> None:
    code = f"import os\nfrom orchestration.quality import process\nprint(process.call(os.getpid), flush=True)\n{ends}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    started = [psutil.Process(pid) for pid in map(int, done.stdout.split()) if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(started, 30)
    assert done.stdout.strip().isdigit()
    assert not alive
