"""Properties of the asset graph in Dagster that no change may lose by accident."""

import re
from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg
import pytest

from ingestion.datasets import always
from ingestion.sources.datasets import DATASETS
from ingestion.sources.registry import SOURCES
from orchestration.quality.checks import CHECKS
from orchestration.quality.suites import SUITES
from support.scripted_server import Reply, scripted

SCHEDULED = {"dagster/schedule_name": "hourly_refresh"}


@pytest.fixture(scope="module")
def definitions():
    from orchestration.definitions import build_defs  # not above: it parses the dbt project

    return build_defs()


def test_each_declared_dataset_has_its_source():
    assert tuple(source.dataset for source in SOURCES) == DATASETS


@pytest.fixture(scope="module")
def graph(definitions):
    return definitions.resolve_asset_graph()


def test_one_job_runs_everything_with_one_dbt_build(definitions):
    steps = set(definitions.resolve_job_def("market_refresh").graph.node_names())
    # A blocking check between two models, or an asset between them, makes Dagster split the build: see `checks`.
    assert [s for s in steps if s.startswith("dbt_build")] == ["dbt_build"]
    assert {"bronze__binance_klines", "raw__binance_klines", "ops__run_verdict"} <= steps


def test_every_asset_is_in_the_group_of_its_layer(graph):
    misplaced = {
        key.to_user_string(): graph.get(key).group_name
        for key in graph.get_all_asset_keys()
        if graph.get(key).group_name != {"source": "sources"}.get(key.path[0], key.path[0])
    }
    assert misplaced == {}


@pytest.mark.parametrize(
    ("mart", "source"),
    [
        ("fct_prices", "binance_api"),
        ("fct_daily_summary", "binance_api"),
        ("fct_market_snapshots", "coingecko_api"),
        ("fct_sentiment_daily", "alternative_me_api"),
        ("dim_crypto", "universe_file"),
    ],
)
def test_lineage_is_unbroken_from_the_source_to_the_mart(graph, mart, source):
    seen, todo = set(), [dg.AssetKey(["marts", mart])]
    while todo:
        key = todo.pop()
        if key not in seen:
            seen.add(key)
            todo += graph.get(key).parent_keys
    assert dg.AssetKey(["source", source]) in seen


def test_bars_are_partitioned_by_utc_day_and_run_as_one_range(graph):
    for layer in ("bronze", "raw"):
        node = graph.get(dg.AssetKey([layer, "binance_klines"]))
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
        assert str(node.partitions_def.timezone) == "UTC"
        assert node.backfill_policy.max_partitions_per_run is None
    assert all(
        graph.get(key).backfill_policy.max_partitions_per_run is None
        for key in graph.get_all_asset_keys()
        if graph.get(key).is_executable
    )


def test_a_load_gate_precedes_each_load_and_no_suite_blocks_by_itself(graph):
    ours = [key for check in CHECKS for key in check.check_keys]
    blocking = {(k.asset_key.to_user_string(), k.name) for k in ours if graph.get_check_spec(k).blocking}
    # A day that is loaded whole is verified before it is written, a stream does not wait for a run, and a dataset that
    # can be off has no suite.
    datasets = [source.dataset for source in SOURCES]
    gated = [d.name for d in datasets if not d.whole_objects and not d.is_streamed and d.is_on is always]
    assert blocking == {(f"bronze/{name}", "load_gate") for name in gated}


@pytest.mark.parametrize("job", ["market_refresh", "rebuild"])
def test_a_run_selects_every_dbt_test_whatever_is_off(definitions, graph, job):
    # With a part of the tests, such as without those of a raw table that no asset of the job is, dagster-dbt would call
    # dbt with a selection of its own, and the tests of models would not run.
    selected = definitions.resolve_job_def(job).asset_layer.asset_graph.assets_defs
    [models] = [one for one in selected if one.computation and one.op.name == "dbt_build"]
    assert not models.is_subset


def test_a_check_has_one_snake_case_id_per_asset():
    ids = [(suite.asset_path, rule.id) for suite in SUITES for rule in suite.rules]
    assert len(set(ids)) == len(ids)
    assert [check_id for _, check_id in ids if not re.fullmatch(r"[a-z][a-z0-9_]*", check_id)] == []


def test_everything_that_dagster_lists_has_a_description(definitions, graph):
    repository = definitions.get_repository_def()
    checks = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    listed = [
        *(graph.get(key) for key in graph.get_all_asset_keys()), *checks,
        *repository.sensor_defs, *repository.schedule_defs,
        *(job for job in repository.get_all_jobs() if job.name != "__ASSET_JOB"),  # Dagster's own
    ]  # fmt: skip
    assert [str(one) for one in listed if not one.description] == []
    # The arguments of a generic test are filled in.
    assert [check.name for check in checks if re.search(r"[{}]", check.description)] == []


@pytest.mark.parametrize("layer", ["bronze", "raw"])
def test_every_column_of_a_dataset_is_described_before_the_first_run(graph, layer):
    for source in SOURCES:
        columns = graph.get(dg.AssetKey([layer, source.dataset.name])).metadata["dagster/column_schema"].columns
        assert {c.name for c in columns} >= {c.name for c in source.dataset.columns}
        assert [c.name for c in columns if not c.description] == []


def test_every_suite_is_an_asset_check(graph):
    assert {dg.AssetCheckKey(dg.AssetKey(list(s.asset)), s.check) for s in SUITES} <= set(graph.asset_check_keys)


def test_every_dbt_test_is_an_asset_check(graph):
    assert len([k for k in graph.asset_check_keys if k.asset_key.path[0] in ("staging", "intermediate", "marts")]) > 30


def test_the_hourly_schedule_requests_yesterday_and_today(definitions, postgres, monkeypatch):
    monkeypatch.setenv("PGHOST", postgres.host)
    monkeypatch.setenv("PGPORT", str(postgres.port))
    monkeypatch.setenv("PGUSER", postgres.user)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    monkeypatch.setenv("PGDATABASE", postgres.database)
    from ingestion.database import connections
    from ingestion.ops import coverage
    from ingestion.settings import PACKAGED_UNIVERSE
    from ingestion.universe import read_universe

    day = datetime(2026, 3, 13, tzinfo=UTC).date()
    symbols = sorted({a.binance_symbol for a in read_universe(PACKAGED_UNIVERSE) if a.binance_symbol})
    from ingestion.sources.binance.dataset import KLINES

    with connections.closing(connections.connect(postgres, "ingest")) as connection:
        rows = [(s, day, 24, True, "rest") for s in symbols]
        coverage.record_coverage(connection, KLINES, "1h", rows, datetime(2026, 3, 15, tzinfo=UTC))
    schedule = definitions.get_schedule_def("hourly_refresh")
    with dg.instance_for_test() as instance:
        tick = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime(2026, 3, 15, 0, 5, tzinfo=UTC),
            resources=definitions.resources,
        )  # fmt: skip
        request = schedule.evaluate_tick(tick).run_requests[0]
    # 00:05: the day that has just ended is requested again, so that its 23:00 bar is not lost.
    assert request.tags["dagster/asset_partition_range_start"] == "2026-03-14"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-03-15"


@pytest.mark.parametrize(
    ("tags", "stage", "pings"),
    [(SCHEDULED, "ok", 1), (SCHEDULED, "failed", 0), ({}, "ok", 0)],
    ids=["scheduled", "scheduled and failed", "by hand"],
)  # fmt: skip
def test_only_a_scheduled_run_that_did_not_fail_pings_the_heartbeat_url(
    definitions, chain, monkeypatch, tmp_path, tags, stage, pings
):
    from orchestration.assets.run_status import build_run_status
    from orchestration.resources import Stores

    owner = chain.postgres
    with scripted([Reply()]) as monitor:
        for name, value in {
            "PGHOST": owner.host, "PGPORT": owner.port, "PGUSER": owner.user, "PGPASSWORD": owner.password,
            "PGDATABASE": owner.database, "TICKMART_HOME": tmp_path, "HEARTBEAT_URL": f"{monitor.url}/ping/me",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, str(value))
        run_id = str(uuid4())
        chain.ask(
            "insert into ops.run_stages (run_id, stage, dataset, status) values (%s, 'raw', 'x', %s)", (run_id, stage)
        )
        made = dg.Definitions(
            assets=[build_run_status([])], jobs=[dg.define_asset_job("alone")], resources={"stores": Stores()}
        )
        assert made.resolve_job_def("alone").execute_in_process(run_id=run_id, tags=tags).success
    assert [asked.path for asked in monitor.asked] == ["/ping/me"] * pings
