"""The dbt project as assets: every model an asset, every data test an asset check, every result in schema ops.

Belongs here: running dbt and reading its artifacts. Does not: SQL (``dbt_project``).
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import psycopg2
from packaging.version import Version
from psycopg2.extras import RealDictCursor

from ingestion.database import connections
from ingestion.memory import is_large
from ingestion.ops import builds, datasets, runs
from ingestion.ops import checks as ops_checks
from ingestion.sources.datasets import DATASETS, OPTIONAL
from ingestion.text import plain
from orchestration.assets.dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    DbtProject,
    dbt_assets,
)
from orchestration.assets.dbt_plan import BuildPlan, plan_build, selection, succeeded
from orchestration.assets.manifest import dataset_assets, test_description
from orchestration.assets.metadata import BUILT_PROJECT, ONE_RUN, OWNERS
from orchestration.assets.row_counts import with_row_counts
from orchestration.job_names import BITCOIN_JOB, JOB, NEWS_JOB, ONCHAIN_JOB, REBUILD_JOB
from orchestration.local.prepared_dbt import PARSED, PARTIAL_PARSE, prepare_next
from orchestration.observability import logs
from orchestration.progress import Progress, ProgressListener
from orchestration.quality import process
from orchestration.quality.checks import unvalidated_assets
from orchestration.quality.runner import SAMPLE_ROWS
from orchestration.resources import Stores

# The dbt of this environment, whatever PATH names (another package also installs a program of that name).
DBT = str(Path(sys.executable).with_name("dbt"))
PROJECT_DIR = Path(__file__).resolve().parents[2] / "dbt_project"
# Beside a manifest and beside the page of dbt's documentation: the digest of the project files they were made from.
DIGEST_FILE = "project.sha256"
# A log file of dbt's own and a cache of every schema cost a tenth of a build; the log of the run has dbt's output.
BUILD_OPTIONS = ("--exclude-resource-type", "unit_test", "--log-level-file", "none", "--cache-selected-only")


class DbtCli(DbtCliResource):
    """Runs the dbt of this environment; Dagster's own class runs `dbt --version`, which queries PyPI (seconds)."""

    @cached_property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        """Return no adapter: only fetch_row_counts() and fetch_column_metadata() need one, and it imports dbt here."""
        return None


def project() -> DbtProject:
    """Return the dbt project with its manifest: the image's, or one parsed again after a project file changed."""
    home = Path(os.environ.get("TICKMART_HOME", ".tickmart")).absolute()
    digest = dbt_project_digest(PROJECT_DIR)
    for target in (PROJECT_DIR / "target", home / "dbt"):
        digest_file = target / DIGEST_FILE
        if (target / "manifest.json").exists() and digest_file.exists() and digest_file.read_text() == digest:
            return DbtProject(PROJECT_DIR, target_path=target, profiles_dir=PROJECT_DIR)
    return parse(home / "dbt")


def parse(target: Path) -> DbtProject:
    """Parse the project into a folder; write the digest of its files beside the manifest."""
    found = DbtProject(PROJECT_DIR, target_path=target, profiles_dir=PROJECT_DIR)
    target.mkdir(parents=True, exist_ok=True)
    DbtCli(project_dir=found, dbt_executable=DBT).cli(["parse", "--quiet"], target_path=target).wait()  # type: ignore[arg-type]
    prepare_next()
    (target / DIGEST_FILE).write_text(dbt_project_digest(PROJECT_DIR))
    return found


def dbt_project_digest(folder: Path) -> str:
    """Return the SHA-256 of what dbt parses: names and contents of the project's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix in (".sql", ".yml", ".yaml", ".md", ".csv") and parts[0] not in ("target", "logs"):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


class LayerTranslator(DagsterDbtTranslator):
    """Groups the models by layer (schema)."""

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """Return the default spec with the model's schema as its group."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        layer = str(manifest["nodes"].get(unique_id, {}).get("schema", "sources"))
        return spec.replace_attributes(group_name=layer, owners=OWNERS, kinds={"dbt", "postgres"})

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """Return the default spec with the test's description."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(description=test_description(manifest, unique_id))


def other_table_specs(dbt_project: DbtProject, defined: set[dg.AssetKey]) -> list[dg.AssetSpec]:
    """Return specs of the tables of ops and raw that models read and no asset in ``defined`` stands for.

    Every run writes those of ops; a table of raw without an asset is written with that of its dataset.
    """
    manifest = orjson.loads(dbt_project.manifest_path.read_bytes())
    return [
        dg.AssetSpec([s["schema"], s["name"]], group_name=s["schema"], kinds={"postgres"}, description=s["description"])
        for s in manifest["sources"].values()
        if dg.AssetKey([s["schema"], s["name"]]) not in defined
    ]


def build_models(dbt_project: DbtProject) -> dg.AssetsDefinition:
    """Return the asset definition of all models of a parsed project."""

    @dbt_assets(
        manifest=dbt_project.manifest_path,
        project=dbt_project,
        name="dbt_build",
        backfill_policy=ONE_RUN,
        pool="warehouse",
        dagster_dbt_translator=LayerTranslator(
            settings=DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True, enable_code_references=True)
        ),
    )
    def dbt_build(
        context: dg.AssetExecutionContext,
        dbt: DbtCliResource,
        stores: Stores,
        progress: dg.ResourceParam[ProgressListener],
    ) -> Iterator[Any]:
        """Build and test the models whose inputs changed, one dbt at a time on a warehouse."""
        started = time.monotonic()
        manifest = orjson.loads(dbt_project.manifest_path.read_bytes())
        with stores.connection("ingest") as connection, connections.locked(connection, "dbt"):
            datasets.record_datasets(connection, stores.settings, DATASETS, dataset_assets(manifest), OPTIONAL)
            plan = None
            # Before dbt reads the files: one that changes meanwhile must cause the next full refresh.
            digest = dbt_project_digest(PROJECT_DIR)
            full_refresh = runs.version(connection, BUILT_PROJECT) != digest
            every_model = context.selected_asset_keys == dbt_build.keys
            if every_model and context.job_name in (JOB, REBUILD_JOB, ONCHAIN_JOB, BITCOIN_JOB, NEWS_JOB):
                plan = _plan(connection, context.run_id, manifest, full_refresh=full_refresh)
                yield from _without_build(context, plan, manifest)
            if plan is None or plan.build or plan.test:
                if is_large():  # dbt, this process and that of the suites would take 800 MB
                    process.stop()
                target = target_folder(stores.settings.home / "dbt", context.run_id, digest)
                yield from _build(context, dbt, stores, plan, manifest, progress, target, full_refresh=full_refresh)
                # A build of some models, or of tests alone, leaves the other models as they were.
                if every_model:
                    runs.set_version(connection, BUILT_PROJECT, digest)
            else:
                builds.record_builds(connection, context.run_id, succeeded(manifest, plan, {}))
                record_results(connection, context.run_id, {"results": []}, {}, plan, time.monotonic() - started)

    return dbt_build


def _plan(
    connection: connections.Connection, run_id: str, manifest: Mapping[str, Any], *, full_refresh: bool
) -> BuildPlan:
    """Return what the run builds, everything in a full refresh, and record it as not built yet."""
    state = builds.read_state(connection, {node["schema"] for node in manifest["nodes"].values()})
    if full_refresh:
        state = replace(state, built={})
    plan = plan_build(manifest, state, unvalidated_assets(connection, run_id))
    builds.begin_build(connection, plan.changed)
    return plan


def _without_build(context: dg.AssetExecutionContext, plan: BuildPlan, manifest: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the events of what dbt does not build: views that read new rows, and skipped models with the reason."""

    def key(unique_id: str) -> dg.AssetKey:
        node = manifest["nodes"][unique_id]
        return dg.AssetKey([node["schema"], node["name"]])

    reasons = dict(plan.skip)
    for unique_id in plan.refresh:
        reasons[unique_id] = "not built: the same view reads new rows"
        # The suites of a model run after its materialization. Dagster wants parents first, and dbt builds some later.
        if not plan.changed.intersection(set(manifest["parent_map"][unique_id]) - plan.sources):
            yield dg.MaterializeResult(asset_key=key(unique_id), metadata={"build": reasons.pop(unique_id)})
    for unique_id, reason in sorted(reasons.items()):
        context.log_event(dg.AssetObservation(key(unique_id), metadata={"build": "skipped", "reason": reason}))


def _build(
    context: dg.AssetExecutionContext,
    dbt: DbtCliResource,
    stores: Stores,
    plan: BuildPlan | None,
    manifest: Mapping[str, Any],
    progress: ProgressListener,
    target: Path,
    *,
    full_refresh: bool,
) -> Iterator[Any]:
    """Run `dbt build`, yield its events, record its results; Failure when a model or a test failed.

    Without a plan it builds and tests what the run selects. Tables that another version of the project built may lack a
    column: its first build is a full refresh.
    """
    started = time.monotonic()
    # A plan is made when the run selects every model; dagster-dbt names them if the run leaves out one of their checks.
    assets = context.assets_def
    every_check = assets.check_specs_by_output_name == assets.node_check_specs_by_output_name
    selected = selection(manifest, plan, alone=every_check)
    invocation = dbt.cli(
        ["build", *BUILD_OPTIONS, *["--full-refresh"] * full_refresh, *selected],
        context=context, raise_on_error=False, target_path=target,
    )  # fmt: skip
    checks: list[dg.AssetCheckResult] = []
    total = len({*plan.build, *plan.test} if plan else context.selected_asset_keys)
    progress(Progress("build", 0, total, "models and tests"))
    with stores.connection("quality_ro") as reader:
        for done, event in enumerate(with_row_counts(invocation.stream(), manifest, reader), start=1):
            name = event.check_name if isinstance(event, dg.AssetCheckResult) else getattr(event, "output_name", None)
            progress(Progress("build", min(done, total), total, "models and tests", name or ""))
            if isinstance(event, dg.AssetCheckResult):
                checks.append(event)  # yielded at the end, with the observed value from run_results.json
            else:
                yield event
    results = invocation.get_artifact("run_results.json")
    with stores.connection("quality_ro") as reader:
        tests = test_rows(results, manifest, reader)
    yield from (to_asset_check_result(check, tests) for check in checks)
    with stores.connection("ingest") as connection:
        if plan:
            statuses = {result["unique_id"]: result["status"] for result in results["results"]}
            builds.record_builds(connection, context.run_id, succeeded(manifest, plan, statuses))
        record_results(connection, context.run_id, results, tests, plan, time.monotonic() - started)
    if not invocation.is_successful():
        raise dg.Failure(description=failure_line(results, manifest), allow_retries=False)


def target_folder(folder: Path, run_id: str, digest: str) -> Path:
    """Return the new target folder of a build, with what dbt has parsed of the project.

    dbt takes that as it is if the project is still the one that was parsed, otherwise it parses what has changed.
    """
    # By default dbt writes megabytes per run beside the code, where `tickmart prune` does not look.
    target = folder / run_id
    target.mkdir(parents=True, exist_ok=True)
    for parsed_in in (folder, PROJECT_DIR / "target"):
        parsed, digest_file = parsed_in / PARTIAL_PARSE, parsed_in / DIGEST_FILE
        if parsed.exists():
            is_current = digest_file.exists() and digest_file.read_text() == digest
            shutil.copy(parsed, target / (PARSED if is_current else PARTIAL_PARSE))
            break
    return target


def record_results(
    connection: connections.Connection,
    run_id: str,
    results: Mapping[str, Any],
    tests: Mapping[str, dict[str, Any]],
    plan: BuildPlan | None,
    seconds: float,
) -> None:
    """Record a dbt build in schema ops: one stage, and one check result per test."""
    models = [r for r in results["results"] if r["unique_id"].startswith(("model.", "snapshot."))]
    failed = [r["unique_id"].split(".")[-1] for r in models if r["status"] not in ("success", "skipped")]
    skipped = [r["unique_id"].split(".")[-1] for r in models if r["status"] == "skipped"]
    rows = sum(int(r.get("adapter_response", {}).get("rows_affected") or 0) for r in models if r["status"] == "success")
    runs.record_stage(
        connection,
        run_id,
        "dbt",
        "models",
        status="failed" if failed or skipped else "ok",
        rows=max(rows, 0),
        files=len(models),
        seconds=seconds,
        detail={
            "failed": dict.fromkeys(failed, "did not build"),
            "skipped": skipped,
            "unchanged": {unique_id.split(".")[-1]: why for unique_id, why in plan.skip.items()} if plan else {},
        },
    )
    ops_checks.record_checks(connection, run_id, list(tests.values()))
    logs.unit(
        "built", run=run_id, asset="marts", rows=max(rows, 0), models=len(models), seconds=seconds,
        status="failed" if failed or skipped else "ok", failed=failed or None, skipped=skipped or None,
        unchanged=len(plan.skip) if plan else None,
    )  # fmt: skip


def test_rows(
    results: Mapping[str, Any], manifest: Mapping[str, Any], reader: connections.Connection
) -> dict[str, dict[str, Any]]:
    """Return dbt's tests by their ids as rows of ``ops.check_results``, the failed ones with sample rows."""
    rows: dict[str, dict[str, Any]] = {}
    for result in results["results"]:
        row = test_row(result, manifest)
        if row is None:
            continue
        if row["status"] == "failed" and result.get("compiled_code"):
            row["sample"] = failing_rows(reader, result["compiled_code"])
        rows[result["unique_id"]] = row
    return rows


def failing_rows(reader: connections.Connection, compiled: str) -> list[Any]:
    """Return a few of the rows that a test's query returns."""
    with reader.cursor(cursor_factory=RealDictCursor) as cursor:
        try:
            cursor.execute("set local statement_timeout = '20s'")
            cursor.execute(f"select * from ({compiled}) as failing limit {SAMPLE_ROWS}")  # noqa: S608 - dbt compiled it
            return [{k: None if v is None else plain(v) for k, v in row.items()} for row in cursor.fetchall()]
        except psycopg2.Error as error:
            return [f"the failed rows could not be read: {' '.join(str(error).split())[:200]}"]
        finally:
            reader.rollback()


def to_asset_check_result(check: dg.AssetCheckResult, tests: Mapping[str, dict[str, Any]]) -> dg.AssetCheckResult:
    """Return a dbt test's result with severity, observed, expected and sample rows, as the other checks have them."""
    row = tests.get(str(check.metadata["unique_id"].value)) if "unique_id" in check.metadata else None
    if row is None:
        return check
    shown = {name: row[name] for name in ("severity", "status", "observed", "expected")}
    if row.get("sample"):
        shown["sample"] = dg.MetadataValue.json(row["sample"])
    return dg.AssetCheckResult(
        passed=check.passed, asset_key=check.asset_key, check_name=check.check_name, severity=check.severity,
        description=check.description, metadata={**check.metadata, **shown},
    )  # fmt: skip


def test_row(result: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a dbt test's result as a row of ``ops.check_results``; None for other nodes and skipped tests."""
    node = manifest["nodes"].get(result["unique_id"])
    if node is None or node["resource_type"] != "test" or result["status"] == "skipped":
        return None
    attached = node.get("attached_node") or next(iter(node["depends_on"]["nodes"]), "")
    owner = manifest["nodes"].get(attached) or manifest["sources"].get(attached) or {}
    status = {"pass": "passed", "error": "error"}.get(result["status"], "failed")
    failures = result.get("failures")
    return {
        "asset": f"{owner.get('schema', 'dbt')}/{owner.get('name', node['name'])}",
        "check_name": node["name"],
        "source": "dbt",
        "severity": "warn" if node["config"].get("severity", "error").lower() == "warn" else "error",
        "status": status,
        "blocking": False,
        "observed": (result.get("message") or "")[:300] if status == "error" else f"{failures or 0} failed rows",
        "expected": test_description(manifest, result["unique_id"])[:300],
        "failed_rows": failures,
    }


def failure_line(results: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Return one line that names the first failed models or tests, and the next step."""
    failed = [r for r in results["results"] if r["status"] in ("error", "fail", "runtime error")]
    named = [
        f"{r['unique_id'].split('.')[2]} ({' '.join((r.get('message') or r['status']).split())[:160]})" for r in failed
    ]
    return (
        f"dbt: {len(failed)} of {len(results['results'])} nodes failed: {'; '.join(named[:3])}. The marts that depend "
        "on them keep their last good state; `tickmart dbt build --select <name>` builds one again."
    )
