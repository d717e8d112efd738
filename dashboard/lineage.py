"""Tests, models and source datasets of each mart, from the dbt manifest that every run writes to TICKMART_HOME.

Also splits a column definition into prose, formula and unit. The definitions themselves are comments in the database.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

FORMULA_OR_UNIT = re.compile(r"^(Formula|Unit): (.+)$", re.M)
UNIT_BY_TYPE = {
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
    "date": "UTC day",
    "timestamp with time zone": "UTC timestamp",
    "boolean": "yes or no",
}


@dataclass(frozen=True)
class Lineage:
    """The tests of one mart by column ("" for the table itself), its raw datasets, and the models that it reads."""

    tests: dict[str, tuple[str, ...]] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def split_definition(definition: str, data_type: str) -> tuple[str, str, str]:
    """Return prose, formula and unit of a definition; without a unit line the data type gives the unit."""
    found = dict(FORMULA_OR_UNIT.findall(definition))
    unit = found.get("Unit") or UNIT_BY_TYPE.get(data_type, "")
    return FORMULA_OR_UNIT.sub("", definition).strip(), found.get("Formula", ""), unit


def read_lineage() -> dict[str, Lineage]:
    """Return the lineage of each mart; empty if the manifest is missing or invalid."""
    path = Path(os.environ.get("TICKMART_HOME", ".tickmart")) / "dbt" / "manifest.json"
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # the Dictionary then shows the definitions only


@lru_cache(maxsize=1)
def _read(path: Path, _modified_ns: int) -> dict[str, Lineage]:
    return lineage_by_mart(json.loads(path.read_text(encoding="utf-8")))


def lineage_by_mart(manifest: dict[str, Any]) -> dict[str, Lineage]:
    """Return the lineage of each mart.

    A unit test counts for the columns whose values it expects, also if an upstream model computes them under the same
    name.
    """
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    tests_by_model: dict[str, dict[str, list[str]]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node") in models:
            kwargs = (node.get("test_metadata") or {}).get("kwargs", {})
            name = (node.get("test_metadata") or {"name": node["name"]})["name"]
            for column in kwargs.get("columns") or [kwargs.get("column_name") or ""]:
                tests_by_model.setdefault(node["attached_node"], {}).setdefault(column, []).append(name)
    keys = {model["name"]: key for key, model in models.items()}
    for test in manifest.get("unit_tests", {}).values():
        key = keys.get(test["model"], "")
        expected = {column for row in test["expect"]["rows"] or () for column in row}
        for column in expected:
            tests_by_model.setdefault(key, {}).setdefault(column, []).append(test["name"])
    return {
        model["name"]: _lineage(key, manifest, tests_by_model)
        for key, model in models.items()
        if model["schema"] == "marts"
    }


def _lineage(key: str, manifest: dict[str, Any], tests_by_model: dict[str, dict[str, list[str]]]) -> Lineage:
    upstream = list(_upstream(key, manifest))
    sources = [manifest["sources"][name] for name in upstream if name in manifest["sources"]]
    columns = set(manifest["nodes"][key]["columns"]) | set(tests_by_model.get(key, ()))
    tests = {
        column: tuple(
            dict.fromkeys(
                name
                for model in [key, *upstream]
                if column or model == key
                for name in tests_by_model.get(model, {}).get(column, ())
            )
        )
        for column in columns
    }
    parents = manifest["nodes"][key]["depends_on"]["nodes"]
    return Lineage(
        tests,
        tuple(sorted({s["name"] for s in sources if s["schema"] == "raw"})),
        tuple(manifest["nodes"][name]["name"] for name in parents if name in manifest["nodes"]),
    )


def _upstream(key: str, manifest: dict[str, Any]) -> Iterable[str]:
    """Return everything that a model is built from, nearest first."""
    found: dict[str, None] = {}
    waiting = [key]
    while waiting:
        node = manifest["nodes"].get(waiting.pop(0), {})
        for parent in node.get("depends_on", {}).get("nodes", ()):
            if parent not in found:
                found[parent] = None
                waiting.append(parent)
    return found
