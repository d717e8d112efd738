"""What the steps of a run record in ops: checks, counts and retried steps."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
from rich.console import Console

from ingestion.database import connections
from ingestion.ops import checks as ops_checks
from ingestion.ops import runs
from ingestion.simulator.server import simulator
from orchestration.assets.bronze import BRONZE
from orchestration.assets.raw import RAW
from orchestration.assets.run_status import build_run_status
from orchestration.cli.output import print_summary
from orchestration.progress import ignore_progress
from orchestration.reconnect import ConnectRetry, is_lost
from orchestration.resources import Stores
from orchestration.runner import first_failure
from support.pipeline import Chain
from support.scripted_server import Asked, Reply, scripted
from support.source_rows import coin, index_of, sentiment

TODAY = datetime.now(UTC).date()
bronze_fear_greed, raw_fear_greed = BRONZE["fear_greed"], RAW["fear_greed"]
bronze_klines, bronze_markets = BRONZE["binance_klines"], BRONZE["coingecko_markets"]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Materialize assets against a scripted source; return the run's summary from ops."""
    store, owner = chain.lake.store, chain.postgres
    universe = {"TICKMART_COINGECKO_CALLS_PER_MINUTE": 600, "TICKMART_POSTGRES_PATIENCE_SECONDS": 20}
    for name, value in {
        "PGHOST": owner.host, "PGPORT": owner.port, "PGDATABASE": owner.database, "PGUSER": owner.user,
        "PGPASSWORD": owner.password, "MINIO_ENDPOINT": store.endpoint, "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key, "MINIO_BUCKET": store.bucket, **universe,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))

    def materialize(script: Any, *assets: dg.AssetsDefinition, **options: Any) -> dict[str, Any]:
        with scripted(script) as server:
            for name in ("FEAR_GREED_BASE_URL", "COINGECKO_BASE_URL"):
                monkeypatch.setenv(name, server.url)
            done = dg.materialize(
                list(assets),
                resources={"stores": Stores(), "progress": ignore_progress},
                raise_on_error=False,
                **options,
            )
        return {**runs.summarize_run(chain.connection, done.run_id), "error": first_failure(done)}

    return materialize


def days(values: dict[int, Any]) -> list[Reply]:
    """The index's answer: values by how many days ago, the newest first."""
    body = index_of(sentiment(str(v), TODAY - timedelta(days=ago)) for ago, v in sorted(values.items()))
    return [Reply(body=body)]


def failures(summary: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {f["check_name"]: (f["severity"], f["observed"]) for f in summary["checks"]["failures"]}


def test_a_few_rejected_records_are_a_warning(run: Run) -> None:
    summary = run(days({ago: 40 if ago else "N/A" for ago in range(100)}), bronze_fear_greed)
    assert summary["status"] == "ok"
    severity, observed = failures(summary)["records_kept"]
    assert severity == "warn"
    assert observed.startswith("1 of 100 records (1.0%) were rejected, the first because value is 'N/A'")
    # Less than ten of a few are no sign of a changed source either.
    assert run(days({0: 41, 1: "x", 2: 40}), bronze_fear_greed)["status"] == "ok"


def test_many_rejected_records_fail_the_run_with_share_and_reason_and_the_others_are_loaded(
    run: Run, chain: Chain
) -> None:
    summary = run(days({ago: 40 if ago >= 10 else "N/A" for ago in range(100)}), bronze_fear_greed, raw_fear_greed)
    assert summary["status"] == "failed"
    severity, observed = failures(summary)["records_kept"]
    assert severity == "error"
    assert "10 of 100 records (10.0%)" in observed
    assert "value is 'N/A'" in observed
    assert "tickmart rejected list" in observed
    assert chain.one("select count(*) from raw.fear_greed") == 90


def test_a_step_that_ends_without_a_record_fails_the_run_and_its_status_is_repeated_with_it(
    run: Run, chain: Chain
) -> None:
    @dg.asset(key=["marts", "broken"])
    def broken() -> None:
        raise RuntimeError("ended before it recorded its stage")

    @dg.asset(key=["raw", "begun"])
    def begun(context: dg.AssetExecutionContext) -> None:
        runs.begin_run(chain.connection, context.run_id, "test")

    status = build_run_status([dg.AssetKey(["raw", "begun"])])
    with dg.instance_for_test() as instance:
        run([], begun, broken, status, instance=instance)
        [record] = instance.get_run_records()
        steps = instance.get_run_step_stats(record.dagster_run.run_id)
    failed = {step.step_key for step in steps if step.status and step.status.value == "FAILURE"}
    assert failed == {"marts__broken", "ops__run_verdict"}
    assert chain.one("select status from ops.runs") == "failed"


def test_records_that_come_twice_are_counted_and_shown(run: Run) -> None:
    rows = [sentiment("44", TODAY), sentiment("40", TODAY), sentiment("42", TODAY - timedelta(days=1))]
    summary = run([Reply(body=index_of(rows))], bronze_fear_greed)
    [stage] = summary["stages"]
    assert stage["detail"]["repeated"] == 1
    shown = StringIO()
    print_summary({**summary, "seconds": 1.0, "log": ""}, Console(file=shown, width=200))
    assert "1 came twice" in shown.getvalue()


def test_a_changed_past_sentiment_value_is_reported_with_day_old_and_new_value(run: Run) -> None:
    first = run(days({0: 40, 1: 42, 2: 50}), bronze_fear_greed, raw_fear_greed)
    # The newest day may change until it is over; no check reports that.
    second = run(days({0: 41, 1: 42, 2: 50}), bronze_fear_greed, raw_fear_greed)
    assert [s["checks"]["failures"] for s in (first, second)] == [[], []]
    third = run(days({0: 41, 1: 43, 2: 50}), bronze_fear_greed, raw_fear_greed)
    severity, observed = failures(third)["past_values_stand"]
    assert (severity, third["status"]) == ("warn", "ok")
    assert observed == f"{TODAY - timedelta(days=1)}: 42 (Fear) is now 43 (Fear)"


def test_an_incomplete_top_list_is_a_warning(run: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    universe = tmp_path / "universe.csv"
    universe.write_text("crypto_id,binance_symbol,name,category\nbitcoin,BTCUSDT,Bitcoin,x\n")
    monkeypatch.setenv("TICKMART_UNIVERSE", str(universe))
    whole = [coin(f"coin-{n}") for n in range(249)]
    observed = []
    for top in (whole, [*whole, coin("one-more")]):
        summary = run(lambda asked, top=top: Reply(body=[coin()] if "ids" in asked.query else top), bronze_markets)
        observed.append(failures(summary).get("top_list_complete"))
    assert observed == [("warn", "1 of the 250 largest coins are in no page of CoinGecko's list"), None]


# -- a connection that is lost -----------------------------------------------------------------------------------------


def cut_connections(chain: Chain) -> int:
    """End the sessions of every step; return how many there were."""
    return chain.one(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
        "where datname = current_database() and application_name = 'tickmart ingest' and pid <> %s",
        (chain.connection.info.backend_pid,),
    )


def test_a_step_that_loses_its_connections_restarts_and_counts_once(run: Run, chain: Chain) -> None:
    body, cut = days({0: 40, 1: 42})[0], []

    def answer(_: Asked) -> Reply:
        # The step's own connection and that of its request budget.
        cut.append(cut_connections(chain) if len(cut) < 2 else 0)
        return body

    summary = run(answer, bronze_fear_greed, raw_fear_greed)
    assert summary["error"] is None
    assert cut == [2, 2, 0]
    assert summary["status"] == "ok"
    assert chain.one("select count(*) from raw.fear_greed") == 2
    assert [s["detail"].get("inserted") for s in summary["stages"]] == [None, 2]
    assert chain.one("select count(*) from ops.source_requests") == 3


def test_a_connection_that_is_lost_each_time_ends_the_step_after_a_few_attempts(chain: Chain, run: Run) -> None:
    asked: list[int] = []

    def answer(_: Asked) -> Reply:
        asked.append(cut_connections(chain))
        return days({0: 40})[0]

    error = run(answer, bronze_fear_greed)["error"]
    assert len(asked) == 4
    assert error.startswith("bronze__fear_greed: psycopg2.")
    assert "\n" not in error
    assert "terminating connection" in error or "closed the connection" in error
    assert chain.one("select count(*) from ops.run_stages") == 0


def test_a_lost_server_is_retried_until_one_deadline_and_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": "1", "TICKMART_POSTGRES_PATIENCE_SECONDS": "0.5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("orchestration.reconnect.SERVER", ConnectRetry())
    texts = []
    for _ in range(2):
        with pytest.raises(connections.WarehouseError, match=r"127\.0\.0\.1:1/.*Waited 0\.5 s") as caught:
            Stores().connect("ingest")
        texts.append(str(caught.value))
    assert "\n" not in texts[0]
    assert "run again" in texts[0]


def test_a_server_that_starts_is_waited_for_and_a_wrong_password_is_not() -> None:
    retry, calls = ConnectRetry(), 0

    def starting() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise psycopg2.OperationalError("FATAL:  the database system is starting up")
        return "connected"

    def refused() -> str:
        nonlocal calls
        calls += 1
        raise psycopg2.OperationalError('FATAL:  password authentication failed for user "ingest"')

    assert (retry.connect(starting, 20), calls) == ("connected", 3)
    with pytest.raises(psycopg2.OperationalError):
        retry.connect(refused, 20)
    assert calls == 4


@pytest.mark.parametrize(
    ("statement", "lost"),
    [("select pg_terminate_backend(pg_backend_pid())", True), ("select 1/0", False), ("select nothing", False)],
)
def test_only_a_lost_connection_is_worth_another_attempt(chain: Chain, statement: str, lost: bool) -> None:
    with pytest.raises(psycopg2.Error) as caught:
        chain.ask(statement)
    assert is_lost(caught.value) is lost


# -- a symbol's end ----------------------------------------------------------------------------------------------------


def test_a_symbol_that_disappears_is_marked_fails_no_run_and_no_bars_are_asked_of_it(
    run: Run, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, kept = (
        "crypto_id,binance_symbol,name,category",
        ["bitcoin,BTCUSDT,Bitcoin,x", "ethereum,ETHUSDT,Ethereum,x"],
    )
    whole, rest = tmp_path / "whole.csv", tmp_path / "rest.csv"
    whole.write_text("\n".join([header, *kept, "old,OLDUSDT,Old,x"]))
    rest.write_text("\n".join([header, *kept]))
    monkeypatch.setenv("TICKMART_UNIVERSE", str(whole))
    days_of_the_run = {f"dagster/asset_partition_range_{end}": "2026-11-19" for end in ("start", "end")}
    found, asked = [], []
    for listed in (whole, rest, rest):
        with simulator(seed=3, now="2026-11-19T16:37:12Z", universe=listed) as market:
            monkeypatch.setenv("BINANCE_BASE_URL", market.binance_url)
            found.append(run([Reply()], bronze_klines, tags=days_of_the_run))
            asked.append(sum(n for (path, _), n in market.requests.items() if path.endswith("/klines")))
    # Three listings are probed and three series fetched; then the two that are left.
    assert asked == [6, 2, 2]
    assert [(s["error"], s["status"]) for s in found] == [(None, "ok")] * 3
    notes = [s["stages"][0]["detail"]["notes"] for s in found]
    assert [any("OLDUSDT is no longer listed" in note for note in listed) for listed in notes] == [False, True, True]
    assert chain.one("select status from ops.symbol_status where symbol = 'OLDUSDT'") == "DELISTED"


def test_a_summary_counts_the_checks_that_were_not_part_of_the_run(chain: Chain) -> None:
    def record(run_id: str, *checks: tuple[str, str, str]) -> None:
        rows = [
            {"asset": "raw/x", "check_name": name, "source": source, "severity": "error", "status": status}
            for name, source, status in checks
        ]
        ops_checks.record_checks(chain.connection, run_id, rows)

    everything = [("a", "dbt", "passed"), ("b", "pipeline", "failed"), ("c", "great_expectations", "passed")]
    # What could not run is no check of its own.
    record("run", *everything, ("the suite could run", "great_expectations", "error"))
    record("check", ("a", "dbt", "passed"))
    record("check", ("a", "dbt", "passed"))
    assert runs.summarize_run(chain.connection, "run")["checks"]["not_run"] == {}
    found = runs.summarize_run(chain.connection, "check")["checks"]
    assert (found["passed"], found["not_run"]) == (1, {"great_expectations": 1, "pipeline": 1})
