"""A source that CONTRIBUTING.md declares goes from its API to status without a change to any product file."""

import re
import textwrap
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg

from ingestion import settings
from ingestion.bronze import rejected
from ingestion.ops import datasets as ops_datasets
from orchestration.assets.bronze import build_bronze
from orchestration.assets.raw import build_raw
from orchestration.maintenance import doctor
from orchestration.observability import health
from orchestration.progress import ignore_progress
from orchestration.resources import Stores
from support.pipeline import Chain
from support.scripted_server import Reply, scripted

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
TODAY = datetime.now(UTC).date()
GOOD = [{"day": "2026-01-31", "price": "1.50000000012"}, {"day": str(TODAY), "price": 2}]
BAD = [{"day": "2026-02-31", "price": "1"}, {"day": "2026-02-01", "price": "-1"}]


def example(language: str) -> str:
    text = CONTRIBUTING.read_text().split("<!-- add-a-source:begin")[1].split("<!-- add-a-source:end")[0]
    [block] = re.findall(rf"^   ```{language}\n(.*?)^   ```$", text, re.DOTALL | re.MULTILINE)
    return textwrap.dedent(block)


def test_a_declared_source_goes_from_its_api_to_status(chain: Chain, monkeypatch):
    declared: dict[str, Any] = {}
    exec(compile(example("python"), "CONTRIBUTING.md", "exec"), declared)
    source, dataset = declared["GAS"], declared["GAS_PRICES"]
    chain.ask(f"set role ingest; {example('sql')}")
    store, owner = chain.lake.store, chain.postgres
    for name, value in {
        "PGHOST": owner.host, "PGPORT": owner.port, "PGDATABASE": owner.database, "PGUSER": owner.user,
        "PGPASSWORD": owner.password, "MINIO_ENDPOINT": store.endpoint, "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key, "MINIO_BUCKET": store.bucket,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))

    with scripted([Reply(body=[*GOOD, *BAD])]) as server:
        monkeypatch.setitem(settings.SOURCE_URLS, "GAS_BASE_URL", server.url)
        resources = {"stores": Stores(), "progress": ignore_progress}
        done = dg.materialize([build_bronze(source), build_raw(source)], resources=resources)
    assert [e.asset_key.to_user_string() for e in done.get_asset_materialization_events()] == [
        "bronze/gas_prices", "raw/gas_prices",
    ]  # fmt: skip
    loaded = [(date(2026, 1, 31), Decimal("1.50000000012")), (TODAY, Decimal(2))]
    assert chain.ask("select day, price from raw.gas_prices order by day") == loaded
    assert dict(chain.ask("select check_name, status from ops.check_results where asset = 'bronze/gas_prices'")) == {
        "source_answered": "passed", "records_kept": "failed",
    }  # fmt: skip
    assert chain.one("select count(*) from ops.source_requests where source = 'Gas API' and error is null") == 1

    # A relaxed rule accepts one of the rejected records, the other stays impossible.
    assert {row["dataset"] for row in rejected.list_rejected(chain.connection, 9)} == {"gas_prices"}
    object.__setattr__(dataset, "rules", lambda now: [])
    assert rejected.replay(chain.context(), [dataset]) == {"gas_prices": (1, 2)}
    assert chain.load(dataset).inserted == 1

    found = settings.load_settings()
    monkeypatch.setattr(health, "DATASETS", (dataset,))
    monkeypatch.setattr(health, "NEWEST", {dataset.name: dataset.newest_sql})
    ops_datasets.record_datasets(chain.connection, found, [dataset], {dataset.name: dataset.assets})
    [status] = health.status(found)["datasets"]
    assert (status["rows"], status["rejected"], status["newest"].date()) == (3, 1, TODAY)
    limits = health.Limits(status["sla_seconds"], status["degraded_after_seconds"])
    assert health.freshness(status["age_seconds"], limits) == "healthy"
    monkeypatch.setattr(doctor, "SOURCES", (source,))
    assert "Gas API" in doctor.proxies_used(found) or doctor.proxies_used(found) == "none"
