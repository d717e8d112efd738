"""One visitor with a browser: first charts and the changes that a widget makes."""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import browser
from benchmarks.dashboard_server import CHANGE_S, COLD_S, PAGES, WARM_S, Line, limit_line, server

BARE = """import plotly.graph_objects as go, streamlit as st
st.plotly_chart(go.Figure(go.Scatter(x=list(range(240)), y=[n * 7 % 13 for n in range(240)])))
"""


def pick(name: str) -> Callable[[Any], None]:
    def click(page: Any) -> None:
        page.get_by_role("radio", name=name, exact=True).or_(
            page.get_by_role("button", name=name, exact=True)
        ).first.click()

    return click


def open_list(page: Any) -> None:
    page.get_by_role("combobox").first.click()
    page.wait_for_timeout(300)


def coin(name: str) -> Callable[[Any], None]:
    return lambda page: page.get_by_role("option", name=name).first.click()


def changes(tab: browser.Tab, address: str, quick: bool) -> dict[str, list[float]]:
    """Seconds until a choice shows in its chart, three choices of each widget that changes one.

    The quick bench has less than a year of data, so that all spans of the index show the same chart.
    """
    found: dict[str, list[float]] = {}
    tab.first_chart(f"{address}/price?coin=bitcoin")
    for name in ("7D", "3M", "All"):
        found.setdefault("range", []).append(tab.change(pick(name)))
    for name in ("RSI", "MACD", "ATR"):
        found.setdefault("pane", []).append(tab.change(pick(name)))
    for _ in range(3):
        found.setdefault("log", []).append(tab.change(lambda page: page.get_by_text("Log scale").first.click()))
    for name in ("Ethereum", "Solana", "Bitcoin"):
        open_list(tab.page)
        found.setdefault("coin", []).append(tab.change(coin(name)))
    tab.first_chart(f"{address}/")
    for name in ("7d", "1h", "24h"):
        found.setdefault("overview's window", []).append(tab.change(pick(name)))
    tab.first_chart(f"{address}/compare")
    for name in ("7D", "3M", "1Y"):
        found.setdefault("compare's range", []).append(tab.change(pick(name)))
    for name in ("30 days", "365 days", "90 days"):
        found.setdefault("correlation's window", []).append(tab.change(pick(name), chart=3))
    tab.first_chart(f"{address}/sentiment")
    for name in () if quick else ("3Y", "1Y", "3Y"):
        found.setdefault("sentiment's span", []).append(tab.change(pick(name), chart=1))
    return found


def bare_page(env: dict[str, str]) -> dict[str, float]:
    """Seconds until the one chart of a Streamlit script without data or layout is drawn, cold and warm.

    No page of Streamlit is faster on this machine: what a page takes beyond it is the page's own.
    """
    with TemporaryDirectory() as folder:
        script = Path(folder) / "bare.py"
        script.write_text(BARE)
        with server(env, script) as (address, _process), browser.chromium() as tab:
            opened = tab()
            return {name: opened.first_chart(f"{address}/") for name in ("cold", "warm")}


def browser_lines(env: dict[str, str], repeats: int, quick: bool) -> Iterator[Line]:
    """First charts and changes in Chromium, alone: cold is a new server process and a browser that keeps nothing."""
    cold: dict[str, list[float]] = {}
    warm: dict[str, list[float]] = {}
    for _ in range(repeats):
        for page in PAGES:
            with server(env) as (address, _process), browser.chromium() as tab:
                opened = tab()
                cold.setdefault(page or "overview", []).append(opened.first_chart(f"{address}/{page}"))
                warm.setdefault(page or "overview", []).append(opened.first_chart(f"{address}/{page}"))
    with server(env) as (address, _process), browser.chromium() as tab:
        changed = [changes(tab(), address, quick) for _ in range(repeats)]
    bare = [bare_page(env) for _ in range(repeats)]
    for name, found, limit in (("cold", cold, COLD_S), ("warm", warm, WARM_S)):
        peer = statistics.median(run[name] for run in bare)
        yield {"work": f"first chart, {name}, of a bare Streamlit page", "seconds": peer, "note": "the peer"}
        detail = ", ".join(f"{page} {statistics.median(times):.2f}" for page, times in found.items())
        yield limit_line(f"first chart, {name} page", [t for times in found.values() for t in times], limit, detail)
    by_widget = {name: [t for run in changed for t in run[name]] for name in changed[0]}
    detail = ", ".join(f"{name} {statistics.median(times):.2f}" for name, times in by_widget.items())
    yield limit_line("a widget's change", [t for times in by_widget.values() for t in times], CHANGE_S, detail)
