"""Fetches headlines of one provider into bronze: what can be new, and only what is new or edited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from ingestion.arrow import last_wins
from ingestion.bronze.results import FetchResult, merge_results
from ingestion.bronze.write import Context, accept, reject, rows_by_object, with_batch_id
from ingestion.database.connections import fetch, locked
from ingestion.datasets import Dataset, midnight
from ingestion.ops import series
from ingestion.sources.http import HttpClient, RequestRejected, SourceError
from ingestion.sources.news import client as requests
from ingestion.sources.news.client import Pace, Reading
from ingestion.sources.news.dataset import (
    GDELT_HEADLINES,
    GDELT_TONE,
    HACKERNEWS_HEADLINES,
    RSS_HEADLINES,
    SERIES,
    TONE_TOPIC,
    X_HEADLINES,
    to_table,
    to_tone_table,
)
from ingestion.sources.news.parse import Headlines

# As often as the hourly run, but not with every run by hand.
ASK_AFTER = timedelta(minutes=50)
TONE_AFTER = timedelta(hours=6)
# Providers index late: each request reads so far back before the newest headline.
OVERLAP = timedelta(hours=3)
# The first fetch, and the longest gap that a refresh fills. 90 days are the base of the count's z-score.
GDELT_BACK, HACKERNEWS_BACK = timedelta(days=3), timedelta(days=90)
# Requests of one run: a refresh must end, a backfill goes on as long as there are pages.
REFRESH_PAGES, BACKFILL_PAGES = 6, 3000
# X bills each post: two pages in a run, 24 requests in a UTC day, so at most 2,400 posts.
X_PAGES, X_REQUESTS_PER_DAY = 2, 24
FEEDS_AT_ONCE = 8


@dataclass(frozen=True)
class HeadlineOptions:
    """The run configuration of a provider: the days [start, end) to read again; empty for a refresh."""

    start: str = ""
    end: str = ""


@dataclass(frozen=True)
class _Span:
    start: datetime
    end: datetime
    whole: bool
    pages: int


def ingest_gdelt(
    context: Context, client: HttpClient, now: datetime, options: HeadlineOptions, pause_s: float
) -> FetchResult:
    """Fetch GDELT's articles, read back from now."""
    span = _due(context, GDELT_HEADLINES, now, options, GDELT_BACK)
    if span is None:
        return FetchResult(GDELT_HEADLINES.name)
    reading = Reading(requests.gdelt_span(client, Pace(pause_s)), requests.GDELT_ARTICLES, requests.GDELT_STEP)
    return _read_span(context, GDELT_HEADLINES, [("articles", reading)], span, now)


def ingest_hackernews(context: Context, client: HttpClient, now: datetime, options: HeadlineOptions) -> FetchResult:
    """Fetch Hacker News' stories of each term, read back from now: no query has more than 1,000 hits."""
    span = _due(context, HACKERNEWS_HEADLINES, now, options, HACKERNEWS_BACK)
    if span is None:
        return FetchResult(HACKERNEWS_HEADLINES.name)
    readings = [
        (term, Reading(requests.hackernews_span(client, term), requests.HN_HITS, timedelta(seconds=1)))
        for term in requests.HN_TERMS
    ]
    return _read_span(context, HACKERNEWS_HEADLINES, readings, span, now)


def ingest_feeds(
    context: Context, client: HttpClient, addresses: tuple[str, ...], now: datetime, options: HeadlineOptions
) -> FetchResult:
    """Fetch every feed; one that fails is named and stops no other."""
    dataset = RSS_HEADLINES
    if options.start:
        note = f"{dataset.source}: a feed has recent items only; a backfill of {options.start} requests none"
        return FetchResult(dataset.name, notes=(note,))
    span = _due(context, dataset, now, options, GDELT_BACK)
    if span is None:
        return FetchResult(dataset.name)

    def read(address: str) -> tuple[str, Headlines | SourceError]:
        try:
            return address, requests.feed(client.only(address), address)
        except SourceError as error:
            return address, error

    with ThreadPoolExecutor(FEEDS_AT_ONCE) as pool:
        answers = dict(pool.map(read, addresses))
    failed = {address: str(answer) for address, answer in answers.items() if isinstance(answer, SourceError)}
    pages = [answer for answer in answers.values() if isinstance(answer, Headlines)]
    for address, answer in answers.items():
        if isinstance(answer, Headlines) and not answer.rows:
            failed[address] = f"{dataset.source}: {address} has no item that can be read; what it sent before is kept"
    result = store(context, dataset, pages, now, whole=span.whole)
    if pages:
        series.record_answers(context.connection, dataset, [(SERIES, True)], now)
    error = None if pages else next(iter(failed.values()))
    return replace(result, failed=failed, error=error)


def ingest_x(context: Context, client: HttpClient, now: datetime, options: HeadlineOptions) -> FetchResult:
    """Fetch posts that are newer than the newest stored one; each page is stored before the next is requested."""
    dataset = X_HEADLINES
    if options.start:
        return FetchResult(dataset.name, notes=("X: posts of past days are billed again; a backfill requests none",))
    if _due(context, dataset, now, options, GDELT_BACK) is None:
        return FetchResult(dataset.name)
    [[since_id]] = fetch(context.connection, "select max(external_id::numeric)::text from raw.headlines_x")
    left = X_REQUESTS_PER_DAY - _requests_today(context, dataset.source, now)
    if left <= 0:
        note = f"X: the budget of {X_REQUESTS_PER_DAY} requests a UTC day is spent; no request is sent until tomorrow"
        return FetchResult(dataset.name, notes=(note,))
    results, token = [FetchResult(dataset.name)], None
    for _ in range(min(X_PAGES, left)):
        try:
            page = requests.x_page(client, since_id, token)
        except SourceError as error:
            results.append(FetchResult(dataset.name, error=str(error)))
            break
        results.append(store(context, dataset, [page], now, whole=False))
        series.record_answers(context.connection, dataset, [(SERIES, True)], now)
        token = page.next_token
        if token is None:
            break
    if token is not None and results[-1].error is None:
        note = f"X: {X_PAGES} pages of {requests.X_POSTS} posts were read, older posts since the last run were not"
        results.append(FetchResult(dataset.name, notes=(note,)))
    return merge_results(*results)


def ingest_tone(
    context: Context, client: HttpClient, now: datetime, options: HeadlineOptions, pause_s: float
) -> FetchResult:
    """Fetch GDELT's daily tone of the last three months: one request, whatever is missing."""
    dataset = GDELT_TONE
    known = series.answers(context.connection, dataset).get(TONE_TOPIC)
    if not options.start and known and known.history_at and timedelta(0) <= now - known.answered_at < TONE_AFTER:
        return FetchResult(dataset.name)
    # Another dataset's request to GDELT may have been sent a moment ago.
    pace = Pace(pause_s)
    pace.wait()
    rows, rejected = requests.gdelt_tone(client, pace, TONE_TOPIC)
    over = [row for row in rows if row["date"] < now.date()]
    if not over:
        raise SourceError(client.source, "the timeline of tone has no day that is over; run again later")
    stored = {
        (topic, day): value
        for topic, day, value in fetch(context.connection, "select topic, date, tone from raw.news_tone_gdelt")
    }
    if known is None or known.history_at is None:
        stored = {}
    page = with_batch_id(context, to_tone_table(over, now))
    table, violations = accept(page, dataset.rules(now))
    result = reject(context, dataset, [*rejected, *violations])
    keys = zip(table["topic"].to_pylist(), table["date"].to_pylist(), table["tone"].to_pylist(), strict=True)
    fresh = table.filter(pa.array([stored.get((topic, day)) != value for topic, day, value in keys], pa.bool_()))
    written = _write(context, dataset, last_wins(fresh, dataset.key))
    series.record_answers(context.connection, dataset, [(TONE_TOPIC, True)], now)
    return replace(result, rows=len(table), written=written)


def store(context: Context, dataset: Dataset, pages: Iterable[Headlines], now: datetime, *, whole: bool) -> FetchResult:
    """Check headlines and write those that are new or edited; all of them if ``whole``, since bronze may lack them."""
    found = list(pages)
    rows = [row for page in found for row in page.rows]
    table, violations = accept(with_batch_id(context, to_table(rows, now)), dataset.rules(now))
    result = reject(context, dataset, [*(r for page in found for r in page.rejected), *violations])
    distinct = last_wins(table, dataset.key)
    fresh = distinct if whole else distinct.filter(pa.array(_is_new(context, dataset, distinct), pa.bool_()))
    return replace(
        result, rows=len(table), repeated=len(table) - len(distinct), written=_write(context, dataset, fresh)
    )


def _write(context: Context, dataset: Dataset, rows: pa.Table) -> tuple[Any, ...]:
    with locked(context.connection, f"bronze {dataset.name}"):
        return tuple(context.lake.merge(dataset, key, part) for key, part in rows_by_object(dataset, rows))


def _is_new(context: Context, dataset: Dataset, rows: pa.Table) -> Iterator[bool]:
    """Yield for each headline whether raw lacks it or has another title or address."""
    query = f"select external_id, title, url from raw.{dataset.name} where external_id = any(%s)"  # noqa: S608 - declared
    ids = rows["external_id"].to_pylist()
    known = {i: (title, url) for i, title, url in fetch(context.connection, query, (ids,))}
    for own_id, title, url in zip(ids, rows["title"].to_pylist(), rows["url"].to_pylist(), strict=True):
        yield known.get(own_id) != (title, url)


def _due(context: Context, dataset: Dataset, now: datetime, options: HeadlineOptions, back: timedelta) -> _Span | None:
    """Return the span to read, None if nothing can be new."""
    if options.start:
        end = midnight(date.fromisoformat(options.end)) if options.end else now
        return _Span(midnight(date.fromisoformat(options.start)), min(end, now), False, BACKFILL_PAGES)
    known = series.answers(context.connection, dataset).get(SERIES)
    if known is None or known.history_at is None:
        return _Span(now - back, now, True, REFRESH_PAGES)
    # A moment in the future was recorded by a clock that has been set back.
    if timedelta(0) <= now - known.answered_at < ASK_AFTER:
        return None
    return _Span(max(now - back, min(known.answered_at, now) - OVERLAP), now, False, REFRESH_PAGES)


def _read_span(
    context: Context, dataset: Dataset, readings: list[tuple[str, Reading]], span: _Span, now: datetime
) -> FetchResult:
    """Read the span back with each reading, and store page by page: an interrupted backfill keeps what it read."""
    results = [FetchResult(dataset.name)]
    for name, reading in readings:
        try:
            for page in reading.pages(span.start, span.end, span.pages):
                results.append(store(context, dataset, [page], now, whole=span.whole))
        except SourceError as error:
            is_about_term = isinstance(error, RequestRejected) or error.kind == "failing"
            if len(readings) == 1 or not is_about_term:
                results.append(FetchResult(dataset.name, error=str(error)))
                break
            results.append(FetchResult(dataset.name, failed={name: str(error)}))
        results.append(_left_out(dataset, name, reading, span))
    merged = merge_results(*results)
    # After a failure the next run reads the same span again; a backfill says nothing about what is new.
    if merged.error is None and not merged.failed and span.pages != BACKFILL_PAGES:
        series.record_answers(context.connection, dataset, [(SERIES, True)], now)
    if len(merged.failed) == len(readings) > 1:
        merged = replace(merged, error=next(iter(merged.failed.values())))
    return merged


def _left_out(dataset: Dataset, name: str, reading: Reading, span: _Span) -> FetchResult:
    """Return what a reading could not read, as notes."""
    notes = []
    if reading.missing_before is not None:
        first, last = span.start.astimezone(UTC).date(), reading.missing_before.date()
        notes.append(
            f"{dataset.source}: headlines of {name} from {first} to {last} were not all read; run `tickmart backfill "
            f"--dataset headlines --start {first} --end {last + timedelta(days=1)}`"
        )
    if reading.crowded:
        notes.append(f"{dataset.source}: {reading.crowded} moments have more headlines than one answer can have")
    return FetchResult(dataset.name, notes=tuple(notes))


def _requests_today(context: Context, source: str, now: datetime) -> int:
    query = "select count(*) from ops.source_requests where source = %s and requested_at >= %s"
    [[count]] = fetch(context.connection, query, (source, midnight(now.date())))
    return int(count)
