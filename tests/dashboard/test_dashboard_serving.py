"""The served dashboard, as `tickmart up` starts it: settings, access from other sites, errors, fragments."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from benchmarks.visitor import Run, Visitor
from tests.dashboard.page_tools import ROOT, served, visit

NO_DATABASE = {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGDATABASE": "none", "PGUSER": "none", "PGPASSWORD": "none"}
SETTINGS = tomllib.loads((ROOT / "dashboard/.streamlit/config.toml").read_text())


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(NO_DATABASE, tmp_path_factory.mktemp("home")) as running:
        yield running


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_browser_receives_the_settings_of_the_config_file(address):
    _, session = visit(address)
    assert session.config.gather_usage_stats is SETTINGS["browser"]["gatherUsageStats"] is False
    assert session.config.toolbar_mode == session.config.VIEWER
    for mode in ("light", "dark"):
        theme = getattr(session.custom_theme, mode)
        assert theme.primary_color == SETTINGS["theme"][mode]["primaryColor"]
        assert theme.background_color == SETTINGS["theme"][mode]["backgroundColor"]
    assert list(session.custom_theme.chart_categorical_colors) == SETTINGS["theme"]["chartCategoricalColors"]


def test_uploads_are_rejected(address):
    _, session = visit(address)
    upload = f"{address}/_stcore/upload_file/{session.initialize.session_id}/file"
    assert status(urllib.request.Request(upload, b"x", method="PUT")) == 403


def test_other_origins_are_rejected(address):
    foreign = {"Origin": "http://elsewhere.example"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/_stcore/health", headers=foreign)) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] in (None, address)

    async def open_websocket() -> None:
        async with connect(address.replace("http", "ws") + "/_stcore/stream", origin=foreign["Origin"]):
            pass

    with pytest.raises(InvalidStatus) as error:
        asyncio.run(open_websocket())
    assert error.value.response.status_code == 403


def test_error_of_a_page_shows_neither_its_text_nor_a_traceback(tmp_path):
    shutil.copytree(ROOT / "dashboard", tmp_path / "dashboard")
    (tmp_path / "dashboard/views/dictionary.py").write_text("raise RuntimeError('canary-error')\n")
    with served(NO_DATABASE, tmp_path, tmp_path) as running:
        run, _ = visit(running, "dictionary")
    assert run.error
    assert "canary-error" not in run.error
    assert "dictionary.py" not in run.error
    assert "canary-error" in (tmp_path / "server.log").read_text()


def test_pages_load_plotly_early_and_no_other_response_is_changed(address):
    def get(path: str, **headers: str) -> tuple[dict[str, str], str]:
        with urllib.request.urlopen(urllib.request.Request(f"{address}/{path}", headers=headers)) as answer:
            return {name.lower(): value for name, value in answer.headers.items()}, answer.read().decode()

    browser = {"Accept": "text/html,*/*;q=0.8", "Accept-Encoding": "gzip", "If-None-Match": "*"}
    headers, page = get("price", **browser)
    assert int(headers["content-length"]) == len(page.encode())
    loaded = re.findall(r'<link rel="modulepreload" [^>]*href="\./(static/js/PlotlyChart\.[\w-]+\.js)"', page)
    assert loaded == re.findall(r'import\("\./([^"]+)"\)', page)
    assert page.index(loaded[0]) < page.index("</head>")
    headers, script = get(loaded[0])
    assert "javascript" in headers["content-type"]
    assert len(script) > 1_000_000
    assert get("_stcore/health", **browser)[1] == "ok"
    assert loaded[0] not in get("static/index.html", **browser)[1]


def test_server_imports_every_module_before_the_first_request():
    code = """
import asyncio, sys
from dashboard import server
async def start():
    async with server.preload(server.app):
        print(*sorted(sys.modules))
asyncio.run(start())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    files = [file for file in (ROOT / "dashboard").rglob("*.py") if file.parent.name != "views"]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files}
    assert names - {"dashboard.app"} <= set(done.stdout.split())


def test_indicators_rerun_only_the_chart_and_a_range_the_page(marts, tmp_path):
    async def choose(address: str) -> tuple[Run, Run, Run]:
        async with Visitor(address) as visitor:
            full = await visitor.visit("price", "coin=ethereum")
            week = await visitor.choose("range", string_array_value=["7D"])
            pane = await visitor.choose("panes", string_array_value=["RSI", "MACD"])
            return full, week, pane

    with served(marts, tmp_path) as running:
        full, week, pane = asyncio.run(choose(running))
    assert len(full.charts) == 5
    assert len(week.charts) == 5
    assert not pane.error
    (alt,) = pane.charts
    assert alt.startswith("Candles")
    assert "one per hour" in alt  # the range chosen before still applies


def test_fragment_reports_a_lost_database(server, tmp_path):
    server.copy_database("dropped", "tickmart")

    async def choose(address: str) -> Run:
        async with Visitor(address) as visitor:
            assert not (await visitor.visit("price")).error
            server.execute("postgres", "drop database dropped with (force)")
            return await visitor.choose("range", string_array_value=["7D"])

    with served(server.reader("dropped"), tmp_path) as running:
        run = asyncio.run(choose(running))
    assert run.error
    assert "Traceback" not in run.error
