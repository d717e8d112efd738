"""What one answer lacks is no fact: failures prove nothing, short answers are completed or requested again."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pytest

from ingestion.sources.binance import gaps
from ingestion.sources.binance.gap_classification import LONGEST_HALT
from ingestion.sources.binance.gaps import RECHECK_FOR, RETRY_MOST, Gap, is_due
from ingestion.sources.http import HttpClient, SourceError
from support.market import Market, asset
from support.pipeline import Chain
from support.scripted_server import Reply, scripted
from support.small_exchange import SmallExchange
from support.source_rows import moment, ms

TWO = ("BTCUSDT", "ETHUSDT")
BAN = Reply(418, {"code": -1003, "msg": "Way too many requests; IP banned until 1717300000000."})
SLOW_DOWN = Reply(429, {"code": -1003, "msg": "Too many requests."}, {"Retry-After": "900"})


@pytest.fixture
def exchange() -> SmallExchange:
    return SmallExchange(*TWO)


@pytest.fixture
def market(chain: Chain, exchange: SmallExchange, client_of: Callable[..., HttpClient]) -> Iterator[Market]:
    with scripted(exchange) as server:
        made = Market(chain, None, client_of, tuple(asset(symbol) for symbol in TWO))  # type: ignore[arg-type]
        made.rest_url = made.archive_url = server.url
        yield made


def no_bars(first: str, end: str, *ways: str) -> Callable[..., bool]:
    """Leave out the hours of the days [first, end) of March 2024, by the ways named or by all."""
    low, high = moment(date.fromisoformat(first)), moment(date.fromisoformat(end))
    return lambda way, symbol, opened: not (low <= opened < high and way in (ways or ("rest", "monthly", "daily")))


def gap(market: Market) -> tuple[str, bool]:
    """The kinds of gaps, and whether they count as requested again."""
    [found] = market.chain.ask("select distinct kind, asked_again_at is not null from ops.gaps")
    return found


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [BAN, SLOW_DOWN, Reply(503)], ids=["ban", "429", "503"])
def test_a_failed_request_is_no_answer_about_a_gap_and_is_reported(
    market: Market, exchange: SmallExchange, failure: Reply
) -> None:
    exchange.hours = no_bars("2024-03-05", "2024-03-06", "rest")
    exchange.files = lambda name, body: None
    market.bring("2024-03-01", "2024-03-10")
    assert gap(market) == ("missing_locally", False)
    old = ms(moment(date(2024, 3, 7)))
    exchange.answer_instead = lambda asked: failure if int(asked.query.get("startTime", old)) < old else None
    report = market.bring("2024-03-10", "2024-03-11")
    assert gap(market) == ("missing_locally", False)
    assert report.error or set(report.failed) == set(TWO)
    exchange.answer_instead = lambda asked: None
    exchange.hours = lambda way, symbol, opened: True
    assert market.bring("2024-03-10", "2024-03-11").error is None
    assert market.gaps() == []


def test_an_archive_that_fails_confirms_no_halt(market: Market, exchange: SmallExchange) -> None:
    exchange.hours = no_bars("2024-03-05", "2024-03-06")
    exchange.answer_instead = lambda asked: Reply(503) if ".zip" in asked.path else None
    market.bring("2024-03-01", "2024-03-10")
    assert gap(market) == ("missing_locally", False)


def test_the_failure_of_rest_is_no_symbol(market: Market, exchange: SmallExchange) -> None:
    exchange.answer_instead = lambda asked: Reply(503) if "/api/" in asked.path else None
    market.rest_url = "http://127.0.0.1:9"
    report = market.bring("2024-03-01", "2024-04-01", source="archive")
    assert list(report.failed) == ["Binance REST"]
    assert market.chain.ask("select symbol from ops.symbol_status where symbol not like '%USDT'") == []


# -- short answers of REST ---------------------------------------------------------------------------------------------


def test_a_page_that_was_cut_does_not_end_a_series(market: Market, exchange: SmallExchange) -> None:
    exchange.files = lambda name, body: None
    whole = exchange.klines
    exchange.klines = lambda query: Reply(body=whole(query).body[: 700 if query["limit"] == "1000" else 1])  # type: ignore[method-assign]
    market.bring("2024-01-10", "2024-02-20")
    assert len(market.rows()) == 2 * 41 * 24
    assert market.gaps() == []


def test_days_that_rest_lacks_come_from_files_or_a_later_run(market: Market, exchange: SmallExchange) -> None:
    exchange.hours = no_bars("2024-03-05", "2024-03-08", "rest")
    exchange.files = lambda name, body: None
    report = market.bring("2024-03-01", "2024-03-10")
    assert any("2024-03-05" in note for note in report.notes)
    exchange.files = lambda name, body: body
    market.bring("2024-03-10", "2024-03-11")
    assert market.gaps() == []


def test_a_halt_that_both_ways_lack_costs_no_request_of_the_third_backfill(
    market: Market, exchange: SmallExchange
) -> None:
    exchange.hours = no_bars("2024-03-05", "2024-03-06")
    asked = []
    for _ in range(3):
        exchange.counts.clear()
        market.bring("2024-03-01", "2024-03-10")
        asked.append(exchange.counts.total())
        assert market.gaps() == [(symbol, "2024-03-05 00:00", 24, "exchange_halt") for symbol in TWO]
    # exchangeInfo and one page of each symbol
    assert asked[1:] == [3, 3]


def test_a_rejected_bar_is_no_halt(market: Market, exchange: SmallExchange) -> None:
    whole = exchange.klines
    bad = ms(moment(date(2024, 3, 5), 3))
    exchange.klines = (
        lambda query: Reply(  # type: ignore[method-assign]
            body=[[*row[:2], "1", *row[3:]] if row[0] == bad else row for row in whole(query).body]
        )
    )
    exchange.files = lambda name, body: None
    market.bring("2024-03-01", "2024-03-10")
    assert {(bars, kind) for *_, bars, kind in market.gaps()} == {(1, "missing_locally")}


# -- what the exchange says of symbols ---------------------------------------------------------------------------------


def test_a_list_that_lacks_a_symbol_does_not_end_it(market: Market, exchange: SmallExchange) -> None:
    market.bring("2024-03-01", "2024-03-02")
    exchange.listed = lambda entries: [e for e in entries if e["symbol"] != "ETHUSDT"] or [{"symbol": "OTHER"}]
    report = market.bring("2024-03-02", "2024-03-03")
    assert report.failed == {}
    assert not any("ETHUSDT" in note for note in report.notes)
    assert len(market.rows()) == 2 * 48
    assert set(market.chain.ask("select status from ops.symbol_status")) == {("TRADING",)}


def test_an_empty_list_of_symbols_is_a_failure_and_no_end_of_them_all(market: Market, exchange: SmallExchange) -> None:
    market.bring("2024-03-01", "2024-03-02")
    exchange.listed = lambda entries: []
    with pytest.raises(SourceError):
        market.bring("2024-03-02", "2024-03-03")
    assert set(market.chain.ask("select status from ops.symbol_status")) == {("TRADING",)}


def test_a_symbol_that_ended_before_the_range_is_reported_once_and_has_no_open_gap(
    market: Market, exchange: SmallExchange
) -> None:
    exchange.status["ETHUSDT"], exchange.ends["ETHUSDT"] = "BREAK", moment(date(2024, 2, 11), 7)
    notes = ["\n".join(market.bring("2024-03-01", "2024-03-10").notes) for _ in range(2)]
    assert ["ETHUSDT" in text and "2024-02-11" in text for text in notes] == [True, False]
    assert market.gaps() == [("ETHUSDT", "2024-03-01 00:00", 9 * 24, "delisted")]


def test_an_end_that_the_universe_knows_is_not_reported(market: Market, exchange: SmallExchange) -> None:
    market.assets = (asset("BTCUSDT"), asset("ETHUSDT", valid_to=date(2024, 2, 11)))
    exchange.status["ETHUSDT"], exchange.ends["ETHUSDT"] = "BREAK", moment(date(2024, 2, 11))
    assert not any("ETHUSDT" in note for note in market.bring("2024-02-01", "2024-02-20").notes)


def test_a_symbol_that_ends_inside_the_range_has_its_bars_and_an_end(market: Market, exchange: SmallExchange) -> None:
    exchange.status["ETHUSDT"], exchange.ends["ETHUSDT"] = "HALT", moment(date(2024, 3, 4), 7)
    market.bring("2024-03-01", "2024-03-10")
    assert market.gaps() == [("ETHUSDT", "2024-03-04 07:00", 5 * 24 + 17, "delisted")]
    assert len(market.rows()) == 9 * 24 + 3 * 24 + 7


def test_a_symbol_that_pauses_and_trades_again_has_a_gap_of_its_own_and_goes_on(
    market: Market, exchange: SmallExchange
) -> None:
    first, last = date(2024, 3, 4), date(2024, 3, 8)
    exchange.files = lambda name, body: None
    exchange.status["ETHUSDT"], exchange.ends["ETHUSDT"] = "BREAK", moment(first, 7)
    exchange.now = moment(last, 12)
    market.bring("2024-03-01", "2024-03-09")
    assert [kind for *_, kind in market.gaps()] == ["delisted"]
    exchange.status["ETHUSDT"] = "TRADING"
    exchange.ends.clear()
    exchange.hours = lambda way, symbol, opened: (
        symbol != "ETHUSDT" or not moment(first, 7) <= opened < moment(last, 15)
    )
    exchange.now = moment(last + timedelta(days=2), 12)
    exchange.files = lambda name, body: body
    market.bring("2024-03-07", "2024-03-11")
    market.bring("2024-03-10", "2024-03-11")
    assert market.gaps() == [("ETHUSDT", "2024-03-04 07:00", 17 + 3 * 24 + 15, "symbol_halt")]
    assert gaps.unexplained(market.chain.connection) == []
    assert market.chain.one("select count(*) from raw.binance_klines where open_time >= '2024-03-08 15:00+00'") > 2 * 24


def test_a_bar_from_before_the_probed_listing_moves_the_listing(market: Market, exchange: SmallExchange) -> None:
    market.bring("2024-03-01", "2024-03-02")
    market.chain.ask("update ops.symbol_status set listed_at = '2024-03-09' where symbol = 'ETHUSDT' returning 1")
    market.bring("2024-03-05", "2024-03-06")
    listed = "select listed_at = '2024-03-01' from ops.symbol_status where symbol = 'ETHUSDT'"
    assert market.chain.one(listed)


def test_a_backfill_with_another_start_does_not_finish_the_one_that_was_cut_off(
    market: Market, exchange: SmallExchange
) -> None:
    exchange.answer_instead = lambda asked: BAN if asked.query.get("interval") == "1h" else None
    assert market.bring("2024-01-01", "2024-02-01", resume=True).error
    exchange.answer_instead = lambda asked: None
    market.bring("2024-03-01", "2024-03-02", resume=True)
    open_ones = "select start_date::text from ops.backfills where finished_at is null"
    assert market.chain.ask(open_ones) == [("2024-01-01",)]
    market.bring("2024-01-01", "2024-01-15", resume=True)
    assert market.chain.ask(open_ones) == [("2024-01-01",)]
    market.bring("2024-01-01", "2024-02-01", resume=True)
    assert market.chain.ask(open_ones) == []


# -- when a gap is requested again -------------------------------------------------------------------------------------

FOUND = moment(date(2024, 3, 1))


def known(requested_h: float | None = None, *, is_confirmed: bool = False) -> Gap:
    at = None if requested_h is None else FOUND + timedelta(hours=requested_h)
    return Gap("BTCUSDT", (date(2024, 2, 1),), is_confirmed, FOUND, at)


def requests(*, is_confirmed: bool, hours: int) -> list[int]:
    """The hours at which hourly runs request a gap that is never filled."""
    made: list[int] = []
    for hour in range(hours):
        if is_due(known(made[-1] if made else None, is_confirmed=is_confirmed), FOUND + timedelta(hours=hour)):
            made.append(hour)
    return made


def test_an_unexplained_gap_is_requested_at_doubling_distance_and_then_weekly() -> None:
    made = requests(is_confirmed=False, hours=2000)
    assert made[:8] == [0, 1, 2, 4, 8, 16, 32, 64]
    distances = {b - a for a, b in zip(made[-5:], made[-4:], strict=False)}
    assert distances == {RETRY_MOST.total_seconds() / 3600}


def test_a_confirmed_halt_is_requested_daily_for_a_week() -> None:
    made = requests(is_confirmed=True, hours=2000)
    assert made == [24, 48, 72, 96, 120, 144]
    assert timedelta(hours=made[-1]) < RECHECK_FOR


def test_the_longest_halt_of_the_exchange_is_within_the_limit() -> None:
    assert timedelta(hours=34) < LONGEST_HALT < timedelta(hours=72)
