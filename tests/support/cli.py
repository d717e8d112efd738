"""The `tickmart` command as a user runs it: a process of its own, in a home of its own, with a clean environment."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.local.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
TICKMART = Path(sys.executable).with_name("tickmart")
# Settings of tickmart and of the programs that it starts; a test sets what it needs and inherits none.
SETTINGS = (
    "ALERT_", "BINANCE_", "BITCOIN_", "BLOCKCHAIN_", "COINGECKO_", "COINMETRICS_", "DAGSTER_", "DBT_", "FEAR_GREED_",
    "HEARTBEAT_", "MINIO_", "NATS_", "OKX_", "PG", "SLACK_", "SMTP_", "TICKMART_",
)  # fmt: skip
# What the person who starts the tests on a Docker engine may set (tests/compose).
SETTINGS_OF_TESTS = {"TICKMART_BUILD_ARGS", "TICKMART_COMPOSE_STAND_INS"}
UNIVERSE = """crypto_id,binance_symbol,name,category
bitcoin,BTCUSDT,Bitcoin,store of value
ethereum,ETHUSDT,Ethereum,smart contracts
solana,SOLUSDT,Solana,smart contracts
"""
# The moment of the market that e2e tests load. Twelve hours of the day are over; two minutes past the hour leave a slow
# machine 58 minutes until another hour closes.
MARKET_NOW = "2026-03-15T12:02:00Z"
ONE_COIN = "".join(UNIVERSE.splitlines(keepends=True)[:2])


# Against hanging, not a measure: with several workers on a busy machine a run of 30 s takes minutes.
TIMEOUT_S = 600


def clean_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment (default: of this process) without any setting but those of the tests.

    Nothing runs on after a command, also when the tests are started in a terminal.
    """
    given = os.environ if environ is None else environ
    kept = {name: value for name, value in given.items() if not name.startswith(SETTINGS) or name in SETTINGS_OF_TESTS}
    return {**kept, "TICKMART_KEEP_SERVERS_SECONDS": "0"}


def free_ports() -> dict[str, str]:
    """Return the ports of `tickmart up` and `demo` as settings: tests run at once, and the usual ports are few."""
    return {f"TICKMART_{name}_PORT": str(free_port(0)) for name in ("DAGSTER", "DASHBOARD", "DATA_DOCS")}


class Home:
    """A tickmart home and the command run in it; `env` is the command's environment, `output` all it wrote."""

    def __init__(self, path: Path, urls: Mapping[str, str], universe: str = UNIVERSE) -> None:
        self.path = path
        self.output: list[str] = []
        self.timeout_s = TIMEOUT_S
        self.universe = path.parent / "universe.csv"
        self.universe.write_text(universe)
        # Without a key CoinGecko is limited to ten calls a minute; tests call more often than a user would.
        self.env = {
            **clean_environment(),
            **urls,
            "TICKMART_HOME": str(path),
            "TICKMART_UNIVERSE": str(self.universe),
            "TICKMART_COINGECKO_CALLS_PER_MINUTE": "600",
        }

    def tickmart(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = subprocess.run(
            [TICKMART, *arguments],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=self.timeout_s,
        )
        self.output += [done.stdout, done.stderr]
        return done

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a command and return its process, whose output the caller reads."""
        return subprocess.Popen(
            [TICKMART, *arguments], env={**self.env, **env}, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, **env: str) -> tuple[int, dict[str, Any]]:
        """Run a command with --json; return its exit code and what it printed."""
        done = self.tickmart(*arguments, "--json", **env)
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout)

    def sql(self, query: str) -> list[dict[str, str]]:
        """Return the rows of `tickmart sql`, every value as text."""
        done = self.tickmart("sql", query, "--csv")
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))


def stages_of(summary: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the stages of a run's summary by stage and dataset."""
    return {(stage["stage"], stage["dataset"]): stage for stage in summary["stages"]}
