"""Builds on a standalone cluster of a master and two workers, real processes here, and kills an executor meanwhile.

    TICKMART_HOME=/tmp/home .venv/bin/python benchmarks/spark_cluster.py [--kill-after 20] [-- --compare]

What follows ``--`` are options of `tickmart build --engine spark`. The exit code is the build's; 1 if no executor was
killed. Needs Linux and `make setup-spark`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from orchestration.engines.installed import java, python_of  # noqa: E402
from orchestration.local.processes import free_port  # noqa: E402

WORKERS = 2
START_S = 120
MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"
EXECUTOR = "CoarseGrainedExecutorBackend"


@contextmanager
def cluster(folder: Path, memory: str) -> Iterator[tuple[str, list[int]]]:
    """Start master and workers; yield the address of the master and the workers' process ids."""
    [spark_class] = python_of("spark").parents[1].glob("lib/python*/site-packages/pyspark/bin/spark-class")
    port, page = free_port(0), free_port(0)
    address = f"spark://127.0.0.1:{port}"
    env = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m",
           "JAVA_HOME": str(java()[0].resolve().parents[1])}  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            started.append(subprocess.Popen([spark_class, *arguments], env=env, stdout=log, stderr=log))

    try:
        start("master", MASTER, "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page))
        for number in range(WORKERS):
            start(f"worker-{number}", WORKER, "--host", "127.0.0.1", "--cores", "1", "--memory", memory,
                  "--webui-port", "0", "--work-dir", str(folder / f"worker-{number}"), address)  # fmt: skip
        wait_for_workers(f"http://127.0.0.1:{page}/json/")
        yield address, [process.pid for process in started[1:]]
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(30)


def wait_for_workers(url: str) -> None:
    """Wait until the master knows all workers."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if json.load(answer)["aliveworkers"] == WORKERS:
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"the cluster did not start within {START_S} s")


def executors(workers: list[int]) -> list[int]:
    """Return the process ids of the executors that the workers started."""
    found = []
    for worker in workers:
        for children in Path(f"/proc/{worker}/task").glob("*/children"):
            for child in children.read_text().split():
                try:
                    if EXECUTOR in Path(f"/proc/{child}/cmdline").read_text():
                        found.append(int(child))
                except OSError:
                    continue
    return found


def main() -> None:
    """Build, kill an executor on the way, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill-after", type=float, default=20, help="seconds after both executors started (20)")
    parser.add_argument("--memory", default="1g", help="memory of the driver and of each executor (1g)")
    parser.add_argument("options", nargs="*", help="options of `tickmart build`")
    arguments = parser.parse_args()
    killed = 0
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), arguments.memory) as (address, workers):
        began = time.monotonic()
        env = {**os.environ, "TICKMART_SPARK_MASTER": address, "TICKMART_SPARK_MEMORY": arguments.memory}
        command = [Path(sys.executable).with_name("tickmart"), "build", "--engine", "spark", *arguments.options]
        build = subprocess.Popen(command, env=env, cwd=ROOT)
        both_at = None
        seen: set[int] = set()
        while build.poll() is None:
            running = executors(workers)
            seen.update(running)
            if len(running) == WORKERS:
                both_at = both_at or time.monotonic()
                if not killed and time.monotonic() - both_at > arguments.kill_after:
                    killed = running[0]
                    os.kill(killed, signal.SIGKILL)
                    print(f"killed executor {killed} {time.monotonic() - began:.0f} s after the start", flush=True)
            time.sleep(0.2)
        print(f"exit code {build.returncode} after {time.monotonic() - began:.0f} s, {len(seen)} executors in all")
    sys.exit(build.returncode or int(not killed))


if __name__ == "__main__":
    main()
