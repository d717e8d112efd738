"""The weekly job merges closed months and records its run; a damaged object makes it partial and stops nothing else."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key, parse_history
from orchestration.sensors import lake_compaction
from support.pipeline import Chain
from support.source_rows import index_of, sentiment

FETCHED = datetime(2026, 1, 3, tzinfo=UTC)


def put_histories(chain: Chain, month: int) -> list[str]:
    keys = []
    for number in range(2):
        at = FETCHED.replace(month=month) + timedelta(days=number)
        rows = parse_history(index_of([sentiment("41", date(2026, 1, 2))]), "http://index", at).rows
        keys.append(fear_greed_key(at.date()))
        chain.lake.write(keys[-1], rows.append_column("batch_id", [["b"] * len(rows)]))
    return keys


def test_the_weekly_job_merges_what_it_can_and_records_its_run(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    owner, store = chain.postgres, chain.lake.store
    for name, value in {
        "TICKMART_HOME": str(tmp_path), "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user,
        "PGPASSWORD": owner.password, "PGDATABASE": owner.database, "MINIO_ENDPOINT": store.endpoint,
        "MINIO_ACCESS_KEY": store.access_key, "MINIO_SECRET_KEY": store.secret_key, "MINIO_BUCKET": store.bucket,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    put_histories(chain, 1)
    damaged = put_histories(chain, 2)[0]
    chain.lake.put(damaged, b"no parquet")
    with dg.DagsterInstance.ephemeral() as instance:
        assert lake_compaction.execute_in_process(instance=instance).success
    merged = [info.key for info in chain.lake.list(f"{FEAR_GREED.prefix}/") if info.key.endswith("/month.parquet")]
    assert merged == ["alternative_me/fear_greed/date=2026-01-01/month.parquet"]
    [(job, status, summary)] = chain.ask("select job, status, summary from ops.runs")
    assert (job, status) == ("lake_compaction", "partial")
    assert (summary["merged"], summary["waiting"], summary["removed"]) == (1, 2, 0)
    assert damaged in summary["problems"][0]
