"""Headlines from the providers to raw, with scores and assets: what is new, edited or repeated, and who fails alone."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion.bronze.results import FetchResult
from ingestion.database.connections import execute
from ingestion.news.scores import score_pending
from ingestion.settings import MARKET_URLS, PACKAGED_UNIVERSE, load_settings
from ingestion.simulator.news import X_TOKEN
from ingestion.simulator.server import Simulator
from ingestion.sources.http import HttpClient, Transport
from ingestion.sources.news import source as news
from ingestion.sources.news.client import GDELT_ARTICLES, X_CONVENTIONS
from ingestion.sources.news.dataset import HEADLINES, X_HEADLINES
from ingestion.sources.news.deletions import delete_gone_posts
from ingestion.sources.news.ingest import X_REQUESTS_PER_DAY, HeadlineOptions
from ingestion.sources.source import FetchRequest, Source
from ingestion.universe import read_universe
from support.http_client import Server
from support.pipeline import Chain
from support.scripted_server import Asked, Reply

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
Client = Callable[..., HttpClient]
UNIVERSE = read_universe(PACKAGED_UNIVERSE)
HOUR = timedelta(hours=1)


@pytest.fixture
def fetch(chain: Chain, client_of: Client) -> Callable[..., FetchResult]:
    def run(
        source: Source, url: str, at: datetime = NOW, options: HeadlineOptions | None = None, token: str = "",
        deadline_s: float = 900,
    ) -> FetchResult:  # fmt: skip
        [api] = source.apis
        client = client_of(
            *url.split(","), source=api.name, setting=api.setting, conventions=api.conventions, deadline_s=deadline_s,
            transport=Transport(headers={"Authorization": f"Bearer {token}"} if token else {}),
        )  # fmt: skip
        environ = {api.setting: url} | ({"X_BEARER_TOKEN": token} if token else {})
        request = FetchRequest((), at, options=options, settings=load_settings(environ))
        return source.fetch(chain.context(), request, client)

    return run


def stored(chain: Chain, source: Source) -> list[tuple[Any, ...]]:
    chain.load(source.dataset)
    score_pending(chain.connection, source.dataset, UNIVERSE)
    return chain.ask(f"select external_id, title, url from raw.{source.dataset.name} order by 1")


def article(number: int, title: str = "Bitcoin rallies", minutes: int = 0) -> dict[str, str]:
    at = NOW - timedelta(minutes=minutes)
    return {
        "url": f"https://a.example/{number}", "title": title, "seendate": f"{at:%Y%m%dT%H%M%SZ}", "domain": "a.example",
        "language": "English", "sourcecountry": "France",
    }  # fmt: skip


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def gdelt(articles: list[dict[str, str]]) -> Callable[[Asked], Reply]:
    """GDELT with these articles: newest first, at most 250 of a span."""

    def answer(asked: Asked) -> Reply:
        start, end = (moment(asked.query[name]) for name in ("startdatetime", "enddatetime"))
        found = [a for a in articles if start <= datetime.strptime(a["seendate"], "%Y%m%dT%H%M%S%z") <= end]
        found.sort(key=lambda a: a["seendate"], reverse=True)
        return Reply(body={"articles": found[:GDELT_ARTICLES]})

    return answer


SIMULATED = [news.GDELT_SOURCE, news.HACKERNEWS_SOURCE, news.RSS_SOURCE, news.TONE_SOURCE]


@pytest.mark.parametrize("source", SIMULATED, ids=lambda s: s.name)
def test_a_run_stores_what_is_new_and_the_next_one_requests_nothing_until_an_hour_later(
    source: Source, chain: Chain, fetch: Callable[..., FetchResult], simulator: Simulator
) -> None:
    now = datetime.fromtimestamp(simulator.clock.now_ms() / 1000, UTC)
    url = simulator.urls()[source.apis[0].setting]
    first = fetch(source, url, now)
    assert (first.error, first.failed, first.rejected) == (None, {}, 0)
    assert first.rows > 10
    chain.load(source.dataset)
    requests = simulator.stats()["requests"]
    assert (fetch(source, url, now).rows, simulator.stats()["requests"]) == (0, requests)
    later = now + (HOUR if source is not news.TONE_SOURCE else timedelta(days=1))
    simulator.clock.set(int(later.timestamp() * 1000))
    again = fetch(source, url, later)
    assert simulator.stats()["requests"] > requests
    assert again.error is None
    before = chain.one(f"select count(*) from raw.{source.dataset.name}")
    loaded = chain.load(source.dataset)
    assert loaded.inserted < first.rows
    assert (loaded.updated, chain.one(f"select count(*) from raw.{source.dataset.name}")) == (
        0,
        before + loaded.inserted,
    )


def test_a_span_with_more_articles_than_an_answer_is_read_completely(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    server = serve(by=gdelt([article(n, minutes=n * 5) for n in range(700)]))
    result = fetch(news.GDELT_SOURCE, server.url)
    assert (result.error, result.notes) == (None, ())
    assert len(stored(chain, news.GDELT_SOURCE)) == 700


def test_what_a_refresh_cannot_read_is_named_with_the_command_that_reads_it(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    server = serve(by=gdelt([article(n, minutes=n) for n in range(2500)]))
    result = fetch(news.GDELT_SOURCE, server.url)
    assert any("backfill --dataset headlines --start" in note for note in result.notes)
    read = len(stored(chain, news.GDELT_SOURCE))
    assert read < 2500
    fetch(news.GDELT_SOURCE, server.url, options=HeadlineOptions("2026-01-03", "2026-01-06"))
    assert len(stored(chain, news.GDELT_SOURCE)) == 2500


def test_a_moment_with_more_articles_than_an_answer_does_not_stop_the_reading(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    server = serve(by=gdelt([article(n, minutes=15) for n in range(400)] + [article(900, minutes=120)]))
    result = fetch(news.GDELT_SOURCE, server.url)
    assert any("more headlines than" in note for note in result.notes)
    assert "https://a.example/900" in {url for _, _, url in stored(chain, news.GDELT_SOURCE)}


def test_an_edited_headline_is_updated_scored_again_and_its_old_text_kept(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    articles = [article(1, "Bitcoin soars"), article(2)]
    server = serve(by=gdelt(articles))
    fetch(news.GDELT_SOURCE, server.url)
    stored(chain, news.GDELT_SOURCE)
    score = (
        "select compound from raw.headline_scores join raw.headlines using (source, external_id) where url like '%/1'"
    )
    assert chain.one(score) > 0
    articles[0] = article(1, "Ethereum crashes")
    result = fetch(news.GDELT_SOURCE, server.url, NOW + HOUR)
    assert sum(w.outcome != "unchanged" for w in result.written) == 1
    assert {title for _, title, _ in stored(chain, news.GDELT_SOURCE)} == {"Ethereum crashes", "Bitcoin rallies"}
    assert chain.one(score) < 0
    [(old,)] = chain.ask("select old_record ->> 'title' from ops.restatements where dataset = 'headlines_gdelt'")
    assert old == "Bitcoin soars"


def test_a_feed_that_repeats_its_archive_writes_nothing(
    chain: Chain, fetch: Callable[..., FetchResult], simulator: Simulator
) -> None:
    now = datetime.fromtimestamp(simulator.clock.now_ms() / 1000, UTC)
    url = simulator.urls()["NEWS_FEEDS"]
    fetch(news.RSS_SOURCE, url, now)
    stored(chain, news.RSS_SOURCE)
    again = fetch(news.RSS_SOURCE, url, now + HOUR)
    assert again.rows > 0
    assert again.files == 0


def rss(body: str) -> Reply:
    return Reply(body=body.encode(), headers={"Content-Type": "application/rss+xml"})


GOOD = (
    "<rss version='2.0'><channel><title>Desk</title><item><title>Bitcoin gains</title><link>https://a.example/1</link>"
    "<pubDate>Mon, 05 Jan 2026 10:00:00 GMT</pubDate></item></channel></rss>"
)
FUTURE = GOOD.replace("05 Jan 2026", "05 Jan 2036")
FEEDS = {
    "/good": rss(GOOD), "/html": rss("<html><body>hello</body></html>"), "/gone": Reply(404),
    "/moved": Reply(301, headers={"Location": "https://elsewhere.example/rss"}), "/blocked": Reply(403),
    "/future": rss(FUTURE), "/empty": rss("<rss version='2.0'><channel><title>x</title></channel></rss>"),
    "/bomb": rss("<!DOCTYPE r [<!ENTITY a 'x'>]><rss version='2.0'/>"),
}  # fmt: skip


def test_feeds_that_fail_are_named_and_the_others_are_stored(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    server = serve(by=lambda asked: FEEDS[asked.path])
    result = fetch(news.RSS_SOURCE, ",".join(server.url + path for path in FEEDS))
    assert result.error is None
    named = {address.removeprefix(server.url) for address in result.failed}
    assert named == {"/html", "/gone", "/moved", "/blocked", "/empty", "/bomb"}
    assert all("\n" not in reason for reason in result.failed.values())
    assert "elsewhere.example" in result.failed[f"{server.url}/moved"]
    assert result.rejected == 1
    assert [title for _, title, _ in stored(chain, news.RSS_SOURCE)] == ["Bitcoin gains"]


def test_a_plain_text_error_of_gdelt_is_one_error_after_one_request(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    server = serve(Reply(200, b"Your query was too short or too long.\n"))
    result = fetch(news.GDELT_SOURCE, server.url)
    assert "too short" in (result.error or "")
    assert len(server.asked) == 1


@pytest.mark.parametrize("source", [news.GDELT_SOURCE, news.HACKERNEWS_SOURCE, news.RSS_SOURCE], ids=lambda s: s.name)
def test_a_source_that_does_not_answer_is_one_error(source: Source, fetch: Callable[..., FetchResult]) -> None:
    result = fetch(source, "http://127.0.0.1:9")
    assert result.error
    assert (result.rows, result.written) == (0, ())


def test_a_term_that_fails_is_named_and_its_span_is_read_again_by_the_next_run(
    chain: Chain, fetch: Callable[..., FetchResult], simulator: Simulator
) -> None:
    now = datetime.fromtimestamp(simulator.clock.now_ms() / 1000, UTC)
    url = simulator.urls()["HN_BASE_URL"]
    simulator.faults.set([{"kind": "status", "status": 400, "contains": "query=ethereum", "body": {"message": "no"}}])
    first = fetch(news.HACKERNEWS_SOURCE, url, now)
    assert (first.error, set(first.failed)) == (None, {"ethereum"})
    known = len(stored(chain, news.HACKERNEWS_SOURCE))
    simulator.faults.clear()
    assert fetch(news.HACKERNEWS_SOURCE, url, now).failed == {}
    assert len(stored(chain, news.HACKERNEWS_SOURCE)) > known > 0


def test_posts_are_read_once_without_authors(
    chain: Chain, fetch: Callable[..., FetchResult], simulator: Simulator
) -> None:
    now = datetime.fromtimestamp(simulator.clock.now_ms() / 1000, UTC)
    url = simulator.urls()["X_BASE_URL"]
    first = fetch(news.X_SOURCE, url, now, token=X_TOKEN)
    assert (first.error, first.rows) == (None, 200)
    stored(chain, news.X_SOURCE)
    later = now + HOUR
    simulator.clock.set(int(later.timestamp() * 1000))
    again = fetch(news.X_SOURCE, url, later, token=X_TOKEN)
    assert 0 < again.rows < 10
    [objects] = [chain.lake.list(f"{X_HEADLINES.prefix}/")]
    table, _ = chain.lake.read(objects[0].key)
    assert "author_id" not in json.dumps(table.to_pylist(), default=str)
    assert not any("@desk" in title for title in table["title"].to_pylist())
    assert {row[0] for row in chain.ask("select page_authors > 1 from raw.headlines_x")} == {True}


def test_posts_that_are_gone_at_x_are_deleted_in_raw_and_bronze(
    chain: Chain, fetch: Callable[..., FetchResult], simulator: Simulator, client_of: Client
) -> None:
    now = datetime.fromtimestamp(simulator.clock.now_ms() / 1000, UTC)
    url = simulator.urls()["X_BASE_URL"]
    fetch(news.X_SOURCE, url, now, token=X_TOKEN)
    before = {own_id for own_id, _, _ in stored(chain, news.X_SOURCE)}
    headers = Transport(headers={"Authorization": f"Bearer {X_TOKEN}"})
    client = client_of(url, source="X", conventions=X_CONVENTIONS, transport=headers)
    asked, gone = delete_gone_posts(chain.lake, chain.connection, client, now)
    assert (asked, 0 < gone < asked) == (200, True)
    left = {own_id for own_id, _, _ in stored(chain, news.X_SOURCE)}
    assert len(before - left) == gone
    assert {row[0] for row in chain.ask("select external_id from raw.headline_scores where source = 'x'")} == left
    in_bronze = {
        own_id
        for info in chain.lake.list(f"{X_HEADLINES.prefix}/")
        for own_id in chain.lake.read(info.key)[0]["external_id"].to_pylist()
    }
    assert in_bronze == left
    # Posts that are there are not asked for again on the same day.
    assert delete_gone_posts(chain.lake, chain.connection, client, now) == (0, 0)


@pytest.mark.parametrize(
    ("status", "headers"), [(403, {}), (401, {}), (402, {}), (429, {"x-rate-limit-reset": "99999999999"})], ids=str
)
def test_a_refusal_of_x_is_one_error_without_the_token(
    fetch: Callable[..., FetchResult], serve: Server, status: int, headers: dict[str, str]
) -> None:
    body = {"title": "Forbidden", "detail": "token secret-canary is not enrolled", "status": status}
    server = serve(Reply(status, body, headers))
    result = fetch(news.X_SOURCE, server.url, token="secret-canary", deadline_s=7)
    assert result.error
    assert "secret-canary" not in result.error.replace("token secret-canary is", "")
    assert len(server.asked) == 1


def test_the_budget_of_a_day_stops_requests_to_x(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server
) -> None:
    execute(
        chain.connection,
        "insert into ops.source_requests (source, endpoint, host, requested_at, latency_ms, bytes, attempt, weight) "
        "select 'X', '/2/tweets/search/recent', 'h', %s, 1, 1, 1, 1 from generate_series(1, %s)",
        (NOW, X_REQUESTS_PER_DAY),
    )
    server = serve(Reply(200, {"data": []}))
    result = fetch(news.X_SOURCE, server.url, token="some-token")
    assert (server.asked, result.error, len(result.notes)) == ([], None, 1)


def test_x_is_off_without_a_token() -> None:
    assert not X_HEADLINES.is_on(load_settings({}))
    assert X_HEADLINES.is_on(load_settings({"X_BEARER_TOKEN": "some-token"}))
    assert all(dataset.is_on(load_settings({})) for dataset in HEADLINES if dataset is not X_HEADLINES)


@pytest.mark.parametrize("source", [*SIMULATED, news.X_SOURCE], ids=lambda s: s.name)
@pytest.mark.parametrize(("others", "asks"), [(MARKET_URLS, False), (MARKET_URLS[:1], True)], ids=["other", "mirror"])
def test_a_refresh_of_another_market_asks_no_public_provider(
    chain: Chain, client_of: Client, serve: Server, source: Source, others: tuple[str, ...], asks: bool
) -> None:
    server = serve(by=lambda asked: Reply(404))
    environ = dict.fromkeys(others, "http://127.0.0.1:9/other")
    request = FetchRequest((), NOW, options=HeadlineOptions(), settings=load_settings(environ))
    client = client_of(server.url, conventions=X_CONVENTIONS)
    if asks and source is news.RSS_SOURCE:
        return  # its addresses are those of the settings, which are public ones
    if asks and source in (news.GDELT_SOURCE, news.HACKERNEWS_SOURCE, news.X_SOURCE):
        assert source.fetch(chain.context(), request, client).error
    elif not asks:
        assert source.apis[0].setting in source.fetch(chain.context(), request, client).notes[0]
    assert bool(server.asked) == (asks and source is not news.TONE_SOURCE)


def test_headlines_are_scored_once_and_again_with_another_version(
    chain: Chain, fetch: Callable[..., FetchResult], serve: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = article(3, "Bitcoin fällt") | {"language": "German"}
    server = serve(by=gdelt([article(1, "Bitcoin crashes"), article(2, "Nothing happens"), foreign]))
    fetch(news.GDELT_SOURCE, server.url)
    chain.load(news.GDELT_SOURCE.dataset)
    assert score_pending(chain.connection, news.GDELT_SOURCE.dataset, UNIVERSE) == 3
    assert score_pending(chain.connection, news.GDELT_SOURCE.dataset, UNIVERSE) == 0
    scores = {r[0]: r[1:] for r in chain.ask(
        "select title, compound, crypto_ids from raw.headline_scores join raw.headlines using (source, external_id)"
    )}  # fmt: skip
    assert scores["Bitcoin crashes"][0] < 0
    assert scores["Nothing happens"] == (0, [])
    assert scores["Bitcoin fällt"] == (None, ["bitcoin"])
    monkeypatch.setattr("ingestion.news.scores.score_version", lambda: "another")
    assert score_pending(chain.connection, news.GDELT_SOURCE.dataset, UNIVERSE) == 3
    assert chain.ask("select distinct score_version from raw.headline_scores") == [("another",)]
    # Another universe tags all of them again.
    assert score_pending(chain.connection, news.GDELT_SOURCE.dataset, UNIVERSE[1:]) == 3
