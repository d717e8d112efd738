"""A run without the on-chain providers: they are named and late by their SLA, and nothing else differs."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ingestion.simulator.server import Simulator, simulator
from orchestration.local.processes import free_port
from support.cli import ONE_COIN, Home, stages_of

pytestmark = pytest.mark.slow
COINMETRICS, BLOCKCHAIN = "onchain_daily_coinmetrics", "onchain_daily_blockchain"
# Both providers together; the rest of a step takes milliseconds.
MOST_S = 15


@pytest.fixture
def market_now() -> Iterator[Simulator]:
    with simulator(seed=3) as server:
        yield server


@pytest.fixture
def silent_port() -> Iterator[str]:
    """The address of a port that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def health_of(home: Home) -> tuple[int, dict[str, str]]:
    done = home.tickmart("status", "--json")
    return done.returncode, {d["dataset"]: d["health"] for d in json.loads(done.stdout)["datasets"]}


def test_a_run_is_complete_without_optional_sources_and_the_next_one_loads_their_history(
    market_now: Simulator, silent_port: str, tmp_path: Path, serve: Callable[[Home], Home]
) -> None:
    home = serve(Home(tmp_path / "home", market_now.urls(), ONE_COIN))
    nobody = f"http://127.0.0.1:{free_port(0)}"
    away = {"COINMETRICS_BASE_URL": nobody, "BLOCKCHAIN_BASE_URL": silent_port}

    code, summary = home.run("run", **away)
    assert (code, summary["status"], summary["error"]) == (0, "ok", None)
    stages = stages_of(summary)
    unanswered = [stages["bronze", name] for name in (COINMETRICS, BLOCKCHAIN)]
    assert [stage["status"] for stage in unanswered] == ["failed", "failed"]
    assert all(stage["detail"]["error"] and "\n" not in stage["detail"]["error"] for stage in unanswered)
    assert sum(stage["seconds"] for stage in unanswered) < MOST_S
    assert stages["dbt", "models"]["status"] == "ok"
    warned = {(c["asset"], c["check_name"]): c["severity"] for c in summary["checks"]["failures"]}
    for name in (COINMETRICS, BLOCKCHAIN):
        assert warned[f"bronze/{name}", "source_answered"] == "warn"
        assert warned[f"raw/{name}", "has_data"] == "warn"
    assert "error" not in warned.values()
    assert home.sql("select count(*) > 0 as built from marts.fct_prices") == [{"built": "true"}]

    code, health = health_of(home)
    assert (code, health.pop(COINMETRICS), health.pop(BLOCKCHAIN)) == (0, "unknown", "unknown")
    assert set(health.values()) == {"healthy"}
    assert home.sql("select title from ops.incidents where title like '%onchain%'") == []
    assert home.tickmart("doctor", **away).returncode == 0

    # After the SLA the datasets are late, each for itself. A run of these sources alone needs them.
    earlier = "update ops.run_stages set ended_at = ended_at - interval '3 days' where dataset like 'onchain%'"
    assert home.tickmart("psql", "--owner", "-c", earlier).returncode == 0
    code, health = health_of(home)
    assert (code, health[COINMETRICS], health[BLOCKCHAIN]) == (3, "warning", "warning")
    code, summary = home.run("backfill", "--dataset", "onchain_daily", **dict.fromkeys(away, nobody))
    assert (code, summary["status"], summary["checks"]["failed"]) == (1, "failed", 2)
    late = "select kind, severity from ops.incidents where kind = 'stale_dataset' and title like '%onchain%'"
    assert home.sql(late) == [{"kind": "stale_dataset", "severity": "warn"}] * 2

    code, summary = home.run("run")
    assert (code, summary["status"]) == (0, "ok")
    stages = stages_of(summary)
    assert stages["raw", COINMETRICS]["detail"]["inserted"] > 5 * 6000
    assert stages["raw", BLOCKCHAIN]["detail"]["inserted"] > 3 * 6000
    code, health = health_of(home)
    assert (code, set(health.values())) == (0, {"healthy"})
    assert home.sql(f"{late} and recovered_at is null") == []

    code, summary = home.run("backfill", "--dataset", "onchain_daily")
    assert (code, summary["status"]) == (0, "ok")
    stages = stages_of(summary)
    assert [stages["bronze", name]["files"] for name in (COINMETRICS, BLOCKCHAIN)] == [0, 0]
    assert stages["bronze", COINMETRICS]["rows"] > 5 * 6000
    assert home.tickmart("backfill", "--dataset", "onchain_daily", "--start", "2020-01-01").returncode == 2
    assert home.tickmart("backfill").returncode == 2
