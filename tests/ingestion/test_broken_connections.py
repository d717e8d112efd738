"""A faulty connection to the store or the database: acknowledged data is there once, or one clear error is reported."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import urllib3

from ingestion.bronze.lake import Lake, LakeError, to_parquet
from ingestion.database import connections
from ingestion.raw.loader import load_pending
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import parse_klines
from support.pipeline import Chain
from support.source_rows import bar, body_of, moment
from support.tcp_proxy import TcpProxy, Toxics, tcp_proxy

DAY = date(2026, 1, 2)
KEY = klines_key("1h", DAY)
QUICK = urllib3.Timeout(connect=1, read=0.5)


def bars(hours: int = 24, symbols: int = 1) -> pa.Table:
    body = body_of(bar(DAY, hour) for hour in range(hours))
    pages = [parse_klines(body, f"A{n:03}USDT", "1h", "http://x", moment(DAY, 30)).rows for n in range(symbols)]
    rows = pa.concat_tables(pages)
    return rows.append_column("batch_id", [["b"] * len(rows)]).combine_chunks()


@pytest.fixture
def wire_to_store(lake: Lake) -> Iterator[TcpProxy]:
    host, _, port = lake.store.endpoint.partition(":")
    with tcp_proxy(host, int(port)) as proxy:
        yield proxy


@pytest.fixture
def far_lake(lake: Lake, wire_to_store: TcpProxy) -> Lake:
    """The same bucket, seen through the proxy."""
    return Lake(replace(lake.store, endpoint=f"127.0.0.1:{wire_to_store.port}"), attempts=4, timeout=QUICK)


PASSING = [
    Toxics(reset_on_connect=True, times=2),
    Toxics(cut_after_sent=100, times=2),
    Toxics(cut_after_sent=2000, times=2),
    Toxics(cut_after_received=1, times=2),
    Toxics(cut_after_received=60, times=2),
    Toxics(silence_after_sent=300, times=1),
    Toxics(latency_s=0.02),
]


@pytest.mark.parametrize("toxics", PASSING, ids=str)
def test_a_put_retried_after_a_fault_writes_one_complete_object(
    lake: Lake, far_lake: Lake, wire_to_store: TcpProxy, toxics: Toxics
) -> None:
    """Among them the answer to a PUT that is lost on its way back: it is repeated, and is still one object."""
    wire_to_store.toxics = replace(toxics)
    far_lake.write(KEY, bars())
    assert wire_to_store.broken > 0
    assert [o.key for o in lake.list("")] == [KEY]
    held = lake.read(KEY)
    assert held is not None
    assert held[0].equals(bars())


@pytest.mark.parametrize("toxics", [*PASSING, Toxics(cut_after_received=3000, times=3)], ids=str)
def test_a_get_retried_after_a_fault_is_complete(
    lake: Lake, far_lake: Lake, wire_to_store: TcpProxy, toxics: Toxics
) -> None:
    lake.write(KEY, bars())
    wire_to_store.toxics = replace(toxics)
    held = far_lake.read(KEY)
    assert wire_to_store.broken > 0
    assert held is not None
    assert held[0].equals(bars())
    assert [o.key for o in far_lake.list("")] == [KEY]


class SlowStore(ThreadingHTTPServer):
    """Stands before the real store, and says SlowDown to the first `refusals` requests."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        self.endpoint, self.refusals, self.refused = endpoint, 0, 0
        super().__init__(("127.0.0.1", 0), _SlowDown)


class _SlowDown(BaseHTTPRequestHandler):
    server: SlowStore
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.refused < self.server.refusals:
            self.server.refused += 1
            return self._send(
                503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            )
        far = HTTPConnection(self.server.endpoint)
        far.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            far.putheader(name, value)
        far.endheaders(body)
        answer = far.getresponse()
        self._send(answer.status, answer.read(), dict(answer.headers))
        far.close()
        return None

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        kept = {k: v for k, v in (headers or {"Content-Type": "application/xml"}).items() if k.lower() not in _OWN}
        length = str(len(body)) if self.command != "HEAD" else (headers or {}).get("Content-Length", "0")
        for name, value in {**kept, "Content-Length": length}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = _answer


_OWN = {"content-length", "transfer-encoding", "connection", "date", "server"}


@pytest.fixture
def slow_store(lake: Lake) -> Iterator[SlowStore]:
    server = SlowStore(lake.store.endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_store_that_says_slow_down_is_retried_and_then_named(lake: Lake, slow_store: SlowStore) -> None:
    store = replace(lake.store, endpoint=f"127.0.0.1:{slow_store.server_address[1]}")
    slow = Lake(store, attempts=3)
    for act in (
        lambda: slow.write(KEY, bars(5)), lambda: slow.read(KEY), lambda: slow.list("binance/"),
        lambda: slow.merge(KLINES, KEY, bars(24)), slow.ensure_bucket,
    ):  # fmt: skip
        slow_store.refusals, slow_store.refused = 2, 0
        act()
        assert slow_store.refused == 2
    held = lake.read(KEY)
    assert held is not None
    assert held[0].equals(bars(24))
    slow_store.refusals, slow_store.refused = 10**6, 0
    with pytest.raises(LakeError, match="SlowDown") as caught:
        slow.write(KEY, bars(7))
    assert slow_store.refused == 4
    assert "\n" not in str(caught.value)
    assert store.endpoint in str(caught.value)
    assert store.secret_key not in str(caught.value)
    held = lake.read(KEY)
    assert held is not None
    assert held[0].equals(bars(24))


def test_a_bucket_that_is_gone_is_named_in_one_line_and_made_by_the_next_start(lake: Lake) -> None:
    gone = Lake(replace(lake.store, bucket=f"{lake.store.bucket}-gone"))
    for act in (lambda: gone.list("binance/"), lambda: gone.read(KEY), lambda: gone.merge(KLINES, KEY, bars())):
        with pytest.raises(LakeError, match=f"{gone.store.bucket}, .*no such bucket .NoSuchBucket") as caught:
            act()
        assert "\n" not in str(caught.value)
        assert "MINIO_BUCKET" in str(caught.value)
    gone.ensure_bucket()
    assert gone.merge(KLINES, KEY, bars()).outcome == "created"


@pytest.mark.parametrize(
    "toxics",
    [Toxics(reset_on_connect=True), Toxics(cut_after_sent=2000), Toxics(silence_after_sent=10)],
    ids=["resets", "cuts", "silence"],
)
def test_a_store_that_stays_out_of_reach_is_named_in_one_line_and_the_old_object_stays(
    lake: Lake, wire_to_store: TcpProxy, toxics: Toxics
) -> None:
    lake.write(KEY, bars(5))
    wire_to_store.toxics = toxics
    store = replace(lake.store, endpoint=f"127.0.0.1:{wire_to_store.port}")
    with pytest.raises(LakeError) as caught:
        Lake(store, attempts=1, timeout=QUICK).write(KEY, bars(24))
    text = str(caught.value)
    assert "\n" not in text
    assert store.endpoint in text
    assert KEY in text
    assert store.secret_key not in text
    held = lake.read(KEY)
    assert held is not None
    assert len(held[0]) == 5


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.4, 0.7, 0.95, 0.999])
def test_an_upload_cut_at_any_byte_leaves_the_old_object(lake: Lake, wire_to_store: TcpProxy, fraction: float) -> None:
    lake.write(KEY, bars(5))
    new = bars(24, symbols=30)
    wire_to_store.toxics = Toxics(cut_after_sent=int(fraction * len(to_parquet(new))))
    store = replace(lake.store, endpoint=f"127.0.0.1:{wire_to_store.port}")
    with pytest.raises(LakeError):
        Lake(store, attempts=0, timeout=QUICK).write(KEY, new)
    assert [o.key for o in lake.list("")] == [KEY]
    held = lake.read(KEY)
    assert held is not None
    assert held[0].equals(bars(5))


# -- the database ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [500, 3_000, 20_000, 60_000, 120_000, 250_000])
def test_a_load_cut_at_any_byte_leaves_all_or_nothing_and_completes_later(chain: Chain, cut: int) -> None:
    for n in range(4):
        table = bars(24, symbols=30)
        shifted = table.set_column(2, "open_time", _later(table["open_time"], n))
        chain.lake.write(klines_key("1h", DAY + timedelta(days=n)), shifted)
    with tcp_proxy(chain.postgres.host, chain.postgres.port) as proxy:
        proxy.toxics = Toxics(cut_after_sent=cut)
        far = replace(chain.postgres, port=proxy.port)
        try:
            with connections.closing(connections.connect(far, "ingest")) as connection:
                load_pending(chain.lake, connection, KLINES, "cut")
            survived = True
        except (psycopg2.Error, connections.WarehouseError):
            survived = False
    rows, recorded = chain.ask(
        "select (select count(*) from raw.binance_klines), (select coalesce(sum(rows), 0) from ops.load_ledger)"
    )[0]
    assert rows == recorded
    assert rows in (0, 4 * 720)
    assert rows or not survived
    chain.load(KLINES)
    assert chain.one("select count(*) from raw.binance_klines") == 4 * 720


def _later(column: pa.ChunkedArray, days: int) -> pa.ChunkedArray:
    return pc.add(column, pa.scalar(timedelta(days=days)))


def test_a_database_that_resets_is_named_in_one_line(chain: Chain) -> None:
    with tcp_proxy(chain.postgres.host, chain.postgres.port) as proxy:
        proxy.toxics = Toxics(reset_on_connect=True)
        with pytest.raises(
            connections.WarehouseError, match=f"127.0.0.1:{proxy.port}.*closed the connection"
        ) as caught:
            connections.connect(replace(chain.postgres, port=proxy.port), "ingest")
    assert "\n" not in str(caught.value)
    assert chain.postgres.password not in str(caught.value)


def test_a_slow_database_only_takes_longer(chain: Chain) -> None:
    chain.lake.write(KEY, bars(24, symbols=3))
    with tcp_proxy(chain.postgres.host, chain.postgres.port) as proxy:
        proxy.toxics = Toxics(latency_s=0.01)
        far = replace(chain.postgres, port=proxy.port)
        with connections.closing(connections.connect(far, "ingest")) as connection:
            loaded, damaged = load_pending(chain.lake, connection, KLINES, "slow")
    assert (loaded.inserted, damaged) == (72, [])
