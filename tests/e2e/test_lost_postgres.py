"""Postgres goes away under a run: the run goes on when it is back, and ends in one line when it is not."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from ingestion.simulator.server import Simulator
from support.cli import TIMEOUT_S, Home
from support.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.slow
DAYS = 420
BACKFILL = ("backfill", "--start", "2025-01-19", "--end", "2026-03-15", "--source", "rest")


@pytest.fixture
def home(tmp_path: Path, market: Simulator) -> Home:
    return Home(tmp_path / "home", market.urls())


class Server:
    """The embedded server of a home, which the supervisor restarts when it dies."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def pid(self) -> int:
        return int((self._home.path / "postgres" / "postmaster.pid").read_text().split()[0])

    def when(self, seen: str, run: subprocess.Popen[str]) -> None:
        """Return as soon as the query has a row; fail when the run ends before."""
        while run.poll() is None:
            try:
                port = (self._home.path / "postgres" / "postmaster.pid").read_text().splitlines()[3]
                password = json.loads((self._home.path / "credentials.json").read_text())["postgres"]["tickmart"]
                connection = psycopg2.connect(
                    host="127.0.0.1", port=port, user="tickmart", password=password, dbname="tickmart"
                )
                with contextlib.closing(connection):
                    connection.autocommit = True
                    while run.poll() is None:
                        with connection.cursor() as cursor:
                            cursor.execute(seen)
                            if cursor.rowcount:
                                return
                        time.sleep(0.003)
            except (psycopg2.Error, OSError, IndexError, ValueError):
                time.sleep(0.05)
        raise AssertionError(f"never seen: {seen}\n{run.communicate()}")


FETCHING = "select 1 from ops.symbol_status where not exists (select 1 from ops.coverage)"
LOADING = "select 1 from pg_stat_activity where application_name = 'tickmart ingest' and query ilike 'copy %'"
BUILDING = (
    "select 1 from pg_stat_activity where usename = 'transform' and state = 'active' and query ilike '%create %table%'"
)


def test_a_run_goes_on_after_postgres_was_killed_while_it_fetched_loaded_and_built(
    home: Home, market: Simulator
) -> None:
    market.faults.set([{"kind": "delay", "seconds": 0.2, "match": "/klines"}])
    server, killed = Server(home), []
    run = home.start(*BACKFILL, "--json")
    # As `pg_ctl stop -m immediate`, as the kernel does when memory runs out, and once more.
    for moment, blow in ((FETCHING, signal.SIGQUIT), (LOADING, signal.SIGKILL), (BUILDING, signal.SIGQUIT)):
        server.when(moment, run)
        killed.append(server.pid())
        os.kill(killed[-1], blow)
    out, err = run.communicate(timeout=500)
    summary = json.loads(out)
    assert (run.returncode, summary["status"]) == (0, "ok"), err
    assert len(set(killed)) == 3
    stages = {(s["stage"], s["dataset"]): s["detail"] for s in summary["stages"]}
    assert stages["raw", "binance_klines"]["inserted"] == 3 * 24 * DAYS
    [found] = home.sql(
        "select (select count(*) from raw.binance_klines) as rows, (select sum(inserted) from ops.load_ledger "
        "where dataset = 'binance_klines') as recorded, (select count(*) from marts.fct_prices) as hours"
    )
    assert set(found.values()) == {str(3 * 24 * DAYS)}
    assert home.sql("select count(*) as n from ops.restatements") == [{"n": "0"}]


@pytest.fixture
def behind_a_wire(postgres, stack_env, home: Home, tmp_path: Path) -> Iterator[tuple[Home, Callable[[], None]]]:
    """A home whose database is somebody else's, and the way to lose it."""
    with tcp_proxy(postgres.host, postgres.port) as proxy:
        home.env |= {
            "PGHOST": "127.0.0.1", "PGPORT": str(proxy.port), "PGUSER": postgres.user, "PGPASSWORD": postgres.password,
            "PGDATABASE": postgres.database, "MINIO_BUCKET": "lost-postgres",
            **{k: v for k, v in stack_env.items() if k in ("MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")},
        }  # fmt: skip
        yield home, proxy.sever


def test_when_postgres_does_not_come_back_the_run_ends_in_one_line(
    behind_a_wire: tuple[Home, Callable[[], None]], market: Simulator
) -> None:
    home, sever = behind_a_wire
    market.faults.set([{"kind": "delay", "seconds": 1, "match": "/klines"}])
    market.requests.clear()
    run = home.start("run", TICKMART_POSTGRES_PATIENCE_SECONDS="2")
    while not any("klines" in path for path, _ in list(market.requests)) and run.poll() is None:
        time.sleep(0.05)
    sever()
    out, err = run.communicate(timeout=TIMEOUT_S)
    assert run.returncode == 1
    assert "Traceback" not in out + err
    [line] = [line for line in err.splitlines() if line.startswith("tickmart: ")]
    assert f"127.0.0.1:{home.env['PGPORT']}" in line
    assert "TICKMART_POSTGRES_PATIENCE_SECONDS" in line
    assert home.env["PGPASSWORD"] not in out + err
