"""The lake's contract, on two real S3 servers: what is written is whole, what is damaged is named, nothing is lost."""

import gc
import io
import random
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import urllib3
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from ingestion.bronze.lake import DamagedObject, Lake, LakeError, parse_parquet, to_parquet
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import parse_klines
from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key
from support.s3_servers import Rclone, S3Server, Swift, keeps_extended_attributes
from support.source_rows import bar, body_of

DAY = date(2026, 1, 2)
FETCHED = datetime(2026, 1, 3, tzinfo=UTC)


@pytest.fixture(scope="module", params=["rclone", pytest.param("swift", marks=pytest.mark.s3_strict)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "swift" and not (sys.platform == "linux" and keeps_extended_attributes(folder)):
        pytest.skip("Swift needs Linux and a file system with extended attributes")
    made: S3Server = Rclone(folder) if request.param == "rclone" else Swift(folder)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def own_lake(server: S3Server) -> Lake:
    made = Lake(server.store())
    made.ensure_bucket()
    return made


def raw_client(lake: Lake) -> Minio:
    """A client that does what the lake never would, such as damaging an object."""
    store = lake.store
    return Minio(store.endpoint, store.access_key, store.secret_key, secure=False, region="us-east-1")


def overwrite(lake: Lake, key: str, body: bytes) -> None:
    raw_client(lake).put_object(lake.store.bucket, key, io.BytesIO(body), len(body))


def bars(hours: range, *, close: str = "101.5", fetched_at: datetime = FETCHED, symbol: str = "BTCUSDT") -> pa.Table:
    body = body_of(bar(DAY, hour, close=close) for hour in hours)
    rows = parse_klines(body, symbol, "1h", "http://exchange/api/v3/klines", fetched_at).rows
    return rows.append_column("batch_id", pa.repeat("batch-1", len(rows))).combine_chunks()


KEY = klines_key("1h", DAY)


def test_a_table_comes_back_equal(own_lake: Lake) -> None:
    table = bars(range(24))
    size = own_lake.write(KEY, table)
    found = own_lake.read(KEY)
    assert found is not None
    assert found[0].equals(table)
    assert found[0].schema.equals(table.schema, check_metadata=True)
    assert [(o.key, o.size) for o in own_lake.list("binance/")] == [(KEY, size)]


def test_what_is_not_there_is_none(own_lake: Lake) -> None:
    assert own_lake.get("binance/none.parquet") is None
    assert own_lake.read("binance/none.parquet") is None
    assert own_lake.list("binance/") == []
    own_lake.remove("binance/none.parquet")


def test_creating_the_bucket_twice_leaves_its_objects(own_lake: Lake) -> None:
    own_lake.write(KEY, bars(range(2)))
    own_lake.ensure_bucket()
    assert len(own_lake.list("")) == 1


def test_an_etag_changes_with_the_content_alone(own_lake: Lake) -> None:
    own_lake.write(KEY, bars(range(2)))
    first = own_lake.list("")[0].etag
    own_lake.write(KEY, bars(range(2)))
    assert own_lake.list("")[0].etag == first
    own_lake.write(KEY, bars(range(3)))
    assert own_lake.list("")[0].etag != first


def test_merging_the_same_rows_writes_nothing(own_lake: Lake) -> None:
    assert own_lake.merge(KLINES, KEY, bars(range(24))).outcome == "created"
    etag = own_lake.list("")[0].etag
    later = own_lake.merge(KLINES, KEY, bars(range(24), fetched_at=FETCHED + timedelta(hours=1)))
    assert (later.outcome, later.rows, later.bytes) == ("unchanged", 24, 0)
    assert own_lake.list("")[0].etag == etag


def test_a_merge_includes_rows_that_only_the_old_object_has(own_lake: Lake) -> None:
    own_lake.merge(KLINES, KEY, bars(range(10)))
    own_lake.merge(KLINES, KEY, bars(range(5, 7), symbol="ETHUSDT"))
    found = own_lake.read(KEY)
    assert found is not None
    held = found[0].select(["symbol", "open_time"]).to_pylist()
    assert [(r["symbol"], r["open_time"].hour) for r in held] == [
        *(("BTCUSDT", h) for h in range(10)), ("ETHUSDT", 5), ("ETHUSDT", 6),
    ]  # fmt: skip


def test_a_corrected_value_replaces_the_old_and_an_equal_one_changes_no_provenance(own_lake: Lake) -> None:
    own_lake.merge(KLINES, KEY, bars(range(2)))
    later = FETCHED + timedelta(hours=1)
    new = pa.concat_tables([bars(range(1), fetched_at=later), bars(range(1, 2), close="100.5", fetched_at=later)])
    assert own_lake.merge(KLINES, KEY, new).outcome == "replaced"
    found = own_lake.read(KEY)
    assert found is not None
    assert found[0]["close"].to_pylist()[1] == 100.5
    assert found[0]["fetched_at"].to_pylist() == [FETCHED, later]


def test_a_union_of_different_scales_is_exact(own_lake: Lake) -> None:
    own_lake.merge(KLINES, KEY, bars(range(1)))
    own_lake.merge(KLINES, KEY, bars(range(1, 2), close="100.000000000000001"))
    found = own_lake.read(KEY)
    assert found is not None
    assert [format(v.normalize(), "f") for v in found[0]["close"].to_pylist()] == ["101.5", "100.000000000000001"]


@pytest.mark.parametrize("damage", ["cut tail", "cut to nothing", "one bit", "another file"])
def test_a_damaged_object_is_named_and_a_merge_repairs_it(own_lake: Lake, damage: str) -> None:
    own_lake.write(KEY, bars(range(24)))
    body = own_lake.get(KEY) or b""
    prices = pq.ParquetFile(io.BytesIO(body)).metadata.row_group(0).column(KLINES.schema.get_field_index("open"))
    flipped = bytearray(body)
    flipped[prices.data_page_offset + prices.total_compressed_size - 1] ^= 1
    damaged = {"cut tail": body[:-7], "cut to nothing": b"", "one bit": bytes(flipped), "another file": b"<html>" * 99}
    overwrite(own_lake, KEY, damaged[damage])
    with pytest.raises(DamagedObject, match=KEY) as raised:
        own_lake.read(KEY)
    assert "\n" not in str(raised.value)
    assert own_lake.merge(KLINES, KEY, bars(range(24))).outcome == "repaired"
    found = own_lake.read(KEY)
    assert found is not None
    assert len(found[0]) == 24


@pytest.mark.parametrize("at", ["access_key", "secret_key"])
def test_a_wrong_key_is_one_error_line(own_lake: Lake, at: str) -> None:
    wrong = replace(own_lake.store, **{at: "wrong-canary"})
    for action in (
        lambda lake: lake.ensure_bucket(), lambda lake: lake.list("binance/"), lambda lake: lake.get(KEY),
        lambda lake: lake.write(KEY, bars(range(1))), lambda lake: lake.remove(KEY),
    ):  # fmt: skip
        with pytest.raises(LakeError) as raised:
            action(Lake(wrong))
        text = str(raised.value)
        assert "\n" not in text
        assert own_lake.store.endpoint in text
        assert "MINIO_" in text
        assert own_lake.store.secret_key not in text
        assert at != "secret_key" or "canary" not in text
    assert own_lake.list("") == []


def test_an_unreachable_store_is_one_error_line(server: S3Server) -> None:
    nowhere = replace(server.store(), endpoint="127.0.0.1:1")
    with pytest.raises(LakeError, match=r"127\.0\.0\.1:1/lake-.* cannot be reached .*MINIO_ENDPOINT") as raised:
        Lake(nowhere, attempts=1).ensure_bucket()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        "date=2026-01-02/a b.parquet",
        "x=1/ä+ö&ü%25.parquet",
        "币安人生USDT.parquet",
        "..x/...parquet",
        "1000SATSUSDT'\".x",
    ],
)
def test_an_odd_key_is_a_key_like_any_other(own_lake: Lake, name: str) -> None:
    key = f"binance/{name}"
    own_lake.write(key, bars(range(3)))
    assert [o.key for o in own_lake.list("binance/")] == [key]
    found = own_lake.read(key)
    assert found is not None
    assert len(found[0]) == 3
    own_lake.remove(key)
    assert own_lake.list("binance/") == []


def test_a_listing_of_several_pages_is_complete_and_in_order(server: S3Server, own_lake: Lake) -> None:
    # A page of S3 holds 1,000 keys; Swift takes 20 ms for each.
    objects = 2000 if server.name == "rclone" else 1100
    days = [date(2020, 1, 1) + timedelta(days=n) for n in range(objects)]
    keys = [fear_greed_key(day) for day in days]
    client, body = raw_client(own_lake), b"PAR1"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: client.put_object(own_lake.store.bucket, k, io.BytesIO(body), len(body)),
                      random.Random(1).sample(keys, len(keys))))  # fmt: skip
    assert [o.key for o in own_lake.list(f"{FEAR_GREED.prefix}/")] == keys


def test_a_killed_s3_server_loses_no_acknowledged_object(server: S3Server, own_lake: Lake) -> None:
    tables = {klines_key("1h", DAY + timedelta(days=n)): bars(range(n + 1)) for n in range(20)}
    for key, table in tables.items():
        own_lake.write(key, table)
    server.kill()
    server.start()
    again = Lake(own_lake.store)
    assert [o.key for o in again.list("")] == sorted(tables)
    for key, table in tables.items():
        found = again.read(key)
        assert found is not None
        assert found[0].equals(table)


def test_a_writer_that_is_killed_leaves_the_old_object_or_the_new(own_lake: Lake, tmp_path: Path) -> None:
    old, new = bars(range(24)), bars(range(24), close="100.5")
    writer = """
import sys
from ingestion.bronze.lake import Lake, parse_parquet
from ingestion.settings import ObjectStore
lake = Lake(ObjectStore(*sys.argv[1:5]))
tables = [parse_parquet(open(path, "rb").read(), path) for path in sys.argv[6:]]
print("ready", flush=True)
while True:
    for table in tables:
        lake.write(sys.argv[5], table)
"""
    store = own_lake.store
    files = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    for path, table in zip(files, (old, new), strict=True):
        path.write_bytes(to_parquet(table))
    chance = random.Random(7)
    for _ in range(3):
        own_lake.write(KEY, old)
        process = subprocess.Popen(
            [sys.executable, "-c", writer, store.endpoint, store.access_key, store.secret_key, store.bucket, KEY]
            + [str(file) for file in files],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(timeout=chance.uniform(0.02, 0.3))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        found = own_lake.read(KEY)
        assert found is not None
        assert found[0].equals(old) or found[0].equals(new)
        assert [o.key for o in own_lake.list("")] == [KEY]


# rclone keeps no versions and does not look at Content-MD5.
ONLY_STRICT = pytest.mark.parametrize(
    "server", [pytest.param("swift", marks=pytest.mark.s3_strict)], indirect=True, scope="module"
)


@ONLY_STRICT
def test_versioning_retains_the_object_that_a_merge_replaces(own_lake: Lake) -> None:
    client = raw_client(own_lake)
    client.set_bucket_versioning(own_lake.store.bucket, VersioningConfig(ENABLED))
    own_lake.merge(KLINES, KEY, bars(range(10)))
    own_lake.merge(KLINES, KEY, bars(range(24)))
    versions = list(client.list_objects(own_lake.store.bucket, recursive=True, include_version=True))
    bodies = [client.get_object(own_lake.store.bucket, KEY, version_id=v.version_id).read() for v in versions]
    assert sorted(len(parse_parquet(body, KEY)) for body in bodies) == [10, 24]
    assert [o.key for o in own_lake.list("")] == [KEY]


@ONLY_STRICT
def test_an_upload_damaged_in_transit_is_rejected_by_its_checksum(own_lake: Lake) -> None:
    client = raw_client(own_lake)
    address = client.get_presigned_url("PUT", own_lake.store.bucket, KEY)
    answer = urllib3.request("PUT", address, body=b"damaged", headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    assert answer.status == 400
    assert own_lake.get(KEY) is None


# -- the format alone --------------------------------------------------------------------------------------------------


def every_damage(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 3):
        damaged = bytearray(body)
        damaged[at] ^= 1 << (at % 8)
        yield bytes(damaged)
    yield from (body[:at] for at in range(0, len(body), 11))


def test_no_flipped_bit_and_no_cut_is_ever_read_as_other_rows() -> None:
    table, rejected = bars(range(24)), 0
    for body in every_damage(to_parquet(table)):
        try:
            found = parse_parquet(body, "a-key")
        except DamagedObject as damage:
            rejected += str(damage).startswith("a-key: ") and "\n" not in str(damage)
            continue
        assert found.equals(table)
        assert found.schema.equals(table.schema)
    assert rejected > 1500


def test_parquet_by_other_writers_is_read(tmp_path: Path) -> None:
    pq.write_table(bars(range(2)), tmp_path / "file")
    assert parse_parquet((tmp_path / "file").read_bytes(), "a-key").equals(bars(range(2)))


def test_a_missing_object_leaves_nothing_of_its_caller_to_the_garbage_collector(own_lake: Lake) -> None:
    class Held:
        pass

    def read() -> "weakref.ref[Held]":
        held = Held()
        assert own_lake.get("binance/klines/interval=1h/date=1999-01-01/bars.parquet") is None
        return weakref.ref(held)

    read()  # what the first request sets up
    gc.collect()
    gc.disable()
    try:
        assert read()() is None
    finally:
        gc.enable()
