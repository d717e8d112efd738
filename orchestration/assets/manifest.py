"""What dbt's manifest says about models and tests: descriptions, and the datasets that a model is built from.

Does not belong here: what a run builds (``dbt_plan``), running dbt (``dbt``).
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from ingestion.sources.datasets import DATASETS


def test_description(manifest: Mapping[str, Any], unique_id: str) -> str:
    """Return what a test expects: its own description, or that of its generic test with the arguments filled in."""
    node = manifest["nodes"][unique_id]
    if node["description"] or "test_metadata" not in node:
        return str(node["description"] or node["name"])
    generic = node["test_metadata"]
    macro = manifest["macros"][f"macro.{node['package_name']}.test_{generic['name']}"]
    arguments = {k: ", ".join(v) if isinstance(v, list) else v for k, v in generic["kwargs"].items()}
    return str(macro["description"].format_map(arguments)) or str(node["name"])


def dataset_assets(manifest: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return for each dataset the assets whose failed checks count against it, named as in ``ops.check_results``.

    These are the dataset's own assets and every model built from them. A model that is built from several datasets
    counts for the one in its ``config.meta.dataset``, or for each of them if it names none.
    """
    nodes = {**manifest["nodes"], **manifest["sources"]}
    owners = {asset: dataset.name for dataset in DATASETS for asset in dataset.assets}

    @cache
    def upstream_datasets(unique_id: str) -> frozenset[str]:
        node = nodes.get(unique_id, {})
        owner = owners.get(f"{node.get('schema')}/{node.get('name')}")
        return frozenset({owner} if owner else ()).union(
            *map(upstream_datasets, manifest["parent_map"].get(unique_id, ()))
        )

    found = {dataset.name: set(dataset.assets) for dataset in DATASETS}
    for unique_id, node in nodes.items():
        if node["resource_type"] in ("model", "seed", "snapshot"):
            about = node["config"]["meta"].get("dataset")
            for dataset in upstream_datasets(unique_id) if about is None else {about}:
                found[dataset].add(f"{node['schema']}/{node['name']}")
    return found
