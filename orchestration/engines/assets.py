"""The marts of Spark and Sail as a group of Dagster assets, where ``TICKMART_ENGINES`` names these engines.

One step builds them all, with dbt's tests as asset checks; a run with ``start`` in its configuration builds the tables
by month, for the days of a range. Lineage comes from the manifest: mart to mart, and from the assets of raw to the
marts that are built from them.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import dagster as dg

from orchestration.engines import build as engine_build
from orchestration.engines import ranges
from orchestration.resources import Stores


class Days(dg.Config):
    """UTC days [start, end) of a build of some days; without ``start`` everything is built."""

    start: str = ""
    end: str = ""


def engine_assets(engine: str, manifest: Mapping[str, Any]) -> tuple[dg.AssetsDefinition, Any]:
    """Return the assets of an engine and the job that builds them."""
    marts = engine_build.marts_of(manifest)
    checks = _checks(engine, manifest, marts)

    @dg.multi_asset(
        name=f"{engine}_build",
        specs=[_spec(engine, node, _parents(manifest, marts, unique_id)) for unique_id, node in marts.items()],
        check_specs=list(checks.values()),
        pool="warehouse",
        # A build of some days materializes two marts.
        can_subset=True,
    )
    def build(config: Days, stores: Stores) -> Iterator[Any]:
        """Build all marts of the engine from bronze; the tables before stay until all are complete."""
        days = ranges.parse(config.start, config.end or None, ()) if config.start else None
        done = engine_build.build(stores.settings, engine, days=days)
        built = {dg.AssetKey([engine, node["name"]]) for node in done.marts}
        for node in done.marts:
            yield dg.MaterializeResult(asset_key=[engine, node["name"]], metadata={"tables": str(done.tables)})
        for result in done.results:
            spec = checks.get(result["unique_id"])
            if spec and spec.asset_key in built:
                yield dg.AssetCheckResult(
                    asset_key=spec.asset_key, check_name=spec.name, passed=result["status"] == "pass",
                    severity=dg.AssetCheckSeverity.WARN, metadata={"failed_rows": result["failures"] or 0},
                )  # fmt: skip

    return build, dg.define_asset_job(f"{engine}_build", selection=dg.AssetSelection.assets(build))


def _spec(engine: str, node: Mapping[str, Any], parents: set[dg.AssetKey]) -> dg.AssetSpec:
    deps = [dg.AssetKey([engine, key.path[-1]]) if key.path[0] == "marts" else key for key in sorted(parents)]
    return dg.AssetSpec(
        [engine, node["name"]], deps=deps, group_name=engine, kinds={"dbt", engine}, description=node["description"]
    )


def _parents(manifest: Mapping[str, Any], marts: Mapping[str, Any], unique_id: str) -> set[dg.AssetKey]:
    """Return the nearest marts and tables of raw from which a mart is built, past staging and intermediate."""

    @cache
    def above(child: str) -> frozenset[dg.AssetKey]:
        found: set[dg.AssetKey] = set()
        for parent in manifest["parent_map"][child]:
            if parent in marts:
                found.add(dg.AssetKey(["marts", marts[parent]["name"]]))
            elif parent in manifest["sources"]:
                found.add(dg.AssetKey([manifest["sources"][parent]["schema"], manifest["sources"][parent]["name"]]))
            else:
                found |= above(parent)
        return frozenset(found)

    return set(above(unique_id))


def _checks(engine: str, manifest: Mapping[str, Any], marts: Mapping[str, Any]) -> dict[str, dg.AssetCheckSpec]:
    """Return the checks by dbt's id of the test: those of one mart, and of nothing that the engine does not build."""
    return {
        unique_id: dg.AssetCheckSpec(node["name"], asset=[engine, marts[node["attached_node"]]["name"]])
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "test" and node.get("attached_node") in marts
    }
