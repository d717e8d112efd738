"""Bulk archives: the same rows as REST, damage never taken for data, and files that are published again."""

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from ingestion.simulator.server import Simulator
from ingestion.sources.binance.archive import DamagedArchive, day_path, month_path, parse_zip
from ingestion.sources.http import HttpClient
from support.market import Market
from support.pipeline import Chain

MONTHLY = "/archive/data/spot/monthly"
BAR = "1735689600000000,93576.00,94509.42,93489.03,94401.14,755.99,1735693199999999,71.5,98471,367.54,34.6,0\n"


@pytest.fixture
def market(chain: Chain, simulator: Simulator, client_of: Callable[..., HttpClient]) -> Market:
    return Market(chain, simulator, client_of)


def zipped(text: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("BTCUSDT-1h-2025-01.csv", text)
    return sink.getvalue()


def test_archives_and_rest_leave_the_same_rows_over_the_change_to_microseconds(market: Market) -> None:
    market.bring("2024-12-20", "2025-01-10", source="archive")
    assert market.ways() == {"archive": 21}
    from_files = market.rows()
    report = market.bring("2024-12-20", "2025-01-10", source="rest")
    assert len(from_files) == 21 * 24
    assert report.files == 0
    assert (market.loaded.inserted, market.loaded.updated) == (0, 0)
    assert market.rows() == from_files


def test_days_that_are_not_published_by_the_month_come_by_the_day_and_the_open_day_by_rest(market: Market) -> None:
    market.bring("2026-11-16", "2026-11-21", source="archive")
    assert market.ways() == {"archive": 4, "rest": 1}
    assert len(market.rows()) == 4 * 24 + 16


def test_a_month_without_a_file_is_read_by_the_day(market: Market) -> None:
    market.simulator.faults.set([{"kind": "status", "match": MONTHLY, "status": 404}])
    market.bring("2024-11-01", "2024-11-08", source="archive")
    assert market.ways() == {"archive": 7}


def test_without_any_file_rest_is_asked_and_few_files_are_looked_for(market: Market) -> None:
    market.simulator.faults.set(
        [{"kind": "status", "match": "/archive", "status": 403, "body": "<Error><Code>AccessDenied</Code></Error>"}]
    )
    market.bring("2024-11-01", "2024-12-01", source="archive")
    assert market.ways() == {"rest": 30}
    assert market.asked(".CHECKSUM") <= 4


def test_a_header_row_is_no_bar(market: Market) -> None:
    market.simulator.faults.set([{"kind": "header", "match": "/archive"}])
    report = market.bring("2024-11-01", "2024-12-01", source="archive")
    assert (len(market.rows()), report.rejected) == (720, 0)


def test_a_file_without_its_checksum_is_asked_for_again_then_left_to_rest_and_named(market: Market) -> None:
    market.simulator.faults.set([{"kind": "checksum", "match": "/archive"}])
    report = market.bring("2024-11-01", "2024-12-01", source="archive")
    assert market.asked("2024-11.zip") == 3
    assert market.ways() == {"rest": 30}
    assert any("BTCUSDT-1h-2024-11.zip does not match its SHA-256" in note for note in report.notes)
    assert len(market.rows()) == 720


@pytest.mark.parametrize("kind", ["cut", "truncate", "reset"])
def test_a_truncated_file_is_read_completely_on_retry(market: Market, kind: str) -> None:
    market.simulator.faults.set([{"kind": kind, "match": MONTHLY, "after": 1, "times": 1}])
    market.bring("2024-11-01", "2024-12-01", source="archive")
    assert market.ways() == {"archive": 30}
    assert len(market.rows()) == 720


def test_an_unchanged_file_is_not_downloaded_again(market: Market) -> None:
    market.bring("2024-11-01", "2025-01-01", source="archive")
    assert market.asked(".zip") == 2
    report = market.bring("2024-11-01", "2025-01-01", source="archive")
    assert market.asked(".zip") == 0
    assert any("2 unchanged" in note for note in report.notes)


def test_an_unchanged_file_is_downloaded_when_bronze_has_lost_a_day(market: Market) -> None:
    market.bring("2024-11-01", "2024-12-01", source="archive")
    market.chain.lake.remove("binance/klines/interval=1h/date=2024-11-10/bars.parquet")
    market.bring("2024-11-01", "2024-12-01", source="archive")
    assert market.asked(".zip") == 1
    assert len(market.chain.lake.list("binance/klines/")) == 30


def test_a_file_that_is_published_again_is_loaded_and_the_old_value_recorded(market: Market) -> None:
    market.bring("2024-11-01", "2025-01-01", source="archive")
    before = market.chain.ask("select url, sha256 from ops.archive_files order by url")
    market.simulator.faults.set(
        [
            {
                "kind": "correction",
                "match": "/archive",
                "symbol": "BTCUSDT",
                "open_time": "2024-11-05T07:00Z",
                "volume": 7,
            }
        ]
    )
    market.bring("2024-11-01", "2025-01-01", source="archive")
    assert market.asked(".zip") == 1
    assert (market.loaded.inserted, market.loaded.updated) == (0, 1)
    changed = "select volume::int from raw.binance_klines where open_time = '2024-11-05 07:00+00'"
    assert market.chain.one(changed) == 7
    assert market.chain.one("select count(*) from ops.restatements") == 1
    after = market.chain.ask("select url, sha256 from ops.archive_files order by url")
    assert [old[1] == new[1] for old, new in zip(before, after, strict=True)] == [False, True]


def test_an_unreachable_archive_is_reported_once_and_rest_is_used(market: Market) -> None:
    market.archive_url = "http://127.0.0.1:9"
    report = market.bring("2024-11-01", "2025-01-01", source="archive")
    assert market.ways() == {"rest": 61}
    assert len([note for note in report.notes if "127.0.0.1:9" in note]) == 1


def test_without_rest_the_archives_still_give_what_is_over(market: Market) -> None:
    market.rest_url = "http://127.0.0.1:9"
    report = market.bring("2024-11-01", "2024-12-01", source="archive")
    assert len(market.rows()) == 720
    assert "127.0.0.1:9" in report.failed["Binance REST"]


@pytest.mark.parametrize(("interval", "way"), [("1h", "rest"), ("15m", "archive")], ids=["one page", "three pages"])
def test_auto_reads_a_file_where_rest_needs_more_requests(market: Market, interval: str, way: str) -> None:
    market.bring("2024-11-01", "2024-12-01", source="auto", interval=interval)
    assert market.ways() == {way: 30}


def test_auto_reads_no_monthly_file_for_part_of_a_month(market: Market) -> None:
    market.bring("2024-11-02", "2024-12-01", source="auto", interval="15m")
    assert market.ways() == {"rest": 29}


def test_a_bad_line_costs_itself_alone() -> None:
    bad = BAR.replace("94401.14", "nan").replace("17356896", "17356932")
    page = parse_zip(zipped(BAR + bad), "BTCUSDT", "1h", "u", datetime.now(UTC))
    assert len(page.rows) == 1
    assert "'nan'" in page.rejected[0].reason


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04 not a zip", zipped("")[:40]], ids=["empty", "text", "cut"])
def test_what_is_no_zip_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedArchive):
        parse_zip(body, "BTCUSDT", "1h", "u", datetime.now(UTC))


def test_time_units_are_detected_by_magnitude_and_truncated_to_the_millisecond() -> None:
    old = BAR.replace("1735689600000000", "1735686000000").replace("1735693199999999", "1735689599999")
    rows = parse_zip(zipped(old + BAR), "BTCUSDT", "1h", "u", datetime.now(UTC)).rows
    assert rows["open_time"].to_pylist() == [datetime(2024, 12, 31, 23, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)]
    assert [t.microsecond for t in rows["close_time"].to_pylist()] == [999_000, 999_000]


def test_a_symbol_in_another_script_has_a_path_of_plain_letters() -> None:
    assert month_path("币USDT", "1h", date(2025, 11, 1)).isascii()
    assert day_path("BTCUSDT", "1h", date(2024, 11, 5)).endswith("/BTCUSDT/1h/BTCUSDT-1h-2024-11-05.zip")
