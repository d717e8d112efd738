"""Which dbt nodes a run builds, tests and skips, and why. Pure: no database, no dbt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ingestion.ops.builds import BuildState

BUILDABLE = ("model", "seed", "snapshot")
# The generic test of the key of a model.
GRAIN_TEST = "unique_grain"
Node = Mapping[str, Any]


@dataclass(frozen=True)
class BuildPlan:
    """What a run does with each node of the project, by unique id.

    ``build`` and ``skip`` have the reason. ``refresh`` are views that stay as they are and read new rows. ``test`` are
    the tests of what is built or refreshed, and of sources with new rows (``sources``). The grain of a view of the
    marts is tested when the view is built. ``inputs`` are the versions of the raw tables that each node reads.
    """

    build: dict[str, str] = field(default_factory=dict)
    refresh: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    test: set[str] = field(default_factory=set)
    skip: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> set[str]:
        """The nodes that have a new build or read new rows."""
        return {*self.build, *self.refresh, *self.sources}


@dataclass(frozen=True)
class _Graph:
    manifest: Mapping[str, Any]

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Models, seeds, snapshots and sources, parents first."""
        found = {**self.manifest["nodes"], **self.manifest["sources"]}
        ordered: dict[str, Node] = {}

        def add(unique_id: str) -> None:
            if unique_id in ordered or unique_id not in found:
                return
            for parent in self.parents(unique_id):
                add(parent)
            ordered[unique_id] = found[unique_id]

        for unique_id in sorted(found):
            if found[unique_id]["resource_type"] in (*BUILDABLE, "source"):
                add(unique_id)
        return ordered

    @cached_property
    def tests(self) -> dict[str, Node]:
        return {k: n for k, n in self.manifest["nodes"].items() if n["resource_type"] == "test"}

    @cached_property
    def tested(self) -> set[str]:
        return {parent for test in self.tests for parent in self.parents(test)}

    def parents(self, unique_id: str) -> list[str]:
        return list(self.manifest["parent_map"].get(unique_id, ()))

    def raw_tables(self, unique_id: str, found: dict[str, frozenset[str]]) -> frozenset[str]:
        """Return the raw tables that a node reads, those of its parents included; ``found`` has the parents' tables."""
        node = self.nodes[unique_id]
        if node["resource_type"] == "source":
            return frozenset([node["name"]] if node["schema"] == "raw" else [])
        return frozenset().union(*(found[parent] for parent in self.parents(unique_id)))

    def reads_ops(self, unique_id: str) -> bool:
        """Return whether a node reads a table without versions directly: schema ops changes with each run."""
        return any(self.nodes[p]["resource_type"] == "source" and self.nodes[p]["schema"] != "raw"
                   for p in self.parents(unique_id))  # fmt: skip


def plan_build(manifest: Mapping[str, Any], state: BuildState, unvalidated: Collection[str] = ()) -> BuildPlan:
    """Plan the build of all models of a project.

    A table is built when the raw tables that it reads have changed since its last build, a view only when it must be
    created again. Both are built when the relation is missing, when the last build or an error test of it failed, and
    once a day. ``unvalidated`` are assets ("schema.name") with rows that their quality suite has yet to validate.
    """
    graph, plan = _Graph(manifest), BuildPlan()
    raw_tables: dict[str, frozenset[str]] = {}
    deferred = any(name.startswith("intermediate.aside_") for name in state.relations)
    for unique_id, node in graph.nodes.items():
        raw_tables[unique_id] = graph.raw_tables(unique_id, raw_tables)
        # A model without rows until a table has some is not built for the other tables that it reads.
        needed = node["config"].get("meta", {}).get("empty_without")
        reads = [needed] if needed and needed not in state.versions else sorted(raw_tables[unique_id])
        versions = {name: state.versions.get(name, "no rows") for name in reads}
        inputs = plan.inputs[unique_id] = "; ".join(f"raw.{name}: {version}" for name, version in versions.items())
        name, built = f"{node['schema']}.{node['name']}", state.built.get(unique_id)
        is_new = built != inputs
        if node["resource_type"] == "source":
            if is_new and unique_id in graph.tested:
                plan.sources.add(unique_id)
            continue
        is_view = node["config"]["materialized"] == "view"
        if name not in state.relations:
            plan.build[unique_id] = "the relation does not exist"
        elif built is None:
            plan.build[unique_id] = "no successful build in the last day"
        elif is_view and (deferred or _reads_replaced_table(graph, unique_id, plan)):
            plan.build[unique_id] = "a table that it reads is replaced"
        elif not is_view and graph.reads_ops(unique_id):
            plan.build[unique_id] = "it reads schema ops"
        elif not is_view and is_new:
            plan.build[unique_id] = f"new rows in {_changed(inputs, built)}"
        elif is_new or name in unvalidated:
            plan.refresh.add(unique_id)
        else:
            plan.skip[unique_id] = _why_skipped(versions)
    plan.test.update(
        t for t, test in graph.tests.items()
        if plan.changed.intersection(graph.parents(t)) and not _follows_from_definition(graph, test, plan)
    )  # fmt: skip
    return plan


def selection(manifest: Mapping[str, Any], plan: BuildPlan | None, *, alone: bool = True) -> list[str]:
    """Return dbt's arguments that build and test what the plan says; none without a plan, or if it says everything.

    dbt compares each name with all nodes, three times (4 ms): whichever is shorter is named, what to build or what to
    leave out. Another selection beside this one (not ``alone``) would add to the names to build.
    """
    if plan is None:
        return []
    chosen: list[str] = []
    left_out: list[str] = []
    for unique_id, node in sorted(manifest["nodes"].items()):
        if node["resource_type"] in (*BUILDABLE, "test"):
            is_chosen = unique_id in plan.build or unique_id in plan.test
            (chosen if is_chosen else left_out).append(f"fqn:{'.'.join(node['fqn'])}")
    if not left_out:
        return []
    option, names = ("--select", chosen) if alone and len(chosen) < len(left_out) else ("--exclude", left_out)
    # Tests are chosen by the plan alone, not by the models that they test.
    return ["--indirect-selection", "empty", option, " ".join(names)]


def succeeded(manifest: Mapping[str, Any], plan: BuildPlan, results: Mapping[str, str]) -> dict[str, str]:
    """Return the inputs of the nodes whose build and tests succeeded; ``results`` has dbt's status by unique id.

    A test with severity warn does not count. A test without a result is one that dbt did not run.
    """
    failed = {unique_id for unique_id in plan.build if results.get(unique_id) != "success"}
    for test in plan.test:
        if results.get(test) not in ("pass", "warn"):
            attached = manifest["nodes"][test].get("attached_node")
            failed.update([attached] if attached else manifest["parent_map"].get(test, ()))
    return {node: plan.inputs[node] for node in plan.changed - failed}


def _reads_replaced_table(graph: _Graph, unique_id: str, plan: BuildPlan) -> bool:
    """Return whether a parent is built as a new table: the old one stays behind for the views that read it."""
    parents = (parent for parent in graph.parents(unique_id) if parent in plan.build)
    return any(graph.nodes[parent]["config"]["materialized"] == "table" for parent in parents)


def _follows_from_definition(graph: _Graph, test: Node, plan: BuildPlan) -> bool:
    """Return whether a test is about the grain of a view of the marts that stays as it is.

    The grain follows from the definition and from the grains of the tables that the view reads, which have tests too.
    """
    name = (test.get("test_metadata") or {}).get("name")
    view = test.get("attached_node")
    return name == GRAIN_TEST and view in plan.refresh and graph.nodes[view]["schema"] == "marts"


def _changed(inputs: str, built: str) -> str:
    before = set(built.split("; "))
    return ", ".join(part.split(":")[0] for part in inputs.split("; ") if part not in before) or "its sources"


def _why_skipped(versions: Mapping[str, str]) -> str:
    tables = ", ".join(f"raw.{name}" for name in versions)
    return f"no new rows in {tables}" if tables else "it reads no raw table"
