"""From bronze to raw: each record once, corrections with their old value, all of a load or nothing of it."""

import contextlib
import hashlib
import io
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

from ingestion.bronze.lake import Lake, to_parquet
from ingestion.database import connections, migrate
from ingestion.raw import loader
from ingestion.raw.loader import load_pending
from ingestion.settings import Postgres
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import parse_klines
from orchestration.local.client import local_services
from support.pipeline import Chain
from support.source_rows import bar, body_of

DAY = date(2026, 1, 2)
FETCHED = datetime(2026, 1, 3, tzinfo=UTC)


def put(
    lake: Lake, day: date, hours: Sequence[int] = range(24), *, symbols: Sequence[str] = ("BTCUSDT",),
    fetched_at: datetime = FETCHED, **fields: Any,
) -> str:  # fmt: skip
    """Merge bars into their day's object and return its key."""
    for symbol in symbols:
        body = body_of(bar(day, hour, **fields) for hour in hours)
        rows = parse_klines(body, symbol, "1h", "http://exchange/api/v3/klines", fetched_at).rows
        with_batch = rows.append_column("batch_id", [[f"fetch-{fetched_at:%H%M}"] * len(rows)])
        lake.merge(KLINES, klines_key("1h", day), with_batch.combine_chunks())
    return klines_key("1h", day)


def damage(lake: Lake, key: str, body: bytes) -> None:
    lake._client.put_object(lake.store.bucket, key, io.BytesIO(body), len(body))


def stored(chain: Chain) -> list[tuple[Any, ...]]:
    return chain.ask("select symbol, open_time, close, volume from raw.binance_klines order by 1, 2")


def books_agree(chain: Chain) -> None:
    """Every loaded object's rows stand in raw, and nothing else does."""
    loaded = dict(chain.ask("select right(left(object_key, -13), 10)::date, rows from ops.load_ledger"))
    found = dict(chain.ask("select (open_time at time zone 'UTC')::date, count(*) from raw.binance_klines group by 1"))
    assert found == loaded


def test_loading_twice_changes_nothing_not_even_the_size_on_disk(postgres: Postgres, lake: Lake) -> None:
    with connections.closing(connections.connect(postgres, "ingest")) as connection:
        chain = Chain(postgres, lake, connection)
        for n in range(10):
            put(lake, DAY + timedelta(days=n), symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"))
        assert chain.load(KLINES).inserted == 720
        sizes = (
            "select sum(pg_total_relation_size(relid)), pg_total_relation_size('ops.restatements') "
            "from pg_partition_tree('raw.binance_klines')"
        )
        before, rows = chain.ask(sizes), chain.ask("select * from raw.binance_klines order by symbol, open_time")
        assert chain.load(KLINES) == loader.Loaded()
        for _ in range(3):  # as after a ledger that was lost: every object is loaded again
            chain.ask("delete from ops.load_ledger")
            again = chain.load(KLINES)
            assert (again.objects, again.inserted, again.updated, again.unchanged) == (10, 0, 0, 720)
        assert chain.ask("select * from raw.binance_klines order by symbol, open_time") == rows
        assert chain.ask(sizes) == before


def test_late_rows_join_those_that_are_there(chain: Chain) -> None:
    put(chain.lake, DAY, range(5, 24))
    chain.load(KLINES)
    stamps = dict(chain.ask("select open_time, loaded_at from raw.binance_klines"))
    put(chain.lake, DAY, range(5))
    loaded = chain.load(KLINES)
    assert (loaded.inserted, loaded.updated, loaded.unchanged) == (5, 0, 19)
    assert [row[1].hour for row in stored(chain)] == list(range(24))
    # What stood there keeps its watermark, what is new has a later one.
    now = dict(chain.ask("select open_time, loaded_at from raw.binance_klines"))
    assert {at: now[at] for at in stamps} == stamps
    assert min(now[at] for at in now.keys() - stamps.keys()) > max(stamps.values())
    books_agree(chain)


def test_a_correction_is_loaded_and_its_old_value_recorded(chain: Chain) -> None:
    put(chain.lake, DAY)
    chain.load(KLINES)
    put(chain.lake, DAY, [7], close="99.5", fetched_at=FETCHED + timedelta(hours=1))
    loaded = chain.load(KLINES)
    assert (loaded.inserted, loaded.updated, loaded.unchanged) == (0, 1, 23)
    assert stored(chain)[7][2] == Decimal("99.5")
    [(dataset, key, old, new)] = chain.ask("select dataset, record_key, old_record, new_record from ops.restatements")
    assert dataset == KLINES.name
    assert key == {"symbol": "BTCUSDT", "interval": "1h", "open_time": "2026-01-02T07:00:00+00:00"}
    assert (Decimal(str(old["close"])), Decimal(str(new["close"]))) == (Decimal("101.5"), Decimal("99.5"))
    chain.ask("delete from ops.load_ledger")
    chain.load(KLINES)
    assert chain.one("select count(*) from ops.restatements") == 1
    books_agree(chain)


def test_a_number_written_with_other_zeros_is_no_correction(chain: Chain) -> None:
    put(chain.lake, DAY, close="101.50000000")
    chain.load(KLINES)
    put(chain.lake, DAY, [3], close="101.5", fetched_at=FETCHED + timedelta(hours=1))
    put(chain.lake, DAY, [4], close="101.500000000000", fetched_at=FETCHED + timedelta(hours=1))
    assert chain.load(KLINES).updated == 0
    assert chain.one("select count(*) from ops.restatements") == 0


def test_one_record_in_two_objects_ends_as_the_newest_fetch_in_any_order(chain: Chain) -> None:
    """The same bar in two objects: as when an archive and REST both brought it under different keys."""
    orders = []
    for order in ((0, 1), (1, 0)):
        chain.clear_records()
        objects = []
        for at in order:
            fetched_at = FETCHED + timedelta(hours=at)
            body = body_of([bar(DAY, 0, close=f"10{at}")])
            rows = parse_klines(body, "BTCUSDT", "1h", "http://x", fetched_at).rows
            table = rows.append_column("batch_id", [["b"]]).combine_chunks()
            key = f"binance/klines/interval=1h/date={DAY}/{at}.parquet"
            chain.lake.write(key, table)
            info = next(o for o in chain.lake.list("") if o.key == key)
            objects.append(loader.BronzeObject(info, str(at), table))
        loaded = loader.load(chain.connection, KLINES, objects, "both")
        assert (loaded.rows, loaded.inserted) == (2, 1)
        orders.append(stored(chain))
    assert orders[0] == orders[1]
    assert orders[0][0][2] == Decimal(101)


def test_the_ledger_matches_the_rows_in_raw(chain: Chain) -> None:
    keys = [put(chain.lake, DAY + timedelta(days=n), range(n + 1)) for n in range(5)]
    chain.load(KLINES)
    listed = {o.key: o.etag for o in chain.lake.list("")}
    rows = chain.ask(
        "select object_key, etag, rows, inserted, updated, unchanged, length(sha256), batch_id from ops.load_ledger "
        "order by 1"
    )
    assert rows == [(k, listed[k], n + 1, n + 1, 0, 0, 64, "batch-1") for n, k in enumerate(keys)]
    books_agree(chain)


@pytest.mark.parametrize("how", ["cut tail", "flipped byte", "empty", "another file"])
def test_a_damaged_object_is_named_and_nothing_else_stops(chain: Chain, how: str) -> None:
    keys = [put(chain.lake, DAY + timedelta(days=n)) for n in range(3)]
    whole = chain.lake.get(keys[1]) or b""
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    damaged = {"cut tail": whole[:-20], "flipped byte": bytes(flipped), "empty": b"", "another file": b"x" * 500}
    damage(chain.lake, keys[1], damaged[how])
    loaded, damaged = chain.load_with_damage(KLINES)
    assert (loaded.objects, loaded.inserted) == (2, 48)
    assert [text.split(":")[0] for text in damaged] == [keys[1]]
    assert chain.load_with_damage(KLINES)[1] == damaged
    put(chain.lake, DAY + timedelta(days=1))
    assert chain.load(KLINES).inserted == 24
    books_agree(chain)


def test_a_damaged_object_leaves_what_raw_had_of_it(chain: Chain) -> None:
    key = put(chain.lake, DAY)
    chain.load(KLINES)
    before = stored(chain)
    damage(chain.lake, key, b"damaged")
    loaded, damaged = chain.load_with_damage(KLINES)
    assert loaded == loader.Loaded()
    assert len(damaged) == 1
    assert stored(chain) == before


def test_concurrent_loaders_load_every_row_once(chain: Chain) -> None:
    for n in range(20):
        put(chain.lake, DAY + timedelta(days=n))
    results: list[tuple[loader.Loaded, list[str]]] = []

    def load() -> None:
        with connections.closing(connections.connect(chain.postgres, "ingest")) as connection:
            results.append(load_pending(chain.lake, connection, KLINES, "at-once"))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(loaded.inserted for loaded, _ in results) == 480
    assert sum(loaded.updated for loaded, _ in results) == 0
    assert chain.one("select count(*) from ops.restatements") == 0
    books_agree(chain)


def test_a_reader_sees_all_of_a_load_or_nothing(chain: Chain) -> None:
    put(chain.lake, DAY, symbols=[f"A{n}USDT" for n in range(20)])
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        with connections.closing(connections.connect(chain.postgres, "transform")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while not done.is_set():
                    cursor.execute("select count(*) from raw.binance_klines")
                    seen.add(cursor.fetchone()[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    while not seen:
        time.sleep(0.001)
    chain.load(KLINES)
    while 480 not in seen and watcher.is_alive():
        time.sleep(0.001)
    done.set()
    watcher.join()
    assert seen == {0, 480}


# -- a server that dies ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server of its own, whose backends may be killed, with a bootstrapped database."""
    home = tmp_path_factory.mktemp("mortal") / "home"
    with local_services(home, postgres=True, s3=False) as found:
        owner = Postgres(
            found["PGHOST"], int(found["PGPORT"]), found["PGDATABASE"], found["PGUSER"], found["PGPASSWORD"]
        )
        migrate.bootstrap(owner)
        yield owner


def patiently(postgres: Postgres, work: Callable[[connections.Connection], Any]) -> Any:
    """Do some work on a server that may still be about to fall, or recovering."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with connections.closing(connections.connect(postgres, "ingest")) as connection:
                return work(connection)
        except (connections.WarehouseError, psycopg2.Error):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_server_killed_while_loading_has_only_complete_loads(mortal: Postgres, lake: Lake) -> None:
    """SIGKILL to the backend that loads makes the whole server recover, as `pg_ctl stop -m immediate` does."""
    days, symbols = 24, [f"A{n:02}USDT" for n in range(40)]
    for n in range(days):
        body = body_of(bar(DAY + timedelta(days=n), hour) for hour in range(24))
        rows = pa.concat_tables([parse_klines(body, s, "1h", "http://x", FETCHED).rows for s in symbols])
        lake.write(klines_key("1h", DAY + timedelta(days=n)), rows.append_column("batch_id", [["b"] * len(rows)]))
    found = [(info, lake.read(info.key)) for info in lake.list("")]
    objects = [loader.BronzeObject(info, held[1], held[0]) for info, held in found if held]

    def load(connection: connections.Connection) -> None:
        with contextlib.suppress(psycopg2.Error):
            for at in range(0, days, 4):
                loader.load(connection, KLINES, objects[at : at + 4], "killed")

    def look(connection: connections.Connection, empty_first: bool = False) -> tuple[int, int, int]:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "select (select count(*) from raw.binance_klines), coalesce(sum(rows), 0), count(*) "
                "from ops.load_ledger"
            )
            seen = cursor.fetchone()
            assert seen is not None
            if empty_first:
                cursor.execute("delete from raw.binance_klines")
                cursor.execute("delete from ops.load_ledger")
        return seen

    chance, cut_short = random.Random(3), 0
    for empty_first in (True, False) * 2:
        connection = patiently(mortal, lambda _: connections.connect(mortal, "ingest"))
        thread = threading.Thread(target=load, args=(connection,))
        thread.start()
        time.sleep(chance.uniform(0, 0.25))
        if thread.is_alive():
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            cut_short += 1
        thread.join()
        connection.close()
        count, recorded, whole = patiently(mortal, partial(look, empty_first=empty_first))
        assert count == recorded
        assert whole % 4 == 0
    assert cut_short >= 2
    patiently(mortal, lambda connection: loader.load(connection, KLINES, objects, "whole"))
    assert patiently(mortal, look) == (days * len(symbols) * 24,) * 2 + (days,)


def test_without_a_server_one_line_names_it_and_the_fix() -> None:
    nowhere = Postgres("127.0.0.1", 1, "tickmart", "me", "canary-secret")
    with pytest.raises(connections.WarehouseError, match=r"127\.0\.0\.1:1/tickmart .*PGHOST") as caught:
        connections.connect(nowhere)
    assert "\n" not in str(caught.value)
    assert "canary-secret" not in str(caught.value)


def test_the_objects_that_load_are_the_ones_that_were_written(chain: Chain) -> None:
    """The ledger's digest is of the object's bytes, so that anybody can compare it with the store's."""
    key = put(chain.lake, DAY)
    chain.load(KLINES)
    body = chain.lake.get(key) or b""
    held = chain.lake.read(key)
    assert held is not None
    assert to_parquet(held[0]) == body
    assert chain.one("select sha256 from ops.load_ledger") == hashlib.sha256(body).hexdigest()
