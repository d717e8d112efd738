"""The `tickmart` command from the source to the marts: run, backfill, status, doctor, backup, and the files they leave.

Each test has a copy of a loaded home, or only reads the shared one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pyarrow.parquet as pq
import pytest

from ingestion.datasets import always
from ingestion.simulator.server import Simulator
from ingestion.sources.datasets import DATASETS
from orchestration.local.client import local_services
from orchestration.maintenance.postgres_client import postgres_client
from support.cli import TIMEOUT_S, UNIVERSE, Home, stages_of
from support.mail_server import mailbox
from support.scripted_server import Asked, Reply, scripted

# The run that the tests share takes a minute or more.
pytestmark = pytest.mark.slow
HOURS = 30 * 24 + 12
WITH_UNKNOWN_SYMBOL = UNIVERSE + "nonsense,NOPEUSDT,Nonsense,none\n"


@pytest.fixture(scope="module")
def query(first_run: Any) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Ask the database of the shared home, whose servers run for the module."""
    with local_services(first_run.home.path, postgres=True, s3=True) as servers:
        login = {key: servers[f"PG{key.upper()}"] for key in ("host", "port", "user", "password")}
        with closing(psycopg2.connect(dbname=servers["PGDATABASE"], options="-c timezone=UTC", **login)) as connection:
            connection.autocommit = True

            def ask(statement: str) -> list[tuple[Any, ...]]:
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                    return cursor.fetchall()

            yield ask


# -- tests that change a copy of the home ------------------------------------------------------------------------------


def test_a_first_run_loads_thirty_days_and_exits_0(first_run):
    assert (first_run.code, first_run.summary["status"]) == (0, "ok"), first_run.summary
    stages = stages_of(first_run.summary)
    assert stages["bronze", "binance_klines"]["rows"] == 3 * HOURS
    assert stages["raw", "binance_klines"]["detail"]["inserted"] == 3 * HOURS
    assert first_run.summary["checks"]["failed"] == 0
    assert first_run.summary["checks"]["passed"] > 50


def test_a_backfill_loads_the_days_that_are_missing_and_leaves_the_others(served_home):
    digest = (
        "select count(*) as rows, md5(string_agg(k::text, '' order by symbol, open_time)) as content "
        "from raw.binance_klines as k where open_time >= '2026-02-13'"
    )
    before = served_home.sql(digest)
    code, summary = served_home.run("backfill", "--start", "2026-01-20", "--end", "2026-03-01")
    assert (code, summary["status"]) == (0, "ok"), summary
    detail = stages_of(summary)["raw", "binance_klines"]["detail"]
    assert (detail["inserted"], detail["updated"]) == (3 * 24 * 24, 0)
    status = json.loads((served_home.path / "status.json").read_text())
    assert (status["last_run"]["run_id"], status["last_run"]["status"]) == (summary["run_id"], "ok")
    bars = next(row for row in status["datasets"] if row["dataset"] == "binance_klines")
    counted = served_home.sql("select count(*) as bars from raw.binance_klines")
    assert [str(bars["rows"])] == [row["bars"] for row in counted]
    assert served_home.sql(digest) == before


def test_a_run_after_a_killed_one_closes_it_and_changes_no_row(home_after_a_run, market):
    home = home_after_a_run
    digest = "select md5(string_agg(p::text, '' order by crypto_id, opened_at)) as all from marts.fct_prices as p"
    before = home.sql(digest)
    market.faults.set([{"kind": "delay", "seconds": 3, "match": "/coingecko"}])
    market.requests.clear()
    process = home.start("run")
    deadline = time.monotonic() + 120
    while not fetches_markets(market) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    market.faults.clear()
    deadline = time.monotonic() + 30
    while processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(home) == []

    code, summary = home.run("run")
    assert (code, summary["status"]) == (0, "ok"), summary
    stages = stages_of(summary)
    assert stages["bronze", "binance_klines"]["files"] == 0
    assert stages["raw", "binance_klines"]["detail"]["inserted"] == 0
    assert stages["raw", "fear_greed"]["rows"] == 0
    [found] = home.sql(f"select (select count(*) from ops.runs where status = 'running') as running, ({digest}) as all")
    assert found == {"running": "0", "all": before[0]["all"]}


def fetches_markets(market: Simulator) -> bool:
    return any("/coingecko" in path for path, *_ in list(market.requests))


def processes_of(home: Home) -> list[str]:
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(home.path) in line]


def test_an_unknown_symbol_fails_alone_and_the_run_is_partial(served_home):
    served_home.universe.write_text(WITH_UNKNOWN_SYMBOL)
    code, summary = served_home.run("run")
    assert (code, summary["status"]) == (3, "partial")
    assert "NOPEUSDT" in json.dumps(summary)
    assert "-1121" in json.dumps(summary)
    assert stages_of(summary)["dbt", "models"]["status"] == "ok"


def quoting(asked: Asked) -> Reply:
    return Reply(400, f"invalid: {asked.raw}".encode())


def test_sources_that_fail_leave_the_others_open_one_incident_and_show_no_secret(home_after_a_run, market):
    """Slack and the heartbeat quote what they refuse, the mail server refuses the login, CoinGecko quotes its key."""
    home = home_after_a_run
    market.faults.set([{"kind": "status", "status": 401, "body": "bad key CG-canary-key", "match": "/coingecko"}])
    with (
        scripted(quoting) as slack,
        mailbox("no login") as mail,
        local_services(home.path, postgres=True, s3=True),
    ):
        home.env |= {
            "SLACK_WEBHOOK_URL": f"{slack.url}/services/T0/B0/canary-webhook",
            "SMTP_URL": f"smtp://me%40example.org:canary-mail@127.0.0.1:{mail.port}",
            "ALERT_EMAIL_TO": "you@example.org",
            "HEARTBEAT_URL": f"{slack.url}/ping/canary-heartbeat",
            "BINANCE_BASE_URL": "http://127.0.0.1:9",
        }
        done = home.tickmart("run")
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr
        [line] = [line for line in done.stdout.splitlines() if "127.0.0.1:9" in line]
        assert "BINANCE_BASE_URL" in line
        stages = home.sql(
            "select distinct on (stage, dataset) stage || ' ' || dataset as stage, run_stages.status "
            "from ops.run_stages join ops.runs using (run_id) order by stage, dataset, started_at desc"
        )
        statuses = {row["stage"]: row["status"] for row in stages}
        assert (statuses["bronze binance_klines"], statuses["bronze coingecko_markets"]) == ("failed", "failed")
        assert (statuses["raw fear_greed"], statuses["dbt models"]) == ("ok", "ok")

        listed = home.tickmart("alert", "list")
        [failed] = [line for line in listed.stdout.splitlines() if "run_failed: market_refresh" in line]
        assert (listed.returncode, "OPEN" in failed) == (0, True)
        deliveries = [line.strip() for line in listed.stdout.split(failed)[1].splitlines()[1:3]]
        assert sorted(line.split(":")[0] for line in deliveries) == ["email opened", "slack opened"]
        assert "535" in home.tickmart("status").stdout or "400" in home.output[-2]
    secrets = {"CG-canary-key", "canary-webhook", "canary-mail", "canary-heartbeat"}
    assert_no_secret_but_in_credentials(home, secrets)


def assert_no_secret_but_in_credentials(home: Home, secrets: set[str]) -> None:
    """Search every table, output, file and Parquet value for the secrets and the home's own passwords."""
    kept = json.loads((home.path / "credentials.json").read_text())
    secrets |= {*kept["postgres"].values(), kept["s3"]["secret_key"]}
    assert len(secrets) == 12
    dump = home.path.parent / "dump.sql"
    dump.write_text(
        "select format('select t::text from %I.%I as t', schemaname, tablename) from pg_tables"
        " where schemaname not in ('pg_catalog', 'information_schema') \\gexec\n"
    )
    tables = home.tickmart("psql", "--owner", "-At", "-f", str(dump)).stdout
    assert "market_refresh" in tables
    found = [("a table", secret) for secret in secrets if secret in tables]
    # Without the last output, which is the tables'.
    found += [("an output", secret) for secret in secrets for text in home.output[:-2] if secret in text]
    files = [path for path in home.path.rglob("*") if path.is_file()]
    # The logs and results of dbt's runs are among them: nothing is written beside the code.
    assert {"status.json", "tickmart.jsonl", "run_results.json", "manifest.json"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = str(pq.read_table(path, partitioning=None).to_pylist()).encode()
        found += [(str(path.relative_to(home.path)), secret) for secret in secrets if secret.encode() in content]
    # The one file that holds them on purpose, for its owner alone.
    assert {name for name, _ in found} == {"credentials.json"}
    assert (home.path / "credentials.json").stat().st_mode & 0o077 == 0


def test_a_restored_home_has_the_marts_and_continues_from_the_backup(served_home, market, tmp_path, serve):
    code, made = served_home.run("backup", str(tmp_path / "backups"))
    assert code == 0, made
    (tmp_path / "other").mkdir()
    restored = Home(tmp_path / "other" / "home", market.urls())
    done = restored.tickmart("restore", made["path"])
    assert done.returncode == 0, done.stderr
    serve(restored)
    # Without another command, and without its sources, the marts are there.
    count = "select count(*) as n from marts.fct_prices"
    assert restored.sql(count) == served_home.sql(count)
    code, summary = restored.run("backfill", "--start", "2026-03-01", "--end", "2026-03-05")
    assert (code, summary["status"]) == (0, "ok"), summary
    raw = stages_of(summary)["raw", "binance_klines"]
    assert (raw["rows"], raw["detail"]["inserted"], raw["detail"]["updated"]) == (0, 0, 0)
    digests = " union all ".join(
        f"select '{mart}' as mart, count(*) as rows, "
        f"md5(string_agg((to_jsonb(m) - array['known_at', 'loaded_at'])::text, ',' order by crypto_id, {key})) "
        f"as content from marts.{mart} as m"
        for mart, key in (("fct_prices", "opened_at"), ("fct_daily_summary", "date"))
    )
    assert restored.sql(digests) == served_home.sql(digests)


# -- tests that read the shared home -----------------------------------------------------------------------------------


def test_marts_have_every_closed_hour_and_only_days_that_are_over(query):
    assert query(
        "select crypto_id, count(*), max(opened_at)::text from marts.fct_prices group by 1 order by 1"
    ) == [(coin, HOURS, "2026-03-15 11:00:00+00") for coin in ("bitcoin", "ethereum", "solana")]  # fmt: skip
    assert query("select max(date)::text, min(bar_count) from marts.fct_daily_summary") == [("2026-03-14", 24)]


def test_bronze_is_a_folder_of_parquet_that_any_tool_reads(first_run):
    bars = first_run.home.path / "lake/bronze/binance/klines/interval=1h"
    [day] = (bars / "date=2026-03-10").glob("*.parquet")
    table = pq.read_table(day, partitioning=None)
    assert table.num_rows == 3 * 24
    assert set(table["symbol"].to_pylist()) == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    assert str(table.schema.field("close").type) == "decimal128(38, 8)"


def test_checks_of_every_kind_are_recorded(query):
    assert {source for (source,) in query("select distinct source from ops.check_results")} == {
        "dbt", "great_expectations", "pipeline"
    }  # fmt: skip


def test_every_run_is_in_dagsters_list_and_none_is_left_running(query):
    runs = set(query("select distinct pipeline_name, status from dagster.runs"))
    assert ("market_refresh", "SUCCESS") in runs
    assert not [status for _, status in runs if status in ("STARTED", "STARTING")]


def test_every_unit_of_work_is_a_line_of_the_work_log(first_run):
    run_id = first_run.summary["run_id"]
    lines = [json.loads(line) for line in (first_run.home.path / "logs/tickmart.jsonl").read_text().splitlines()]
    mine = [line for line in lines if line.get("run") == run_id]
    done = {(line["event"], line.get("asset")) for line in mine}
    names = [dataset.name for dataset in DATASETS if dataset.is_on is always]
    assert done >= {*(("fetched", f"bronze/{n}") for n in names), *(("loaded", f"raw/{n}") for n in names)}
    assert done >= {("built", "marts"), ("run ended", None)}
    bars = next(line for line in mine if line.get("asset") == "bronze/binance_klines")
    assert (bars["source"], bars["rows"], bars["batch"]) == ("Binance", 3 * HOURS, run_id)
    assert bars["partition"] == "2026-02-13...2026-03-15"


def test_status_is_one_json_object_and_its_exit_code_follows_the_worst_dataset(first_run, query):
    done = first_run.home.tickmart("status", "--json")
    # The simulated market's bars are of its own day, long past.
    assert done.returncode == 1
    found = {d["dataset"]: d for d in json.loads(done.stdout)["datasets"]}
    assert set(found) == {dataset.name for dataset in DATASETS if dataset.is_on is always}
    assert found["coingecko_markets"]["health"] == "healthy"
    assert found["binance_klines"]["parts"] == {"load": "healthy", "checks": "warning", "freshness": "degraded"}
    assert found["binance_klines"]["rows"] == 3 * HOURS


def test_sql_and_psql_answer_and_the_query_role_cannot_write(first_run, query):
    home = first_run.home
    assert home.sql("select count(*) as n from marts.fct_prices") == [{"n": str(3 * HOURS)}]
    assert home.tickmart("psql", "--owner", "-At", "-c", "select count(*) from dagster.runs").stdout.strip() != "0"
    done = home.tickmart("sql", "delete from raw.binance_klines")
    assert done.returncode == 1
    assert "read-only" in done.stderr or "permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


def test_psql_opens_as_a_reader_of_the_marts_alone(first_run, query):
    home = first_run.home
    asked = home.tickmart("psql", "-At", "-c", "select current_user, count(*) from marts.fct_prices")
    assert asked.stdout.strip() == f"reader|{3 * HOURS}"
    for statement in (
        "select * from raw.fear_greed",
        "set default_transaction_read_only = off; drop table marts.fct_prices",
    ):
        assert home.tickmart("psql", "-c", statement).returncode != 0


def test_what_connect_prints_reads_the_marts(first_run, query):
    home = first_run.home
    url = home.tickmart("connect", "--format", "url").stdout.strip()
    everything = home.tickmart("connect").stdout
    assert everything.count(url.split("@")[1]) >= 5
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from marts.fct_prices")
        assert cursor.fetchone() == (3 * HOURS,)
        with pytest.raises(psycopg2.Error):
            cursor.execute("delete from marts.fct_prices")
    snippet = home.tickmart("connect", "--format", "python").stdout + "\nprint(len(frame))\n"
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
    shell = home.tickmart("connect", "--format", "psql").stdout.strip() + " -Atc 'select current_user'"
    path = f"{Path(postgres_client('psql')).parent}:{os.environ['PATH']}"
    done = subprocess.run(shell, shell=True, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.stdout.strip() == "reader", done.stderr


def test_export_publish_and_a_query_of_the_lake_agree_with_the_database(first_run, query, tmp_path):
    home = first_run.home
    assert home.tickmart("export", "--format", "parquet", str(tmp_path / "bars")).returncode == 0
    assert home.tickmart("publish", str(tmp_path / "release")).returncode == 0
    released = tmp_path / "release/latest/marts/fct_prices.parquet"
    assert (
        pq.read_metadata(tmp_path / "bars/bars-1h.parquet").num_rows == pq.read_metadata(released).num_rows == 3 * HOURS
    )
    statement = "select symbol, count(*) as bars, sum(trade_count) as trades from {} group by 1 order by 1"
    lake = home.tickmart("sql", "--lake", statement.format("binance_klines"), "--csv")
    raw = home.tickmart("sql", statement.format("raw.binance_klines"), "--csv")
    assert lake.returncode == 0, lake.stderr
    assert lake.stdout == raw.stdout
    exact = "select min(close) as low, max(open_time) as newest from "
    [(low, newest)] = query(exact + "raw.binance_klines")
    [found] = json.loads(home.tickmart("sql", "--lake", exact + "binance_klines", "--json").stdout, parse_float=Decimal)
    assert found == {"low": low, "newest": str(newest)}
    for wrong in (
        "select nope from binance_klines",
        "drop view binance_klines",
        "select * from read_csv('/etc/passwd')",
    ):
        done = home.tickmart("sql", "--lake", wrong)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_doctor_finds_no_problem_and_names_a_symbol_that_is_not_listed(first_run, query, tmp_path):
    done = first_run.home.tickmart("doctor")
    assert done.returncode == 0, done.stdout
    (tmp_path / "universe.csv").write_text(WITH_UNKNOWN_SYMBOL)
    done = first_run.home.tickmart("doctor", TICKMART_UNIVERSE=str(tmp_path / "universe.csv"))
    assert done.returncode == 1
    assert "PROBLEM universe NOPEUSDT" in done.stdout


# -- wrong settings and arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"BINANCE_BASE_URL": "ftp://x"}, "BINANCE_BASE_URL"),
        ({"PGPORT": "5432"}, "PGHOST"),
        ({"MINIO_ENDPOINT": "http://x:1"}, "MINIO_ENDPOINT"),
        ({"TICKMART_UNIVERSE": "/no/such/file.csv"}, "/no/such/file.csv"),
    ],
)
def test_an_invalid_setting_exits_2_with_one_line_that_names_it(tmp_path: Path, env: dict[str, str], named: str):
    done = Home(tmp_path / "home", {}).tickmart("run", **env)
    assert done.returncode == 2
    assert done.stderr.startswith("tickmart: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--start", "2026-02-30"], "2026-02-30"),
        (["--start", "2026-03-02", "--end", "2026-03-01"], "half-open"),
        (["--start", "2099-01-01"], "2099-01-01"),
    ],
)
def test_an_impossible_range_exits_2_with_one_line_that_names_it(tmp_path: Path, arguments: list[str], named: str):
    done = Home(tmp_path / "home", {}).tickmart("backfill", *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert named in done.stderr
