"""Requests pages of headlines. Parsing is in ``parse``, what is stored is decided in ``ingest``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from ingestion.sources.conventions import Answer, Conventions, RequestRejected, parsed_body, retry_after
from ingestion.sources.http import HttpClient
from ingestion.sources.news import parse
from ingestion.sources.news.parse import Headlines

GDELT_PATH = "/api/v2/doc/doc"
GDELT_QUERY = "(bitcoin OR ethereum OR cryptocurrency OR solana OR dogecoin OR stablecoin)"
GDELT_TONE_QUERY = "(bitcoin OR ethereum OR cryptocurrency)"
# The most that GDELT sends, and the pause that it asks for between requests.
GDELT_ARTICLES = 250
GDELT_PAUSE_S = 5.1
# GDELT dates articles by its updates, which come each quarter of an hour.
GDELT_STEP = timedelta(minutes=15)
HN_TERMS = ("bitcoin", "ethereum", "cryptocurrency")
# Algolia never sends more hits of one query than this.
HN_HITS = 1000
X_QUERY = "(bitcoin OR ethereum OR #crypto) -is:retweet"
X_POSTS = 100
X_LOOKUP = 100

T = TypeVar("T")
# (start, end) to a page of headlines in [start, end), newest first.
RequestSpan = Callable[[datetime, datetime], Headlines]


@dataclass
class Pace:
    """Keeps a pause between requests; 0 keeps none."""

    pause_s: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=0.0, init=False)

    def wait(self) -> None:
        """Wait until the next request may be sent."""
        if (left := self._next - self.clock()) > 0:
            self.sleep(left)
        self._next = self.clock() + self.pause_s


@dataclass
class Reading:
    """Pages of a span of time, read back from its end; ``missing_before`` says from where on older ones are missing."""

    request: RequestSpan
    full: int
    step: timedelta
    missing_before: datetime | None = None
    crowded: int = 0

    def pages(self, start: datetime, end: datetime, most: int) -> Iterator[Headlines]:
        """Yield the pages of [start, end), at most so many. A full page has older headlines behind it."""
        for _ in range(most):
            page = self.request(start, end)
            yield page
            if page.size < self.full:
                return
            oldest = min((row["published_at"] for row in page.rows), default=end)
            # Headlines of the oldest moment may be on both pages; a page of one moment only cannot be read further.
            if oldest + self.step >= end:
                self.crowded += 1
                oldest = end - 2 * self.step
            end = oldest + self.step
            if end <= start:
                return
        self.missing_before = end


def gdelt_span(client: HttpClient, pace: Pace) -> RequestSpan:
    """Return the request of GDELT's articles."""

    def request(start: datetime, end: datetime) -> Headlines:
        params: dict[str, str | int] = {
            "query": GDELT_QUERY, "mode": "artlist", "format": "json", "maxrecords": GDELT_ARTICLES, "sort": "datedesc",
            "startdatetime": f"{start:%Y%m%d%H%M%S}", "enddatetime": f"{end:%Y%m%d%H%M%S}",
        }  # fmt: skip
        page, url = _gdelt(client, pace, params, lambda body: parse.gdelt_articles(body, GDELT_QUERY))
        return page.at(url)

    return request


def gdelt_tone(client: HttpClient, pace: Pace, topic: str) -> tuple[list[dict[str, Any]], list[Any]]:
    """Request the tone of the last three months by day."""
    params: dict[str, str | int] = {
        "query": GDELT_TONE_QUERY, "mode": "timelinetone", "format": "json", "timespan": "3months",
    }  # fmt: skip
    (rows, rejected), url = _gdelt(client, pace, params, lambda body: parse.gdelt_tone(body, topic))
    return [{**row, "source_url": url} for row in rows], rejected


def _gdelt(
    client: HttpClient, pace: Pace, params: Mapping[str, str | int], read: Callable[[bytes], T]
) -> tuple[T, str]:
    """Request and parse; a plain-text error is about the query, so that it is not requested again."""

    def parsed(answer: Answer) -> tuple[T | parse.QueryRejected, str]:
        try:
            return read(answer.body), answer.url
        except parse.QueryRejected as error:
            return error, answer.url

    pace.wait()
    found = client.get(GDELT_PATH, params, parse=parsed)
    assert found is not None
    result, url = found
    if isinstance(result, parse.QueryRejected):
        raise RequestRejected(client.source, f"{url} answered in plain text: {result}", status=200, code=None)
    return result, url


def hackernews_span(client: HttpClient, term: str) -> RequestSpan:
    """Return the request of Hacker News' stories with a term in their title."""

    def request(start: datetime, end: datetime) -> Headlines:
        params: dict[str, str | int] = {
            "query": term, "tags": "story", "hitsPerPage": HN_HITS, "restrictSearchableAttributes": "title",
            "typoTolerance": "false",
            "numericFilters": f"created_at_i>={int(start.timestamp())},created_at_i<{int(end.timestamp())}",
        }  # fmt: skip
        page = client.get(
            "/api/v1/search_by_date", params, parse=lambda a: parse.hackernews_stories(a.body, term).at(a.url)
        )
        assert page is not None
        return page

    return request


def feed(client: HttpClient, address: str) -> Headlines:
    """Request a feed; RequestRejected when the answer is none that can be read."""
    body = client.get("", parse=lambda answer: answer.body)
    assert body is not None
    try:
        return parse.feed_items(body, address).at(address)
    except parse.NotAFeed as error:
        raise RequestRejected(client.source, f"{address}: {error}", status=200, code=None) from None


def x_page(client: HttpClient, since_id: str | None, token: str | None) -> Headlines:
    """Request a page of recent posts, newest first."""
    params: dict[str, str | int] = {
        "query": X_QUERY, "max_results": X_POSTS, "tweet.fields": "created_at,lang,author_id",
    }  # fmt: skip
    params |= {"since_id": since_id} if since_id else {}
    params |= {"next_token": token} if token else {}
    page = client.get("/2/tweets/search/recent", params, parse=lambda a: parse.x_posts(a.body, X_QUERY).at(a.url))
    assert page is not None
    return page


def x_deleted(client: HttpClient, ids: list[str]) -> list[str]:
    """Request posts by id; return those that are gone."""
    gone = client.get("/2/tweets", {"ids": ",".join(ids)}, parse=lambda a: parse.deleted_posts(a.body, ids))
    assert gone is not None
    return gone


def _x_message(body: Any) -> str:
    """Return the text of {"title": …, "detail": …} or {"errors": [{"message": …}]}."""
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    return str(body.get("detail") or body.get("title") or first.get("message") or "")


def _x_wait_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait after a 429: Retry-After, else X's x-rate-limit-reset (Unix time)."""
    wait, reset = retry_after(headers), headers.get("x-rate-limit-reset", "").strip()
    if wait is None and reset.isdigit():
        wait = max(0.0, float(reset) - datetime.now(UTC).timestamp())
    return wait


X_CONVENTIONS = Conventions(
    error_code=lambda body: 0 if _x_message(body) else None,
    error_message=_x_message,
    # A plan without search answers 403 with a reason.
    is_about_request=lambda answer: bool(_x_message(parsed_body(answer))),
    wait_s=_x_wait_s,
)
