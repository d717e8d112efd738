"""dbt builds and tests what the plan of a run says, in a command that names as few nodes as it can."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ingestion.ops.builds import BuildState
from orchestration.assets import dagster_dbt
from orchestration.assets.dagster_dbt import DbtCliResource, dbt_assets
from orchestration.assets.dbt import DBT, PROJECT_DIR, DbtCli
from orchestration.assets.dbt_plan import BuildPlan, plan_build, selection


def node(name: str, kind: str = "model") -> tuple[str, dict[str, Any]]:
    unique_id = f"{kind}.small.{name}"
    return unique_id, {
        "unique_id": unique_id, "resource_type": kind, "name": name, "alias": name, "schema": "marts", "tags": [],
        "fqn": ["small", "marts", name], "config": {"enabled": True, "materialized": "table"}, "description": "",
        "depends_on": {"nodes": []}, "columns": {}, "package_name": "small", "original_file_path": f"models/{name}.sql",
        "database": "d", "relation_name": name, "meta": {}, "raw_code": "", "language": "sql", "path": f"{name}.sql",
    }  # fmt: skip


NODES = dict([node("bars"), node("coins"), node("news"), node("bars_are_valid", "test"), node("hook", "operation")])
MANIFEST = {
    "metadata": {"adapter_type": "postgres", "project_name": "small"}, "nodes": NODES, "sources": {}, "exposures": {},
    "metrics": {}, "semantic_models": {}, "saved_queries": {}, "unit_tests": {}, "functions": {}, "groups": {},
    "selectors": {}, "disabled": {}, "macros": {}, "docs": {}, "parent_map": dict.fromkeys(NODES, ()),
    "child_map": dict.fromkeys(NODES, ()), "group_map": {},
}  # fmt: skip
ONLY = ["--indirect-selection", "empty"]
FEW = BuildPlan(build={"model.small.bars": "new rows"}, test=set())
MOST = BuildPlan(build=dict.fromkeys(["model.small.bars", "model.small.coins"], ""), test={"test.small.bars_are_valid"})
EVERYTHING = BuildPlan(build={**MOST.build, "model.small.news": ""}, test=MOST.test)


@pytest.mark.parametrize(
    ("plan", "alone", "arguments"),
    [
        (FEW, True, [*ONLY, "--select", "fqn:small.marts.bars"]),
        # Beside another selection, a name to build would add to it.
        (FEW, False, [*ONLY, "--exclude", "fqn:small.marts.coins fqn:small.marts.news fqn:small.marts.bars_are_valid"]),
        (MOST, True, [*ONLY, "--exclude", "fqn:small.marts.news"]),
        (EVERYTHING, True, []),
        (None, True, []),
    ],
)
def test_a_build_names_what_it_builds_or_what_it_leaves_out_whichever_is_shorter(plan, alone, arguments):
    assert selection(MANIFEST, plan, alone=alone) == arguments


def test_the_grain_of_a_view_is_tested_when_the_view_is_built():
    _, table = node("bars")
    _, view = node("newest")
    view["config"] = {"materialized": "view"}
    tests = {f"{kind}_{name}": (kind, name) for kind in ("unique_grain", "in_range") for name in ("bars", "newest")}
    nodes = {"model.small.bars": table, "model.small.newest": view}
    parents = {"model.small.bars": ["source.small.raw.trades"], "model.small.newest": ["model.small.bars"]}
    for unique_id, (kind, name) in tests.items():
        nodes[unique_id] = {
            **node(unique_id, "test")[1], "attached_node": f"model.small.{name}", "test_metadata": {"name": kind},
        }  # fmt: skip
        parents[unique_id] = [f"model.small.{name}"]
    sources = {"source.small.raw.trades": {"resource_type": "source", "schema": "raw", "name": "trades", "config": {}}}
    manifest = {"nodes": nodes, "sources": sources, "parent_map": parents}
    exist = frozenset({"marts.bars", "marts.newest"})
    first = plan_build(manifest, BuildState({"trades": "1 object"}, {}, exist))
    assert first.test == set(tests)
    assert plan_build(manifest, BuildState({"trades": "1 object"}, first.inputs, exist)).test == set()
    incremental = {**table, "config": {"materialized": "incremental"}}
    manifest["nodes"] = {**nodes, "model.small.bars": incremental}
    new_rows = plan_build(manifest, BuildState({"trades": "2 objects"}, first.inputs, exist))
    assert (set(new_rows.build), new_rows.refresh) == ({"model.small.bars"}, {"model.small.newest"})
    assert new_rows.test == set(tests) - {"unique_grain_newest"}


@pytest.fixture
def commands(monkeypatch):
    """The command lines with which dbt would start."""
    started: list[list[str]] = []

    def start(command: list[str], env: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
        started.append(command)
        return subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)

    monkeypatch.setattr(dagster_dbt, "start_dbt", start)
    return started


@pytest.mark.parametrize("plan", [FEW, MOST, EVERYTHING, None])
@pytest.mark.parametrize("selected", [None, ["news"]])
def test_dbt_gets_the_plan_or_what_a_run_selects_and_never_the_sum_of_both(commands, tmp_path, plan, selected):
    @dbt_assets(manifest=MANIFEST)
    def build(context: dg.AssetExecutionContext, dbt: DbtCliResource):
        arguments = selection(MANIFEST, plan, alone=selected is None)
        yield from dbt.cli(["build", *arguments], context=context, target_path=tmp_path).stream()

    dbt = DbtCli(project_dir=str(PROJECT_DIR), dbt_executable=DBT)
    dg.materialize([build], resources={"dbt": dbt}, selection=selected)
    [command] = commands
    selects = [value for name, value in itertools.pairwise(command) if name == "--select"]
    if selected:
        assert selects == ["small.marts.news"]
    else:
        assert selects == ["fqn:small.marts.bars" if plan is FEW else "fqn:*"]
    assert ("--exclude" in command) == (plan is MOST or (plan is FEW and selected is not None))
