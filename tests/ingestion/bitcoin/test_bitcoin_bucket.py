"""The bucket: folders, S3 servers, and one line for what can be wrong with either."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestion.settings import SettingsError, load_settings
from ingestion.simulator.bitcoin import make_day, write_daily
from ingestion.simulator.bucket import BLOCKS, PER_BLOCK
from ingestion.simulator.server import Simulator, simulator
from ingestion.sources.bitcoin.bucket import Bucket
from ingestion.sources.conventions import SourceError
from support.bitcoin import DAY, Bitcoin, day_after
from support.http_client import Server
from support.s3_servers import Rclone
from support.scripted_server import Asked, Reply

SLOW_DOWN = Reply(503, b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>",
                  {"Content-Type": "application/xml"})  # fmt: skip


def error(code: str, status: int) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>said by the server</Message></Error>"
    return Reply(status, body.encode(), {"Content-Type": "application/xml"})


@pytest.fixture
def public_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An S3 server that anybody may read: its address, and the folder behind its bucket ``public``."""
    server = Rclone(tmp_path_factory.mktemp("s3"), key="")
    server.start()
    root = server.folder / "data" / "public" / "v1.0" / "btc"
    root.mkdir(parents=True)
    yield f"http://{server.store().endpoint}/public/v1.0/btc", root
    server.kill()


def test_an_s3_endpoint_of_that_layout_is_read_as_a_folder_is(bitcoin: Bitcoin, public_s3: tuple[str, Path]) -> None:
    bitcoin.url, bitcoin.root = public_s3
    write_daily(bitcoin.root, make_day(DAY, blocks=6), parts=2)
    result = bitcoin.take(DAY, day_after(DAY))
    assert (result.rows, result.error, list(result.failed)) == (24, None, [day_after(DAY).isoformat()])
    urls = bitcoin.chain.lake.read("bitcoin/transactions/date=2024-06-01/transactions.parquet")[0]["source_url"]
    assert urls[0].as_py() == f"{bitcoin.url}/transactions/date=2024-06-01/part-00000-sim.snappy.parquet"
    assert bitcoin.take(DAY).skipped_days == 1
    assert Bucket(bitcoin.url).span == ("2024-06-01", "2024-06-01")


def test_a_bucket_that_may_not_be_listed_is_one_error(bitcoin: Bitcoin, stack_env: dict[str, str]) -> None:
    bitcoin.url = f"http://{stack_env['MINIO_ENDPOINT']}/{bitcoin.chain.lake.store.bucket}"
    result = bitcoin.fetch(DAY, day_after(DAY))
    assert result.error
    assert "BITCOIN_TRANSACTIONS_URL" in result.error
    assert "\n" not in result.error
    assert bitcoin.status() == {}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (error("AccessDenied", 403), "anonymous"),
        (error("NoSuchBucket", 404), "no such bucket"),
        (error("PermanentRedirect", 301), "region"),
        (SLOW_DOWN, "overloaded"),
        (Reply(wire="reset"), "cannot be reached"),
    ],
)
def test_an_error_of_the_bucket_is_one_line_with_cause_and_fix(
    bitcoin: Bitcoin, serve: Server, reply: Reply, says: str
) -> None:
    bitcoin.url = f"{serve(reply).url}/public/v1.0/btc"
    result = bitcoin.fetch(DAY, day_after(DAY), attempts=2)
    assert result.error
    assert says in result.error
    assert bitcoin.url in result.error
    assert "\n" not in result.error


def test_an_unreachable_bucket_is_one_error(bitcoin: Bitcoin) -> None:
    bitcoin.url = "http://127.0.0.1:9/public/v1.0/btc"
    assert "cannot be reached" in (bitcoin.fetch(DAY, attempts=1).error or "")


def test_503_slow_down_is_retried(bitcoin: Bitcoin, serve: Server) -> None:
    days = b"<CommonPrefixes><Prefix>v1.0/btc/blocks/date=2024-05-31/</Prefix></CommonPrefixes><KeyCount>1</KeyCount>"
    listing = b"<ListBucketResult>%s<IsTruncated>false</IsTruncated></ListBucketResult>"
    replies: list[Asked] = []

    def answer(asked: Asked) -> Reply:
        replies.append(asked)
        found = days if asked.query["prefix"] == "v1.0/btc/blocks/" else b"<KeyCount>0</KeyCount>"
        return SLOW_DOWN if len(replies) == 1 else Reply(200, listing % found, {"Content-Type": "application/xml"})

    bitcoin.url = f"{serve(by=answer).url}/public/v1.0/btc"
    result = bitcoin.fetch(DAY)
    assert result.error is None
    assert list(result.failed) == [DAY.isoformat()]
    assert len(replies) > 2


def test_a_folder_without_days_fails_the_probe(tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    with pytest.raises(SourceError, match="BITCOIN_TRANSACTIONS_URL"):
        _ = Bucket(f"file://{tmp_path}").span


@pytest.mark.parametrize(
    "url",
    [
        "s3://aws-public-blockchain/v1.0/btc", "s3://mirror", "s3://mirror/btc?region=eu-central-1",
        "https://minio.example.org/btc/v1.0", "http://127.0.0.1:9000/btc", "file:///data/btc",
    ],
)  # fmt: skip
def test_addresses_of_buckets_and_folders_are_settings(url: str) -> None:
    assert load_settings({"BITCOIN_TRANSACTIONS_URL": url}).bitcoin_transactions_url == url


@pytest.mark.parametrize(
    "url",
    ["aws-public-blockchain", "s3:///btc", "https://host", "file://", "ftp://host/btc", "s3://me:secret@bucket/btc",
     "s3://bucket/btc?versions=1", "http://host:port/btc", "file://host/btc"],
)  # fmt: skip
def test_another_address_is_an_error_that_names_the_variable(url: str) -> None:
    with pytest.raises(SettingsError, match="BITCOIN_TRANSACTIONS_URL") as no:
        load_settings({"BITCOIN_TRANSACTIONS_URL": url})
    assert "secret" not in str(no.value)


def test_transactions_are_off_by_default() -> None:
    assert load_settings({}).bitcoin_transactions is False
    assert load_settings({"TICKMART_BITCOIN_TRANSACTIONS": "true"}).bitcoin_transactions is True


@pytest.fixture
def simulated(bitcoin: Bitcoin) -> Iterator[Simulator]:
    with simulator(now="2024-06-02T12:00:00Z") as server:
        bitcoin.url = server.urls()["BITCOIN_TRANSACTIONS_URL"]
        yield server


def test_the_simulated_bucket_has_daily_files_of_past_days_and_single_blocks_of_today(
    bitcoin: Bitcoin, simulated: Simulator
) -> None:
    result = bitcoin.take(DAY, day_after(DAY))
    assert (result.error, list(result.failed)) == (None, [])
    assert result.rows % PER_BLOCK == 0
    assert result.rows > BLOCKS * PER_BLOCK
    assert {str(day): status for day, status in bitcoin.status().items()} == {
        "2024-06-01": "final", "2024-06-02": "provisional",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "failed"),
    [
        ({"kind": "missing_day"}, True),
        ({"kind": "truncate", "match": ".parquet"}, True),
        ({"kind": "duplicate"}, False),
        ({"kind": "status", "status": 503, "times": 1}, False),
    ],
    ids=["missing day", "truncated file", "daily files beside single blocks", "overloaded once"],
)
def test_a_fault_of_one_day_in_the_simulated_bucket_names_it_and_leaves_the_others(
    bitcoin: Bitcoin, simulated: Simulator, rule: dict[str, Any], failed: bool
) -> None:
    simulated.faults.set([{"contains": f"date={DAY}", **rule}])
    result = bitcoin.take(DAY, day_after(DAY, -1))
    assert list(result.failed) == [DAY.isoformat()] * failed
    assert result.rows == BLOCKS * PER_BLOCK * (1 if failed else 2)


def test_a_day_that_the_simulated_bucket_publishes_again_replaces_its_blocks(
    bitcoin: Bitcoin, simulated: Simulator
) -> None:
    bitcoin.take(DAY)
    before = {row[0] for row in bitcoin.rows()}
    simulated.faults.set([{"kind": "republished", "contains": f"date={DAY}"}])
    bitcoin.take(DAY)
    after = {row[0] for row in bitcoin.rows()}
    assert len(before) == len(after) == BLOCKS
    assert not before & after


def test_a_simulated_bucket_without_permission_is_one_error(bitcoin: Bitcoin, simulated: Simulator) -> None:
    simulated.faults.set([{"kind": "status", "status": 403, "match": "aws-public-blockchain"}])
    result = bitcoin.fetch(DAY, attempts=1)
    assert result.error
    assert "anonymous" in result.error
