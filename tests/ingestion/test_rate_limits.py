"""Bans and rate limits are shared by processes through the database, and kept across restarts."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.sources.rate_limit import Limits, SharedRateLimiter
from support.http_client import GOOD, Client, Server, error_of
from support.pipeline import Chain
from support.scripted_server import Reply


def limiter_of(chain: Chain, per_minute: int = 6000, source: str = "Binance", **options: Any) -> SharedRateLimiter:
    from ingestion.database import connections

    sleep = {"sleep": options.pop("sleep")} if "sleep" in options else {}
    limits = Limits(per_minute, **options)
    return SharedRateLimiter(source, lambda: connections.connect(chain.postgres, "ingest"), limits, **sleep)


def banned(until: datetime) -> Reply:
    return Reply(418, {"code": -1003, "msg": f"Way too much; IP banned until {int(until.timestamp() * 1000)}."})


def test_a_ban_is_remembered_across_restarts_and_sends_nothing_until_its_end(
    serve: Server, client_of: Client, chain: Chain
) -> None:
    server = serve(banned(datetime.now(UTC) + timedelta(days=2)), GOOD)
    limiter = limiter_of(chain)
    error = error_of(lambda: client_of(server.url, limiter=limiter).get("/x"))
    limiter.close()
    assert (error.kind, len(server.asked)) == ("banned", 1)
    for _ in range(3):  # each with a client and a connection of its own, as after a restart
        limiter = limiter_of(chain)
        error = error_of(lambda limiter=limiter: client_of(server.url, limiter=limiter).get("/x"))
        limiter.close()
        assert error.kind == "banned"
        assert "banned this address until" in str(error)
    assert len(server.asked) == 1
    chain.ask("update ops.api_budget set banned_until = clock_timestamp() - interval '1 second'")
    limiter = limiter_of(chain)
    assert client_of(server.url, limiter=limiter).get("/x") == {"ok": True}
    limiter.close()


def test_a_ban_on_one_source_does_not_touch_another_behind_the_same_address(
    serve: Server, client_of: Client, chain: Chain
) -> None:
    server = serve(banned(datetime.now(UTC) + timedelta(hours=1)), GOOD)
    first, second = limiter_of(chain), limiter_of(chain, source="CoinGecko")
    error_of(lambda: client_of(server.url, limiter=first).get("/x"))
    assert client_of(server.url, source="CoinGecko", limiter=second).get("/x") == {"ok": True}
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("reply", "seconds"), [(Reply(418, b"", {"Retry-After": "600"}), 600), (Reply(418, b"<html>"), 120)]
)
def test_a_ban_without_an_end_in_its_message_goes_by_the_header_or_the_shortest(
    serve: Server, client_of: Client, chain: Chain, reply: Reply, seconds: int
) -> None:
    limiter = limiter_of(chain)
    error_of(lambda: client_of(serve(reply).url, limiter=limiter).get("/x"))
    limiter.close()
    left = chain.one("select extract(epoch from banned_until - clock_timestamp()) from ops.api_budget")
    assert seconds - 60 < left <= seconds


class NoMoreWeight(Exception):
    pass


def give_up(seconds: float) -> None:
    raise NoMoreWeight


def test_retry_after_applies_to_other_processes(serve: Server, client_of: Client, chain: Chain) -> None:
    server = serve(Reply(429, headers={"Retry-After": "120"}), GOOD)
    first, second = limiter_of(chain, sleep=give_up), limiter_of(chain, sleep=give_up)
    with pytest.raises(NoMoreWeight):
        client_of(server.url, limiter=first).get("/x")
    with pytest.raises(NoMoreWeight):
        client_of(server.url, limiter=second).get("/x")
    assert len(server.asked) == 1
    first.close()
    second.close()


@given(st.integers(20, 400), st.lists(st.sampled_from([1, 2, 20]), min_size=1, max_size=60))
@settings(max_examples=12, deadline=None)
def test_two_rate_limits_together_never_exceed_the_limit_of_a_minute(
    chain_of_module: Chain, limit: int, weights: list[int]
) -> None:
    chain_of_module.ask("delete from ops.api_budget")
    chain_of_module.connection.rollback()
    limiters = [limiter_of(chain_of_module, limit, sleep=give_up) for _ in range(2)]

    def spend(limiter: SharedRateLimiter, mine: list[int]) -> None:
        try:
            for weight in mine:
                limiter.acquire("api", weight)
        except NoMoreWeight:
            pass

    minute = datetime.now(UTC).minute
    threads = [threading.Thread(target=spend, args=(b, weights * 4)) for b in limiters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = sum(b.spent for b in limiters)
    for limiter in limiters:
        limiter.close()
    minutes = 1 if datetime.now(UTC).minute == minute else 2
    # A single request heavier than the whole limit must still be possible.
    assert spent <= minutes * max(limit, 20)


def test_weight_that_the_server_counted_elsewhere_is_taken_over(serve: Server, client_of: Client, chain: Chain) -> None:
    server = serve(Reply(body={}, headers={"X-MBX-USED-WEIGHT-1M": "5399"}), GOOD)
    limiter = limiter_of(chain, 6000, sleep=give_up)
    client = client_of(server.url, limiter=limiter)
    client.get("/x", weight=2)
    used = chain.one("select used from ops.api_budget where minute = date_trunc('minute', clock_timestamp(), 'UTC')")
    assert used >= 5399
    other = limiter_of(chain, 6000, sleep=give_up)
    with pytest.raises(NoMoreWeight):
        client_of(server.url, limiter=other).get("/x", weight=20)
    assert len(server.asked) == 1
    limiter.close()
    other.close()


def test_calls_over_the_monthly_limit_are_one_error_line(serve: Server, client_of: Client, chain: Chain) -> None:
    server = serve(GOOD)
    for _ in range(5):  # restarts waste none of them
        limiter = limiter_of(chain, 100, source="CoinGecko", per_month=5, month_setting="CALLS_SETTING")
        client_of(server.url, source="CoinGecko", limiter=limiter).get("/x")
        limiter.close()
    limiter = limiter_of(chain, 100, source="CoinGecko", per_month=5, month_setting="CALLS_SETTING")
    error = error_of(lambda: client_of(server.url, source="CoinGecko", limiter=limiter).get("/x"))
    limiter.close()
    assert error.kind == "exhausted"
    assert "CALLS_SETTING" in str(error)
    assert len(server.asked) == 5
