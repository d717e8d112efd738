"""Gaps in series of candles: explained, requested again, or reported; symbols that begin and end."""

import io
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from ingestion.simulator.server import Simulator
from ingestion.simulator.server import simulator as running_simulator
from ingestion.sources.binance import gaps
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.gap_classification import classify
from ingestion.sources.binance.symbols import tracked_now
from ingestion.sources.http import HttpClient
from support.market import Market, asset
from support.pipeline import Chain
from support.recorded_market import ASSETS, recorded_server

TWO = (asset("BTCUSDT"), asset("ETHUSDT"))
NO_FILES = {"kind": "status", "match": "/archive", "status": 404}


@pytest.fixture
def market(chain: Chain, simulator: Simulator, client_of: Callable[..., HttpClient]) -> Market:
    return Market(chain, simulator, client_of, TWO)


def gap(start: str, end: str, symbol: str | None = None, match: str = "/") -> list[dict[str, str]]:
    return [{"kind": "gap", "match": match, "from": start, "to": end, **({"symbol": symbol} if symbol else {})}]


def test_a_complete_series_has_no_gaps(market: Market) -> None:
    market.bring("2024-05-01", "2024-05-04")
    assert market.gaps() == []


@pytest.mark.parametrize("source", ["rest", "archive", "auto"])
def test_what_every_symbol_lacks_by_rest_and_archive_is_a_halt(market: Market, source: str) -> None:
    market.simulator.faults.set(gap("2024-05-02T05:00Z", "2024-05-02T08:00Z"))
    market.bring("2024-05-01", "2024-05-04", source=source)
    assert market.gaps() == [
        ("BTCUSDT", "2024-05-02 05:00", 3, "exchange_halt"),
        ("ETHUSDT", "2024-05-02 05:00", 3, "exchange_halt"),
    ]


@pytest.mark.parametrize(("source", "lacking"), [("rest", "/binance"), ("archive", "/archive")])
def test_what_one_way_lacks_is_loaded_from_the_other(market: Market, source: str, lacking: str) -> None:
    market.simulator.faults.set(gap("2024-05-02T05:00Z", "2024-05-03T08:00Z", match=lacking))
    market.bring("2024-05-01", "2024-05-04", source=source)
    assert market.gaps() == []
    assert len(market.rows()) == 2 * 72


def test_what_one_way_lacks_is_no_halt_while_the_other_cannot_answer(market: Market) -> None:
    market.simulator.faults.set([*gap("2024-05-02T05:00Z", "2024-05-02T08:00Z"), NO_FILES])
    report = market.bring("2024-05-01", "2024-05-04")
    assert any("2024-05-02" in note for note in report.notes)
    assert {kind for *_, kind in market.gaps()} == {"missing_locally"}
    market.bring("2024-05-01", "2024-05-04")
    assert {kind for *_, kind in market.gaps()} == {"missing_locally"}
    market.simulator.faults.set(gap("2024-05-02T05:00Z", "2024-05-02T08:00Z"))
    market.later("2 hours")
    market.bring("2024-06-01", "2024-06-02")
    assert {kind for *_, kind in market.gaps()} == {"exchange_halt"}


def test_what_all_symbols_lack_for_longer_than_any_halt_is_a_loss(market: Market) -> None:
    market.simulator.faults.set(gap("2024-05-02T05:00Z", "2024-05-04T06:00Z"))
    market.bring("2024-05-01", "2024-05-06")
    assert {(bars, kind) for _, _, bars, kind in market.gaps()} == {(49, "missing_locally")}
    market.simulator.faults.clear()
    market.bring("2024-06-01", "2024-06-02")
    assert market.gaps() == []


def test_a_confirmed_halt_is_requested_again_daily_for_a_week_and_then_settled(market: Market) -> None:
    market.simulator.faults.set(gap("2024-05-02T05:00Z", "2024-05-02T08:00Z"))
    market.bring("2024-05-01", "2024-05-04")
    asked = []
    for age in ("0 hours", "25 hours", "25 hours", "8 days"):
        market.later(age)
        market.bring("2024-06-01", "2024-06-02")
        asked.append(market.asked("/klines") - 2)
    assert asked == [0, 2, 2, 0]
    assert {kind for *_, kind in market.gaps()} == {"exchange_halt"}


def test_a_halt_that_the_exchange_fills_later_disappears(market: Market) -> None:
    market.simulator.faults.set(gap("2024-05-02T05:00Z", "2024-05-02T08:00Z"))
    market.bring("2024-05-01", "2024-05-04")
    market.simulator.faults.clear()
    market.later("25 hours")
    market.bring("2024-06-01", "2024-06-02")
    assert market.gaps() == []


def test_what_two_ways_lack_of_one_symbol_alone_is_its_own_halt(market: Market) -> None:
    market.simulator.faults.set(gap("2024-05-02T05:00Z", "2024-05-05T08:00Z", "ETHUSDT"))
    market.bring("2024-05-01", "2024-05-07")
    assert market.gaps() == [("ETHUSDT", "2024-05-02 05:00", 75, "symbol_halt")]


@pytest.mark.parametrize(("end", "kind"), [("02T08:00Z", "symbol_halt"), ("05T08:00Z", "missing_locally")])
def test_a_lone_symbol_cannot_prove_a_halt_of_the_exchange(market: Market, end: str, kind: str) -> None:
    market.assets = TWO[:1]
    market.simulator.faults.set(gap("2024-05-02T05:00Z", f"2024-05-{end}"))
    market.bring("2024-05-01", "2024-05-07")
    assert [kind for *_, kind in market.gaps()] == [kind]


def test_bars_that_bronze_has_lost_are_no_halt(market: Market) -> None:
    market.bring("2024-05-01", "2024-05-04")
    market.bring("2024-05-01", "2024-05-04", source="archive")
    market.chain.ask("delete from raw.binance_klines where open_time >= '2024-05-02' and open_time < '2024-05-03'")
    classify(market.chain.connection, "1h", [(date(2024, 5, 1), date(2024, 5, 4))], TWO)
    assert {(bars, kind) for _, _, bars, kind in market.gaps()} == {(24, "missing_locally")}


def test_a_gap_over_midnight_is_one_gap_whichever_day_comes_last(market: Market) -> None:
    market.simulator.faults.set([*gap("2024-05-02T22:00Z", "2024-05-03T02:00Z", "ETHUSDT"), NO_FILES])
    market.bring("2024-05-02", "2024-05-03")
    market.bring("2024-05-03", "2024-05-04")
    assert market.gaps() == [("ETHUSDT", "2024-05-02 22:00", 4, "missing_locally")]


def test_a_gap_that_the_next_run_fills_disappears(market: Market) -> None:
    market.simulator.faults.set([*gap("2024-05-02T05:00Z", "2024-05-02T08:00Z", "ETHUSDT"), NO_FILES])
    market.bring("2024-05-01", "2024-05-04")
    market.simulator.faults.clear()
    market.bring("2024-06-01", "2024-06-02")
    assert market.gaps() == []
    assert market.chain.one("select count(*) from raw.binance_klines where open_time < '2024-06-01'") == 2 * 72


def test_a_gap_that_stays_is_requested_with_growing_distance_and_named(market: Market) -> None:
    market.simulator.faults.set([*gap("2024-05-02T05:00Z", "2024-05-02T08:00Z", "ETHUSDT"), NO_FILES])
    market.bring("2024-05-01", "2024-05-04")
    assert gaps.unexplained(market.chain.connection) == []
    asked = []
    for passed in ("0 hours", "0 hours", "61 minutes", "61 minutes", "61 minutes"):
        market.later(passed)
        market.bring("2024-06-01", "2024-06-02")
        asked.append(market.asked("/klines") - 2)
    # At once, after an hour, and then as long after that request as the gap has been known.
    assert asked == [1, 0, 1, 0, 1]
    assert gaps.unexplained(market.chain.connection) == [("ETHUSDT", "1h", "2024-05-02 05:00", 3)]


def test_the_next_run_requests_a_day_whose_object_was_damaged_once(market: Market) -> None:
    market.bring("2024-05-01", "2024-05-04")
    lake, key = market.chain.lake, klines_key("1h", date(2024, 5, 2))
    whole = lake.read(key)
    lake._client.put_object(lake.store.bucket, key, io.BytesIO(b"PAR1 damaged"), 12)
    loaded, [message] = market.chain.load_with_damage(KLINES)
    assert loaded.objects == 0
    assert message.startswith(f"{key}: ")
    assert "next run" in message
    report = market.bring("2024-06-01", "2024-06-02")
    # Two symbols of the run's own day, and the lost day of both.
    assert market.asked("/klines") == 4
    assert [(w.key, w.outcome) for w in report.written if w.outcome == "repaired"] == [(key, "repaired")]
    assert any("2 symbol-days whose answer was lost" in note for note in report.notes)
    rewritten = lake.read(key)
    assert whole is not None
    assert rewritten is not None
    assert rewritten[0].select(KLINES.schema.names[:12]).equals(whole[0].select(KLINES.schema.names[:12]))
    market.bring("2024-06-01", "2024-06-02")
    assert market.asked("/klines") == 2


def test_days_that_were_never_requested_are_not_gaps(market: Market) -> None:
    market.bring("2024-05-01", "2024-05-02")
    market.bring("2024-05-05", "2024-05-06")
    classify(market.chain.connection, "1h", [(date(2024, 5, 1), date(2024, 5, 6))], TWO)
    assert market.gaps() == []


def test_the_bar_in_progress_and_later_ones_are_not_gaps(market: Market) -> None:
    market.bring("2026-11-20", "2026-11-21")
    assert market.gaps() == []
    assert len(market.rows()) == 2 * 16


def test_intervals_have_separate_gaps(market: Market) -> None:
    market.bring("2024-05-01", "2024-05-02")
    market.simulator.faults.set(gap("2024-05-01T05:00Z", "2024-05-01T06:00Z", "ETHUSDT"))
    market.bring("2024-05-01", "2024-05-02", interval="15m")
    assert market.chain.ask("select interval, bars, kind from ops.gaps") == [("15m", 4, "symbol_halt")]


def test_nothing_is_asked_for_before_a_listing(market: Market) -> None:
    market.assets = (*TWO, asset("TONUSDT"))
    market.bring("2024-07-30", "2024-08-11")
    assert market.gaps() == [("TONUSDT", "2024-07-30 00:00", 9 * 24 + 4, "not_listed")]
    assert market.chain.one("select count(*) from ops.coverage where source = 'not_listed'") == 9
    listed = "select listed_at::date::text from ops.symbol_status where symbol = 'TONUSDT'"
    assert market.chain.one(listed) == "2024-08-08"
    first = market.asked("/klines")
    market.bring("2024-07-30", "2024-08-08")
    # Three symbols, of which the third had not begun; its listing was probed once and for all.
    assert (first, market.asked("/klines")) == (6, 2)


@pytest.fixture
def universe_of(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: str) -> Path:
        path = tmp_path / f"universe-{len(list(tmp_path.iterdir()))}.csv"
        header = "crypto_id,binance_symbol,name,category,valid_from,valid_to"
        path.write_text("\n".join([header, "bitcoin,BTCUSDT,Bitcoin,x,,", "ethereum,ETHUSDT,Ethereum,x,,", *rows]))
        return path

    return write


def test_a_delisted_symbol_has_a_gap_from_its_last_bar(market: Market, universe_of: Callable[..., Path]) -> None:
    with running_simulator(now="2026-11-20T16:37:12Z", universe=universe_of("old,OLDUSDT,Old,x,,2024-05-03")) as server:
        market.rest_url, market.assets = server.binance_url, (*TWO, asset("OLDUSDT"))
        market.bring("2024-05-01", "2024-05-06")
    assert market.gaps() == [("OLDUSDT", "2024-05-03 00:00", 72, "delisted")]


def test_a_symbol_that_disappears_is_marked_and_costs_nothing_more(
    market: Market, universe_of: Callable[..., Path]
) -> None:
    options = {"now": "2026-11-20T16:37:12Z", "seed": 3}
    market.assets = (*TWO, asset("OLDUSDT"))
    with running_simulator(universe=universe_of("old,OLDUSDT,Old,x,2024-01-01,"), **options) as server:
        market.rest_url = server.binance_url
        assert market.bring("2024-05-01", "2024-05-02").failed == {}
    with running_simulator(universe=universe_of(), **options) as server:
        market.rest_url = server.binance_url
        report = market.bring("2024-05-02", "2024-05-03")
    assert market.asked("/klines") == 2
    assert report.failed == {}
    assert any("OLDUSDT is no longer listed" in note for note in report.notes)
    assert market.chain.one("select status from ops.symbol_status where symbol = 'OLDUSDT'") == "DELISTED"
    assert market.chain.one("select last_bar_at::text from ops.symbol_status where symbol = 'OLDUSDT'")[:13] == (
        "2024-05-01 23"
    )


def test_a_symbol_that_was_never_seen_is_unknown_and_fails_alone(market: Market) -> None:
    market.assets = (*TWO, asset("NOSUCHUSDT"))
    report = market.bring("2024-05-01", "2024-05-02")
    assert list(report.failed) == ["NOSUCHUSDT"]
    assert len(market.rows()) == 48
    assert market.chain.one("select status from ops.symbol_status where symbol = 'NOSUCHUSDT'") == "UNKNOWN"


def test_a_renamed_coin_has_two_series_that_do_not_overlap(market: Market, universe_of: Callable[..., Path]) -> None:
    renamed = ("pol,MATICUSDT,Polygon,x,,2025-05-03", "pol,POLUSDT,Polygon,x,2025-05-03,")
    with running_simulator(now="2026-11-20T16:37:12Z", universe=universe_of(*renamed)) as server:
        market.rest_url = server.binance_url
        market.assets = (
            asset("BTCUSDT"),
            asset("MATICUSDT", valid_to=date(2025, 5, 3)),
            asset("POLUSDT", valid_from=date(2025, 5, 3)),
        )
        market.bring("2025-05-01", "2025-05-06")
    spans = market.chain.ask(
        "select symbol, min(open_time)::date::text, max(open_time)::date::text from raw.binance_klines "
        "where symbol <> 'BTCUSDT' group by symbol order by symbol"
    )
    assert spans == [("MATICUSDT", "2025-05-01", "2025-05-02"), ("POLUSDT", "2025-05-03", "2025-05-05")]
    assert market.gaps() == [("POLUSDT", "2025-05-03 00:00", 4, "not_listed")]
    assert tracked_now(market.assets, date(2026, 11, 20)) == ["BTCUSDT", "POLUSDT"]


@pytest.mark.parametrize("source", ["rest", "archive"])
def test_the_recorded_halt_comes_out_as_a_halt(market: Market, source: str) -> None:
    market.assets = ASSETS
    symbols = sorted(a.binance_symbol for a in ASSETS)
    with recorded_server() as server:
        market.rest_url, market.archive_url = f"{server.url}/binance", f"{server.url}/archive"
        market.bring("2023-03-20", "2023-03-27", source=source)
    assert market.gaps() == [(s, "2023-03-24 13:00", 1, "exchange_halt") for s in symbols]
    assert market.loaded.inserted == len(symbols) * (7 * 24 - 1)
    assert market.chain.one("select count(*) from ops.load_ledger where dataset = %s", (KLINES.name,)) == 7
