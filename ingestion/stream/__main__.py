"""The processes of the stream: ``python -m ingestion.stream`` runs collector and sink and restarts one that ends.

``python -m ingestion.stream collect`` and ``… sink`` run one of them. A child ends with its parent: when its standard
input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from ingestion.settings import Settings, SettingsError, load_settings, without_secrets
from ingestion.stream.broker import Broker
from ingestion.stream.collector import Collector
from ingestion.stream.sink import Sink
from ingestion.universe import UniverseError

ROLES = ("collect", "sink")
STABLE_S, LAST_WAIT_S = 60.0, 30.0


def say(text: str) -> None:
    """Write one line with the time."""
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {without_secrets(text)}", flush=True)


def main(arguments: list[str]) -> int:
    """Run a role, or both in processes of their own; return the exit code."""
    try:
        settings = load_settings()
        if settings.live is False:
            say("TICKMART_LIVE is off: no live prices are collected")
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
            return 0
        if settings.nats_url is None or settings.postgres is None or settings.object_store is None:
            raise SettingsError("the stream needs NATS_URL, PGHOST and MINIO_ENDPOINT: start it with `tickmart stream`")
        if arguments[:1] and arguments[0] in ROLES:
            asyncio.run(_run(settings, arguments[0]))
            return 0
        return _supervise()
    except (SettingsError, UniverseError) as error:
        print(f"tickmart: {error}", file=sys.stderr)
        return 2


async def _run(settings: Settings, role: str) -> None:
    """Run a role until SIGTERM, SIGINT or the end of the standard input."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(OSError, ValueError):
        loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 1) else stop.set())

    def report(text: str) -> None:
        say(f"{role}: {text}")

    working = asyncio.create_task(_work(settings, role, report))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()
        return
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _work(settings: Settings, role: str, report: Callable[[str], None]) -> None:
    assert settings.nats_url is not None
    broker = await Broker.connect(settings.nats_url, settings.live_broker_mb, f"tickmart {role}", report)
    try:
        await (Collector if role == "collect" else Sink)(settings, broker, report).run()
    finally:
        await broker.close()


def _supervise() -> int:
    """Keep both roles running until SIGTERM or SIGINT."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    with contextlib.ExitStack() as children:
        running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        waits = dict.fromkeys(ROLES, 0.5)
        due = dict.fromkeys(ROLES, 0.0)
        while not stopping:
            for role in ROLES:
                if role not in running and time.monotonic() >= due[role]:
                    running[role] = (children.enter_context(_start(role)), time.monotonic())
                elif role in running and (code := running[role][0].poll()) is not None:
                    lasted = time.monotonic() - running.pop(role)[1]
                    waits[role] = 0.5 if lasted > STABLE_S else min(waits[role] * 2, LAST_WAIT_S)
                    due[role] = time.monotonic() + waits[role]
                    say(f"{role} ended by itself (exit code {code}): starting it again")
            time.sleep(0.1)
        for process, _ in running.values():
            process.terminate()
    return 0


@contextlib.contextmanager
def _start(role: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a role with a pipe as its standard input, whose end ends it, and wait for its end."""
    process = subprocess.Popen([sys.executable, "-P", "-m", "ingestion.stream", role], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
