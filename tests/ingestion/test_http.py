"""The one HTTP client against servers that misbehave: what is repeated, what is waited for, what ends a turn."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.ops import requests
from ingestion.sources.http import ATTEMPTS, CONNECT_ATTEMPTS, HttpClient, RequestRejected, SourceError, Transport
from support.clock import StoppedClock
from support.http_client import GOOD, Client, Server, error_of
from support.pipeline import Chain
from support.scripted_server import Reply, scripted

# -- what is repeated --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500), Reply(502, b"<html>bad gateway</html>"), Reply(503, {"code": -1008, "msg": "busy"}), Reply(504),
        Reply(408), Reply(wire="reset"), Reply(body={"a": "b" * 999}, wire="cut"), Reply(body=b'{"oops": [1, 2,'),
        Reply(body=b""), Reply(body=b"<html>maintenance</html>"), Reply(body={"a": "b" * 999}, wire="short gzip"),
        Reply(body={"a": "b" * 999}, wire="no gzip"),
    ],
    ids=lambda r: f"{r.status} {r.wire or r.bytes()[:20]!r}",
)  # fmt: skip
def test_a_transient_fault_is_retried_without_partial_data(serve: Server, client_of: Client, fault: Reply) -> None:
    server = serve(fault, fault, GOOD)
    client = client_of(server.url)
    assert client.get("/x") == {"ok": True}
    assert len(server.asked) == 3
    assert [(a.attempt, a.error is None) for a in client.take_attempts()] == [(1, False), (2, False), (3, True)]


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_json_body_cut_anywhere_is_never_half_parsed(serve: Server, client_of: Client, cut: int) -> None:
    whole = b'[[1499040000000, "0.01634790", 42, "x"]]'
    server = serve(Reply(body=whole[:cut]), Reply(body=whole))
    assert client_of(server.url).get("/x") == [[1499040000000, "0.01634790", 42, "x"]]


def test_a_fault_that_stays_ends_after_a_bounded_number_of_attempts(
    serve: Server, client_of: Client, clock: StoppedClock
) -> None:
    server = serve(Reply(500))
    error = error_of(lambda: client_of(server.url).get("/x"))
    assert error.kind == "failing"
    assert "answered 500" in str(error)
    assert len(server.asked) == ATTEMPTS
    assert len(clock.slept) == ATTEMPTS - 1


def test_a_client_error_is_not_retried(serve: Server, client_of: Client) -> None:
    server = serve(Reply(400, {"code": -1121, "msg": "Invalid symbol."}))
    client = client_of(server.url)
    with pytest.raises(RequestRejected, match="Invalid symbol") as caught:
        client.get("/x")
    assert (caught.value.code, caught.value.status) == (-1121, 400)
    assert len(server.asked) == 1


def test_a_wrong_path_or_a_login_page_is_named_with_the_setting(serve: Server, client_of: Client) -> None:
    for reply in (Reply(404, b"<html>"), Reply(302, b"", {"Location": "http://login.example"})):
        server = serve(reply)
        error = error_of(lambda server=server: client_of(server.url).get("/x"))
        assert f"answered {reply.status}" in str(error)
        assert "BINANCE_BASE_URL" in str(error)
        assert len(server.asked) == 1


@given(st.lists(st.sampled_from([500, 503, "cut", "reset", "garbage"]), max_size=ATTEMPTS - 1))
@settings(max_examples=15, deadline=None)
def test_any_mix_of_fewer_faults_than_attempts_succeeds(faults: list[Any]) -> None:
    kinds = {
        "cut": Reply(body=[1] * 99, wire="cut"), "reset": Reply(wire="reset"), "garbage": Reply(body=b"{"),
    }  # fmt: skip
    # Before a host has ever answered, resets count as no connection, of which fewer are tolerated.
    replies = [GOOD, *(kinds.get(f) or Reply(f) for f in faults), GOOD]
    with scripted(replies) as server:
        client = HttpClient("Binance", [server.url], setting="BINANCE_BASE_URL", sleep=lambda seconds: None)
        assert client.get("/x") == client.get("/x") == {"ok": True}
        client.close()


# -- how long is waited ------------------------------------------------------------------------------------------------


def test_retry_after_is_respected(serve: Server, client_of: Client, clock: StoppedClock) -> None:
    server = serve(Reply(429, {"code": -1003, "msg": "Too much"}, {"Retry-After": "7"}), GOOD)
    assert client_of(server.url).get("/x") == {"ok": True}
    assert 7 <= sum(clock.slept) <= 8
    assert len(server.asked) == 2


def test_retry_after_may_be_a_date(serve: Server, client_of: Client, clock: StoppedClock) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    server = serve(Reply(503, headers={"Retry-After": at}), GOOD)
    assert client_of(server.url).get("/x") == {"ok": True}
    assert 80 <= sum(clock.slept) <= 92


def test_other_threads_keep_the_cool_down_that_one_was_given(
    serve: Server, client_of: Client, clock: StoppedClock
) -> None:
    server = serve(Reply(429, headers={"Retry-After": "7"}), GOOD)
    client = client_of(server.url, sleep=lambda seconds: None)
    client.get("/x")
    waited: list[float] = []
    client._sleep = waited.append  # the clock stands: as seen by another thread, the cool-down has not begun to pass
    client.get("/y")
    assert waited == [7.0]


def test_a_retry_after_above_the_cap_is_not_waited_for(serve: Server, client_of: Client, clock: StoppedClock) -> None:
    server = serve(Reply(429, headers={"Retry-After": "259200"}))
    error = error_of(lambda: client_of(server.url).get("/x"))
    assert error.kind == "rate_limited"
    assert "259200 s" in str(error)
    assert clock.slept == []
    assert len(server.asked) == 1


def test_without_retry_after_waits_grow_at_random_and_stay_capped(
    serve: Server, client_of: Client, clock: StoppedClock
) -> None:
    server = serve(Reply(429))
    waits = []
    for _ in range(12):
        clock.slept.clear()
        assert error_of(lambda: client_of(server.url).get("/x")).kind == "rate_limited"
        waits.append(list(clock.slept))
    for at in range(ATTEMPTS - 1):
        column = [w[at] for w in waits]
        assert max(column) <= 0.5 * 2**at
        assert len(set(column)) > 1
    assert max(w[-1] for w in waits) > max(w[0] for w in waits)


def test_too_many_requests_end_the_source_for_this_run(serve: Server, client_of: Client) -> None:
    server = serve(Reply(429))
    client = client_of(server.url)
    error_of(lambda: client.get("/x"))
    asked = len(server.asked)
    assert error_of(lambda: client.get("/y")).kind == "rate_limited"
    assert len(server.asked) == asked


def test_the_deadline_ends_a_source_that_only_fails(serve: Server, client_of: Client, clock: StoppedClock) -> None:
    server = serve(Reply(503, headers={"Retry-After": "40"}))
    client = client_of(server.url, deadline_s=100)
    error = error_of(lambda: client.get("/x"))
    assert clock.now - 1000 <= 100 + 40
    assert "503" in str(error)
    asked = len(server.asked)
    for path in ("/y", "/z"):
        error_of(lambda path=path: client.get(path))
    assert len(server.asked) <= asked + 2


def test_a_body_that_drips_ends_with_its_deadline(serve: Server, client_of: Client) -> None:
    server = serve(Reply(body={"a": "b" * 4000}, wire="drip"), GOOD)
    client = client_of(server.url, transport=Transport(body_s=0.3))
    assert client.get("/x") == {"ok": True}
    dripped = client.take_attempts()[0]
    assert "timed out" in (dripped.error or "")
    assert dripped.latency_ms < 5000


def test_a_silent_server_times_out(serve: Server, client_of: Client) -> None:
    server = serve(Reply(wire="silence"))
    client = client_of(server.url, transport=Transport(connect_s=1, read_s=0.1))
    error = error_of(lambda: client.get("/x"))
    assert "timed out" in str(error)
    assert len(server.asked) == CONNECT_ATTEMPTS


# -- hosts out of reach ------------------------------------------------------------------------------------------------

GEO = Reply(451, {"code": 0, "msg": "Service unavailable from a restricted location"})
WAF = Reply(403, b"<html>Forbidden</html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize("blocked", [GEO, WAF], ids=["451", "403"])
def test_a_blocking_host_is_skipped_for_the_rest_of_the_run(
    serve: Server, client_of: Client, clock: StoppedClock, blocked: Reply
) -> None:
    first, second = serve(blocked), serve(GOOD)
    client = client_of(first.url, second.url)
    for _ in range(5):
        assert client.get("/x") == {"ok": True}
    assert (len(first.asked), len(second.asked)) == (1, 5)
    assert clock.slept == []


def test_when_every_host_blocks_one_line_says_so_and_no_host_is_tried_again(serve: Server, client_of: Client) -> None:
    first, second = serve(GEO), serve(WAF)
    client = client_of(first.url, second.url)
    for _ in range(3):
        text = str(error_of(lambda: client.get("/x")))
        assert text.startswith("Binance: ")
        for part in (first.url, second.url, "451", "restricted location", "403", "BINANCE_BASE_URL"):
            assert part in text
    assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1", "cannot be connected to"),
        ("http://no-such-host.invalid", "has no address"),
        ("https://127.0.0.1:{port}", "cut the connection|certificate|failed"),
    ],
)
def test_an_unreachable_host_is_named_with_reason_and_fix(
    serve: Server, client_of: Client, clock: StoppedClock, url: str, words: str
) -> None:
    import re

    server = serve(GOOD)
    address = url.format(port=server.server_address[1])
    error = error_of(lambda: client_of(address).get("/x"))
    assert address in str(error)
    assert re.search(words, str(error)), str(error)
    assert "BINANCE_BASE_URL" in str(error)
    assert len(clock.slept) == CONNECT_ATTEMPTS - 1


def test_a_host_that_resets_before_it_ever_answered_gives_way_to_the_next(serve: Server, client_of: Client) -> None:
    first, second = serve(Reply(wire="reset")), serve(GOOD)
    client = client_of(first.url, second.url)
    assert client.get("/x") == client.get("/y") == {"ok": True}
    assert len(first.asked) == CONNECT_ATTEMPTS


# -- what is recorded -------------------------------------------------------------------------------------------------

CANARY = "CG-canary-5c1f9"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 418, 429, 500])
def test_a_key_is_in_its_header_and_nowhere_else(
    serve: Server, client_of: Client, chain: Chain, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"status": {"error_code": status, "error_message": f"key {CANARY} is wrong"}, "error": f"key {CANARY}"}
    server = serve(Reply(status, echo))
    client = client_of(server.url, source="CoinGecko", transport=Transport(headers={"x-cg-demo-api-key": CANARY}))
    text = ""
    try:
        client.get("/coins/markets", {"vs_currency": "usd"})
    except SourceError as error:
        text = f"{error} {error!r}"
    requests.record_attempts(chain.connection, client.take_attempts(), "run-1")
    assert server.asked[0].headers["x-cg-demo-api-key"] == CANARY
    assert CANARY not in server.asked[0].raw
    assert CANARY not in text
    assert CANARY not in caplog.text
    assert CANARY not in str(chain.ask("select * from ops.source_requests"))
    assert CANARY not in repr(vars(client_of(server.url, transport=Transport(headers={}))))


def test_every_attempt_is_recorded_without_its_query(serve: Server, client_of: Client, chain: Chain) -> None:
    server = serve(Reply(503), Reply(body={"a": "b" * 500}))
    client = client_of(server.url)
    client.get("/api/v3/klines", {"symbol": "BTCUSDT"}, weight=2)
    requests.record_attempts(chain.connection, client.take_attempts(), "run-1")
    rows = chain.ask(
        "select source, endpoint, host, http_status, error, bytes, attempt, weight, run_id, latency_ms >= 0 "
        "from ops.source_requests order by request_id"
    )
    host = server.url.removeprefix("http://")
    assert rows == [
        ("Binance", "/api/v3/klines", host, 503, "answered 503", 2, 1, 2, "run-1", True),
        ("Binance", "/api/v3/klines", host, 200, None, 508, 2, 2, "run-1", True),
    ]
    assert client.take_attempts() == []


def test_symbols_in_other_scripts_travel_in_the_url(serve: Server, client_of: Client) -> None:
    server = serve(GOOD)
    client_of(server.url).get("/x", {"symbol": "币安人生USDT"})
    assert server.asked[0].query == {"symbol": "币安人生USDT"}
    assert server.asked[0].raw.isascii()
