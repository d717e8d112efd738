"""What a process imports: seconds of start-up that a command does not need."""

import subprocess
import sys

import click
import pytest

from orchestration.cli.main import COMMANDS, main
from orchestration.imports import import_in_background, postponed, unused
from support.cli import ROOT

ARROW, RUN = {"pyarrow", "numpy", "minio"}, {"dagster", "dbt", "great_expectations", "pandas", "streamlit"}
# How sources are fetched: `tickmart status` reads only what the datasets declare.
FETCH = {
    "minio", "urllib3", "feedparser", "tenacity", "pyarrow.parquet", "pyarrow.fs", "ingestion.sources.registry",
    "ingestion.sources.http", "ingestion.bronze.lake", "ingestion.raw.loader",
}  # fmt: skip


def modules_after(statement: str) -> set[str]:
    """Return the modules that a new Python has imported after a statement."""
    code = f"import sys; {statement}; print(*(name for name, module in sys.modules.items() if module))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        ("import orchestration.cli.main, orchestration.cli.queries", {*ARROW, *RUN}),
        ("import orchestration.observability.health, orchestration.cli.output", {"yaml", *FETCH, *RUN}),
        ("import orchestration.local.supervisor", {"click", "psutil", *ARROW, *RUN}),
        (
            "import orchestration.assets.dagster_dbt, orchestration.quality.checks",
            {"dbt", "great_expectations", "pandas", "sqlglot"},
        ),
        ("from orchestration.quality import gx", {"altair", "scipy.stats"}),
    ],
)
def test_a_process_imports_only_what_it_needs(statement: str, unneeded: set[str]) -> None:
    assert not modules_after(statement) & unneeded


def test_a_postponed_module_works_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with postponed("colorsys"):
        import colorsys
    assert "colorsys" not in sys.modules
    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert "colorsys" in sys.modules


def test_a_name_that_is_declared_unused_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with unused("colorsys"):
        from colorsys import rgb_to_hsv as unused_name
    with pytest.raises(RuntimeError, match=r"colorsys\.rgb_to_hsv"):
        unused_name(0, 0, 0)
    from colorsys import rgb_to_hsv

    assert rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_a_failed_import_in_the_background_is_reported_where_the_module_is_needed() -> None:
    import_in_background("no_such_module", "sys")
    with pytest.raises(ModuleNotFoundError):
        import no_such_module  # noqa: F401


def test_the_help_of_the_command_shows_the_first_line_of_each_subcommand() -> None:
    context = click.Context(main)
    for name, (_, summary) in COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None
        assert (command.name, command.get_short_help_str(limit=100)) == (name, summary)
