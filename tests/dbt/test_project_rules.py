"""Rules of the dbt project: layers, names, tests, contracts, documentation and lineage."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt.graph.selector_methods import is_selected_node
from dbt_warehouse import PROJECT, Warehouse

from dashboard.pages import PAGES
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.datasets import DATASETS
from orchestration.assets.manifest import dataset_assets
from orchestration.quality.suites import SUITES

Node = dict[str, Any]
LAYERS = ("staging", "intermediate", "marts")


@pytest.fixture(scope="module")
def manifest(warehouse: Warehouse, dbt_target: Path) -> dict[str, Any]:
    result = warehouse.parsed()
    assert "deprecat" not in result.log.lower(), result.log
    assert "[WARNING]" not in result.log, result.log
    return dict(json.loads((dbt_target / "manifest.json").read_text()))


@pytest.fixture(scope="module")
def models(manifest: dict[str, Any]) -> dict[str, Node]:
    return {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}


def parents(node: Node) -> list[str]:
    """Unique ids of what a node reads."""
    return list(node["depends_on"]["nodes"])


def generic_tests(manifest: dict[str, Any], node: Node, name: str) -> Iterator[Node]:
    """The generic tests of that name which are attached to a node."""
    for test in manifest["nodes"].values():
        metadata = test.get("test_metadata") or {}
        if test.get("attached_node") == node["unique_id"] and metadata.get("name") == name:
            yield test


def test_every_model_is_described_and_in_the_schema_of_its_layer(models: dict[str, Node]) -> None:
    assert [name for name, node in models.items() if not node["description"]] == []
    assert {node["schema"] for node in models.values()} == set(LAYERS)
    assert [name for name, node in models.items() if node["path"].split("/")[0] != node["schema"]] == []


def test_every_model_is_tested_for_its_grain(manifest: dict[str, Any], models: dict[str, Node]) -> None:
    without = [name for name, node in models.items() if not list(generic_tests(manifest, node, "unique_grain"))]
    assert without == []


def test_names_start_with_the_prefix_of_the_layer(models: dict[str, Node]) -> None:
    prefixes = {"staging": "stg_", "intermediate": "int_", "marts": ("dim_", "fct_", "v_")}
    assert [name for name, node in models.items() if not name.startswith(prefixes[node["schema"]])] == []


def test_a_staging_model_reads_one_source_and_nothing_else(models: dict[str, Node]) -> None:
    for name, node in models.items():
        if node["schema"] == "staging":
            # Each partition of raw.onchain_daily and raw.headlines is a dataset, and hence a source of its own.
            partitions = {"stg_onchain__daily": 2, "stg_news__headlines": 4}
            assert len(parents(node)) == partitions.get(name, 1), name
            assert all(parent.startswith("source.") for parent in parents(node)), name


def test_only_staging_reads_sources(models: dict[str, Node]) -> None:
    readers = {node["schema"] for node in models.values() for parent in parents(node) if parent.startswith("source.")}
    assert readers == {"staging"}


def test_staging_and_intermediate_do_not_read_marts_but_for_the_market_snapshots(
    manifest: dict[str, Any], models: dict[str, Node]
) -> None:
    upward = {
        (name, manifest["nodes"][parent]["name"])
        for name, node in models.items()
        for parent in parents(node)
        if node["schema"] != "marts" and manifest["nodes"].get(parent, {}).get("schema") == "marts"
    }
    assert upward == {("int_market_daily", "fct_market_snapshots")}


def test_every_mart_has_an_enforced_contract_and_each_column_a_definition(models: dict[str, Node]) -> None:
    for name, node in models.items():
        if node["schema"] == "marts":
            assert node["config"]["contract"]["enforced"], name
            assert [column for column, documented in node["columns"].items() if not documented["description"]] == [], (
                name
            )
            assert [column for column, documented in node["columns"].items() if not documented["data_type"]] == [], name


def test_every_mart_that_is_a_table_has_a_primary_key(models: dict[str, Node]) -> None:
    without = [
        name
        for name, node in models.items()
        if node["schema"] == "marts"
        and node["config"]["materialized"] != "view"
        and not any(constraint["type"] == "primary_key" for constraint in node["constraints"])
    ]
    assert without == []


def test_every_column_has_one_definition() -> None:
    text = "".join(path.read_text() for path in (PROJECT / "models/marts").rglob("_*__models.yml"))
    columns = re.findall(r"- \{name: \w+, data_type: .*", text)
    assert columns
    assert [line for line in columns if "{{ doc('" not in line] == []
    docs = "".join(path.read_text() for path in (PROJECT / "models/marts").rglob("_*__docs.md"))
    defined = re.findall(r"{% docs (\w+) %}", docs)
    assert len(defined) == len(set(defined))
    assert set(defined) == set(re.findall(r"{{ doc\('(\w+)'\) }}", text))


def test_every_macro_is_documented_with_its_arguments(manifest: dict[str, Any]) -> None:
    for macro in manifest["macros"].values():
        dispatched = re.match(r"(?:postgres|spark)__(\w+)", macro["name"])
        documented_by = f"macro.tickmart.{dispatched[1]}" if dispatched else ""
        if (
            macro["package_name"] != "tickmart"
            or documented_by in manifest["macros"]
            or macro["name"].startswith("test_")
        ):
            continue
        assert macro["description"], macro["name"]
        signature = re.search(rf"macro {macro['name']}\(([^)]*)\)", macro["macro_sql"])
        names = [part.split("=")[0].strip() for part in signature[1].split(",")] if signature and signature[1] else []
        assert [argument["name"] for argument in macro["arguments"]] == names, macro["name"]


def test_each_override_of_the_adapter_has_its_own_file_that_names_the_upstream(manifest: dict[str, Any]) -> None:
    for path in (PROJECT / "macros/overrides").glob("*.sql"):
        text = path.read_text()
        assert len(re.findall(r"{% (?:macro|materialization) ", text)) == 1, path.name
        assert re.search(r"Overrides: .* of dbt-(postgres|adapters|spark) \d", text), path.name
    ours = {m["name"] for m in manifest["macros"].values() if m["package_name"] == "tickmart"}
    theirs = {m["name"] for m in manifest["macros"].values() if m["package_name"] != "tickmart"}
    overridden = {m for m in ours if m in theirs or m.replace("postgres__", "default__") in theirs}
    paths = {m["name"]: m["path"] for m in manifest["macros"].values() if m["package_name"] == "tickmart"}
    assert {paths[name].split("/")[1] for name in overridden} == {"overrides"}


def test_the_name_of_a_node_selects_no_other_one(manifest: dict[str, Any]) -> None:
    # A build selects by these names, and dbt takes a name as the first part of longer ones too.
    nodes = [node["fqn"] for node in manifest["nodes"].values() if node["resource_type"] in ("model", "test")]
    matched = {".".join(name): [f for f in nodes if is_selected_node(f, ".".join(name), False)] for name in nodes}
    assert {name: found for name, found in matched.items() if len(found) != 1} == {}


def test_exposures_are_the_pages_and_read_only_marts(manifest: dict[str, Any]) -> None:
    exposures = {exposure["name"]: exposure for exposure in manifest["exposures"].values()}
    assert set(exposures) == {page.name for page in PAGES}
    for name, exposure in exposures.items():
        assert {manifest["nodes"][parent]["schema"] for parent in parents(exposure)} == {"marts"}, name


def test_the_project_declares_no_freshness(manifest: dict[str, Any]) -> None:
    ages = {s["name"]: (s.get("freshness") or {}).get("warn_after") or {} for s in manifest["sources"].values()}
    assert [name for name, age in ages.items() if age.get("count")] == []


def test_every_asset_with_checks_belongs_to_its_datasets(manifest: dict[str, Any], models: dict[str, Node]) -> None:
    names = {dataset.name for dataset in DATASETS}
    assert {node["config"]["meta"].get("dataset", KLINES.name) for node in models.values()} <= names
    found: dict[str, set[str]] = {}
    for dataset, assets in dataset_assets(manifest).items():
        for asset in assets:
            found.setdefault(asset, set()).add(dataset)
    # An asset built from several datasets belongs to one of them, except these.
    assert {asset for asset, about in found.items() if len(about) > 1} == {
        "marts/dim_crypto", "marts/fct_dataset_health", "staging/stg_onchain__daily",
        "intermediate/int_onchain_series", "intermediate/int_onchain_daily",
        "staging/stg_news__headlines", "intermediate/int_news_series",
    }  # fmt: skip
    without = {name for name, node in models.items() if f"{node['schema']}/{name}" not in found}
    operational = {name for name in models if name.startswith("stg_tickmart__")} | {
        "dim_date", "fct_check_results", "fct_incidents", "fct_runs", "fct_source_requests",
    }  # fmt: skip
    assert without == operational - {"stg_tickmart__gaps"}
    assert {suite.asset_path for suite in SUITES} <= found.keys()


def test_a_duplicate_key_stops_a_build_and_an_invalid_row_or_a_gap_does_not(manifest: dict[str, Any]) -> None:
    severities: dict[str, set[str]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test":
            severities.setdefault(node["test_metadata"]["name"], set()).add(node["config"]["severity"].lower())
    assert severities["unique_grain"] == {"error"}
    assert severities["rows_are_valid"] == {"warn"}
    assert severities["no_gaps"] == {"warn"}


def test_engine_specific_sql_is_only_in_macros() -> None:
    engine_words = re.compile(r"at time zone|distinct on|array_agg|generate_series|interval '|\bpg_|to_regclass", re.I)
    found = {
        path.stem: words
        for path in (PROJECT / "models").rglob("*.sql")
        if (words := engine_words.findall(path.read_text()))
    }
    assert found == {}
