"""Writes the reference tables of the documentation site: every check, and every mart with its columns.

`make docs-site` runs it. Sources: the expectation suites and the dbt manifest (`dbt parse`, which needs no server).
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestration.quality.suites import SUITES

ROOT = Path(__file__).resolve().parents[1]
Manifest = dict[str, Any]


def parse_dbt_project() -> Manifest:
    """Return the manifest of the dbt project as it is on disk."""
    project = ROOT / "dbt_project"
    with tempfile.TemporaryDirectory() as target:
        folders = ["--project-dir", project, "--profiles-dir", project, "--target-path", target, "--log-path", target]
        subprocess.run([Path(sys.executable).with_name("dbt"), "parse", "--quiet", *folders], check=True)
        return dict(json.loads((Path(target) / "manifest.json").read_text()))


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(header), *([" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def checks(manifest: Manifest) -> Iterator[str]:
    """Yield the expectations by suite, then the dbt tests."""
    for suite in SUITES:
        texts = [field.name for field in dataclasses.fields(suite.rules[0]) if field.name != "make"]
        blocking = ", blocking" if suite.blocking else ""
        yield f"### Suite `{suite.name}`\n\nAsset `{'/'.join(suite.asset)}`{blocking}."
        yield table(texts, ([str(getattr(rule, name)) for name in texts] for rule in suite.rules))
    yield "### dbt tests"
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    rows = sorted(
        ((t["attached_node"] or t["depends_on"]["nodes"][0]).split(".")[-1], t["name"], t["config"]["severity"].lower())
        for t in tests
    )
    yield table(("model", "test", "severity"), rows)


def grain(manifest: Manifest, model: dict[str, Any]) -> str:
    """Return the columns that identify a row, from the model's grain test."""
    for test in manifest["nodes"].values():
        metadata = test.get("test_metadata") or {}
        if test.get("attached_node") == model["unique_id"] and metadata["name"] == "unique_grain":
            return ", ".join(f"`{column}`" for column in metadata["kwargs"]["columns"])
    return "one row"


def marts(manifest: Manifest) -> Iterator[str]:
    """Yield each mart with its grain, the pages that read it, and its columns."""
    found = [n for n in manifest["nodes"].values() if n["resource_type"] == "model" and n["schema"] == "marts"]
    for model in sorted(found, key=lambda model: (str(Path(model["path"]).parent), model["name"])):
        readers = [e["label"] for e in manifest["exposures"].values() if model["unique_id"] in e["depends_on"]["nodes"]]
        pages = f" Pages: {', '.join(sorted(readers))}." if readers else ""
        yield f"### `{model['name']}`\n\n{model['description']}\n\nGrain: {grain(manifest, model)}.{pages}"
        columns = model["columns"].values()
        yield table(("column", "type", "definition"), ((c["name"], c["data_type"], c["description"]) for c in columns))


def main(folder: Path) -> None:
    """Write checks.md and marts.md into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = parse_dbt_project()
    for write in (checks, marts):
        (folder / f"{write.__name__}.md").write_text("\n\n".join(write(manifest)) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
