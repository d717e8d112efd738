"""Single bars: what is rejected with its reason, what is odd but true, and that each number is kept exactly."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion.datasets import Page
from ingestion.sources.binance import ingest as binance_ingest
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import parse_klines, read_bars
from ingestion.sources.binance.rest import PAGE, klines
from ingestion.sources.http import HttpClient
from support.pipeline import Chain
from support.scripted_exchange import (
    DAY,
    LATER,
    NEXT,
    Client,
    Exchange,
    asset,
    day_of,
    ingest,
    rejections,
    stored,
)
from support.scripted_server import scripted
from support.source_rows import bar, body_of, moment, ms

# -- drift -------------------------------------------------------------------------------------------------------------


def test_a_new_array_element_is_stored_and_reported_once(chain: Chain, exchange: Exchange, client_of: Client) -> None:
    exchange.bars["BTCUSDT"] = [[*row, "new", 7] for row in day_of()]
    first = ingest(chain, exchange, client_of)
    second = ingest(chain, exchange, client_of)
    assert len([n for n in first.notes if "new field" in n]) == 2
    assert [n for n in second.notes if "new field" in n] == []
    assert first.rejected == 0
    assert chain.load(KLINES).inserted == 24
    found = chain.lake.read(klines_key("1h", DAY))
    assert found is not None
    assert {tuple(json.loads(e)) for e in found[0]["extra"].to_pylist()} == {("0", "new", 7)}
    assert chain.ask("select field, example from ops.source_fields order by 1") == [
        ("element 13", '"new"'), ("element 14", "7"),
    ]  # fmt: skip


def test_bars_of_different_lengths_in_one_page_each_keep_their_own(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    exchange.bars["BTCUSDT"] = [[*row, *["x"] * (n % 3)] for n, row in enumerate(day_of())]
    ingest(chain, exchange, client_of)
    found = chain.lake.read(klines_key("1h", DAY))
    assert found is not None
    lengths = [len(json.loads(e)) if e else 1 for e in found[0]["extra"].to_pylist()]
    assert lengths == [1 + n % 3 for n in range(24)]


@pytest.mark.parametrize(
    ("corrupt", "reason"),
    [
        (lambda row: [row[0], 100.5, *row[2:]], "open is 100.5, not text"),
        (lambda row: [*row[:5], 12, *row[6:]], "volume is 12, not text"),
        (lambda row: [*row[:8], "42", *row[9:]], "42"),
        (lambda row: [str(row[0]), *row[1:]], ""),
        (lambda row: [None, *row[1:]], "open_time is missing"),
        (lambda row: [*row[:4], None, *row[5:]], "close is null, not text"),
        (lambda row: row[:11], "11 fields instead of 12"),
        (lambda row: [], "0 fields"),
        (lambda row: {"open_time": row[0]}, "a dict instead of a list"),
        (lambda row: None, "a NoneType instead of a list"),
        (lambda row: [[row[0]], *row[1:]], ""),
    ],
)
def test_a_bar_of_another_shape_or_type_is_rejected_and_the_rest_loaded(
    chain: Chain, exchange: Exchange, client_of: Client, corrupt: Callable[[list[Any]], Any], reason: str
) -> None:
    exchange.bars["BTCUSDT"] = day_of()
    exchange.page = lambda rows: [*rows[:7], corrupt(rows[7]), *rows[8:]]
    report = ingest(chain, exchange, client_of)
    assert (report.rows, report.rejected, report.failed, report.error) == (23, 1, {}, None)
    assert chain.load(KLINES).inserted == 23
    [(why, record)] = rejections(chain)
    assert reason in why
    assert record["symbol"] == "BTCUSDT"


def test_a_type_that_changed_everywhere_rejects_every_record_and_the_run_goes_on(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    exchange.bars = {"BTCUSDT": day_of(), "ETHUSDT": [[row[0], 100.0, *row[2:]] for row in day_of()]}
    report = ingest(chain, exchange, client_of)
    assert (report.rows, report.rejected, report.error) == (24, 24, None)


# -- what cannot be ----------------------------------------------------------------------------------------------------


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"close": "NaN"}, "not finite"),
    ({"volume": "Infinity"}, "not finite"),
    ({"open": ""}, "no decimal number"),
    ({"open": "1,5"}, "no decimal number"),
    ({"low": "0.00000000"}, "low is not above 0"),
    ({"open": "-1.00000000"}, "open is not above 0"),
    ({"high": "80.00000000"}, "low is above high"),
    ({"low": "105.00000000"}, "low is above open"),
    ({"open": "111.00000000"}, "open is above high"),
    ({"volume": "-1"}, "volume is below 0"),
    ({"trade_count": -1}, "trade_count is below 0"),
    ({"taker_buy_base_volume": "13"}, "taker_buy_base_volume is above volume"),
    ({"quote_volume": "1"}, "taker_buy_quote_volume is above quote_volume"),
    ({"close": "1" * 39}, "more than 38 digits"),
    ({"close": "0." + "1" * 39}, "more than 38 digits"),
    ({"close": "1E+999999"}, "more than 38 digits"),
    ({"trade_count": 2**63}, ""),
    ({"close_time": 0}, "close_time is not after open_time"),
    ({"open_time": 0}, "open_time is before 2017-08-17 or in the future"),
    ({"open_time": ms(datetime(2099, 1, 1, tzinfo=UTC)), "close_time": ms(datetime(2099, 1, 2, tzinfo=UTC))}, "future"),
    ({"open_time": 56971 * 31_556_952_000}, ""),
    ({"open_time": 10**20}, ""),
    ({"open_time": -(10**18)}, "is no time"),
]


@pytest.mark.parametrize(("fields", "reason"), IMPOSSIBLE, ids=lambda x: str(x)[:60] if isinstance(x, dict) else "")
def test_an_impossible_record_is_rejected_with_its_reason_and_stops_nothing(
    chain: Chain, exchange: Exchange, client_of: Client, fields: dict[str, Any], reason: str
) -> None:
    good = day_of()
    exchange.bars["BTCUSDT"] = good
    exchange.page = lambda rows: [*rows[:7], bar(DAY, 7, **fields), *rows[8:]]
    for attempt in range(2):
        exchange.now = LATER + timedelta(hours=attempt)
        report = ingest(chain, exchange, client_of)
        assert (report.rows, report.rejected, report.error) == (23, 1, None)
    assert chain.load(KLINES).inserted == 23
    [(why, _)] = rejections(chain)
    assert reason in why
    [held] = chain.lake.list("_rejected/binance_klines/")
    found = chain.lake.read(held.key)
    assert found is not None
    assert found[0]["reason"].to_pylist() == [why]


@given(exponent=st.integers(0, 20), sign=st.sampled_from([1, -1]), digit=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_a_time_of_any_magnitude_is_a_plausible_one_or_rejected(exponent: int, sign: int, digit: int) -> None:
    opened = sign * digit * 10**exponent
    row = bar(DAY, 0, open_time=opened)
    page = parse_klines(body_of([row, bar(DAY, 1)]), "BTCUSDT", "1h", "http://x", LATER)
    assert len(page.rows) + len(page.rejected) == 2
    assert all(1 <= at.year <= 9999 for at in page.rows["open_time"].to_pylist())


@given(
    at=st.integers(0, 10_000),
    bars=st.integers(1, 3),
    change=st.sampled_from(["insert", "replace", "remove"]),
    by=st.sampled_from(
        [b'"', b"[", b"]", b",", b".", b" ", b"-", b"e", b"\\", b"\n", b"null", b"0", b"7", b"x", b'"0"']
    ),
)
@example(at=0, bars=2, change="replace", by=b"7")
@example(at=1397, bars=3, change="replace", by=b",")
@settings(max_examples=400, deadline=None)
def test_the_fast_reader_of_bars_reads_what_a_json_parser_reads(at: int, bars: int, change: str, by: bytes) -> None:
    body = body_of([bar(DAY, hour) for hour in range(bars)])
    at %= len(body)
    kept = at if change == "insert" else at + 1
    body = body[:at] + (b"" if change == "remove" else by) + body[kept:]

    def by_json(text: bytes) -> Page | None:
        try:
            rows = orjson.loads(text)
        except ValueError:
            return None
        return read_bars(rows, "BTCUSDT", "1h", "http://x", LATER) if isinstance(rows, list) else None

    expected = by_json(body)
    try:
        read = parse_klines(body, "BTCUSDT", "1h", "http://x", LATER)
    except ValueError:
        assert expected is None
        return
    # JSON has no numbers with a leading zero; that the fast reader takes them for what they say does no harm.
    expected = expected or by_json(re.sub(rb"(?<=[\[,])0+(?=\d)", b"", body))
    assert expected is not None
    assert read.rows.equals(expected.rows)
    assert read.rejected == expected.rejected


# -- what is odd but true ----------------------------------------------------------------------------------------------


def test_an_hour_without_trades_and_a_truncated_bar_are_loaded(
    chain: Chain, exchange: Exchange, client_of: Client
) -> None:
    silent = dict.fromkeys(("volume", "quote_volume", "taker_buy_base_volume", "taker_buy_quote_volume"), "0.00000000")
    flat = dict.fromkeys(("open", "high", "low", "close"), "100.00000000")
    halted = bar(DAY, 12, **silent, **flat, trade_count=0, close_time=ms(moment(DAY, 12)) + 2_381_646)
    exchange.bars["BTCUSDT"] = [*day_of()[:12], halted, *day_of()[14:]]
    assert ingest(chain, exchange, client_of).rejected == 0
    assert chain.load(KLINES).inserted == 23
    assert chain.ask("select volume, trade_count from raw.binance_klines where open_time = %s", [moment(DAY, 12)]) == [
        (Decimal(0), 0)
    ]


def test_bars_that_open_off_the_grid_are_loaded_unchanged(chain: Chain, exchange: Exchange, client_of: Client) -> None:
    late = 28 * 60_000 + 14_789
    exchange.bars["BTCUSDT"] = [
        bar(DAY, 8),
        *(bar(DAY, h, open_time=ms(moment(DAY, h)) + late) for h in range(9, 12)),
        *(bar(DAY, h) for h in range(12, 24)),
    ]
    ingest(chain, exchange, client_of)
    assert chain.load(KLINES).inserted == 16
    assert [row[1].minute for row in stored(chain)] == [0, 28, 28, 28, *[0] * 12]


def test_a_bar_off_the_grid_behind_a_full_page_is_not_skipped(exchange: Exchange, client_of: Client) -> None:
    start = date(2025, 1, 1)
    exchange.bars["BTCUSDT"] = [bar(start, hour) for hour in range(PAGE)]
    exchange.bars["BTCUSDT"].append(bar(start, PAGE - 1, open_time=ms(moment(start, PAGE - 1)) + 1_694_789))
    pages = klines(client_of(exchange.server.url), "BTCUSDT", "1h", moment(start), moment(date(2025, 3, 1)))
    assert sum(len(p.rows) for p in pages) == PAGE + 1


# -- exactness ---------------------------------------------------------------------------------------------------------

DIGITS = st.text("0123456789", min_size=1, max_size=38)


@st.composite
def prices(draw: st.DrawFn) -> str:
    """A positive decimal of up to 38 digits, the point anywhere, written plainly or with an exponent."""
    digits = draw(DIGITS.filter(lambda d: set(d) != {"0"}))
    places = draw(st.integers(0, 38))
    number = Decimal(int(digits)).scaleb(-places)
    return draw(st.sampled_from([format(number, "f"), str(number)]))


@given(values=st.lists(prices(), min_size=1, max_size=8))
@example(values=["0.00000712", "0.00000001", "99999999999999999999999999999999999999", "0." + "0" * 37 + "1"])
@settings(max_examples=25, deadline=None)
def test_a_number_of_up_to_38_digits_is_the_same_in_json_parquet_and_postgres(
    chain_of_module: Chain, values: list[str]
) -> None:
    chain = chain_of_module
    for held in chain.lake.list(""):
        chain.lake.remove(held.key)
    chain.ask("truncate raw.binance_klines, ops.load_ledger, ops.restatements, ops.coverage")
    exchange = Exchange()
    same = {"taker_buy_base_volume": "0", "taker_buy_quote_volume": "0"}
    exchange.bars["BTCUSDT"] = [
        bar(DAY, hour, open=v, high=v, low=v, close=v, volume=v, quote_volume=v, **same)
        for hour, v in enumerate(values)
    ]
    with scripted(exchange) as server:
        client = HttpClient("Binance", [server.url], setting="BINANCE_BASE_URL")
        report = binance_ingest.ingest_klines(chain.context(), client, [asset("BTCUSDT")], DAY, NEXT)
        client.close()
    assert report.rejected == 0
    chain.load(KLINES)
    for column in ("open", "high", "low", "close", "volume", "quote_volume"):
        rows = chain.ask(f"select {column} from raw.binance_klines order by open_time")
        assert [value for (value,) in rows] == [Decimal(v) for v in values]
