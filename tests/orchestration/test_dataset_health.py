"""One rule of health: the mart, `tickmart status`, alerts and metrics agree for every dataset in every state."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ingestion.database import connections
from ingestion.ops import datasets
from ingestion.settings import Postgres, Settings, load_settings
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.datasets import DATASETS, OPTIONAL
from orchestration.alerting import incidents
from orchestration.assets.dbt import DBT, PROJECT_DIR
from orchestration.assets.manifest import dataset_assets
from orchestration.observability import health, metrics
from support.cli import clean_environment
from support.database import fresh_database

pytestmark = pytest.mark.slow  # dbt builds the mart for its tests

ORDER = ["healthy", "unknown", "warning", "degraded"]
NAMES = [dataset.name for dataset in DATASETS]
# Off by default.
ON = {"TICKMART_BITCOIN_TRANSACTIONS": "true", "TICKMART_LIVE": "on", "X_BEARER_TOKEN": "test-token"}
ONCHAIN = ("onchain_daily_coinmetrics", "onchain_daily_blockchain")
LIVE = ("okx_trades", "okx_tickers")
NEWS = {"headlines_gdelt": 24, "headlines_hackernews": 72, "headlines_rss": 24, "headlines_x": 48}
TONE = "news_tone_gdelt"
# Ages in seconds with markets every five minutes, so that each dataset has another SLA: 2 h, 10 min, 26 h.
AGES = {
    "binance_klines": {"fresh": 1800, "late": 4 * 3600, "very late": 10 * 3600, "never loaded": None},
    "coingecko_markets": {"fresh": 300, "late": 1200, "very late": 3600, "never loaded": None},
    "fear_greed": {"fresh": 0, "late": 2 * 86400, "very late": 6 * 86400, "never loaded": None},
    "bitcoin_transactions": {"fresh": 3600, "late": 6 * 3600, "very late": 20 * 3600, "never loaded": None},
    **{name: {"fresh": 0, "late": 300, "very late": 3600, "never loaded": None} for name in LIVE},
    **{
        name: {"fresh": 0, "late": 4 * 86400, "very late": 10 * 86400, "never loaded": None}
        for name in (*ONCHAIN, TONE)
    },
    **{
        name: {"fresh": 60, "late": 2 * 3600 * h, "very late": 5 * 3600 * h, "never loaded": None}
        for name, h in NEWS.items()
    },
}
FRESHNESS = {"fresh": "healthy", "late": "warning", "very late": "degraded", "never loaded": "unknown"}
LOADS = {"ok": "healthy", "partial": "warning", "failed": "degraded", None: "healthy"}
CHECKS = {"passed": "healthy", "warned": "warning", "failed": "degraded", None: "unknown"}
SEED = """
    insert into raw.universe (crypto_id, binance_symbol, name, category, batch_id)
    values ('bitcoin', 'BTCUSDT', 'Bitcoin', 'money', 'b');
    insert into raw.binance_klines
    select
        'BTCUSDT', '1h', date_trunc('hour', now()) - interval '2 hours', 1, 1, 1, 1, 1, now(),
        1, 1, 1, 1, now(), 'b';
    insert into raw.coingecko_markets (crypto_id, snapshot_at, symbol, name, payload, batch_id)
    values ('bitcoin', now(), 'btc', 'Bitcoin', '{}', 'b');
    insert into raw.fear_greed (date, value, classification, batch_id)
    values ((now() at time zone 'UTC')::date, 5, 'Fear', 'b');
    insert into raw.bitcoin_blocks (
        source_day, block_hash, block_number, block_timestamp, transaction_count, row_count, is_final, batch_id
    )
    values (current_date, sha256('block'), 850000, now(), 1, 1, true, 'b');
    insert into raw.onchain_daily (source, asset, metric, date, value, source_url, fetched_at, batch_id)
    select source, 'btc', 'count', (now() at time zone 'UTC')::date - 1, 5, 'u', now(), 'b'
    from unnest(array['coinmetrics', 'blockchain']) as source;
    create table raw.okx_trades_any partition of raw.okx_trades default;
    create table raw.okx_tickers_any partition of raw.okx_tickers default;
    insert into raw.okx_trades
        (inst_id, trade_id, ts, price, size, side, received_at, source_url, fetched_at, batch_id)
    values ('BTC-USDT', 1, now(), 1, 1, 'buy', now(), 'u', now(), 'b');
    insert into raw.okx_tickers (inst_id, ts, last, received_at, source_url, fetched_at, batch_id)
    values ('BTC-USDT', now(), 1, now(), 'u', now(), 'b');
    insert into raw.headlines (
        source, external_id, published_at, title, url, channel, source_url, fetched_at, batch_id
    )
    select source, '1', now(), 'title', 'https://a.example', 'q', 'u', now(), 'b'
    from unnest(array['gdelt', 'hackernews', 'rss', 'x']) as source;
    insert into raw.news_tone_gdelt (topic, date, tone, source_url, fetched_at, batch_id)
    values ('t', (now() at time zone 'UTC')::date - 1, 0, 'u', now(), 'b')
"""
# A loaded object of bars, and its rows.
LEDGER_ROW = """
    insert into ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
    values (%s, 'binance_klines', 's', 'e', %s, 0, 0, 0, 'b')
"""
# The rows that say how new a dataset is: in raw, and in the mart that shows it.
MOMENTS = {
    "binance_klines": (("raw.binance_klines", "open_time"), ("marts.dim_crypto", "last_bar_at")),
    "coingecko_markets": (("raw.coingecko_markets", "snapshot_at"), ("marts.fct_market_snapshots", "snapshot_at")),
    "fear_greed": (("raw.fear_greed", "date"), ("marts.fct_sentiment_daily", "date")),
    **{name: ((f"raw.{name}", "date"), ("intermediate.int_onchain_series", "newest_date")) for name in ONCHAIN},
    "bitcoin_transactions": (("raw.bitcoin_blocks", "block_timestamp"),),
    **{name: ((f"raw.{name}", "ts"),) for name in LIVE},
    **{name: ((f"raw.{name}", "published_at"), ("intermediate.int_news_series", "newest_at")) for name in NEWS},
    TONE: ((f"raw.{TONE}", "date"), ("intermediate.int_news_series", "newest_at")),
}
# The rows of a table of several datasets that are about one of them.
OWN = {
    **{name: f" where source = '{name.removeprefix('onchain_daily_')}'" for name in ONCHAIN},
    **{name: f" where dataset = '{name}'" for name in (*NEWS, TONE)},
}


@dataclass
class Built:
    """A database whose marts dbt has built over one row of each dataset."""

    postgres: Postgres
    settings: Settings
    manifest: dict[str, Any]

    def ask(self, statement: str, parameters: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
        with (
            connections.closing(connections.connect(self.postgres)) as connection,
            connection,
            connection.cursor() as c,
        ):
            c.execute(statement, parameters)
            return list(c.fetchall()) if c.description else []

    def declare(self, settings: Settings) -> None:
        """Record the datasets as a run with these settings does."""
        with connections.closing(connections.connect(self.postgres, "ingest")) as connection:
            datasets.record_datasets(connection, settings, DATASETS, dataset_assets(self.manifest), OPTIONAL)

    def clear(self) -> None:
        """Delete runs, checks, gaps and rejected records."""
        names = ("runs", "run_stages", "check_results", "gaps", "rejected_records", "load_ledger")
        self.ask("; ".join(f"delete from ops.{name}" for name in names))

    def set_newest(self, dataset: str, moment: datetime | None) -> None:
        """Set the time of a dataset's newest data in raw and in its mart; None empties both."""
        for table, column in MOMENTS[dataset]:
            own = OWN.get(dataset, "") if dataset in ONCHAIN or table.startswith("intermediate") else ""
            self.ask(f"delete from {table}{own}")
            if moment is not None:
                at: datetime | date = moment.date() if column == "date" else moment
                # A bar and a day describe the time up to their end.
                is_day = dataset in ONCHAIN or (dataset == TONE and column == "date")
                at -= {KLINES.name: timedelta(hours=1)}.get(dataset, timedelta(days=is_day))
                self.ask(f"insert into {table} select * from public.{table.replace('.', '_')}{own}")
                self.ask(f"update {table} set {column} = %s{own}", (at,))

    def mart(self) -> dict[str, dict[str, Any]]:
        rows = self.ask("select to_jsonb(h) from marts.fct_dataset_health as h")
        return {row["dataset"]: row for (row,) in rows}

    def stale(self) -> dict[str, str]:
        """The severity of the incident about each dataset whose data is too old."""
        with connections.closing(connections.connect(self.postgres, "ingest")) as connection:
            evaluation = incidents.detect(connection, self.settings, datetime.now(UTC))
        found = [f for f in evaluation.failing.values() if f.kind == "stale_dataset"]
        return {finding.fingerprint.partition(":")[2]: finding.severity for finding in found}

    def metrics(self) -> dict[str, dict[str, float]]:
        """Age and SLA of each dataset as Prometheus reads them."""
        server, thread = metrics.serve(self.settings, "127.0.0.1", 0)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=20) as answer:
                families = text_string_to_metric_families(answer.read().decode())
            samples = [s for family in families for s in family.samples]
            return {
                kind: {
                    s.labels["dataset"]: s.value for s in samples if s.name == f"tickmart_dataset_{kind}_seconds"
                }
                for kind in ("age", "sla")
            }  # fmt: skip
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def settings_of(owner: Postgres, **env: str) -> Settings:
    connect = {"PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user, "PGPASSWORD": owner.password}
    return load_settings({**connect, "PGDATABASE": owner.database, **env})


@pytest.fixture(scope="module")
def built(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    target = tmp_path_factory.mktemp("dbt")
    with fresh_database(stack_env) as owner:
        made = Built(owner, settings_of(owner, TICKMART_MARKETS_EVERY_MINUTES="5", **ON), {})
        made.ask(SEED)
        env = clean_environment() | {
            "PGHOST": owner.host, "PGPORT": str(owner.port), "PGDATABASE": owner.database,
            "TICKMART_PG_TRANSFORM_USER": owner.user, "TICKMART_PG_TRANSFORM_PASSWORD": owner.password,
            "TICKMART_PG_TRANSFORM_ROLE": "transform",
        }  # fmt: skip
        command = [DBT, "--quiet", "run", "--select", "+fct_dataset_health", "--project-dir", str(PROJECT_DIR)]
        command += ["--profiles-dir", str(PROJECT_DIR), "--target-path", str(target), "--log-path", str(target)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:]
        made.manifest = json.loads((target / "manifest.json").read_text())
        for table, _ in (pair for pairs in MOMENTS.values() for pair in pairs):
            made.ask(f"create table if not exists public.{table.replace('.', '_')} as select * from {table}")
        made.declare(made.settings)
        yield made


def state_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "age": st.sampled_from(list(AGES[name])),
            "load": st.sampled_from(list(LOADS)),
            "checks": st.sampled_from(list(CHECKS)),
            "gap": st.booleans() if name == KLINES.name else st.just(False),
            "rejected": st.booleans(),
        }
    )


def prepare(built: Built, name: str, state: dict[str, Any], now: datetime) -> None:
    """Put a dataset into a state."""
    age = AGES[name][state["age"]]
    built.set_newest(name, None if age is None else now - timedelta(seconds=age))
    if state["load"]:
        built.ask(
            "insert into ops.run_stages (run_id, stage, dataset, status) values ('r', 'raw', %s, %s)",
            (name, state["load"]),
        )
    if state["checks"]:
        severity = "warn" if state["checks"] == "warned" else "error"
        status = "passed" if state["checks"] == "passed" else "failed"
        built.ask(
            "insert into ops.check_results (run_id, asset, check_name, source, severity, status)"
            " values ('r', %s, 'c', 'dbt', %s, %s)",
            (f"raw/{name}", severity, status),
        )
    if state["gap"]:
        built.ask("insert into ops.gaps values ('A', '1h', now() - interval '2 hours', now(), 2, 'missing_locally')")
    if state["rejected"]:
        built.ask(
            "insert into ops.rejected_records (dataset, object_key, record_sha256, record, reason, batch_id)"
            " values (%s, 'k', 'h', '{}', 'why', 'b')",
            (name,),
        )


def expected(state: dict[str, Any]) -> dict[str, str]:
    load = LOADS[state["load"]]
    parts = {
        "load": "unknown" if load == "healthy" and state["age"] == "never loaded" else load,
        "freshness": FRESHNESS[state["age"]],
        "checks": CHECKS[state["checks"]],
    }
    return {**parts, "health": max([*parts.values(), *["warning"] * state["gap"]], key=ORDER.index)}


@example_settings(max_examples=15, deadline=None)
@given(states=st.fixed_dictionaries({name: state_of(name) for name in NAMES}))
def test_mart_status_alerts_and_metrics_agree_in_every_state(built: Built, states: dict[str, dict[str, Any]]):
    now = datetime.now(UTC)
    built.clear()
    for name, state in states.items():
        prepare(built, name, state, now)
    marts, stale, scraped = built.mart(), built.stale(), built.metrics()
    status = {row["dataset"]: row for row in health.status(built.settings)["datasets"]}
    for name, state in states.items():
        wanted = expected(state)
        shown = {part: marts[name][f"{part}_health"].lower() for part in ("load", "freshness", "checks")}
        assert {**shown, "health": marts[name]["health"].lower()} == wanted
        assert {**status[name]["parts"], "health": status[name]["health"]} == wanted
        assert stale.get(name) == {"warning": "warn", "degraded": "error"}.get(wanted["freshness"])
        late = name in scraped["age"] and scraped["age"][name] > scraped["sla"][name]
        assert late == (wanted["freshness"] in ("warning", "degraded"))
        assert (status[name]["open_gaps"], status[name]["rejected"]) == (state["gap"], state["rejected"])
        assert (marts[name]["open_gaps"], marts[name]["rejected_records"]) == (state["gap"], state["rejected"])


def test_an_interval_of_five_minutes_is_an_sla_of_600_s_everywhere(built: Built):
    built.declare(built.settings)
    built.clear()
    built.set_newest(MARKETS.name, datetime.now(UTC) - timedelta(minutes=11))
    [row] = (d for d in health.status(built.settings)["datasets"] if d["dataset"] == MARKETS.name)
    assert row["sla_seconds"] == built.mart()[MARKETS.name]["sla_seconds"] == 600
    assert built.metrics()["sla"][MARKETS.name] == 600
    assert MARKETS.sla_seconds(built.settings) == 600
    assert built.stale()[MARKETS.name] == "warn"
    assert built.mart()[MARKETS.name]["freshness_health"] == "Warning"


def test_status_reports_the_slas_of_the_runs_whatever_its_own_settings(built: Built):
    built.declare(built.settings)
    hourly = settings_of(built.postgres, **ON)
    [row] = (d for d in health.status(hourly)["datasets"] if d["dataset"] == MARKETS.name)
    assert row["sla_seconds"] == 600
    built.declare(hourly)
    try:
        [row] = (d for d in health.status(built.settings)["datasets"] if d["dataset"] == MARKETS.name)
        assert row["sla_seconds"] == built.mart()[MARKETS.name]["sla_seconds"] == 7200
    finally:
        built.declare(built.settings)


def test_before_the_first_run_status_uses_its_own_settings(built: Built):
    built.ask("delete from ops.datasets")
    try:
        slas = {row["dataset"]: row["sla_seconds"] for row in health.status(built.settings)["datasets"]}
    finally:
        built.declare(built.settings)
    assert slas == {
        "binance_klines": 7200,
        "coingecko_markets": 600,
        "fear_greed": 93600,
        "bitcoin_transactions": 14400,
        **dict.fromkeys((*ONCHAIN, TONE), 172800),
        **dict.fromkeys(LIVE, 120),
        **{name: hours * 3600 for name, hours in NEWS.items()},
    }


def test_a_dataset_that_is_off_is_not_shown_and_cannot_be_stale(built: Built):
    off = settings_of(built.postgres)
    built.set_newest("bitcoin_transactions", datetime.now(UTC) - timedelta(days=9))
    assert "bitcoin_transactions" in built.stale()
    built.declare(off)
    try:
        shown = {row["dataset"] for row in health.status(off)["datasets"]}
        assert shown == set(built.mart()) == set(NAMES) - {"bitcoin_transactions", "headlines_x", *LIVE}
        assert "bitcoin_transactions" not in replace(built, settings=off).stale()
    finally:
        built.declare(built.settings)


def test_a_dataset_that_is_no_longer_declared_is_no_longer_shown(built: Built):
    built.ask(
        "insert into ops.datasets values ('old', 'Old', 1, 4); insert into ops.dataset_assets values ('old', 'a')"
    )
    built.declare(built.settings)
    assert set(built.mart()) == set(NAMES)
    assert built.ask("select 1 from ops.dataset_assets where dataset = 'old'") == []


@pytest.mark.parametrize(
    ("asset", "dataset", "degraded"),
    [
        ("marts/fct_sentiment_daily", "fear_greed", {"fear_greed"}),
        ("marts/v_trending", "binance_klines", {"binance_klines"}),
        ("marts/v_trendline_core", "binance_klines", {"binance_klines"}),
        ("intermediate/int_market_daily", "coingecko_markets", {"coingecko_markets"}),
        ("intermediate/int_asset_watermarks", "binance_klines", {"binance_klines"}),
        ("ops/gaps", "binance_klines", {"binance_klines"}),
        # Built from bars and snapshots alike.
        ("marts/dim_crypto", None, {"binance_klines", "coingecko_markets"}),
        ("raw/universe", None, set()),
        ("marts/fct_runs", None, set()),
    ],
)
def test_a_failed_check_counts_for_the_dataset_of_its_asset(
    built: Built, asset: str, dataset: str | None, degraded: set[str]
):
    built.clear()
    built.ask(
        "insert into ops.check_results (run_id, asset, check_name, source, severity, status)"
        " values ('r', %s, 'c', 'dbt', 'error', 'failed')",
        (asset,),
    )
    assert built.ask("select dataset from marts.fct_check_results") == [(dataset,)]
    assert {name for name, row in built.mart().items() if row["checks_health"] == "Degraded"} == degraded


def test_estimated_rows_grow_with_each_load(built: Built):
    built.clear()
    for key, rows, total in (("one", 720, 720), ("two", 24, 744)):
        built.ask(LEDGER_ROW, (key, rows))
        assert built.mart()["binance_klines"]["estimated_rows"] == total


def test_a_status_without_marts_is_unknown_and_shows_what_raw_has(stack_env: dict[str, str], tmp_path: Path):
    with fresh_database(stack_env) as owner:
        with connections.closing(connections.connect(owner)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(SEED)
            cursor.execute(LEDGER_ROW, ("bars", 1))
        found = health.status(settings_of(owner))
    assert {d["health"] for d in found["datasets"]} == {"unknown"}
    assert all(d["newest"] and d["rows"] == 1 for d in found["datasets"])
