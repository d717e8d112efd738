"""The README is true: its commands exist and are run somewhere, its pictures and its settings are there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines() if line.strip()
]
TARGETS = [c.split()[1] for c in COMMANDS if c.startswith("make ")]
CALLS = [shlex.split(c)[1:] for c in COMMANDS if c.startswith(".venv/bin/tickmart ")]
# Which test runs a command for real; a command in the README that is not listed here fails below.
RUN_BY = {
    "run": "tests/e2e/test_chain.py",
    "backfill": "tests/e2e/test_chain.py",
    "sql": "tests/e2e/test_chain.py",
    "status": "tests/e2e/test_chain.py",
    "psql": "tests/e2e/test_chain.py",
    "doctor": "tests/e2e/test_chain.py",
    "dbt": "tests/e2e/test_up.py",
    "docs": "tests/e2e/test_up.py",
    "up": "tests/e2e/test_up.py",
    "demo": "tests/e2e/test_up.py",
    "simulate": "tests/simulator/test_simulated_services.py",
}


def test_every_block_of_commands_is_make_or_tickmart():
    assert COMMANDS
    assert [c for c in COMMANDS if not c.startswith(("make ", "docker compose ", ".venv/bin/tickmart "))] == []


@pytest.mark.parametrize("target", sorted(set(TARGETS)))
def test_every_make_target_exists_and_only_wraps_what_is_tested(target):
    told = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wrapped = re.findall(r"\.venv/bin/tickmart (\w+)", told)
    assert set(wrapped) <= set(RUN_BY)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_tickmart_call_is_run_by_a_test(call):
    assert f'"{call[0]}"' in (ROOT / RUN_BY[call[0]]).read_text()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`tickmart (\w+)", README))))
def test_every_command_that_is_named_exists(command):
    from orchestration.cli.main import main

    assert command in main.commands


@pytest.mark.parametrize("picture", sorted(set(re.findall(r"\]\((docs/[^)]+)\)", README))))
def test_every_picture_is_there(picture):
    assert (ROOT / picture).stat().st_size > 1000


def test_every_setting_that_is_named_is_obeyed():
    ours = "TICKMART|PG|MINIO|BINANCE|COINGECKO|FEAR_GREED|SLACK|SMTP|ALERT|HEARTBEAT"
    named = set(re.findall(rf"`((?:{ours})_?[A-Z_]+)`", README))
    code = "".join(p.read_text() for folder in ("ingestion", "orchestration") for p in (ROOT / folder).rglob("*.py"))
    assert named
    assert {name for name in named if name not in code} == set()
