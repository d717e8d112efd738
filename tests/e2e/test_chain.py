"""The whole chain through the public command: simulator, bronze, raw, dbt, checks, books.

Every test runs `tickmart` as a user does, in a process of its own, against real servers on loopback.
"""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from mailbox import mailbox
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from scripted import Reply, scripted

from ingestion.simulator.server import simulator

ROOT = Path(__file__).resolve().parents[2]
TICKMART = Path(sys.executable).with_name("tickmart")
NOW = "2026-03-15T12:20:00Z"
UNIVERSE = """crypto_id,binance_symbol,name,category
bitcoin,BTCUSDT,Bitcoin,store of value
ethereum,ETHUSDT,Ethereum,smart contracts
solana,SOLUSDT,Solana,smart contracts
"""
# Alerts are told to a Slack that refuses and quotes, by a mail server that refuses the login.
CANARIES = {
    "COINGECKO_API_KEY": "CG-canary-key", "SLACK_WEBHOOK_URL": "{slack}/services/T0/B0/canary-webhook",
    "SMTP_URL": "smtp://me%40example.org:canary-mail@127.0.0.1:{smtp}", "ALERT_EMAIL_TO": "you@example.org",
    "HEARTBEAT_URL": "{slack}/ping/canary-heartbeat",
}  # fmt: skip
SETTINGS = ("BINANCE_", "COINGECKO_", "FEAR_GREED_", "TICKMART_", "PG", "MINIO_", "DAGSTER_", "DBT_")


class Home:
    """A tickmart home of its own, and the command run in it."""

    def __init__(self, path: Path, urls: dict[str, str]) -> None:
        self.path = path
        self.said: list[str] = []
        self.universe = path.parent / "universe.csv"
        self.universe.write_text(UNIVERSE)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
        # Keyless CoinGecko is asked ten times a minute; these tests ask more often than a user would.
        self.env = {
            **kept,
            **urls,
            "TICKMART_HOME": str(path),
            "TICKMART_UNIVERSE": str(self.universe),
            "TICKMART_COINGECKO_CALLS_PER_MINUTE": "600",
        }

    def tickmart(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [TICKMART, *arguments], env={**self.env, **env}, capture_output=True, text=True, timeout=280, cwd=ROOT
        )
        self.said += [done.stdout, done.stderr]
        return done

    def run(self, *arguments: str, **env: str) -> tuple[int, dict]:
        done = self.tickmart(*arguments, "--json", **env)
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout)

    def sql(self, query: str) -> list[dict[str, str]]:
        done = self.tickmart("sql", query, "--csv")
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.fixture(scope="module")
def market():
    with simulator(seed=3, now=NOW, now_moves=True) as sim:
        yield sim


def quoting(asked):
    return Reply(400, f"invalid: {asked.raw}".encode())


@pytest.fixture(scope="module")
def home(tmp_path_factory, market):
    with scripted(quoting) as slack, mailbox("no login") as mail:
        made = Home(tmp_path_factory.mktemp("chain") / "home", market.urls())
        made.env |= {name: text.format(slack=slack.url, smtp=mail.port) for name, text in CANARIES.items()}
        yield made


@pytest.fixture(scope="module")
def first_run(home):
    return home.run("run")


@pytest.fixture
def stages(first_run):
    return {(s["stage"], s["dataset"]): s for s in first_run[1]["stages"]}


def test_a_first_run_loads_thirty_days_and_exits_0(first_run, stages):
    code, summary = first_run
    assert (code, summary["status"]) == (0, "ok"), summary
    # 30 days and the hours of today that are over, 12 of them, for three symbols.
    assert stages["bronze", "binance_klines"]["rows"] == 3 * (30 * 24 + 12)
    assert stages["raw", "binance_klines"]["detail"]["inserted"] == 3 * (30 * 24 + 12)
    assert summary["checks"]["failed"] == 0
    assert summary["checks"]["passed"] > 50


def test_the_marts_hold_every_closed_hour_and_no_open_one(home, first_run):
    rows = home.sql(
        "select crypto_id, count(*) as hours, max(opened_at)::text as newest "
        "from marts.fct_prices group by 1 order by 1"
    )
    assert rows == [
        {"crypto_id": coin, "hours": str(30 * 24 + 12), "newest": "2026-03-15 11:00:00+00"}
        for coin in ("bitcoin", "ethereum", "solana")
    ]


def test_the_day_is_only_summed_when_it_is_over(home, first_run):
    rows = home.sql("select max(date)::text as newest, min(bar_count)::text as bars from marts.fct_daily_summary")
    assert rows == [{"newest": "2026-03-14", "bars": "24"}]


def test_bronze_is_a_folder_of_parquet_that_any_tool_reads(home, first_run):
    [day] = (home.path / "lake/bronze/binance/klines/interval=1h/date=2026-03-10").glob("*.parquet")
    table = pq.read_table(day, partitioning=None)
    assert table.num_rows == 3 * 24
    assert set(table["symbol"].to_pylist()) == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    assert str(table.schema.field("close").type) == "decimal128(38, 8)"


def test_every_check_stands_in_the_books_whoever_made_it(home, first_run):
    rows = home.sql("select source, count(*) as n from ops.check_results group by 1")
    assert {row["source"] for row in rows} == {"dbt", "great_expectations", "pipeline"}


@pytest.mark.slow
def test_a_second_run_changes_nothing_and_says_so(home, first_run):
    before = home.sql(
        "select md5(string_agg(p::text, '' order by crypto_id, opened_at)) as all from marts.fct_prices p"
    )
    code, summary = home.run("run")
    assert (code, summary["status"]) == (0, "ok"), summary
    stages = {(s["stage"], s["dataset"]): s for s in summary["stages"]}
    assert stages["bronze", "binance_klines"]["files"] == 0
    assert stages["raw", "binance_klines"]["detail"]["inserted"] == 0
    assert stages["raw", "fear_greed"]["rows"] == 0
    after = home.sql("select md5(string_agg(p::text, '' order by crypto_id, opened_at)) as all from marts.fct_prices p")
    assert before == after


def test_status_is_one_json_object(home, first_run):
    done = home.tickmart("status", "--json")
    # The simulated market's bars are of its own day, long past: the exit code follows the worst dataset.
    assert done.returncode == 1
    found = {d["dataset"]: d for d in json.loads(done.stdout)["datasets"]}
    assert set(found) == {"binance_klines", "coingecko_markets", "fear_greed"}
    assert found["coingecko_markets"]["health"] == "healthy"
    assert found["binance_klines"]["parts"] == {"load": "healthy", "checks": "warning", "freshness": "degraded"}
    assert found["binance_klines"]["rows"] == 3 * (30 * 24 + 12)


def test_the_query_role_cannot_write(home, first_run):
    done = home.tickmart("sql", "delete from raw.binance_klines")
    assert done.returncode == 1
    assert "read-only" in done.stderr or "permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_unknown_symbol_fails_alone_and_the_run_is_partial(home, market, first_run):
    home.universe.write_text(UNIVERSE + "nonsense,NOPEUSDT,Nonsense,none\n")
    try:
        code, summary = home.run("run")
    finally:
        home.universe.write_text(UNIVERSE)
    assert (code, summary["status"]) == (3, "partial")
    told = json.dumps(summary)
    assert "NOPEUSDT" in told
    assert "-1121" in told
    stages = {(s["stage"], s["dataset"]): s for s in summary["stages"]}
    assert stages["dbt", "models"]["status"] == "ok"


@pytest.mark.slow
def test_a_source_out_of_reach_fails_the_run_and_not_the_other_sources(home, first_run):
    before = home.sql("select count(*) as n from raw.coingecko_markets")
    done = home.tickmart("run", BINANCE_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "127.0.0.1:9" in line]
    assert len(lines) == 1
    assert "BINANCE_BASE_URL" in lines[0]
    assert home.sql("select count(*) as n from raw.coingecko_markets") != before


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"BINANCE_BASE_URL": "ftp://x"}, "BINANCE_BASE_URL"),
        ({"PGPORT": "5432"}, "PGHOST"),
        ({"MINIO_ENDPOINT": "http://x:1"}, "MINIO_ENDPOINT"),
        ({"TICKMART_UNIVERSE": "/no/such/file.csv"}, "/no/such/file.csv"),
    ],
)
def test_a_malformed_setting_is_refused_in_one_line(home, env, told):
    done = home.tickmart("run", **env)
    assert done.returncode == 2
    assert done.stderr.startswith("tickmart: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


@pytest.mark.slow
def test_a_killed_run_is_closed_by_the_next_and_leaves_no_process(home, market, first_run):
    market.faults.set([{"kind": "delay", "seconds": 3, "match": "/coingecko"}])
    process = subprocess.Popen(
        [TICKMART, "run"], env=home.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        deadline = time.monotonic() + 60
        while not _started(home) and time.monotonic() < deadline:
            time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        market.faults.clear()
    deadline = time.monotonic() + 30
    while _processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _processes_of(home) == []
    code, _ = home.run("run")
    assert code == 0
    assert home.sql("select count(*) as n from ops.runs where status = 'running'") == [{"n": "0"}]


def _started(home: Home) -> bool:
    logs = sorted((home.path / "logs").glob("run-*.log"))
    return bool(logs) and "bronze__coingecko_markets - STEP_START" in logs[-1].read_text(errors="replace")


def _processes_of(home: Home) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(home.path) in line:
            found.append(line)
    return found


def test_every_run_shows_in_dagsters_list(home, first_run):
    rows = home.tickmart("psql", "-At", "-c", "select pipeline_name, status, count(*) from dagster.runs group by 1, 2")
    assert rows.returncode == 0, rows.stderr
    told = {tuple(line.split("|")[:2]) for line in rows.stdout.splitlines()}
    assert ("market_refresh", "SUCCESS") in told
    assert not [status for _, status in told if status in ("STARTED", "STARTING")]


def test_backfill_twice_changes_nothing(home, first_run):
    code, summary = home.run("backfill", "--start", "2026-01-20", "--end", "2026-03-01")
    assert (code, summary["status"]) == (0, "ok"), summary
    query = "select md5(string_agg(k::text, '' order by symbol, open_time)) as all from raw.binance_klines k"
    before = home.sql(query)
    code, summary = home.run("backfill", "--start", "2026-01-20", "--end", "2026-03-01")
    stages = {(s["stage"], s["dataset"]): s for s in summary["stages"]}
    assert (code, stages["raw", "binance_klines"]["rows"]) == (0, 0)
    assert home.sql(query) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--start", "2026-02-30"], "2026-02-30"),
        (["--start", "2026-03-02", "--end", "2026-03-01"], "half-open"),
        (["--start", "2099-01-01"], "2099-01-01"),
    ],
)
def test_an_impossible_range_is_refused_in_one_line(home, arguments, told):
    done = home.tickmart("backfill", *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


def test_doctor_finds_nothing_wrong_and_names_a_symbol_that_is_not_listed(home, first_run):
    done = home.tickmart("doctor")
    assert done.returncode == 0, done.stdout
    home.universe.write_text(UNIVERSE + "nonsense,NOPEUSDT,Nonsense,none\n")
    try:
        done = home.tickmart("doctor")
    finally:
        home.universe.write_text(UNIVERSE)
    assert done.returncode == 1
    assert "PROBLEM universe NOPEUSDT" in done.stdout


@pytest.mark.slow
def test_a_failed_run_is_told_of_once_and_what_cannot_be_told_shows_in_status(home, market, first_run):
    market.faults.set([{"kind": "status", "status": 401, "body": "bad key CG-canary-key", "match": "/coingecko"}])
    try:
        assert home.tickmart("run").returncode == 1
    finally:
        market.faults.clear()
    done = home.tickmart("alert", "list")
    # However many runs of this module have failed, there is one incident of it.
    [failed] = [line for line in done.stdout.splitlines() if "run_failed: market_refresh" in line]
    assert (done.returncode, "OPEN" in failed) == (0, True)
    told = [line.strip() for line in done.stdout.split(failed)[1].splitlines()[1:3]]
    assert [line.split(":")[0] for line in told] == ["email opened", "slack opened"] or [
        line.split(":")[0] for line in told
    ] == ["slack opened", "email opened"]
    assert all("refused" in line for line in told)
    status = home.tickmart("status")
    assert "alert(s) refused" in status.stdout
    assert "535" in status.stdout or "400" in status.stdout


def test_every_unit_of_work_is_a_line_of_the_work_log(home, first_run):
    run_id = first_run[1]["run_id"]
    lines = [json.loads(line) for line in (home.path / "logs/tickmart.jsonl").read_text().splitlines()]
    mine = [line for line in lines if line.get("run") == run_id]
    done = {(line["event"], line.get("asset")) for line in mine}
    names = ("binance_klines", "coingecko_markets", "fear_greed")
    assert done >= {*(("fetched", f"bronze/{n}") for n in names), *(("loaded", f"raw/{n}") for n in names)}
    assert done >= {("built", "marts"), ("run ended", None)}
    bars = next(line for line in mine if line.get("asset") == "bronze/binance_klines")
    assert (bars["source"], bars["rows"], bars["batch"]) == ("Binance", 3 * (30 * 24 + 12), run_id)
    assert bars["partition"] == "2026-02-13...2026-03-15"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_home_that_was_restored_goes_on_where_the_backup_stood(home, market, first_run, tmp_path):
    code, made = home.run("backup", str(tmp_path / "kept"))
    assert code == 0, made
    there = Home(tmp_path / "home", market.urls())
    restored = there.tickmart("restore", made["path"])
    assert restored.returncode == 0, restored.stderr
    # Without another command, and without its sources, the marts are there.
    count = "select count(*) as n from marts.fct_prices"
    assert there.sql(count) == home.sql(count)
    code, summary = there.run("backfill", "--start", "2026-03-01", "--end", "2026-03-05")
    assert (code, summary["status"]) == (0, "ok"), summary
    [bars] = [s for s in summary["stages"] if (s["stage"], s["dataset"]) == ("raw", "binance_klines")]
    assert (bars["rows"], bars["detail"]["inserted"], bars["detail"]["updated"]) == (0, 0, 0)
    for mart, key in (("fct_prices", "opened_at"), ("fct_daily_summary", "date")):
        digest = (
            "select count(*) as rows, md5(string_agg((to_jsonb(m) - 'loaded_at')::text, ',' order by crypto_id, "
            f"{key})) as content from marts.{mart} as m"
        )
        assert there.sql(digest) == home.sql(digest), mart


def test_no_secret_is_in_any_output_file_object_or_table_after_good_and_failed_runs(home, first_run):
    secrets = {"CG-canary-key", "canary-webhook", "canary-mail", "canary-heartbeat"}
    kept = json.loads((home.path / "credentials.json").read_text())
    secrets |= {*kept["postgres"].values(), kept["s3"]["secret_key"]}
    assert len(secrets) == 11
    dump = home.path.parent / "dump.sql"
    dump.write_text(
        "select format('select t::text from %I.%I as t', schemaname, tablename) from pg_tables"
        " where schemaname not in ('pg_catalog', 'information_schema') \\gexec\n"
    )
    tables = home.tickmart("psql", "-At", "-f", str(dump)).stdout
    assert "market_refresh" in tables
    found = [("a table", secret) for secret in secrets if secret in tables]
    found += [("an output", secret) for secret in secrets for text in home.said if secret in text]
    files = [path for path in home.path.rglob("*") if path.is_file()]
    # dbt's logs and results of each run among them: nothing is written beside the code.
    assert {"status.json", "tickmart.jsonl", "run_results.json", "dbt.log"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = str(pq.read_table(path, partitioning=None).to_pylist()).encode()
        found += [(str(path.relative_to(home.path)), secret) for secret in secrets if secret.encode() in content]
    # The one place that holds them on purpose, for its owner alone.
    assert {name for name, _ in found} == {"credentials.json"}
    assert (home.path / "credentials.json").stat().st_mode & 0o077 == 0
