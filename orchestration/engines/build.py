"""A build on an engine: inputs, the engine's process, and the swap that publishes the tables.

The tables of a build are in ``WAREHOUSE/<engine>/builds/<time>``; the link ``current`` names the last complete build.
Belongs here: files and processes. Does not: what runs inside the engine (``process``), comparison and publication.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

import orjson

from ingestion.bronze.lake import Lake
from ingestion.settings import Settings
from ingestion.universe import read_universe
from orchestration import environment
from orchestration.engines import inputs, ranges
from orchestration.engines.errors import EngineError
from orchestration.engines.installed import check_memory, java, python_of
from orchestration.engines.ranges import Range
from orchestration.local.prepared_dbt import PARTIAL_PARSE

PROJECT_DIR = Path(__file__).resolve().parents[2] / "dbt_project"
# Readers of the build before may still have its files open.
KEPT_BUILDS = 2
MART_FOLDERS = ("prices", "market", "sentiment", "onchain")
FINE = ("success", "pass", "warn", "skipped", "no-op")


@dataclass(frozen=True)
class Build:
    """A complete build: its folder of tables, what dbt did, seconds by stage, and the nodes of its marts."""

    engine: str
    tables: Path
    results: list[dict[str, Any]]
    seconds: dict[str, float]
    marts: list[Mapping[str, Any]]


def marts_of(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the nodes of the marts that an engine has, by id."""
    return {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["fqn"][1] == "marts" and node["fqn"][2] in MART_FOLDERS
    }


def current_tables(settings: Settings, engine: str) -> Path | None:
    """Return the folder of the last complete build; None before the first one."""
    link = settings.warehouse / engine / "current"
    return link.resolve() / "tables" if link.exists() else None


def build(settings: Settings, engine: str, command: Sequence[str] = ("build",), days: Range | None = None) -> Build:
    """Build everything that the selector ``engines`` names; the tables before stay readable until all are complete.

    With ``days``, the models of that range alone, for its days. EngineError names the model, test or setting that
    prevents a build; then nothing changes.
    """
    python = python_of(engine)
    if engine == "spark":
        java()
    check_memory(engine, settings.spark_memory)
    assert settings.object_store is not None
    home = settings.warehouse / engine
    folder = home / "builds" / f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    with _only_build(home):
        try:
            (folder / "work").mkdir(parents=True)
            began = datetime.now(UTC)
            sources = inputs.prepare(
                Lake(settings.object_store), read_universe(settings.universe_path), settings.warehouse / "objects",
                folder / "inputs", engine, days,
            )  # fmt: skip
            before = current_tables(settings, engine)
            kept = inputs.rows_before(before, days) if days else []
            prepared = (datetime.now(UTC) - began).total_seconds()
            chosen = [*command, *_selection(days)]
            done = _run(python, _config(settings, engine, folder, [*sources, *kept], chosen), folder)
            manifest = orjson.loads((folder / "work/target/manifest.json").read_bytes())
            shutil.rmtree(folder / "inputs")
            # Parsing the project takes ten seconds; dbt reads what an earlier build parsed, and what changed since.
            if (parsed := folder / "work/target" / PARTIAL_PARSE).exists():
                parsed.replace(home / PARTIAL_PARSE)
            if days:
                ranges.add_tables_before(folder / "tables", before, days)
            _swap(home, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    built = [r["unique_id"] for r in done["results"] if r["kind"] == "model" and r["schema"] == "marts"]
    marts = [node for u in built if (node := manifest["nodes"][u]) and (days is None or node["name"] in days.models)]
    absent = [n["name"] for n in marts_of(manifest).values() if n["unique_id"] not in built]
    if absent and "build" in command and days is None:
        raise EngineError(f"{engine}: {', '.join(absent)} is not in the selector engines; add it to selectors.yml")
    seconds = {"inputs": round(prepared, 3), **done["seconds"]}
    return Build(engine, folder / "tables", done["results"], seconds, marts)


@contextmanager
def _only_build(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "build.lock").open("w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except OSError:
            raise EngineError(f"another build is running in {home}; wait for it") from None
        # What a killed build left.
        present = (home / "current").resolve()
        for left in (home / "builds").glob("*"):
            if left != present and not (left / "complete").exists():
                shutil.rmtree(left, ignore_errors=True)
        yield


def _config(
    settings: Settings, engine: str, folder: Path, sources: Sequence[inputs.Input], command: Sequence[str]
) -> dict[str, Any]:
    options = {"spark.master": settings.spark_master, "spark.driver.memory": settings.spark_memory,
               "spark.executor.memory": settings.spark_memory, **settings.spark_options}  # fmt: skip
    return {
        "engine": engine, "options": options, "parsed": str(folder.parents[1] / PARTIAL_PARSE),
         "work": str(folder / "work"), "tables": str(folder / "tables"),
        "result": str(folder / "result.json"), "project": str(PROJECT_DIR),
        "sources": [source.as_json() for source in sources],
        "command": [*command, "--indirect-selection", "cautious", "--exclude-resource-type", "unit_test"],
    }  # fmt: skip


def _selection(days: Range | None) -> list[str]:
    """Return dbt's options for all models, or for those of a range."""
    if days is None:
        return ["--selector", "engines"]
    # A test runs if all that it reads is selected: that of the transactions' key reads blocks.
    others = {asset.replace("/", ".") for name in days.models for asset in ranges.MODELS[name].other_assets}
    return ["--select", *(f"+{name}" for name in days.models), *(f"source:tickmart.{name}" for name in sorted(others))]


def _run(python: Path, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run the engine's process; EngineError with the first model or test that failed."""
    (folder / "config.json").write_text(json.dumps(config))
    root = PROJECT_DIR.parent
    env = {
        **environment.system(), "TZ": "UTC", "PYTHONPATH": str(root), "PYTHONNOUSERSITE": "1",
        "PYTHONWARNINGS": "ignore", "PYSPARK_PYTHON": str(python),
        **{n: value for n, value in os.environ.items() if n.startswith(("TICKMART_SPARK_", "TICKMART_ENGINE_"))},
    }  # fmt: skip
    log = folder / "work" / "engine.log"
    with log.open("wb") as output:
        done = subprocess.run(
            [python, "-P", "-m", "orchestration.engines.process", folder / "config.json"],
            env=env, cwd=folder / "work", stdout=output, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    result = folder / "result.json"
    found: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {"results": []}
    failed = [r for r in found["results"] if r["status"] not in FINE]
    if failed:
        reason = " ".join((failed[0]["message"] or "").split())[:300]
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise EngineError(f"{config['engine']}: {failed[0]['name']} failed{others}: {reason}; the tables before stay")
    if done.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("tickmart: ")]
        reason = lines[-1].removeprefix("tickmart: ") if lines else f"its process ended with code {done.returncode}"
        raise EngineError(f"{config['engine']}: {reason}; the tables before stay, build again")
    return found


def _swap(home: Path, folder: Path) -> None:
    """Let ``current`` name the build, in one step, and remove older ones."""
    (folder / "complete").touch()
    link = home / f".current-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.relative_to(home))
    link.replace(home / "current")
    for old in sorted((home / "builds").iterdir())[:-KEPT_BUILDS]:
        shutil.rmtree(old, ignore_errors=True)
