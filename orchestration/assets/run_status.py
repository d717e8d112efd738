"""The asset that records whether a run passed."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ingestion.ops import runs
from orchestration.alerting.heartbeat import ping_heartbeat
from orchestration.assets.metadata import ONE_RUN, OWNERS, counted_runs
from orchestration.observability import health, logs
from orchestration.orphans import command_pid
from orchestration.partitions import SCHEDULE_TAG
from orchestration.resources import Stores


def build_run_status(upstream: list[dg.AssetKey]) -> dg.AssetsDefinition:
    """Return the last asset of a run: it records the run's status, and fails when a source had failed."""

    @dg.asset(
        key=["ops", "run_verdict"], group_name="ops", kinds={"postgres"}, owners=OWNERS, deps=upstream,
        backfill_policy=ONE_RUN, output_required=False,
        # The executor starts the ready step with the highest priority: checks run before this asset.
        op_tags={"dagster/priority": "-10"},
        description="Closes the run in ops.runs: ok, partial (a symbol or coin failed alone) or failed.",
    )  # fmt: skip
    def run_verdict(context: dg.AssetExecutionContext, stores: Stores) -> Iterator[Any]:
        """Record the status that follows from the run's stages and checks."""
        steps = context.instance.get_run_step_stats(context.run_id)
        failed_steps = [step.step_key for step in steps if step.status and step.status.value == "FAILURE"]
        with stores.connection("ingest") as connection:
            earlier = counted_runs(context)[1:]
            summary = runs.summarize_run(connection, context.run_id, earlier)
            if failed_steps:  # one that ended before it recorded its stage
                summary["status"] = "failed"
            runs.end_run(connection, context.run_id, summary["status"], summary)
        if command_pid(context.run) is None:  # a command does both itself, after its alerts
            health.write_status(stores.settings)
            checks = {word: summary["checks"][word] for word in ("passed", "warned", "failed")}
            logs.unit("run ended", run=context.run_id, job=context.job_name, status=summary["status"], **checks)
        needed = [s["detail"] for s in summary["stages"] if not s["detail"].get("optional")]
        errors = [detail["error"] for detail in needed if detail.get("error")]
        scheduled = SCHEDULE_TAG in context.run.tags
        if scheduled and summary["status"] != "failed" and (problem := ping_heartbeat(stores.settings)):
            context.log.warning(problem)
        if errors:
            if earlier:
                errors.append(
                    "Only a complete run requests a failed source again: launch one instead of repeating failed steps"
                )
            raise dg.Failure(description=" | ".join(errors), allow_retries=False)
        if failed_steps:  # Dagster repeats the failed steps of a run, and its status then needs this one again
            raise dg.Failure(description=f"failed: {', '.join(failed_steps)}", allow_retries=False)
        yield dg.MaterializeResult(metadata={"status": summary["status"], "checks": summary["checks"]})

    return run_verdict
