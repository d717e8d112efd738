"""What dbt's manifest knows of a mart's columns: which tests guard them, and which datasets they come from.

Belongs here: reading the manifest that every run leaves in TICKMART_HOME, and the lines `Formula:` and `Unit:` of a
definition. Does not: the definitions themselves; the database has them as comments, and the pages read them there.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

LINE = re.compile(r"^(Formula|Unit): (.+)$", re.M)
WHOLE = ("smallint", "integer", "bigint")


@dataclass(frozen=True)
class Lineage:
    """Of one mart: names of the tests by column ("" for the whole), and the raw datasets that it is made of."""

    tests: dict[str, tuple[str, ...]]
    datasets: tuple[str, ...]


def parts(definition: str, data_type: str) -> tuple[str, str, str]:
    """Return the prose, the formula and the unit of a definition; a unit unsaid follows from the type."""
    found = dict(LINE.findall(definition))
    unit = found.get("Unit", "")
    if not unit:
        known = {"date": "UTC day", "timestamp with time zone": "UTC instant", "boolean": "yes or no"}
        unit = "whole number" if data_type in WHOLE else known.get(data_type, "")
    return LINE.sub("", definition).strip(), found.get("Formula", ""), unit


def read() -> dict[str, Lineage]:
    """Return the lineage of each mart by the newest manifest; nothing when there is none that can be read."""
    path = Path(os.environ.get("TICKMART_HOME", ".tickmart")) / "dbt" / "manifest.json"
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # like a broken status file: the page then shows the definitions alone


@lru_cache(maxsize=1)
def _read(path: Path, _changed: int) -> dict[str, Lineage]:
    return lineages(json.loads(path.read_text(encoding="utf-8")))


def lineages(manifest: dict[str, Any]) -> dict[str, Lineage]:
    """Return the lineage of each mart.

    A unit test counts for the columns whose values it expects, also where a model that the mart is made of computes
    them under the same name.
    """
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    by_model: dict[str, dict[str, list[str]]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node") in models:
            kwargs = (node.get("test_metadata") or {}).get("kwargs", {})
            name = (node.get("test_metadata") or {"name": node["name"]})["name"]
            for column in kwargs.get("columns") or [kwargs.get("column_name") or ""]:
                by_model.setdefault(node["attached_node"], {}).setdefault(column, []).append(name)
    named = {model["name"]: key for key, model in models.items()}
    for test in manifest.get("unit_tests", {}).values():
        key = named.get(test["model"], "")
        expected = {column for row in test["expect"]["rows"] or () for column in row}
        for column in expected:
            by_model.setdefault(key, {}).setdefault(column, []).append(test["name"])
    return {
        model["name"]: _lineage(key, manifest, by_model) for key, model in models.items() if model["schema"] == "marts"
    }


def _lineage(key: str, manifest: dict[str, Any], by_model: dict[str, dict[str, list[str]]]) -> Lineage:
    upstream = list(_upstream(key, manifest))
    sources = [manifest["sources"][name] for name in upstream if name in manifest["sources"]]
    columns = set(manifest["nodes"][key]["columns"]) | set(by_model.get(key, ()))
    tests = {
        column: tuple(
            dict.fromkeys(
                name
                for model in [key, *upstream]
                if column or model == key
                for name in by_model.get(model, {}).get(column, ())
            )
        )
        for column in columns
    }
    return Lineage(tests, tuple(sorted({s["name"] for s in sources if s["schema"] == "raw"})))


def _upstream(key: str, manifest: dict[str, Any]) -> Iterable[str]:
    """Return everything that a model is made of, nearest first."""
    found: dict[str, None] = {}
    waiting = [key]
    while waiting:
        node = manifest["nodes"].get(waiting.pop(0), {})
        for parent in node.get("depends_on", {}).get("nodes", ()):
            if parent not in found:
                found[parent] = None
                waiting.append(parent)
    return found
