"""The documentation is true: its commands run, its options, settings, links and pictures exist."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ingestion.simulator.server import simulator
from orchestration import environment
from orchestration.cli.main import main
from orchestration.local.client import local_services

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
README, OPERATIONS = ROOT / "README.md", ROOT / "docs" / "operations.md"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("[!.]*.md")]
PAGES = [page for page in PAGES if "generated" not in page.parts]
# They run until Ctrl-C (tests/e2e/test_up.py and test_demo.py start them) or need Docker (tests/compose).
NOT_RUN_HERE = re.compile(r"make (up|demo|secrets|check|lint|notebooks|test\S*)$|docker compose ")


def shell_lines(page: Path) -> list[str]:
    """The commands of a page's shell blocks."""
    return [line for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S) for line in block.splitlines()]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user who tries the README with three assets and the simulator as sources."""
    folder = tmp_path_factory.mktemp("readme")
    universe = folder / "universe.csv"
    assets = ("bitcoin,BTCUSDT,Bitcoin,a", "ethereum,ETHUSDT,Ethereum,b", "solana,SOLUSDT,Solana,b")
    universe.write_text("\n".join(("crypto_id,binance_symbol,name,category", *assets)) + "\n")
    # With its servers running: each command would start and stop them, as those of tests/e2e/test_run_and_backfill.py.
    with simulator(seed=3, universe=universe) as sources, local_services(folder / "home", postgres=True, s3=True):
        yield {
            **environment.system(os.environ),
            **sources.urls(),
            "TICKMART_HOME": str(folder / "home"),
            "TICKMART_UNIVERSE": str(universe),
        }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_succeed_in_their_order(home: dict[str, str]) -> None:
    for line in shell_lines(README):
        if NOT_RUN_HERE.match(line):
            continue
        if line.startswith("make "):  # the target wraps one command; make itself would set up a .venv
            recipe = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True)
            [line] = [step for step in recipe.stdout.splitlines() if step.startswith(".venv/bin/tickmart ")]
        program, *arguments = shlex.split(line)
        command = [BIN / Path(program).name, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=home, capture_output=True, text=True, check=False)
        passing = (0, 3) if arguments == ["status"] else (0,)  # 3: a warning about the simulated data
        assert done.returncode in passing, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in shell_lines(page) if "make " in line}))
def test_every_make_target_exists(line: str) -> None:
    done = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def documented_calls() -> list[str]:
    """Every `tickmart …` in README and operations, in a code span or a shell block."""
    spans = [
        re.findall(r"`(?:\S+ )?(?:\.venv/bin/)?tickmart ([^`\n]+)`", page.read_text()) for page in (README, OPERATIONS)
    ]
    lines = [re.findall(r"tickmart (.+)", line) for page in (README, OPERATIONS) for line in shell_lines(page)]
    return sorted({call for found in (*spans, *lines) for call in found if not call.startswith(("/", "-"))})


@pytest.mark.parametrize("call", documented_calls())
def test_every_documented_command_and_option_exists(call: str) -> None:
    words = re.findall(r"--[\w-]+|\b[a-z]+\b", call)
    command: click.Command | None = main
    for word in words:
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), word)
    assert command is not None
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    passes_on = command.context_settings.get("ignore_unknown_options", False)
    assert passes_on or {word for word in words if word.startswith("--")} <= {*known, "--help"}


def test_every_documented_setting_reaches_the_product() -> None:
    tables = re.findall(r"^\| (`[A-Za-z`_, ()\-…]+) ?.*\|", OPERATIONS.read_text(), re.M)
    names = {name for row in tables for name in re.findall(r"`([A-Za-z]+_[A-Za-z_]+|PG[A-Z]+)`", row)}
    seen = dict.fromkeys({*names, "PGHOST"}, "value")
    environment.isolate(seen)
    sources = "".join(
        path.read_text() for path in [*ROOT.glob("ingestion/**/*.py"), *ROOT.glob("orchestration/**/*.py")]
    )
    composed = (ROOT / "docker-compose.yml").read_text()
    assert len(names) > 25
    assert {name for name in names if name not in composed and (name not in seen or name not in sources)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http", "../../actions")):  # GitHub serves the workflow's badge relative to the page
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_file_of_the_repository_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:\.github|bin|dashboard|dbt_project|docker|docs|ingestion|orchestration|tests)/[\w./-]+)`",
        page.read_text(),
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_architecture_picture_is_rendered_from_its_source() -> None:
    labels = re.findall(r'label="([^"]+)"', (ROOT / "docs" / "architecture.dot").read_text())
    drawn = re.findall(r"<text[^>]*>([^<]+)</text>", (ROOT / "docs" / "images" / "architecture.svg").read_text())
    expected = [line.replace("&", "&amp;") for label in labels for line in label.split("\\n")]
    assert sorted(expected) == sorted(text.replace("&#45;", "-").replace("&#160;", " ") for text in drawn)


@pytest.mark.slow
def test_the_reference_tables_list_every_check_and_every_mart(tmp_path: Path) -> None:
    from orchestration.quality.suites import SUITES

    generate = [sys.executable, ROOT / "docs" / "generate.py", tmp_path]
    subprocess.run(generate, cwd=ROOT, env=environment.system(os.environ), check=True)
    checks, marts = (tmp_path / "checks.md").read_text(), (tmp_path / "marts.md").read_text()
    assert set(re.findall(r"^### Suite `(\w+)`", checks, re.M)) == {suite.name for suite in SUITES}
    models = {path.stem for path in (ROOT / "dbt_project" / "models" / "marts").rglob("*.sql")}
    assert set(re.findall(r"^### `(\w+)`", marts, re.M)) == models


def test_a_term_to_avoid_is_found_in_words_and_names_and_not_where_it_is_exempt() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from check_terms import find_terms
    finally:
        sys.path.remove(str(ROOT / "docs"))
    text = "PortFrob\nthe_frob = 1\nFROB_LOG\nunfrobs\n"
    found = find_terms(text, {"frobs?": "widget"}, re.compile("FROB_LOG"))
    assert found == [(1, "Frob", "widget"), (2, "frob", "widget")]
