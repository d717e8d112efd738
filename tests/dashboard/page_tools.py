"""Helpers of the dashboard's tests: elements of a rendered page, the served dashboard, a visit without a browser."""

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.visitor import Run, Visitor
from dashboard import pages
from orchestration.cli.up import dashboard_command
from orchestration.local.processes import free_port

ROOT = Path(__file__).parents[2]
PAGES = [page.name for page in pages.PAGES]
DATA_PAGES = ["overview", "price", "sentiment", "compare", "onchain", "news"]


def elements(app) -> Iterator[Any]:
    """Every element of a page that has a message to the browser, in order."""

    def descend(block):
        for child in block.children.values():
            if getattr(child, "proto", None) is not None:
                yield child
            if hasattr(child, "children"):
                yield from descend(child)

    yield from descend(app._tree)


def page_text(app) -> str:
    """All that a page sends to the browser, as text, with no-break spaces as plain ones."""
    values = [*app.title, *app.header, *app.markdown, *app.caption, *app.info, *app.warning, *app.error]
    sent = [str(element.value) for element in values] + [str(element.proto) for element in elements(app)]
    return "\n".join(sent).replace("\u00a0", " ")


def figures(app) -> dict[str, dict]:
    """The Plotly figures of a page by their element key."""
    found = {}
    for chart in app.get("plotly_chart"):
        key = chart.proto.id.rpartition("-")[2].rpartition(" ")[0] or chart.proto.id.rpartition("-")[2]
        found[key] = json.loads(chart.proto.spec)
    return found


def alt_texts(app) -> list[str]:
    return [chart.proto.alt for chart in app.get("plotly_chart")]


def numbers(array) -> np.ndarray:
    """The numbers of a Plotly array, which may be base64-encoded."""
    if isinstance(array, dict):
        return np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"])
    return np.array(array, dtype=float)


def ignored_params_text(app) -> str:
    """What the page says about its URL."""
    notices = [notice for notice in (*app.warning, *app.info) if "link_off" in notice.icon or notice.title.count("`")]
    return "\n".join(f"{notice.title} {notice.value}" for notice in notices)


@contextlib.contextmanager
def served(variables: dict[str, str], home: Path, folder: Path = ROOT) -> Iterator[str]:
    """Serve the dashboard of a checkout in `folder` in its own process; yield its address."""
    port = free_port(0)
    command = [part.replace(str(ROOT / "dashboard"), str(folder / "dashboard")) for part in dashboard_command(port)]
    environment = {**os.environ, **variables, "TICKMART_HOME": str(home), "PYTHONPATH": str(folder)}
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                break
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def visit(address: str, page: str = "") -> tuple[Run, Any]:
    """Open a page over the websocket; return its run and the session's settings."""

    async def open_page() -> tuple[Run, Any]:
        async with Visitor(address) as visitor:
            return await visitor.visit(page), visitor.session

    return asyncio.run(open_page())
