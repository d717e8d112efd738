"""CoinGecko's market list as it is really sent: nulls, new fields, changed types, coins twice or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.bronze.results import FetchResult
from ingestion.simulator.server import Simulator
from ingestion.sources.coingecko import client as client_module
from ingestion.sources.coingecko import ingest as coingecko_ingest
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.coingecko.parse import parse_markets
from ingestion.sources.http import HttpClient, SourceError
from ingestion.universe import Asset
from support.pipeline import Chain
from support.scripted_server import Asked, Reply, scripted
from support.source_rows import coin

SNAPSHOT = datetime(2026, 1, 2, 4, 0, tzinfo=UTC)
Client = Callable[..., HttpClient]


def asset(crypto_id: str) -> Asset:
    return Asset(crypto_id, "", crypto_id, "")


def ingest(
    chain: Chain, client_of: Client, coins: list[Any] | bytes, ids: tuple[str, ...] = ("bitcoin",), by_ids: Any = None
) -> FetchResult:
    """Serve `coins` as the top of the market, and `by_ids` (the same by default) for the universe's ids."""

    def answer(asked: Asked) -> Reply:
        return Reply(body=by_ids if by_ids is not None and "ids" in asked.query else coins)

    with scripted(answer) as server:
        client = client_of(server.url, source="CoinGecko", setting="COINGECKO_BASE_URL")
        return coingecko_ingest.ingest_markets(chain.context(), client, [asset(i) for i in ids], SNAPSHOT)


def loaded(chain: Chain, columns: str = "crypto_id") -> list[tuple[Any, ...]]:
    chain.load(MARKETS)
    return chain.ask(f"select {columns} from raw.coingecko_markets order by crypto_id")


def test_every_field_but_identity_may_be_null_or_absent(chain: Chain, client_of: Client) -> None:
    full = coin("bitcoin")
    empty = {k: (full[k] if k in ("id", "symbol", "name") else None) for k in full} | {"id": "empty"}
    bare = {"id": "bare", "symbol": "b", "name": "Bare"}
    report = ingest(chain, client_of, [full, empty, bare])
    assert (report.rows, report.rejected, report.failed) == (3, 0, {})
    assert loaded(chain, "crypto_id, current_price, market_cap_rank, ath_date is null") == [
        ("bare", None, None, True), ("bitcoin", Decimal(32797), 1, False), ("empty", None, None, True),
    ]  # fmt: skip


def test_the_payload_is_stored_as_it_was_sent(chain: Chain, client_of: Client) -> None:
    text = json.dumps(coin("bitcoin", current_price=1, roi={"times": 1.5, "currency": "usd"})).replace("1.5", "1.50e0")
    ingest(chain, client_of, f"[{text}]".encode())
    [held] = chain.lake.list("coingecko/")
    found = chain.lake.read(held.key)
    assert found is not None
    assert found[0]["payload"].to_pylist() == [text]
    assert loaded(chain, "payload -> 'roi' ->> 'currency'") == [("usd",)]


def test_a_new_field_is_stored_and_reported_once(chain: Chain, client_of: Client) -> None:
    coins = [coin("bitcoin", liquidity_score=7.25)]
    first, second = ingest(chain, client_of, coins), ingest(chain, client_of, coins)
    assert [n for n in first.notes if "liquidity_score" in n]
    assert second.notes == ()
    assert loaded(chain, "payload ->> 'liquidity_score'") == [("7.25",)]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("id", None, "id is None, not text"),
        ("id", "", "id is ''"),
        ("symbol", 7, "symbol is 7, not text"),
        ("name", {}, "name is {}, not text"),
        ("name", "Nul\0", "character"),
        ("name", "\ud800", "character"),
    ],
)
def test_an_invalid_record_is_rejected_once_and_the_others_are_loaded(
    chain: Chain, client_of: Client, field: str, value: Any, reason: str
) -> None:
    coins = [coin("bitcoin"), coin("damaged", **{field: value}), coin("ethereum")]
    for _ in range(2):
        report = ingest(chain, client_of, coins, ("bitcoin", "ethereum"))
        assert report.rows == 2
        assert report.rejected > 0
        assert report.failed == {}
    assert loaded(chain) == [("bitcoin",), ("ethereum",)]
    [(why,)] = chain.ask("select reason from ops.rejected_records")
    assert reason in why


UNFIT = {
    "price_change_24h": -1.3234889800848443e-23,
    "current_price": "32797",
    "market_cap": -1.5,
    "fully_diluted_valuation": [1],
    "total_volume": 10**39,
    "high_24h": True,
    "low_24h": "NaN",
    "ath": 1e-39,
    "ath_change_percentage": 1e40,
    "image": 5,
    "ath_date": "yesterday",
    "atl_date": "0001-01-01T00:00:00+14:00",
}


def test_an_invalid_optional_value_is_null_with_one_note_and_stays_in_the_payload(
    chain: Chain, client_of: Client
) -> None:
    coins = [coin("bitcoin"), coin("odd", **UNFIT), coin("ethereum", price_change_24h=-2.5e-45)]
    report = ingest(chain, client_of, coins, ("bitcoin", "ethereum"))
    assert (report.rows, report.rejected, report.failed) == (3, 0, {})
    [note] = report.notes
    assert [name for name in UNFIT if f"{name} of 1" not in note and f"{name} of 2" not in note] == []
    assert "price_change_24h of 2 (such as -1.3234889800848443E-23 of odd)" in note
    [odd] = [row for row in loaded(chain, f"crypto_id, {', '.join(UNFIT)}") if row[0] == "odd"]
    assert odd[1:] == (None,) * len(UNFIT)
    kept = chain.one("select payload ->> 'price_change_24h' from raw.coingecko_markets where crypto_id = 'odd'")
    assert Decimal(kept) == Decimal("-1.3234889800848443e-23")
    assert loaded(chain, "circulating_supply is null") == [(False,)] * 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("market_cap_rank", 1.5),
        ("market_cap_rank", 2**40),
        ("market_cap_rank", 0),
        ("last_updated", 1767323533),
        ("last_updated", "0001-01-01T00:00:00Z"),
        ("last_updated", "2126-01-01T00:00:00Z"),
        ("atl", 10**38),
        ("max_supply", -1),
    ],
)
def test_one_odd_rank_time_or_amount_never_costs_its_coin(
    chain: Chain, client_of: Client, field: str, value: Any
) -> None:
    report = ingest(chain, client_of, [coin("bitcoin"), coin("odd", **{field: value})])
    assert (report.rows, report.rejected, len(report.notes)) == (2, 0, 1)
    assert loaded(chain, f"crypto_id, {field} is null") == [("bitcoin", coin()[field] is None), ("odd", True)]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None))
@settings(max_examples=300, deadline=None)
def test_a_number_is_exact_or_null(number: Decimal) -> None:
    body = json.dumps([coin("bitcoin", price_change_24h="HERE")]).replace('"HERE"', str(number)).encode()
    good, rejected = parse_markets(body, "http://x", SNAPSHOT, SNAPSHOT)
    for row in good:
        value = row["price_change_24h"]
        assert (value is None) == ("price_change_24h" in row["unfit"])
        assert value is None or Decimal(value) == number
    assert len(good) + len(rejected) == 1
    assert rejected == [] or not -1000 < number.adjusted() < 1000


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999999", '"\\u0000"', '"\\ud800"', "-0.1e-5000"])
@pytest.mark.parametrize("field", ["current_price", "something_new"])
def test_values_that_postgres_cannot_store_never_reach_a_load(
    chain: Chain, client_of: Client, field: str, text: str
) -> None:
    damaged = json.dumps(coin("damaged", **{field: "HERE"})).replace('"HERE"', text)
    report = ingest(chain, client_of, f"[{json.dumps(coin())},{damaged}]".encode())
    assert (report.rows, report.error) == (1, None)
    assert loaded(chain) == [("bitcoin",)]
    assert chain.one("select count(*) from ops.rejected_records") == 1


def test_a_coin_of_the_universe_that_was_rejected_is_not_called_unknown(chain: Chain, client_of: Client) -> None:
    coins = [coin("bitcoin"), coin("ethereum", name=None)]
    report = ingest(chain, client_of, coins, ("bitcoin", "ethereum", "retired"))
    assert "breaks its contract" in report.failed["ethereum"]
    assert "does not know the id retired" in report.failed["retired"]
    assert set(report.failed) == {"ethereum", "retired"}


def test_of_a_coin_on_two_pages_the_row_updated_last_wins(chain: Chain, client_of: Client) -> None:
    old = coin("bitcoin", current_price=1, last_updated="2026-01-02T03:00:00Z")
    new = coin("bitcoin", current_price=2, last_updated="2026-01-02T03:00:01Z")
    for top, by_ids in (([old], [new]), ([new], [old])):
        report = ingest(chain, client_of, top, by_ids=by_ids)
        assert report.rows == 1
        assert loaded(chain, "current_price") == [(Decimal(2),)]


def test_coins_outside_the_top_list_are_requested_by_id(chain: Chain, client_of: Client) -> None:
    report = ingest(chain, client_of, [coin("bitcoin")], ("bitcoin", "tiny"), by_ids=[coin("tiny")])
    assert (report.rows, report.failed) == (2, {})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"current_price": None, "market_cap": None, "total_volume": None}, "without a price since 2025-11-18"),
        ({"current_price": 0, "market_cap": 0, "total_volume": 0}, "without a price since 2025-11-18"),
        ({"current_price": None, "last_updated": None}, "without a price:"),
        ({"current_price": 0.2237}, "with a price that has not changed since 2025-11-18 06:40 UTC"),
    ],
    ids=["null", "zero", "null and never", "standing still"],
)
def test_an_id_that_is_answered_without_news_is_stale_and_its_row_named(
    chain: Chain, client_of: Client, fields: dict[str, Any], words: str
) -> None:
    """CoinGecko answered matic-network with 200 long after Polygon had become POL (shapeshift/web#11579)."""
    retired = {
        **coin("matic-network", symbol="matic", name="Polygon", market_cap_rank=None),
        "last_updated": "2025-11-18T06:40:12.001Z", **fields,
    }  # fmt: skip
    universe = [asset("bitcoin"), Asset("matic-network", "MATICUSDT", "Polygon", "scaling")]

    def ingest_universe() -> FetchResult:
        with scripted([Reply(body=[coin("bitcoin"), retired])]) as server:
            client = client_of(server.url, source="CoinGecko", setting="COINGECKO_BASE_URL")
            return coingecko_ingest.ingest_markets(chain.context(), client, universe, SNAPSHOT)

    report = ingest_universe()
    assert list(report.failed) == ["matic-network"]
    for word in (words, "stale", "matic-network,MATICUSDT", "valid_to"):
        assert word in report.failed["matic-network"]
    assert report.rows == 2
    # A row that has ended may go quiet.
    universe[1] = replace(universe[1], valid_to=date(2025, 9, 10))
    assert ingest_universe().failed == {}


def ranking(moves: Callable[[int], bool]) -> Callable[[Asked], Reply]:
    """Nine coins in pages of three; if `moves` says so, the fourth overtakes the third once the first page is read."""
    asked = [0]

    def answer(request: Asked) -> Reply:
        if "ids" in request.query:
            return Reply(body=[coin("c1")])
        page, asked[0] = int(request.query["page"]), asked[0] + 1
        order = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"]
        if page > 1 and moves((asked[0] - 1) // 3):
            order[2:4] = ["c4", "c3"]
        return Reply(body=[coin(c) for c in order[3 * page - 3 : 3 * page]])

    return answer


@pytest.mark.parametrize(
    ("moves", "held", "requests", "shortfall"),
    [
        (lambda attempt: False, 9, 4, None),
        (lambda attempt: attempt == 0, 9, 7, None),
        (lambda attempt: True, 8, 7, "1 of the 9 largest coins"),
    ],
    ids=["standing", "moving once", "moving always"],
)
def test_a_coin_that_slips_between_two_pages_is_requested_by_id(
    monkeypatch: pytest.MonkeyPatch, chain: Chain, client_of: Client,
    moves: Callable[[int], bool], held: int, requests: int, shortfall: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(client_module, "PER_PAGE", 3)
    monkeypatch.setattr(client_module, "TOP", 9)
    with scripted(ranking(moves)) as server:
        client = client_of(server.url, source="CoinGecko", setting="COINGECKO_BASE_URL")
        report = coingecko_ingest.ingest_markets(chain.context(), client, [asset("c1")], SNAPSHOT)
        assert len(server.asked) == requests
    assert report.rows == held
    assert (report.repeated > 0) == (requests == 7)
    assert (report.shortfall or "").startswith(shortfall or "")
    assert (report.shortfall is None) == (shortfall is None)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"status": {"error_code": 429}}', b"[{]", b'[{"id": "bitc', b"["])
def test_an_answer_without_a_list_is_asked_for_again_and_then_named(
    chain: Chain, client_of: Client, body: bytes
) -> None:
    with pytest.raises(SourceError) as caught:
        ingest(chain, client_of, body)
    assert "\n" not in str(caught.value)
    assert "CoinGecko" in str(caught.value)
    assert chain.lake.list("") == []


def test_ids_that_one_answer_lacks_are_requested_again_and_not_called_unknown(chain: Chain, client_of: Client) -> None:
    answers = iter([[coin("bitcoin")], [], [coin("small"), coin("smaller")]])
    with scripted(lambda asked: Reply(body=next(answers))) as server:
        client = client_of(server.url, source="CoinGecko")
        assets = [asset("small"), asset("smaller")]
        report = coingecko_ingest.ingest_markets(chain.context(), client, assets, SNAPSHOT)
    assert (report.rows, report.failed) == (3, {})


def test_all_ids_unknown_is_an_answer_and_no_fault(chain: Chain, client_of: Client) -> None:
    report = ingest(chain, client_of, [coin("bitcoin")], ("nothing-like-it",), by_ids=[])
    assert (report.rows, list(report.failed)) == (1, ["nothing-like-it"])


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_a_time_without_an_offset_is_utc_in_any_zone(
    monkeypatch: pytest.MonkeyPatch, zone: str, chain: Chain, client_of: Client
) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        ingest(chain, client_of, [coin("bitcoin", last_updated="2026-01-02T03:00:00")])
    finally:
        monkeypatch.undo()
        time.tzset()
    assert loaded(chain, "last_updated") == [(datetime(2026, 1, 2, 3, tzinfo=UTC),)]


def test_two_requests_are_two_snapshots_and_one_loaded_twice_is_one(
    chain: Chain, simulator: Simulator, client_of: Client
) -> None:
    client = client_of(simulator.coingecko_url, source="CoinGecko")
    for hour in (4, 5, 5):
        at = SNAPSHOT.replace(year=2026, month=11, day=20, hour=hour)
        report = coingecko_ingest.ingest_markets(chain.context(), client, [asset("bitcoin")], at)
        assert (report.rejected, report.failed) == (0, {})
        chain.load(MARKETS)
    assert chain.one("select count(distinct snapshot_at) from raw.coingecko_markets") == 2
    assert chain.one("select count(*) from ops.restatements") == 0


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*coin(), "new"]), JSON_VALUES, max_size=4), st.sets(st.sampled_from([*coin()])))
@settings(max_examples=300, deadline=None)
def test_any_mutation_of_a_record_is_read_or_rejected(changed: dict[str, Any], removed: set[str]) -> None:
    record = {k: v for k, v in {**coin(), **changed}.items() if k not in removed}
    body = json.dumps([record, coin("ethereum")]).encode()
    good, rejected = parse_markets(body, "http://x", SNAPSHOT, SNAPSHOT)
    assert len(good) + len(rejected) == 2
    assert "ethereum" in {row["crypto_id"] for row in good}
