"""Daily on-chain series from the API to raw: histories, increments, restatements, and series that fail alone."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingestion.bronze import rejected as bronze_rejected
from ingestion.bronze.results import FetchResult
from ingestion.raw import loader
from ingestion.settings import MARKET_URLS, load_settings
from ingestion.simulator.server import Simulator
from ingestion.sources.http import HttpClient
from ingestion.sources.onchain import source as onchain
from ingestion.sources.onchain.client import CONVENTIONS, blockchain_series, coinmetrics_series
from ingestion.sources.onchain.dataset import (
    BLOCKCHAIN_DAILY,
    BLOCKCHAIN_METRICS,
    COINMETRICS_DAILY,
    COINMETRICS_METRICS,
)
from ingestion.sources.onchain.ingest import DailyOptions, Provider, ingest_daily
from ingestion.sources.source import FetchRequest, Source
from orchestration.exports.lake_sql import lake_connection
from support.http_client import Server
from support.pipeline import Chain
from support.scripted_server import Asked, Reply, ScriptedServer, scripted

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
TODAY = NOW.date()
ONE_DAY = timedelta(days=1)
Client = Callable[..., HttpClient]
COINMETRICS = Provider("coinmetrics", COINMETRICS_DAILY, COINMETRICS_METRICS, coinmetrics_series)
BLOCKCHAIN = Provider("blockchain", BLOCKCHAIN_DAILY, BLOCKCHAIN_METRICS, blockchain_series)


def back(days: int) -> date:
    return TODAY - days * ONE_DAY


@dataclass
class Days:
    """A provider that sends these values by series and day; `instead` has a series' own reply."""

    values: dict[str, dict[date, str]] = field(default_factory=dict)
    instead: dict[str, Reply] = field(default_factory=dict)

    def coinmetrics(self, asked: Asked) -> Reply:
        metric, first = asked.query["metrics"], date.fromisoformat(asked.query["start_time"])
        rows = [
            {"asset": "btc", "time": f"{day}T00:00:00.000000000Z", metric: value}
            for day, value in sorted(self.values.get(metric, {}).items())
            if day >= first
        ]
        return self.instead.get(metric) or Reply(body={"data": rows})

    def blockchain(self, asked: Asked) -> Reply:
        metric, first = asked.path.removeprefix("/charts/"), date.fromisoformat(asked.query.get("start", "2009-01-01"))
        points = [
            {"x": (day - date(1970, 1, 1)).days * 86_400, "y": float(value)}
            for day, value in sorted(self.values.get(metric, {}).items())
            if day >= first
        ]
        return self.instead.get(metric) or Reply(body={"status": "ok", "values": points})


@pytest.fixture
def fetch(chain: Chain, client_of: Client) -> Callable[..., FetchResult]:
    def run(
        server: ScriptedServer | str, provider: Provider = COINMETRICS, at: datetime = NOW, complete: bool = False,
        deadline_s: float = 900,
    ) -> FetchResult:  # fmt: skip
        url = server if isinstance(server, str) else server.url
        client = client_of(url, source=provider.dataset.source, conventions=CONVENTIONS, deadline_s=deadline_s)
        return ingest_daily(chain.context(), client, provider, at, DailyOptions(complete))

    return run


def stored(chain: Chain, provider: Provider = COINMETRICS) -> dict[tuple[str, date], Decimal]:
    chain.load(provider.dataset)
    return {(m, d): v for m, d, v in chain.ask(f"select metric, date, value from raw.{provider.dataset.name}")}


def full(provider: Provider = COINMETRICS, days: int = 5) -> Days:
    return Days({metric: {back(n): str(100 + n) for n in range(1, days + 1)} for metric in provider.metrics})


@pytest.mark.parametrize("provider", [COINMETRICS, BLOCKCHAIN], ids=lambda p: p.source)
def test_a_backfill_has_every_day_since_2009_and_the_next_run_requests_nothing(
    provider: Provider, chain: Chain, fetch: Callable[..., FetchResult], simulator: Simulator
) -> None:
    now = datetime.fromtimestamp(simulator.clock.now_ms() / 1000, UTC)
    url = simulator.coinmetrics_url if provider is COINMETRICS else simulator.blockchain_url
    days = (now.date() - date(2009, 1, 3)).days
    result = fetch(url, provider, now)
    assert (result.rows, result.rejected, result.failed, result.error) == (days * len(provider.metrics), 0, {}, None)
    found = stored(chain, provider)
    assert {m: sum(1 for metric, _ in found if metric == m) for m in provider.metrics} == dict.fromkeys(
        provider.metrics, days
    )
    assert max(day for _, day in found) == now.date() - ONE_DAY
    requests = simulator.stats()["requests"]
    again = fetch(url, provider, now)
    assert (again.rows, again.files) == (0, 0)
    assert simulator.stats()["requests"] == requests
    for later, new_days in ((1, 1), (8, 7)):  # a re-read of the last days, and a complete one
        at = now + later * ONE_DAY
        simulator.clock.set(int(at.timestamp() * 1000))
        assert [w.rows for w in fetch(url, provider, at).written] == [len(provider.metrics) * new_days]
        stored(chain, provider)


def test_a_new_day_is_one_small_object(chain: Chain, fetch: Callable[..., FetchResult], serve: Server) -> None:
    source = full()
    server = serve(by=source.coinmetrics)
    fetch(server)
    stored(chain)
    for values in source.values.values():
        values[TODAY] = "7"
    result = fetch(server, at=NOW + ONE_DAY)
    assert [w.rows for w in result.written] == [len(COINMETRICS_METRICS)]
    assert stored(chain)["TxCnt", TODAY] == 7


def test_the_day_that_is_not_over_is_never_stored(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    source = full(BLOCKCHAIN)
    source.values["n-transactions"][TODAY] = "3"
    source.values["output-volume"][TODAY + ONE_DAY] = "3"
    result = fetch(serve(by=source.blockchain), BLOCKCHAIN)
    assert result.rejected == 1
    assert max(day for _, day in stored(chain, BLOCKCHAIN)) == back(1)


def chart(*days: int) -> Reply:
    """A chart with the value 1 on these days since 1970."""
    return Reply(body={"status": "ok", "values": [{"x": day * 86_400, "y": 1} for day in days]})


REFUSED = Reply(403, {"error": {"type": "forbidden", "message": "not available with supplied credentials"}})


@pytest.mark.parametrize(
    ("provider", "metric", "reply"),
    [
        (COINMETRICS, "HashRate", REFUSED),
        (COINMETRICS, "HashRate", Reply(400, {"error": {"type": "bad_parameter", "message": "not supported"}})),
        (COINMETRICS, "HashRate", Reply(body=b'{"data": [{"asset"')),
        (COINMETRICS, "HashRate", Reply(500)),
        (COINMETRICS, "HashRate", Reply(body={"data": []})),
        (BLOCKCHAIN, "output-volume", Reply(404, {"error": "not-found-error", "message": "no resource"})),
        (BLOCKCHAIN, "output-volume", chart()),
        (BLOCKCHAIN, "output-volume", chart(*range(18_000, 18_200, 2))),
        (BLOCKCHAIN, "output-volume", chart(19_111)),
    ],
    ids=["refused", "unknown", "truncated", "failing", "empty", "withdrawn", "empty chart", "sampled", "silent"],
)  # fmt: skip
def test_a_series_that_fails_is_named_and_the_others_are_stored(
    provider: Provider, metric: str, reply: Reply, chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    source = full(provider)
    source.instead[metric] = reply
    result = fetch(serve(by=getattr(source, provider.source)), provider)
    assert set(result.failed) == {metric}
    assert metric in result.failed[metric]
    assert "\n" not in result.failed[metric]
    assert result.error is None
    others = {m for m, _ in stored(chain, provider)} - {metric}
    assert others == set(provider.metrics) - {metric}


def test_a_series_that_falls_silent_keeps_its_history_and_is_named_by_later_runs(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    source = full(days=40)
    server = serve(by=source.coinmetrics)
    assert fetch(server).failed == {}
    stored(chain)
    for n in range(12):
        for metric in COINMETRICS_METRICS[1:]:
            source.values[metric][TODAY + n * ONE_DAY] = "1"
    assert fetch(server, at=NOW + timedelta(days=2)).failed == {}
    later = fetch(server, at=NOW + timedelta(days=12))
    assert set(later.failed) == {"TxCnt"}
    stored(chain)
    assert set(fetch(server, at=NOW + timedelta(days=12, minutes=5)).failed) == {"TxCnt"}
    assert sum(1 for metric, _ in stored(chain) if metric == "TxCnt") == 40
    newest = chain.one(COINMETRICS_DAILY.newest_sql)
    assert newest == datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)  # the end of the silent series


def test_pages_are_followed_from_any_end_and_a_page_that_names_itself_ends_the_series(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    source = full()

    def pages(asked: Asked) -> Reply:
        reply = source.coinmetrics(asked)
        if asked.query["metrics"] == "HashRate":
            return Reply(body={**reply.body, "next_page_token": "again"})
        at = int(asked.query.get("next_page_token", 0))
        rows = reply.body["data"]
        part = {"data": rows[len(rows) - at - 2 : len(rows) - at] if at + 2 <= len(rows) else rows[: len(rows) - at]}
        return Reply(body={**part, "next_page_token": str(at + 2)} if at + 2 < len(rows) else part)

    server = serve(by=pages)
    result = fetch(server)
    assert set(result.failed) == {"HashRate"}
    assert sum(1 for metric, _ in stored(chain) if metric == "TxCnt") == 5
    assert {asked.query["paging_from"] for asked in server.asked} == {"start"}


def test_a_limit_is_waited_for_as_its_header_says(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server, clock: Any
) -> None:
    source = full()
    replies = iter([Reply(429, headers={"X-RateLimit-Reset": "4"})])
    server = serve(by=lambda asked: next(replies, None) or source.coinmetrics(asked))
    started = clock()
    assert fetch(server).failed == {}
    assert 4 <= clock() - started < 5


def test_a_source_that_does_not_answer_is_one_error(chain: Chain, fetch: Callable[..., FetchResult]) -> None:
    result = fetch("http://127.0.0.1:9")
    assert result.error
    assert (result.failed, result.rows, result.written) == ({}, 0, ())


@pytest.mark.parametrize("source", [onchain.COINMETRICS, onchain.BLOCKCHAIN], ids=lambda s: s.name)
@pytest.mark.parametrize(
    ("addresses", "complete", "asks"),
    [
        (MARKET_URLS, False, False),
        (MARKET_URLS, True, True),
        (MARKET_URLS[:1], False, True),
        ((*MARKET_URLS, "COINMETRICS_BASE_URL", "BLOCKCHAIN_BASE_URL"), False, True),
        ((), False, True),
    ],
    ids=["another market", "a backfill beside it", "one mirror", "all others", "public"],
)
def test_a_refresh_of_another_market_asks_no_public_provider(
    chain: Chain,
    client_of: Client,
    serve: Server,
    source: Source,
    addresses: tuple[str, ...],
    complete: bool,
    asks: bool,
) -> None:
    server = serve(by=lambda asked: Reply(403))
    environ = dict.fromkeys(addresses, "http://127.0.0.1:9/other")
    request = FetchRequest((), NOW, options=DailyOptions(complete), settings=load_settings(environ))
    result = source.fetch(chain.context(), request, client_of(server.url, conventions=CONVENTIONS))
    assert bool(server.asked) == asks
    assert asks or source.apis[0].setting in result.notes[0]


def test_a_source_that_refuses_every_series_is_one_error_and_one_that_refuses_a_series_is_none(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    source = full()
    source.instead = dict.fromkeys(COINMETRICS_METRICS, REFUSED)
    server = serve(by=source.coinmetrics)
    assert fetch(server).error
    source.instead = {"HashRate": REFUSED}
    for _ in range(2):  # the second time nothing else is due
        result = fetch(server)
        assert (result.error, set(result.failed)) == (None, {"HashRate"})
        stored(chain)


def test_a_host_that_rejects_this_address_is_one_error(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    server = serve(Reply(403, b"<html>blocked</html>"))
    assert fetch(server).error
    assert len(server.asked) == 1


def test_a_restated_day_is_updated_and_its_old_value_kept(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    source = full(days=40)
    server = serve(by=source.coinmetrics)
    fetch(server)
    stored(chain)
    source.values["TxCnt"] |= {back(3): "3", back(35): "35"}
    fetch(server, at=NOW + timedelta(hours=25))
    found = stored(chain)
    assert (found["TxCnt", back(3)], found["TxCnt", back(35)]) == (3, 135)
    fetch(server, at=NOW + timedelta(days=8))  # the complete history is read once a week
    assert stored(chain)["TxCnt", back(35)] == 35
    old = chain.ask("select record_key ->> 'date', (old_record ->> 'value')::numeric from ops.restatements")
    assert sorted(old) == [(str(back(35)), 135), (str(back(3)), 103)]


def test_a_damaged_object_is_fetched_again(chain: Chain, fetch: Callable[..., FetchResult], serve: Server) -> None:
    server = serve(by=full().coinmetrics)
    [written] = fetch(server).written
    chain.lake.put(written.key, b"no parquet")
    _, damaged = chain.load_with_damage(COINMETRICS_DAILY)
    assert len(damaged) == 1
    fetch(server)
    assert len(stored(chain)) == 25


def test_an_older_fetch_never_replaces_a_newer_value(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    source = full()
    server = serve(by=source.coinmetrics)
    fetch(server)
    source.values["TxCnt"][back(1)] = "9"
    fetch(server, at=NOW + timedelta(hours=25))
    expected = stored(chain)
    [older] = [o for o in chain.lake.list("onchain/coinmetrics/") if str(TODAY) in o.key]
    chain.ask("delete from ops.load_ledger where object_key = %s", [older.key])
    assert stored(chain) == expected
    assert expected["TxCnt", back(1)] == 9


def test_provenance_is_in_raw(chain: Chain, fetch: Callable[..., FetchResult], serve: Server) -> None:
    server = serve(by=full().coinmetrics)
    fetch(server)
    stored(chain)
    rows = chain.ask("select distinct source, asset, source_url, fetched_at, batch_id from raw.onchain_daily")
    assert rows == [("coinmetrics", "btc", f"{server.url}/v4/timeseries/asset-metrics", NOW, "batch-1")]


def test_a_rejected_record_is_replayed_by_the_parser(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    source = full()
    source.values["TxCnt"] |= {back(1): "?", back(2): "-1"}
    assert fetch(serve(by=source.coinmetrics)).rejected == 2
    chain.ask("update ops.rejected_records set record = record || '{\"TxCnt\": \"5\"}' where record ? 'TxCnt'")
    replayed = bronze_rejected.replay(chain.context(), [COINMETRICS_DAILY])
    assert replayed == {COINMETRICS_DAILY.name: (1, 2)}
    assert stored(chain)["TxCnt", back(1)] == 5


def test_a_number_of_many_digits_is_exact_in_raw_and_readable_in_the_lake(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    exact = "703991256." + "00983057113358683125656688645600123456789"
    source = full()
    source.values["HashRate"][back(1)] = exact
    fetch(serve(by=source.coinmetrics))
    assert stored(chain)["HashRate", back(1)] == Decimal("703991256.00983057113358683125656688645600123457")
    with lake_connection(chain.lake.store) as connection:
        query = (
            "select value, payload from onchain_daily_coinmetrics where metric = 'HashRate' order by date desc limit 1"
        )
        [(value, payload)] = connection.execute(query).fetchall()
        assert connection.execute("select count(*) from onchain_daily_blockchain").fetchall() == [(0,)]
    assert value == pytest.approx(703991256.0098306)
    assert exact in payload


RECORD = Path(__file__).resolve().parents[2].parent / "shared/replay/data"


@pytest.mark.recorded
@pytest.mark.skipif(not RECORD.exists(), reason="no recorded market data")
def test_ten_recorded_years_are_equal_to_the_last_digit(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    rows = json.loads(gzip.decompress((RECORD / "coinmetrics/btc.json.gz").read_bytes()))
    source = Days({m: {date.fromisoformat(r["time"]): r[m] for r in rows if r[m]} for m in COINMETRICS_METRICS})
    result = fetch(serve(by=source.coinmetrics), at=datetime(2025, 1, 1, 12, tzinfo=UTC))
    assert (result.rejected, result.failed) == (0, {})
    assert stored(chain) == {
        (metric, day): Decimal(value) for metric, days in source.values.items() for day, value in days.items()
    }


# -- laws --------------------------------------------------------------------------------------------------------------

# What a source has sent by each of up to four fetches, a day apart: values of two series on six days.
FETCHES = st.lists(
    st.dictionaries(
        st.tuples(st.sampled_from(["TxCnt", "HashRate"]), st.integers(1, 6)), st.integers(0, 3), max_size=6
    ),
    min_size=1,
    max_size=4,
)


def make_bronze(chain: Chain, client: HttpClient, source: Days, fetches: list[dict[tuple[str, int], int]]) -> None:
    """Fetch after each change; what a fetch brings is loaded when the next one needs it."""
    for n, sent in enumerate(fetches):
        for (metric, day), value in sent.items():
            source.values.setdefault(metric, {})[back(day)] = str(value)
        ingest_daily(chain.context(), client, COINMETRICS, NOW + n * ONE_DAY, DailyOptions())
        chain.load(COINMETRICS_DAILY)


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(fetches=FETCHES, data=st.data())
def test_any_order_of_loads_and_any_repetition_is_one_load(
    chain_of_module: Chain, fetches: list[dict[tuple[str, int], int]], data: st.DataObject
) -> None:
    chain = chain_of_module
    chain.clear_records()
    for held in chain.lake.list(""):
        chain.lake.remove(held.key)
    source = Days()
    with scripted(source.coinmetrics) as server:
        client = HttpClient("Coin Metrics", [server.url], setting="COINMETRICS_BASE_URL", conventions=CONVENTIONS)
        make_bronze(chain, client, source, fetches)
        client.close()
    incremental = stored(chain)
    # The source's present values are what a complete history would have brought.
    assert incremental == {
        (metric, day): Decimal(value) for metric, days in source.values.items() for day, value in days.items()
    }
    objects = chain.lake.list("onchain/")
    ordered = data.draw(st.permutations(objects + objects))
    loader.empty(chain.connection, COINMETRICS_DAILY)
    while ordered:
        size = data.draw(st.integers(1, len(ordered)))
        batch, ordered = ordered[:size], ordered[size:]
        parts = [
            loader.BronzeObject(o, "", found[0]) for o in dict.fromkeys(batch) if (found := chain.lake.read(o.key))
        ]
        loader.load(chain.connection, COINMETRICS_DAILY, parts, "b")
    assert {(m, d): v for m, d, v in chain.ask("select metric, date, value from raw.onchain_daily")} == incremental
