"""The declarations of the providers of headlines, and of GDELT's daily tone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context
from ingestion.database.connections import Connection
from ingestion.datasets import Dataset
from ingestion.news.scores import score_pending
from ingestion.raw.loader import Loaded, load_pending
from ingestion.settings import Settings, load_settings
from ingestion.sources.http import HttpClient
from ingestion.sources.news import dataset as datasets
from ingestion.sources.news import ingest
from ingestion.sources.news.client import GDELT_PATH, GDELT_PAUSE_S, X_CONVENTIONS
from ingestion.sources.news.ingest import HeadlineOptions
from ingestion.sources.rate_limit import Limits
from ingestion.sources.source import Api, FetchRequest, Source, probe_of
from ingestion.universe import read_universe

# GDELT asks for five seconds between requests; Algolia allows 10,000 an hour and address.
GDELT_PER_MINUTE, HACKERNEWS_PER_MINUTE = 12, 100
# X has limits by plan; a run makes two requests.
X_PER_MINUTE = 20

GDELT = Api(
    name="GDELT",
    setting="GDELT_BASE_URL",
    limits=lambda _: Limits(GDELT_PER_MINUTE),
    probe=probe_of(
        GDELT_PATH,
        lambda _: "no key needed",
        {"query": "bitcoin", "mode": "artlist", "format": "json", "maxrecords": 1},
    ),
)
HACKERNEWS = Api(
    name="Hacker News",
    setting="HN_BASE_URL",
    limits=lambda _: Limits(HACKERNEWS_PER_MINUTE),
    probe=probe_of("/api/v1/search_by_date", lambda _: "no key needed", {"query": "bitcoin", "hitsPerPage": 1}),
)
FEEDS = Api(name="News feeds", setting="NEWS_FEEDS")
X = Api(
    name="X",
    setting="X_BASE_URL",
    headers=lambda settings: {"Authorization": f"Bearer {settings.x_bearer_token}"} if settings.x_bearer_token else {},
    limits=lambda _: Limits(X_PER_MINUTE),
    conventions=X_CONVENTIONS,
)


def _pause_s(settings: Settings | None) -> float:
    # The pause protects the public server.
    return GDELT_PAUSE_S if settings and settings.is_public(GDELT.setting) else 0.0


def _gdelt(context: Context, client: HttpClient, request: FetchRequest, options: HeadlineOptions) -> FetchResult:
    return ingest.ingest_gdelt(context, client, request.at, options, _pause_s(request.settings))


def _tone(context: Context, client: HttpClient, request: FetchRequest, options: HeadlineOptions) -> FetchResult:
    return ingest.ingest_tone(context, client, request.at, options, _pause_s(request.settings))


def _hackernews(context: Context, client: HttpClient, request: FetchRequest, options: HeadlineOptions) -> FetchResult:
    return ingest.ingest_hackernews(context, client, request.at, options)


def _feeds(context: Context, client: HttpClient, request: FetchRequest, options: HeadlineOptions) -> FetchResult:
    assert request.settings is not None
    return ingest.ingest_feeds(context, client, FEEDS.urls(request.settings), request.at, options)


def _x(context: Context, client: HttpClient, request: FetchRequest, options: HeadlineOptions) -> FetchResult:
    return ingest.ingest_x(context, client, request.at, options)


def _load(lake: Any, connection: Connection, dataset: Dataset, batch_id: str, **options: Any) -> Any:
    """Load what is pending, then score and tag what is new, edited or of another version."""
    loaded = load_pending(lake, connection, dataset, batch_id, **options)
    score_pending(connection, dataset, read_universe(load_settings().universe_path))
    return loaded


def _declare(
    name: str,
    dataset: Dataset,
    api: Api,
    fetch: Callable[[Context, HttpClient, FetchRequest, HeadlineOptions], FetchResult],
    texts: tuple[str, str, str, str],
    load: Callable[..., tuple[Loaded, list[str]]] = _load,
) -> Source:
    def fetch_into_bronze(context: Context, request: FetchRequest, client: HttpClient) -> FetchResult:
        # A refresh of recorded or simulated markets does not mix them with today's news.
        settings, options = request.settings, request.options or HeadlineOptions()
        if settings and not options.start and settings.has_other_market() and settings.is_public(api.setting):
            note = f"{api.name} is not asked: the market sources have addresses of their own; set {api.setting} as well"
            return FetchResult(dataset.name, notes=(note,))
        return fetch(context, client, request, options)

    return Source(
        name=name,
        dataset=dataset,
        apis=(api,),
        fetch=fetch_into_bronze,
        options=HeadlineOptions,
        load=load,
        description=texts[0],
        bronze_description=texts[1],
        raw_description=texts[2],
        attribution=texts[3],
    )


GDELT_SOURCE = _declare(
    "gdelt", datasets.GDELT_HEADLINES, GDELT, _gdelt,
    (
        "GDELT DOC 2.0: articles of the world's news",
        "Articles about crypto that were new or edited, by the day on which GDELT sent them.",
        "Headlines of articles about crypto by GDELT, one row per address, with scores and assets.",
        "News: the GDELT Project (https://www.gdeltproject.org)",
    ),
)  # fmt: skip
HACKERNEWS_SOURCE = _declare(
    "hackernews", datasets.HACKERNEWS_HEADLINES, HACKERNEWS, _hackernews,
    (
        "Hacker News by Algolia's search",
        "Stories about crypto that were new or edited, by the day on which the search sent them.",
        "Titles of Hacker News stories about crypto, one row per story, with scores and assets.",
        "Stories: Hacker News (https://news.ycombinator.com), search by Algolia",
    ),
)  # fmt: skip
RSS_SOURCE = _declare(
    "rss", datasets.RSS_HEADLINES, FEEDS, _feeds,
    (
        "RSS and Atom feeds of news sites",
        "Items of the feeds that were new or edited, by the day on which the feeds had them.",
        "Headlines of news feeds, one row per item, with scores and assets.",
        "Headlines: the publishers that each row names",
    ),
)  # fmt: skip
X_SOURCE = _declare(
    "x", datasets.X_HEADLINES, X, _x,
    (
        "X recent search (with a token)",
        "Posts about crypto without their authors, by the day on which X sent them.",
        "Posts about crypto at X without their authors, one row per post, with scores and assets.",
        "Posts: X (https://x.com)",
    ),
)  # fmt: skip
TONE_SOURCE = _declare(
    "gdelt_tone", datasets.GDELT_TONE, replace(GDELT, probe=None), _tone,
    (
        "GDELT DOC 2.0: daily tone of the world's news",
        "Days of GDELT's tone that were new or restated, by the day on which GDELT sent them.",
        "GDELT's mean tone of articles about cryptocurrencies, one row per UTC day.",
        "News tone: the GDELT Project (https://www.gdeltproject.org)",
    ),
    load_pending,
)  # fmt: skip
NEWS_SOURCES = (GDELT_SOURCE, HACKERNEWS_SOURCE, RSS_SOURCE, X_SOURCE, TONE_SOURCE)
