"""Whatever the order of days, loads and publications: raw is what the last versions of the days have, each row once."""

import os
import signal
import threading
import time
from datetime import date, timedelta
from pathlib import Path

import psycopg2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingestion.database import connections
from ingestion.simulator.bitcoin import SimulatedDay, block_hash, make_day, write_daily
from ingestion.sources.bitcoin import load
from support.bitcoin import DAY, Bitcoin, changed, joined, with_blocks
from support.examples import named_examples
from support.pipeline import Chain

DAYS = [DAY + timedelta(days=n) for n in range(3)]
BLOCKS = 3


def version(place: int, kind: str) -> SimulatedDay:
    """A day in one of its versions: plain, built on a fork, with a stale tip, with the next day's first block."""
    day, first = DAYS[place], 850_000 + BLOCKS * place
    plain = make_day(day, first=first, blocks=BLOCKS, per_block=2)
    if kind == "short":
        return make_day(day, first=first, blocks=BLOCKS - 1, per_block=2)
    if kind == "stale tip":
        tip = make_day(day, first=first + BLOCKS, blocks=1, per_block=2, fork="x")
        tip = with_blocks(tip, lambda t: changed(t, 0, previousblockhash=block_hash(first + BLOCKS - 1)))
        return joined(day, plain, tip)
    if kind == "early" and place + 1 < len(DAYS):
        return joined(day, plain, make_day(DAYS[place + 1], first=first + BLOCKS, blocks=1, per_block=2))
    return plain


steps = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["plain", "short", "stale tip", "early"]), st.booleans()),
    min_size=1, max_size=6,
)  # fmt: skip


def state(bitcoin: Bitcoin) -> tuple[object, ...]:
    return bitcoin.rows(), bitcoin.blocks()


@named_examples
@given(steps, st.permutations([0, 1, 2]))
@example(
    [(0, "stale tip", True), (1, "plain", False), (2, "early", True), (0, "early", True), (1, "short", False)],
    [2, 0, 1],
)
@example([(2, "short", False), (1, "stale tip", True), (2, "plain", True), (0, "plain", True)], [1, 2, 0])
@example(
    [(1, "early", True), (2, "stale tip", True), (1, "short", True), (1, "plain", True), (2, "short", True)], [0, 1, 2]
)
@example([(0, "plain", False)], [0, 1, 2])
def test_any_history_of_loads_ends_where_one_load_of_the_last_versions_does(
    chain_of_module: Chain, tmp_path_factory: pytest.TempPathFactory, history, order: list[int]
) -> None:
    chain = chain_of_module
    chain.clear_records()
    remove_objects(chain)
    bitcoin = Bitcoin(chain, tmp_path_factory.mktemp("bucket"))
    last: dict[int, str] = {}
    for place, kind, loads in history:
        last[place] = kind
        bitcoin.remove(DAYS[place])
        bitcoin.publish(write_daily(bitcoin.root, version(place, kind)))
        bitcoin.fetch(DAYS[place])
        if loads:
            bitcoin.load()
    bitcoin.load()
    bitcoin.consistent()
    reached = state(bitcoin)
    # Twice is once.
    bitcoin.take(*DAYS)
    assert state(bitcoin) == reached
    # From nothing, each day once, in another order.
    chain.clear_records()
    remove_objects(chain)
    for place in order:
        if place in last:
            bitcoin.take(DAYS[place])
    assert state(bitcoin) == reached


def remove_objects(chain: Chain) -> None:
    for info in chain.lake.list("bitcoin/"):
        chain.lake.remove(info.key)


def test_a_rebuild_from_bronze_gives_the_same_rows(bitcoin: Bitcoin) -> None:
    for place, kind in enumerate(("stale tip", "early", "plain")):
        write_daily(bitcoin.root, version(place, kind))
    bitcoin.take(*DAYS)
    reached = state(bitcoin)
    bitcoin.chain.ask("truncate raw.bitcoin_transactions; delete from ops.load_ledger")
    bitcoin.load()
    assert state(bitcoin) == reached


@pytest.mark.parametrize("moment", ["_delete_rows", "_replace_blocks", "_copy", "write_ledger", "mark_loaded"])
def test_a_load_that_is_killed_leaves_the_old_day_or_the_new_one(
    bitcoin: Bitcoin, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    write_daily(bitcoin.root, version(0, "stale tip"))
    bitcoin.take(DAY)
    old = state(bitcoin)
    bitcoin.remove(DAY)
    bitcoin.publish(write_daily(bitcoin.root, version(0, "short")))
    bitcoin.fetch(DAY)
    real = getattr(load, moment)

    def killed(cursor, *arguments):
        found = real(cursor, *arguments)
        bitcoin.chain.ask("select pg_terminate_backend(%s)", [cursor.connection.get_backend_pid()])
        cursor.execute("select 1")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(load, moment, killed)
        with pytest.raises(psycopg2.Error):
            bitcoin.load()
    assert state(bitcoin) == old
    with connections.closing(connections.connect(bitcoin.chain.postgres, "ingest")) as connection:
        bitcoin.chain.connection = connection
        bitcoin.load()
        assert len(bitcoin.rows()) == 4
        bitcoin.consistent()


def test_a_process_that_is_killed_while_it_fetches_and_loads_changes_nothing_by_half(
    bitcoin: Bitcoin, tmp_path: Path
) -> None:
    """SIGKILL at moments spread over a run of several days; then one more run completes it."""
    days = [DAY + timedelta(days=n) for n in range(6)]
    for n, day in enumerate(days):
        write_daily(bitcoin.root, make_day(day, first=850_000 + 20 * n, blocks=20, per_block=40))
    for wait in (0.05, 0.15, 0.3):
        child = os.fork()
        if child == 0:
            run_and_exit(bitcoin, days)
        threading.Event().wait(wait)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        settle(bitcoin)
        bitcoin.consistent()
        counts = bitcoin.chain.ask("select distinct count(*) from raw.bitcoin_blocks group by source_day")
        assert counts in ([], [(20,)])
    assert bitcoin.take(*days).failed == {}
    assert len(bitcoin.rows()) == 6 * 800
    bitcoin.consistent()


def run_and_exit(bitcoin: Bitcoin, days: list[date]) -> None:
    try:
        with connections.closing(connections.connect(bitcoin.chain.postgres, "ingest")) as connection:
            bitcoin.chain.connection = connection
            for day in days:
                bitcoin.take(day)
    finally:
        os._exit(0)


def settle(bitcoin: Bitcoin) -> None:
    """Wait until the server has noticed that its client is gone."""
    for _ in range(100):
        busy = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        if bitcoin.chain.one(busy + " and state <> 'idle'") == 0:
            return
        time.sleep(0.05)
