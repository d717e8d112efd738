"""The asset that records whether a run passed."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ingestion.ops import runs
from orchestration.alerting.heartbeat import ping_heartbeat
from orchestration.assets.metadata import ONE_RUN, OWNERS, counted_runs
from orchestration.observability import health, logs
from orchestration.orphans import command_pid
from orchestration.resources import Stores
from orchestration.schedules import SCHEDULE_TAG


def build_run_status(upstream: list[dg.AssetKey]) -> dg.AssetsDefinition:
    """Return the last asset of a run, which closes it in the books and turns it red when a source had failed."""

    @dg.asset(
        key=["ops", "run_verdict"], group_name="ops", kinds={"postgres"}, owners=OWNERS, deps=upstream,
        backfill_policy=ONE_RUN, output_required=False,
        # The executor takes the ready step of the highest priority: checks come before the verdict.
        op_tags={"dagster/priority": "-10"},
        description="Closes the run in ops.runs: ok, partial (a symbol or coin failed alone) or failed.",
    )  # fmt: skip
    def run_verdict(context: dg.AssetExecutionContext, stores: Stores) -> Iterator[Any]:
        """Judge the run by its stages and checks."""
        with stores.connection("ingest") as connection:
            earlier = counted_runs(context)[1:]
            summary = runs.summarise_run(connection, context.run_id, earlier)
            runs.end_run(connection, context.run_id, summary["status"], summary)
        health.write_status(stores.settings)
        if command_pid(context.run) is None:  # a command logs the end of its run itself
            checks = {word: summary["checks"][word] for word in ("passed", "warned", "failed")}
            logs.unit("run ended", run=context.run_id, job=context.job_name, status=summary["status"], **checks)
        errors = [s["detail"]["error"] for s in summary["stages"] if s["detail"].get("error")]
        scheduled = SCHEDULE_TAG in context.run.tags
        if scheduled and summary["status"] != "failed" and (problem := ping_heartbeat(stores.settings)):
            context.log.warning(problem)
        if errors:
            if earlier:
                errors.append("A failed source is requested again by a whole run alone: launch one, not a part of it")
            raise dg.Failure(description=" | ".join(errors), allow_retries=False)
        yield dg.MaterializeResult(metadata={"status": summary["status"], "checks": summary["checks"]})

    return run_verdict
