"""Readers of compacted bronze (SQL of the lake, checks, loads in pieces), also beside compactions that are killed."""

import multiprocessing
import random
import threading
from collections import Counter
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from ingestion.bronze import sorted_merge
from ingestion.bronze.compaction import compact
from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.datasets import keys_of_newest_days
from ingestion.raw import loader
from ingestion.settings import ObjectStore, Postgres
from ingestion.sources.binance.dataset import KLINES, klines_key
from orchestration.exports.lake_sql import lake_connection, run_query
from orchestration.quality import frames
from support.compaction import FEBRUARY, JANUARY, MONTH, SYMBOLS, keys, put_days, raw_rows, rows_in_bronze, run
from support.dying_lake import Killed
from support.pipeline import Chain


def test_a_query_of_the_lake_sees_each_row_once_on_its_own_day(chain: Chain) -> None:
    put_days(chain.lake, JANUARY, 31)
    put_days(chain.lake, FEBRUARY, 2)
    query = "select date, symbol, count(*), min(open_time) from binance_klines group by 1, 2 order by 1, 2"

    def answers() -> list[list[str | None]]:
        with lake_connection(chain.lake.store) as connection:
            one_day = "select count(*) from binance_klines where date = '2026-01-15' and interval = '1h'"
            assert list(run_query(connection, one_day)[2]) == [["72"]]
            return list(run_query(connection, query)[2])

    before = answers()
    assert len(before) == 33 * 3
    run(chain, wait=timedelta(hours=1))
    assert answers() == before
    run(chain)
    assert answers() == before


@pytest.mark.parametrize("large", [False, True])
def test_bronze_checks_find_the_rows_of_a_merged_object_on_their_own_days(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    put_days(chain.lake, JANUARY, 31)
    run(chain)
    if large:
        monkeypatch.setattr(frames, "LARGE_BYTES", 1000)
    found = pd.concat(frames.read_frames(chain.lake, chain.lake.list(""), KLINES, SYMBOLS))
    assert len(found) == 31 * 72
    assert found["on_object_day"].all()
    assert found["object_key"].nunique() == 31
    newest = keys_of_newest_days([MONTH, klines_key("1h", FEBRUARY + timedelta(days=10))], 31)
    assert MONTH in newest


def test_a_large_object_is_loaded_in_pieces_and_stays_pending_until_the_last(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_merge, "GROUP_LEAST", 100)
    monkeypatch.setattr(loader, "LARGE_BYTES", 1000)
    monkeypatch.setattr(loader, "LOAD_ROWS", 300)
    put_days(chain.lake, JANUARY, 10)
    run(chain)
    total = chain.load(KLINES)
    assert (total.objects, total.rows, total.inserted) == (1, 720, 720)
    before = raw_rows(chain)
    assert len(before) == 720
    assert chain.load(KLINES) == loader.Loaded()
    chain.ask("delete from raw.binance_klines where symbol = 'SOLUSDT'; delete from ops.load_ledger")
    [info] = chain.lake.list("")
    body = chain.lake.get(info.key)
    assert body is not None
    cut = iter(range(1))

    def piece_fails(*arguments: Any) -> Any:
        if next(cut, None) is None:
            raise Killed
        return write_rows(*arguments)

    write_rows = loader.write_rows
    monkeypatch.setattr(loader, "write_rows", piece_fails)
    with pytest.raises(Killed):
        chain.load(KLINES)
    monkeypatch.setattr(loader, "write_rows", write_rows)
    assert [o.key for o in loader.pending_objects(chain.lake, chain.connection, KLINES)] == [MONTH]
    chain.load(KLINES)
    assert [row[:-1] for row in raw_rows(chain)] == [row[:-1] for row in before]


# -- readers beside compactions and kills ------------------------------------------------------------------------------

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["orchestration.assets.raw"])
# A pass of the reader takes some 0.3 s.
WAIT_S = 3


def compact_once(store: dict[str, Any], postgres: dict[str, Any]) -> None:
    """What `tickmart compact` does, in a process of its own."""
    with connections.closing(connections.connect(Postgres(**postgres), "ingest")) as connection:
        wait = timedelta(seconds=WAIT_S)
        compact(Lake(ObjectStore(**store)), connection, [KLINES], datetime.now(UTC), "process", remove_after=wait)


class Reader(threading.Thread):
    """Reads the whole lake again and again, and keeps what it saw that it should not have seen."""

    def __init__(self, store: ObjectStore, expected: Counter[tuple[str, datetime]]) -> None:
        super().__init__(daemon=True)
        self.lake, self.expected = Lake(store), expected
        self.passes, self.wrong = 0, list[str]()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                found = rows_in_bronze(self.lake)
            except AssertionError as missing:
                self.wrong.append(f"vanished: {missing}")
                continue
            if found != self.expected:
                self.wrong.append(f"{(found - self.expected).total()} more, {(self.expected - found).total()} lost")
            self.passes += 1


def read_beside_kills(chain: Chain, kills: int, seed: int, months: int) -> None:
    chance, killed, compactions = random.Random(seed), 0, 0
    while killed < kills:
        for info in chain.lake.list(""):
            chain.lake.remove(info.key)
        chain.clear_records()
        for month in range(1, months + 1):
            put_days(chain.lake, date(2025, month, 1), 8, symbols=("BTCUSDT",))
        chain.load(KLINES)
        before = raw_rows(chain)
        reader = Reader(chain.lake.store, rows_in_bronze(chain.lake))
        reader.start()
        while len(keys(chain)) > months:
            process = PROCESSES.Process(target=compact_once, args=(asdict(chain.lake.store), asdict(chain.postgres)))
            process.start()
            process.join(timeout=chance.uniform(0.05, 1.0) if chance.random() < 0.8 else None)
            compactions += 1
            if process.exitcode is None:
                process.kill()
                process.join()
                killed += 1
            else:
                assert process.exitcode == 0
            if chance.random() < 0.3:
                chain.load(KLINES)
        reader.ended.set()
        reader.join()
        assert reader.wrong == []
        assert reader.passes > 0
        chain.load(KLINES)
        assert raw_rows(chain) == before
    assert compactions >= kills


@pytest.mark.parametrize(
    ("kills", "seed", "months"),
    [(2, 1, 2), pytest.param(25, 2, 6, marks=pytest.mark.slow), pytest.param(100, 3, 6, marks=pytest.mark.kills)],
)
@pytest.mark.timeout(1800)
def test_a_reader_beside_compactions_and_kills_sees_each_row_once(
    chain: Chain, kills: int, seed: int, months: int
) -> None:
    read_beside_kills(chain, kills, seed, months)
