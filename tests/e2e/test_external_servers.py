"""The user's own servers: everything through the PG* and MINIO_* variables, nothing embedded started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
TICKMART = Path(sys.executable).with_name("tickmart")
SETTINGS = ("BINANCE_", "COINGECKO_", "FEAR_GREED_", "TICKMART_", "PG", "MINIO_", "DAGSTER_", "DBT_")

pytestmark = pytest.mark.slow


def test_a_run_on_the_users_own_servers_starts_none_of_its_own(postgres, stack_env, simulator, tmp_path):
    home = tmp_path / "home"
    universe = tmp_path / "universe.csv"
    universe.write_text("crypto_id,binance_symbol,name,category\nbitcoin,BTCUSDT,Bitcoin,store of value\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    env = {
        **kept,
        **simulator.urls(),
        "TICKMART_HOME": str(home),
        "TICKMART_UNIVERSE": str(universe),
        "PGHOST": postgres.host,
        "PGPORT": str(postgres.port),
        "PGUSER": postgres.user,
        "PGPASSWORD": postgres.password,
        "PGDATABASE": postgres.database,
        "MINIO_ENDPOINT": stack_env["MINIO_ENDPOINT"],
        "MINIO_ACCESS_KEY": stack_env["MINIO_ACCESS_KEY"],
        "MINIO_SECRET_KEY": stack_env["MINIO_SECRET_KEY"],
        "MINIO_BUCKET": "the-users-own",
    }
    done = subprocess.run([TICKMART, "run", "--json"], env=env, capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"
    assert not (home / "postgres").exists()
    assert not (home / "lake").exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or [])]
