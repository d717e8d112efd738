"""A running stream in processes of its own: servers of a home, the simulated exchange, collector and sink."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil

from ingestion.database import connections, migrate
from ingestion.settings import Settings, load_settings
from ingestion.simulator.server import Simulator
from orchestration.local.client import local_services
from orchestration.session import logins
from support.cli import ROOT
from support.local_services import runs, servers

WITHIN_S = 90.0
# The collector with waits of seconds, where OKX's rules need half a minute.
IMPATIENT = """
import sys
from ingestion.stream import __main__ as process, collector
collector.KeepAlive = lambda: collector_keep_alive
collector.STABLE_S = 0.5
from ingestion.stream.connection import KeepAlive
collector_keep_alive = KeepAlive(ping_after_s=0.8, pong_within_s=0.8, no_data_s=4.0)
sys.exit(process.main(["collect"]))
"""
# Collectors that are killed while they record a gap: before its state is stored, and before the report of its end,
# while the state is stored for another reason.
KILLED_BEFORE_A_GAP_IS_STORED = """
import os, signal, sys
from ingestion.stream import __main__ as process, broker
store = broker.Broker.save_state
async def die(self, key, value):
    if value["gaps"]:
        await self.client.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    await store(self, key, value)
broker.Broker.save_state = die
sys.exit(process.main(["collect"]))
"""
KILLED_BEFORE_A_GAP_IS_CLOSED = """
import os, signal, sys
from ingestion.stream import __main__ as process, gaps
report = gaps.GapFiller._report
async def die(self, gap, work, *, closed_us, **values):
    if closed_us:
        await self.save()
        os.kill(os.getpid(), signal.SIGKILL)
    await report(self, gap, work, closed_us=closed_us, **values)
gaps.GapFiller._report = die
sys.exit(process.main(["collect"]))
"""


@dataclass
class LiveStream:
    """Starts and kills the parts of a stream, and compares what the exchange sent with raw."""

    home: Path
    simulator: Simulator
    environment: dict[str, str]
    # The program of the collector instead of the real one.
    collector: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return load_settings(self.environment)

    def start(self, *roles: str) -> None:
        """Start `collect` and `sink`, or one of them."""
        for role in roles or ("collect", "sink"):
            with (self.home / "logs" / f"{role}.log").open("ab") as log:
                own = self.collector if role == "collect" else ""
                module = ["-c", own] if own else ["-m", "ingestion.stream"]
                self.processes[role] = subprocess.Popen(
                    [sys.executable, "-P", *module, role], env=self.environment, cwd=self.home,
                    stdin=subprocess.PIPE, stdout=log, stderr=log,
                )  # fmt: skip

    def kill(self, what: str) -> None:
        """Kill a role, or a server of the home, with SIGKILL; a role is started again."""
        if what in self.processes:
            self.processes[what].kill()
            self.processes[what].wait()
            self.start(what)
            return
        names = {"broker": "nats-server", "postgres": "postgres", "s3": "rclone"}
        victims = servers(self.home, names[what])
        assert victims, f"no {names[what]} runs"
        for victim in [v for v in victims if v.ppid() not in {o.pid for o in victims}]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        # The supervisor starts three a minute again by itself, and others for the next client.
        needs = {"postgres": what == "postgres", "s3": what == "s3", "nats": what == "broker"}
        until(lambda: not any(runs(victim) for victim in victims), f"the end of {what}")
        with local_services(self.home, **needs):
            pass

    def log(self, role: str) -> str:
        return (self.home / "logs" / f"{role}.log").read_text()

    def ask(self, query: str, values: Any = None) -> list[tuple[Any, ...]]:
        postgres = self.settings.postgres
        assert postgres is not None
        with connections.closing(connections.connect(postgres)) as connection:
            return connections.fetch(connection, query, values)

    def one(self, query: str, values: Any = None) -> Any:
        return self.ask(query, values)[0][0]

    def trade(self, seconds: float, rate: float = 300) -> None:
        """Let the exchange trade for some seconds."""
        self.simulator.exchange.rate = rate
        time.sleep(seconds)

    def connected(self) -> None:
        """Wait until the collector's subscriptions are in place, before the first trade."""
        until(lambda: self.simulator.exchange.stats()["listeners"] > 0, "a connection", self)
        time.sleep(0.5)

    def settle(self) -> None:
        """Trade each instrument once more, so that what is missing shows, stop, and wait until raw has everything.

        The end of a gap is stored after its trades: that of each is waited for.
        """
        exchange = self.simulator.exchange
        for _ in range(3):
            until(lambda: exchange.stats()["listeners"] > 0, "a connection", self)
            time.sleep(1)
        ids = exchange.stats()["ids"]
        exchange.rate = 500
        until(
            lambda: all(exchange.stats()["ids"][i][1] > ids.get(i, [0, 0])[1] for i in exchange.instruments), "trades"
        )
        exchange.rate = 0
        time.sleep(0.2)
        until(self.is_complete, "all trades in raw", self)
        until(lambda: not self.ask("select 1 from ops.stream_gaps where closed_at is null"), "the end of gaps", self)

    def sent(self) -> dict[str, tuple[int, int, Decimal]]:
        """First id, last id and volume of each instrument, by the exchange."""
        found = {}
        exchange = self.simulator.exchange
        with exchange.lock:
            trades = {inst_id: list(instrument.trades) for inst_id, instrument in exchange.instruments.items()}
        for inst_id, instrument in exchange.instruments.items():
            volume = sum(fills * size for _, fills, _, _, size, _ in trades[inst_id])
            found[inst_id] = (instrument.first_id, instrument.trade_id, Decimal(volume).scaleb(-8))
        return found

    def stored(self) -> dict[str, tuple[int, int, Decimal]]:
        """The same by raw; AssertionError where ranges of ids overlap or leave something out."""
        rows = self.ask(
            """
            with trades as (
                select inst_id, trade_id, size, trade_id - coalesce(fills, 1) + 1 as first_id,
                    lag(trade_id) over (partition by inst_id order by trade_id) as before
                from raw.okx_trades
            )
            select inst_id, min(first_id), max(trade_id), sum(size), count(*) filter (where first_id <> before + 1)
            from trades group by inst_id
            """
        )
        broken = {inst_id: count for inst_id, _, _, _, count in rows if count}
        assert not broken, broken
        return {inst_id: (first, last, volume) for inst_id, first, last, volume, _ in rows}

    def is_complete(self) -> bool:
        with contextlib.suppress(AssertionError, connections.WarehouseError):
            return self.stored() == self.sent()
        return False

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)
            assert process.stdin is not None
            process.stdin.close()


def until(condition: Callable[[], Any], what: str, stream: LiveStream | None = None) -> Any:
    """Wait for a condition; the error has the logs of the stream."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    logs = "\n".join(stream.log(role) for role in stream.processes) if stream else ""
    state = f"{stream.sent()}\n{stream.ask('select * from ops.stream_gaps')}" if stream else ""
    raise AssertionError(f"never happened: {what}\n{logs[-4000:]}\n{state[-3000:]}")


@contextlib.contextmanager
def live_stream(home: Path, simulator: Simulator, **variables: str) -> Iterator[LiveStream]:
    """Run the servers of a home, with its database set up, for the processes of a stream."""
    with local_services(home, postgres=True, s3=True, nats=True) as servers_env:
        own = {
            **os.environ, **servers_env, **simulator.urls(), "TICKMART_HOME": str(home), "TICKMART_LIVE": "on",
            "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", **variables,
        }  # fmt: skip
        settings = load_settings(own)
        assert settings.postgres is not None
        migrate.bootstrap(settings.postgres, logins(own))
        stream = LiveStream(home, simulator, own)
        try:
            yield stream
        finally:
            stream.stop()
