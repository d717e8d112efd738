"""Raw is a function of bronze; refused records wait for better rules; what is old goes, data never."""

import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.bronze import rejected as bronze_rejected
from ingestion.ops import rejected
from ingestion.raw import loader
from ingestion.raw.loader import load_pending
from ingestion.settings import load_settings
from ingestion.simulator.server import Simulator
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko import ingest
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.datasets import DATASETS
from ingestion.sources.fear_greed import ingest as fear_greed_ingest
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.http import HttpClient
from ingestion.validation import Rejected
from orchestration.maintenance import retention
from support.market import Market, asset
from support.pipeline import Chain
from support.scripted_server import Asked, Reply, scripted
from support.source_rows import bar, coin

Client = Callable[..., HttpClient]


def tables(chain: Chain) -> dict[str, list[Any]]:
    """Every raw table, batch ids included."""
    return {d.name: chain.ask(f"select to_jsonb(t) - 'loaded_at' from raw.{d.name} as t order by 1") for d in DATASETS}


def test_raw_rebuilt_from_bronze_is_unchanged_and_has_no_second_restatement(
    chain: Chain, simulator: Simulator, client_of: Client
) -> None:
    market = Market(chain, simulator, client_of, [asset("BTCUSDT"), asset("ETHUSDT")])
    market.bring("2024-05-01", "2024-05-04")
    correction = {"kind": "correction", "symbol": "BTCUSDT", "open_time": "2024-05-02T07:00Z", "volume": 7}
    simulator.faults.set([{**correction, "match": "/binance"}])
    market.bring("2024-05-02", "2024-05-05")
    gecko = client_of(simulator.coingecko_url, source="CoinGecko")
    for hour in (10, 11):
        ingest.ingest_markets(chain.context(), gecko, market.assets, datetime(2026, 11, 20, hour, tzinfo=UTC))
        chain.load(MARKETS)
    values = [{"1": 20, "2": 30}, {"1": 20, "2": 31, "3": 40}, {"1": 20, "2": 30, "3": 40}]

    def index(asked: Asked) -> Reply:
        rows = [
            {"value": str(v), "value_classification": "Fear", "timestamp": str(1_700_006_400 + 86_400 * int(d))}
            for d, v in now.items()
        ]
        return Reply(body={"data": rows[::-1], "metadata": {"error": None}})

    with scripted(index) as server:
        client = client_of(server.url, source="Fear & Greed")
        for day in range(3):
            now = values[day]
            fear_greed_ingest.ingest_fear_greed(chain.context(), client, date(2026, 11, 18 + day))
            chain.load(FEAR_GREED)
    before = tables(chain)
    restated = chain.ask("select * from ops.restatements order by 1")
    assert len(restated) == 3

    for dataset in DATASETS:
        loader.empty(chain.connection, dataset)
        assert chain.one(f"select count(*) from raw.{dataset.name}") == 0
        load_pending(chain.lake, chain.connection, dataset, "rebuild", restating=False)
    assert tables(chain) == before
    assert chain.ask("select * from ops.restatements order by 1") == restated


def test_replay_loads_records_that_pass_todays_rules_and_leaves_the_others(chain: Chain) -> None:
    good, bad = bar(date(2024, 5, 1), 3), bar(date(2024, 5, 1), 4, high="1.00000000")
    records = [
        Rejected(json.dumps({"symbol": "BTCUSDT", "interval": "1h", "bar": row}), "an older rule")
        for row in (good, bad)
    ]
    rejected.record_rejected(chain.connection, KLINES, "_rejected/x", records, "batch")
    assert bronze_rejected.replay(chain.context(), DATASETS) == {"binance_klines": (1, 2)}
    assert chain.load(KLINES).inserted == 1
    assert chain.one("select close::text from raw.binance_klines") == "101.50000000"
    assert bronze_rejected.replay(chain.context(), DATASETS) == {"binance_klines": (0, 1)}
    states = [(row["replayed_at"] is None) for row in bronze_rejected.list_rejected(chain.connection, 10)]
    assert sorted(states) == [False, True]


def test_a_completely_rejected_row_can_be_replayed(chain: Chain, simulator: Simulator, client_of: Client) -> None:
    simulator.faults.set([{"kind": "impossible", "match": "/klines", "what": "high_below_low", "row": 5}])
    market = Market(chain, simulator, client_of)
    report = market.bring("2024-05-01", "2024-05-02")
    assert (report.rejected, market.loaded.inserted) == (1, 23)
    assert bronze_rejected.replay(chain.context(), DATASETS) == {"binance_klines": (0, 1)}
    # Low and high stand in each other's place; put back, the record is what it should have been.
    chain.ask(
        "update ops.rejected_records "
        "set record = record || jsonb_build_object('low', record -> 'high', 'high', record -> 'low')"
    )
    assert bronze_rejected.replay(chain.context(), DATASETS) == {"binance_klines": (1, 1)}
    assert chain.load(KLINES).inserted == 1
    assert market.gaps() == [("BTCUSDT", "2024-05-01 05:00", 1, "missing_locally")]
    simulator.faults.clear()
    assert market.bring("2024-05-01", "2024-05-02").files == 0
    assert market.gaps() == []


def test_a_coin_that_could_not_be_read_is_replayed_into_its_snapshot(chain: Chain, client_of: Client) -> None:
    coins = [coin("bitcoin"), coin("ethereum", name=None, circulating_supply=10**30)]
    with scripted([Reply(body=coins)]) as server:
        client = client_of(server.url, source="CoinGecko")
        for hour in (4, 5):
            at = datetime(2026, 1, 2, hour, tzinfo=UTC)
            ingest.ingest_markets(chain.context(), client, [asset("BTC")], at)
            chain.load(MARKETS)
    assert bronze_rejected.replay(chain.context(), DATASETS) == {"coingecko_markets": (0, 1)}
    chain.ask("update ops.rejected_records set record = record || jsonb_build_object('name', 'Corrected')")
    assert bronze_rejected.replay(chain.context(), DATASETS) == {"coingecko_markets": (1, 1)}
    assert chain.load(MARKETS).inserted == 1
    assert chain.ask(
        "select extract(hour from snapshot_at)::int, circulating_supply from raw.coingecko_markets "
        "where crypto_id = 'ethereum' and name = 'Corrected'"
    ) == [(4, 10**30)]


def test_a_snapshot_that_was_rejected_completely_is_replayed_as_one(chain: Chain, client_of: Client) -> None:
    with scripted([Reply(body=[coin(c, name=None) for c in ("bitcoin", "ethereum")])]) as server:
        client = client_of(server.url, source="CoinGecko")
        ingest.ingest_markets(chain.context(), client, [asset("BTC")], datetime(2026, 1, 2, tzinfo=UTC))
    chain.ask("update ops.rejected_records set record = record || jsonb_build_object('name', 'Corrected')")
    assert bronze_rejected.replay(chain.context(), DATASETS) == {"coingecko_markets": (2, 2)}
    assert chain.load(MARKETS).inserted == 2
    assert chain.one("select count(distinct snapshot_at) from raw.coingecko_markets") == 1


@pytest.fixture
def home(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an old and a new log and dbt target; the environment names the chain's servers."""
    store, owner = chain.lake.store, chain.postgres
    for name, value in {
        "TICKMART_HOME": tmp_path, "DAGSTER_HOME": tmp_path / "dagster", "PGHOST": owner.host, "PGPORT": owner.port,
        "PGDATABASE": owner.database, "PGUSER": owner.user, "PGPASSWORD": owner.password,
        "MINIO_ENDPOINT": store.endpoint, "MINIO_ACCESS_KEY": store.access_key, "MINIO_SECRET_KEY": store.secret_key,
        "MINIO_BUCKET": store.bucket,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    (tmp_path / "dagster").mkdir()
    for folder in ("logs", "dbt"):
        (tmp_path / folder).mkdir()
    old = (datetime.now(UTC) - timedelta(days=60)).timestamp()
    for path in (tmp_path / "logs" / "old.log", tmp_path / "logs" / "new.log", tmp_path / "dbt" / "manifest.json"):
        path.touch()
    for name in ("old", "new"):
        (tmp_path / "dbt" / name).mkdir()
        (tmp_path / "dbt" / name / "run_results.json").touch()
    for path in (tmp_path / "logs" / "old.log", tmp_path / "dbt" / "old", tmp_path / "dbt" / "manifest.json"):
        os.utime(path, (old, old))
    return tmp_path


def test_prune_removes_what_is_old_and_a_dry_run_only_says_so(chain: Chain, home: Path) -> None:
    for age in (1, 400):
        chain.ask(
            "insert into ops.source_requests "
            "(source, endpoint, host, requested_at, latency_ms, bytes, attempt, weight) "
            "values ('Binance', '/', 'h', now() - %s * interval '1 day', 1, 1, 1, 1)",
            (age,),
        )
    expected = {"source requests": 1, "log files": 1, "dbt targets": 1}

    def prune(*, dry_run: bool) -> dict[str, int]:
        return {what: n for what, n, _ in retention.prune(load_settings(), dry_run=dry_run) if n}

    assert prune(dry_run=True) == expected
    assert prune(dry_run=False) == expected
    assert prune(dry_run=False) == {}
    left = sorted(str(path.relative_to(home)) for folder in ("logs", "dbt") for path in (home / folder).rglob("*"))
    assert left == ["dbt/manifest.json", "dbt/new", "dbt/new/run_results.json", "logs/new.log"]
    assert chain.one("select count(*) from ops.source_requests") == 1
