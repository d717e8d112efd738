"""The dashboard's server as `tickmart up` starts it: ready before its first visitor, every setting in force."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from orchestration.cli.up import dashboard_command
from orchestration.local.processes import free_port
from tests.bench_visitor import Run, Visitor

ROOT = Path(__file__).parents[2]
NOWHERE = {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGDATABASE": "none", "PGUSER": "none", "PGPASSWORD": "none"}
SETTINGS = tomllib.loads((ROOT / "dashboard/.streamlit/config.toml").read_text())


@contextlib.contextmanager
def served(variables: dict[str, str], home: Path, script: Path | None = None) -> Iterator[str]:
    """The dashboard, or another `script`, in a process of its own; gives its address."""
    port = free_port(0)
    command = [str(script) if script and part.endswith("server.py") else part for part in dashboard_command(port)]
    room = script.parents[1] if script else ROOT
    environment = {**os.environ, **variables, "TICKMART_HOME": str(home), "PYTHONPATH": str(room)}
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                break
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module", params=["server.py", "app.py"])
def address(request, tmp_path_factory):
    """Both ways of serving: that of `tickmart up`, and Streamlit's plain one. No database: the settings need none."""
    with served(NOWHERE, tmp_path_factory.mktemp("home"), ROOT / "dashboard" / request.param) as running:
        yield running


def visit(address: str, page: str = "") -> tuple[Run, object]:
    async def once() -> tuple[Run, object]:
        async with Visitor(address) as visitor:
            return await visitor.visit(page), visitor.session

    return asyncio.run(once())


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_browsers_are_told_the_settings_of_the_file(address):
    _, session = visit(address)
    assert session.config.gather_usage_stats is SETTINGS["browser"]["gatherUsageStats"] is False
    assert session.config.toolbar_mode == session.config.VIEWER
    for mode in ("light", "dark"):
        theme = getattr(session.custom_theme, mode)
        assert theme.primary_color == SETTINGS["theme"][mode]["primaryColor"]
        assert theme.background_color == SETTINGS["theme"][mode]["backgroundColor"]
    assert list(session.custom_theme.chart_categorical_colors) == SETTINGS["theme"]["chartCategoricalColors"]


def test_nothing_can_be_uploaded(address):
    _, session = visit(address)
    upload = f"{address}/_stcore/upload_file/{session.initialize.session_id}/file"
    assert status(urllib.request.Request(upload, b"x", method="PUT")) == 403


def test_other_sites_may_not_use_it(address):
    foreign = {"Origin": "http://elsewhere.example"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/_stcore/health", headers=foreign)) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] in (None, address)

    async def knock() -> None:
        async with connect(address.replace("http", "ws") + "/_stcore/stream", origin=foreign["Origin"]):
            pass

    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(knock())
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("entry", ["server.py", "app.py"])
def test_a_fault_of_a_page_shows_neither_its_text_nor_a_traceback(entry, tmp_path):
    shutil.copytree(ROOT / "dashboard", tmp_path / "dashboard")
    (tmp_path / "dashboard/views/dictionary.py").write_text("raise RuntimeError('canary-of-the-inside')\n")
    with served(NOWHERE, tmp_path, tmp_path / "dashboard" / entry) as running:
        run, _ = visit(running, "dictionary")
    assert run.error
    assert "canary-of-the-inside" not in run.error
    assert "dictionary.py" not in run.error
    assert "canary-of-the-inside" in (tmp_path / "server.log").read_text()


def test_a_page_tells_the_browser_to_make_the_script_of_charts_ready_and_nothing_else_does(tmp_path):
    def get(path: str, **headers: str) -> tuple[dict[str, str], str]:
        with urllib.request.urlopen(urllib.request.Request(f"{running}/{path}", headers=headers)) as answer:
            return {name.lower(): value for name, value in answer.headers.items()}, answer.read().decode()

    with served(NOWHERE, tmp_path) as running:
        browser = {"Accept": "text/html,*/*;q=0.8", "Accept-Encoding": "gzip", "If-None-Match": "*"}
        headers, page = get("price", **browser)
        assert int(headers["content-length"]) == len(page.encode())
        fetched = re.findall(r'<link rel="modulepreload" [^>]*href="\./(static/js/PlotlyChart\.[\w-]+\.js)"', page)
        assert fetched == re.findall(r'import\("\./([^"]+)"\)', page)
        assert page.index(fetched[0]) < page.index("</head>")
        headers, script = get(fetched[0])
        assert "javascript" in headers["content-type"]
        assert len(script) > 1_000_000
        assert get("_stcore/health", **browser)[1] == "ok"
        assert fetched[0] not in get("static/index.html", **browser)[1]


def test_everything_that_pages_need_is_loaded_before_the_first_visit():
    code = """
import asyncio, sys
from dashboard import server
async def start():
    async with server.ready(server.app):
        print(*sorted(sys.modules))
asyncio.run(start())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    ours = [*(ROOT / "dashboard").glob("*.py"), *(ROOT / "dashboard/charts").glob("*.py")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in ours}
    assert names - {"dashboard.app"} <= set(done.stdout.split())


def test_a_choice_about_the_candles_runs_their_part_of_the_page_alone(marts, tmp_path):
    async def choose(address: str) -> tuple[Run, Run, Run]:
        async with Visitor(address) as visitor:
            whole = await visitor.visit("price", "coin=ethereum")
            week = await visitor.choose("range", string_array_value=["7D"])
            pane = await visitor.choose("panes", string_array_value=["RSI", "MACD"])
            return whole, week, pane

    with served(marts, tmp_path) as running:
        whole, week, pane = asyncio.run(choose(running))
    assert len(whole.charts) == 5
    for run in (week, pane):
        assert not run.error
        assert [alt.partition(" ")[0] for alt in run.charts] == ["Candles"]
        assert "one per hour" in next(iter(run.charts))  # the range that was chosen before stands


def test_a_part_of_a_page_names_a_database_that_has_gone_as_the_page_does(server, tmp_path):
    server.copy_database("going", "tickmart")

    async def choose(address: str) -> Run:
        async with Visitor(address) as visitor:
            assert not (await visitor.visit("price")).error
            server.execute("postgres", "drop database going with (force)")
            return await visitor.choose("range", string_array_value=["7D"])

    with served(server.reader("going"), tmp_path) as running:
        run = asyncio.run(choose(running))
    assert "cannot be reached" in run.error
    assert "Traceback" not in run.error
