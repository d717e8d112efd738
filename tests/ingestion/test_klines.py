"""Bars from an exchange that misbehaves: each traded hour once, by the exchange's clock, whatever the network does."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion.simulator.server import Simulator
from ingestion.sources.binance import ingest as binance_ingest
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.rest import PAGE, klines
from ingestion.sources.http import HttpClient, SourceError, Transport
from support.pipeline import Chain
from support.scripted_exchange import DAY, NEXT, Client, Exchange, asset, day_of, ingest, stored
from support.scripted_server import Reply, scripted
from support.source_rows import HOUR_MS, bar, moment, ms

# -- closed bars, by the exchange's clock ------------------------------------------------------------------------------


def test_the_bar_in_progress_is_loaded_complete_by_the_next_run(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    exchange.now = moment(DAY, 5, 30)
    exchange.bars["BTCUSDT"] = [bar(DAY, hour) for hour in range(5)] + [bar(DAY, 5, close="99", trade_count=1)]
    ingest(chain, exchange, client_of)
    assert chain.load(KLINES).inserted == 5
    exchange.now = moment(DAY, 6, 1)
    exchange.bars["BTCUSDT"] = [bar(DAY, hour) for hour in range(7)]
    ingest(chain, exchange, client_of)
    loaded = chain.load(KLINES)
    assert (loaded.inserted, loaded.updated) == (1, 0)
    assert stored(chain)[-1][1:] == (moment(DAY, 5), Decimal("101.5"))


@pytest.mark.parametrize("offset", [-1, 0, 1], ids=["before it closes", "as it closes", "after it closed"])
def test_a_bar_is_closed_when_the_exchange_says_so(
    chain: Chain, exchange: Exchange, client_of: Client, offset: int
) -> None:
    exchange.now = moment(DAY, 1) + timedelta(milliseconds=offset - 1)
    exchange.bars["BTCUSDT"] = [bar(DAY, 0)]
    assert ingest(chain, exchange, client_of).rows == (1 if offset > 0 else 0)


def test_this_machines_clock_does_not_matter(chain: Chain, exchange: Exchange, client_of: Client) -> None:
    old = date(2021, 5, 5)
    exchange.now = moment(old, 2, 30)
    exchange.bars["BTCUSDT"] = [bar(old, hour) for hour in range(24)]
    assert ingest(chain, exchange, client_of, old, old + timedelta(days=3)).rows == 2


# -- ranges and pages --------------------------------------------------------------------------------------------------


@given(
    listed=st.integers(0, 5000), length=st.integers(0, 3000), start=st.integers(0, 5000), hours=st.integers(1, 4000),
    gap=st.tuples(st.integers(0, 3000), st.integers(0, 1500)),
)  # fmt: skip
@example(listed=1500, length=2500, start=0, hours=4000, gap=(0, 0))
@settings(max_examples=40, deadline=None)
def test_any_range_returns_each_bar_once_in_a_bounded_number_of_calls(
    listed: int, length: int, start: int, hours: int, gap: tuple[int, int]
) -> None:
    first = ms(moment(date(2020, 1, 1)))
    opened = [h for h in range(listed, listed + length) if not gap[0] <= h - listed < gap[0] + gap[1]]
    exchange = Exchange()
    exchange.bars["BTCUSDT"] = [bar(date(2020, 1, 1), hour) for hour in opened]
    with scripted(exchange) as server:
        client = HttpClient("Binance", [server.url], setting="BINANCE_BASE_URL")
        base = moment(date(2020, 1, 1))
        pages = klines(client, "BTCUSDT", "1h", base + timedelta(hours=start), base + timedelta(hours=start + hours))
        client.close()
    got = [ms(at) for page in pages for at in page.rows["open_time"].to_pylist()]
    assert got == [first + h * HOUR_MS for h in opened if start <= h < start + hours]
    # One request more than the pages when the series ends before the range: a short page may be a cut one.
    assert len(server.asked) <= len(got) // PAGE + 2


def test_a_start_before_the_listing_begins_with_the_first_bar(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    exchange.bars["BTCUSDT"] = day_of()
    report = ingest(chain, exchange, client_of, date(2017, 1, 1), NEXT)
    assert report.rows == 24
    assert chain.load(KLINES).inserted == 24
    # Eight and a half years are 75 pages at most.
    assert len(exchange.server.asked) <= 80


def test_an_exchange_that_repeats_its_first_page_is_asked_a_bounded_number_of_times(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    rows = [bar(date(2025, 1, 1), hour) for hour in range(PAGE)]
    exchange.bars["BTCUSDT"] = []
    exchange.page = lambda _: rows
    ingest(chain, exchange, client_of, date(2025, 1, 1), date(2025, 6, 1))
    chain.load(KLINES)
    assert len(stored(chain)) == PAGE
    assert len(exchange.server.asked) < 20


def test_repeated_and_shuffled_bars_are_loaded_once(chain: Chain, exchange: Exchange, client_of: Client) -> None:
    exchange.bars["BTCUSDT"] = day_of()
    exchange.page = lambda rows: [*reversed(rows), *rows[3:9]]
    assert ingest(chain, exchange, client_of).rows == 24
    chain.load(KLINES)
    assert [row[1].hour for row in stored(chain)] == list(range(24))


def test_of_a_bar_that_comes_twice_in_one_answer_the_later_value_wins(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    exchange.bars["BTCUSDT"] = [bar(DAY, 0, close="95"), bar(DAY, 0, close="96")]
    ingest(chain, exchange, client_of)
    chain.load(KLINES)
    assert [row[2] for row in stored(chain)] == [Decimal("96")]


def test_a_page_of_nothing_but_broken_bars_does_not_end_the_series(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    start = date(2025, 1, 1)
    exchange.bars["BTCUSDT"] = [
        bar(start, hour, **({"open": 1.5} if hour < PAGE else {})) for hour in range(PAGE + 200)
    ]
    with_many_pages = start + timedelta(days=60)
    client = client_of(exchange.server.url)
    pages = klines(client, "BTCUSDT", "1h", moment(start), moment(with_many_pages))
    assert sum(len(p.rows) for p in pages) == 200
    assert sum(len(p.rejected) for p in pages) == PAGE


@pytest.mark.parametrize("opened", [ms(datetime(2099, 1, 1, tzinfo=UTC)), 10**18, 0, -(10**15)])
def test_an_impossible_time_does_not_lead_past_the_bars_behind_it(
    chain: Chain, exchange: Exchange, client_of: Client, opened: int
) -> None:
    start = date(2025, 1, 1)
    rows = [bar(start, hour) for hour in range(PAGE + 200)]
    exchange.bars["BTCUSDT"] = rows
    exchange.page = lambda page: [*page[:-1], [opened, *page[-1][1:]]] if len(page) == PAGE else page
    client = client_of(exchange.server.url)
    pages = klines(client, "BTCUSDT", "1h", moment(start), moment(start + timedelta(days=60)))
    got = {ms(at) for page in pages for at in page.rows["open_time"].to_pylist()}
    assert got >= {row[0] for row in rows}


# -- one symbol's trouble ----------------------------------------------------------------------------------------------


def test_an_unknown_symbol_fails_alone_and_is_named(chain: Chain, exchange: Exchange, client_of: Client) -> None:
    exchange.bars = {"BTCUSDT": day_of(), "ETHUSDT": day_of()}
    exchange.broken["GONEUSDT"] = Reply(400, {"code": -1121, "msg": "Invalid symbol."})
    report = ingest(chain, exchange, client_of)
    assert list(report.failed) == ["GONEUSDT"]
    assert "-1121" in report.failed["GONEUSDT"]
    assert report.error is None
    assert chain.load(KLINES).inserted == 48
    assert len([a for a in exchange.server.asked if a.query.get("symbol") == "GONEUSDT"]) == 1


def test_a_symbol_whose_answers_stay_broken_fails_alone_and_is_requested_by_the_next_run(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    exchange.bars = {"BTCUSDT": day_of()}
    exchange.broken["ETHUSDT"] = Reply(500)
    report = ingest(chain, exchange, client_of)
    assert list(report.failed) == ["ETHUSDT"]
    assert chain.ask("select distinct symbol from ops.coverage") == [("BTCUSDT",)]
    exchange.broken, exchange.bars["ETHUSDT"] = {}, day_of()
    assert ingest(chain, exchange, client_of).failed == {}
    assert chain.load(KLINES).inserted == 48


def test_answers_before_a_ban_are_used(chain: Chain, exchange: Exchange, client_of: Client) -> None:
    exchange.bars = {f"A{n}USDT": day_of() for n in range(3)}
    exchange.broken["ZUSDT"] = Reply(418, {"code": -1003, "msg": "banned"})
    client = client_of(exchange.server.url, transport=Transport(connections=1))
    assets = [asset(s) for s in (*exchange.bars, "ZUSDT")]
    # One request after the other, so that three answers are there when the ban comes.
    serial = binance_ingest.FETCHERS
    try:
        binance_ingest.FETCHERS = 1
        report = binance_ingest.ingest_klines(chain.context(), client, assets, DAY, NEXT)
    finally:
        binance_ingest.FETCHERS = serial
    assert "418" in (report.error or "")
    assert report.rows == 72
    assert chain.load(KLINES).inserted == 72
    assert chain.ask("select distinct symbol from ops.coverage order by 1") == [(s,) for s in exchange.bars]


def test_when_the_exchange_is_out_of_reach_one_line_says_so(chain: Chain, client_of: Client) -> None:
    with pytest.raises(SourceError, match="BINANCE_BASE_URL") as caught:
        binance_ingest.ingest_klines(chain.context(), client_of("http://127.0.0.1:1"), [asset("BTCUSDT")], DAY, NEXT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("symbol", ["币安人生USDT", "1000SATSUSDT", "ÄÖUSDT", "1INCHUSDT"])
def test_symbols_in_any_script_are_stored_as_they_are(
    chain: Chain, exchange: Exchange, client_of: Client, symbol: str
) -> None:
    exchange.bars[symbol] = day_of()
    report = ingest(chain, exchange, client_of)
    assert [w.key for w in report.written] == [klines_key("1h", DAY)]
    chain.load(KLINES)
    assert {row[0] for row in stored(chain)} == {symbol}


# -- the simulated market ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503, "match": "klines", "times": 3},
        {"kind": "reset", "match": "klines", "after": 1, "times": 2},
        {"kind": "cut", "match": "klines", "times": 2},
        {"kind": "truncate", "match": "klines", "times": 2},
        {"kind": "garbage", "match": "klines", "times": 3},
        {"kind": "duplicate", "match": "klines"},
        {"kind": "reorder", "match": "klines"},
    ],
    ids=lambda f: str(f["kind"]),
)  # fmt: skip
def test_a_bad_network_brings_the_same_rows_as_a_good_one(
    chain: Chain, simulator: Simulator, client_of: Client, fault: dict[str, Any]
) -> None:
    assets = [asset(s) for s in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]
    start, end = date(2026, 10, 1), date(2026, 11, 21)
    binance_ingest.ingest_klines(chain.context(), client_of(simulator.binance_url), assets, start, end)
    chain.load(KLINES)
    good = stored(chain)
    simulator.faults.set([fault])
    report = binance_ingest.ingest_klines(chain.context(), client_of(simulator.binance_url), assets, start, end)
    assert simulator.faults.served[str(fault["kind"])] > 0
    assert (report.failed, report.error, report.files) == ({}, None, 0)
    loaded = chain.load(KLINES)
    assert (loaded.inserted, loaded.updated) == (0, 0)
    assert stored(chain) == good
