"""The names of dagster-dbt that this package uses, imported without dbt itself; dbt starts in the prepared process.

dagster-dbt imports all of dbt for types that Dagster's own queries use. Without it, it takes its way for an
installation without dbt-core, which selects the nodes from the manifest. SQLGlot is for the lineage of columns.
"""

from pathlib import Path
from typing import Any

from orchestration.imports import hidden, unused
from orchestration.local.prepared_dbt import start_dbt

with hidden("dbt"), unused("sqlglot", "sqlglot.expressions", "sqlglot.lineage", "sqlglot.optimizer"):
    from dagster_dbt import (
        DagsterDbtTranslator,
        DagsterDbtTranslatorSettings,
        DbtCliInvocation,
        DbtCliResource,
        DbtProject,
        dbt_assets,
    )
    from dagster_dbt.core import resource

__all__ = ["DagsterDbtTranslator", "DagsterDbtTranslatorSettings", "DbtCliResource", "DbtProject", "dbt_assets"]


# What Dagster adds to a command line, unless a run is of some assets or checks only. dbt would add it to our selection.
EVERYTHING = ["--select", "fqn:*"]


class Invocation(DbtCliInvocation):
    """A dbt of this package: Dagster's own starts a new process, and copies what dbt parsed, which the asset does."""

    @classmethod
    def run(  # type: ignore[override]
        cls, args: list[str], env: dict[str, str], project_dir: Path, dbt_project: DbtProject | None = None, **rest: Any
    ) -> "Invocation":
        """Start dbt."""
        if args[-2:] == EVERYTHING and "--select" in args[:-2]:
            args = args[:-2]
        process = start_dbt(args, env, project_dir)
        return cls(process=process, project_dir=project_dir, project=dbt_project, **rest)


# DbtCliResource.cli has no other hook for it.
resource.DbtCliInvocation = Invocation  # type: ignore[attr-defined]
