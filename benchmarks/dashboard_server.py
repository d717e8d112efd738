"""What the measurements of pages share: the dashboard in a process of its own, the pages and their limits."""

import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measuring import ROOT

PAGES = ("", "price", "sentiment", "compare", "data_quality", "dictionary")
COLD_S, WARM_S, CHANGE_S, CHART_BYTES = 2.5, 1.5, 0.6, 300_000
Line = dict[str, Any]  # a Measure of the table


@contextmanager
def server(env: dict[str, str], script: Path | None = None) -> Iterator[tuple[str, psutil.Process]]:
    """The dashboard in a new process, as `tickmart up` starts it, once it answers; or another script likewise."""
    from orchestration.cli.up import dashboard_command
    from orchestration.local.processes import free_port

    port = free_port(0)
    command = dashboard_command(port)
    if script:
        command[command.index("run") + 1] = str(script)
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                break
            time.sleep(0.1)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def megabytes(process: psutil.Process) -> float:
    return process.memory_info().rss / (1 << 20)


def limit_line(work: str, values: list[float], limit: float, note: str, **more: Any) -> Line:
    """The median beside its limit, which the worst has to keep as well."""
    return {
        "work": work, "seconds": statistics.median(values), "ratio": max(values) / limit, "reach": f"<= {limit:g} s",
        "met": max(values) <= limit, "note": f"worst {max(values):.2f} s; {note}", **more,
    }  # fmt: skip
