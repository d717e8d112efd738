"""Whatever happens in whatever order, raw ends as the exchange has it: a state machine against a dictionary."""

import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ingestion.bronze import write
from ingestion.bronze.compaction import compact
from ingestion.bronze.lake import Lake
from ingestion.bronze.merged import current
from ingestion.database import connections
from ingestion.raw import loader
from ingestion.raw.loader import pending_objects
from ingestion.sources.binance import ingest
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.http import HttpClient
from ingestion.universe import Asset
from support.dying_lake import DyingLake, Killed
from support.pipeline import Chain
from support.scripted_server import Asked, Reply, scripted
from support.source_rows import bar, moment, ms

# Its three days belong to two months.
FIRST, MONTH_ENDS = date(2026, 1, 30), date(2026, 2, 1)
HOURS = 72
SYMBOLS = ("BTCUSDT", "币安人生USDT")
Key = tuple[str, datetime]
Bars = dict[Key, Decimal]

symbols = st.sampled_from(SYMBOLS)
hours = st.integers(0, HOURS - 1)
closes = st.decimals(91, 109, places=2)


class Histories(RuleBasedStateMachine):
    """The exchange trades, corrects and publishes late; we fetch, load, crash and restart, well or badly answered."""

    chain: Chain

    @initialize()
    def start(self) -> None:
        self.open = ExitStack()
        self.market: Bars = {}
        self.late: set[Key] = set()
        self.bronze: Bars = {}
        self.hour = 0
        self.page: Callable[[list[Any]], list[Any]] = list
        self.failing: str | None = None
        self.dying = False
        self.server = self.open.enter_context(scripted(self.answer))
        self.chain.clear_records()
        self.lake = Lake(self.chain.lake.store)
        for held in self.lake.list(""):
            self.lake.remove(held.key)
        self.restart()
        self.trade(5)
        self.fetch((0, 1), None, False)

    # -- the exchange --------------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Reply:
        now = moment(FIRST, self.hour, 30)
        if asked.path.endswith("/time"):
            return Reply(body={"serverTime": ms(now)})
        symbol, first, last = asked.query["symbol"], int(asked.query["startTime"]), int(asked.query["endTime"])
        if symbol == self.failing:
            return Reply(500)
        rows = [
            bar(opened.date(), opened.hour, close=str(close))
            for (of, opened), close in sorted(self.market.items())
            if of == symbol and (of, opened) not in self.late and first <= ms(opened) <= last and opened <= now
        ]
        return Reply(body=self.page(rows[: int(asked.query["limit"])]))

    def closed(self) -> Bars:
        """What the exchange shows now of the bars that are over."""
        now = moment(FIRST, self.hour)
        return {key: close for key, close in self.market.items() if key not in self.late and key[1] < now}

    @rule(passed=st.integers(1, 30))
    def trade(self, passed: int) -> None:
        self.hour = min(self.hour + passed, HOURS - 1)
        for symbol in SYMBOLS:
            for hour in range(self.hour + 1):
                self.market.setdefault((symbol, moment(FIRST, hour)), Decimal(95 + hour % 10))

    @precondition(lambda self: self.bronze)
    @rule(which=st.integers(0, 10**6), close=closes)
    def correct(self, which: int, close: Decimal) -> None:
        """A bar that we have already is restated."""
        self.market[sorted(self.bronze)[which % len(self.bronze)]] = close

    @rule(symbol=symbols, hour=hours)
    def hold_back(self, symbol: str, hour: int) -> None:
        """A bar that nobody has seen yet comes late."""
        key = (symbol, moment(FIRST, hour))
        if key not in self.bronze:
            self.late.add(key)

    @rule()
    def publish_what_was_held_back(self) -> None:
        self.late.clear()

    @rule(kind=st.sampled_from(["plain", "repeated", "shuffled", "reversed"]))
    def answer_pages(self, kind: str) -> None:
        kinds: dict[str, Callable[[list[Any]], list[Any]]] = {
            "plain": list,
            "repeated": lambda rows: [*rows, *rows[-5:], *rows[:3]],
            "shuffled": lambda rows: random.Random(len(rows)).sample(rows, len(rows)),
            "reversed": lambda rows: rows[::-1],
        }
        self.page = kinds[kind]

    # -- we ------------------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """A new process: nothing but what is stored is known."""
        if hasattr(self, "connection"):
            self.connection.close()
        self.connection = self.open.enter_context(
            connections.closing(connections.connect(self.chain.postgres, "ingest"))
        )
        self.lake = Lake(self.chain.lake.store)

    @rule(days=st.tuples(st.integers(0, 2), st.integers(1, 3)), failing=st.none() | symbols, dies=st.booleans())
    def fetch(self, days: tuple[int, int], failing: str | None, dies: bool) -> None:
        start = FIRST + timedelta(days=days[0])
        end = start + timedelta(days=days[1])
        self.failing = failing

        def progress(_: write.Progress) -> None:
            if dies:
                raise Killed

        client = HttpClient("Binance", [self.server.url], setting="BINANCE_BASE_URL", sleep=lambda seconds: None)
        context = write.Context(self.lake, self.connection, "fetch", progress)
        assets = [Asset(s, s, s, "") for s in SYMBOLS]
        try:
            report = ingest.ingest_klines(context, client, assets, start, end)
            assert set(report.failed) <= {failing}
        except Killed:
            self.restart()
        finally:
            client.close()
        self.failing = None
        for key, close in self.closed().items():
            if key[0] != failing and start <= key[1].date() < end:
                self.bronze[key] = close

    @rule(cut=st.integers(0, 3))
    def load_a_part_and_die(self, cut: int) -> None:
        for info in pending_objects(self.lake, self.connection, KLINES)[:cut]:
            held = self.lake.read(info.key)
            assert held is not None
            loader.load(self.connection, KLINES, [loader.BronzeObject(info, held[1], held[0])], "part")
        self.restart()

    @rule()
    def load(self) -> None:
        chain = Chain(self.chain.postgres, self.lake, self.connection)
        chain.load(KLINES)
        assert self.raw() == self.bronze
        assert chain.load(KLINES) == loader.Loaded()

    @rule(calls=st.none() | st.integers(0, 20), after=st.booleans(), waits=st.booleans(), days=st.integers(2, 3))
    def compact(self, calls: int | None, after: bool, waits: bool, days: int) -> None:
        """The month is merged, by a process that may end at any call, and late rows go into the merged object."""
        lake = DyingLake(self.chain.lake.store, calls, after=after)
        wait = timedelta(hours=1) if waits else timedelta()
        try:
            compact(lake, self.connection, [KLINES], moment(MONTH_ENDS, 24 * days), "compaction", remove_after=wait)
        except Killed:
            self.restart()
        found = [held for info in current(self.lake.list("")) if (held := self.lake.read(info.key))]
        rows = [row for table, _ in found for row in table.select(["symbol", "open_time", "close"]).to_pylist()]
        assert len(rows) == len({(row["symbol"], row["open_time"]) for row in rows})
        assert {(row["symbol"], row["open_time"]): row["close"] for row in rows} == self.bronze

    @rule()
    def lose_the_ledger(self) -> None:
        """As after a restore of an older backup of ops: everything is loaded again, and nothing changes."""
        self.chain.ask("delete from ops.load_ledger")

    @precondition(lambda self: self.bronze)
    @rule()
    def lose_raw(self) -> None:
        """As `tickmart rebuild` does: raw comes back from bronze alone."""
        self.chain.ask("delete from raw.binance_klines")
        self.chain.ask("delete from ops.load_ledger")
        self.load()

    def raw(self) -> Bars:
        rows = self.chain.ask("select symbol, open_time, close from raw.binance_klines")
        return {(symbol, opened): close for symbol, opened, close in rows}

    @invariant()
    def raw_never_holds_what_was_not_fetched(self) -> None:
        if hasattr(self, "bronze"):
            assert self.raw().keys() <= self.bronze.keys()

    def teardown(self) -> None:
        if not hasattr(self, "bronze"):
            return
        self.late.clear()
        self.fetch((0, 3), None, False)
        self.load()
        assert self.raw() == self.closed()
        rows = dict(self.chain.ask("select object_key, rows from ops.load_ledger where merged_into is null"))
        assert sum(rows.values()) == len(self.raw())
        assert set(rows) == {o.key for o in current(self.lake.list("binance/"))}
        self.open.close()


def test_any_sequence_of_events_ends_as_the_exchange_has_it(chain_of_module: Chain) -> None:
    Histories.chain = chain_of_module
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
