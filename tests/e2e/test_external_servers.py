"""The user's own servers: everything through the PG* and MINIO_* variables, nothing embedded started."""

import psutil
import pytest

from support.cli import ONE_COIN, Home

pytestmark = pytest.mark.slow


def test_a_run_on_the_users_own_servers_starts_none_of_its_own(postgres, stack_env, simulator, tmp_path):
    home = Home(tmp_path / "home", simulator.urls(), ONE_COIN)
    home.env |= {
        "PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user,
        "PGPASSWORD": postgres.password, "PGDATABASE": postgres.database, "MINIO_BUCKET": "the-users-own",
        **{name: value for name, value in stack_env.items() if name.startswith("MINIO_") and name != "MINIO_BUCKET"},
    }  # fmt: skip
    code, summary = home.run("run")
    assert (code, summary["status"]) == (0, "ok"), summary
    assert not (home.path / "postgres").exists()
    assert not (home.path / "lake").exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(home.path) in " ".join(p.info["cmdline"] or [])]
