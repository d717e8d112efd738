"""Parses headlines of GDELT, Hacker News, feeds and X, and GDELT's tone. Pure: no requests.

Facts: blog.gdeltproject.org/gdelt-doc-2-0-api-debuts (errors are plain text with status 200), hn.algolia.com/api,
feedparser.readthedocs.io, docs.x.com/x-api/posts/search. No author is kept: names, handles and ids are left out.
"""

from __future__ import annotations

import calendar
import hashlib
import io
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import feedparser  # type: ignore[import-untyped]

from ingestion.arrow import read_json
from ingestion.text import plain
from ingestion.validation import Rejected, parse_each

LONGEST_TITLE, LONGEST_URL, LONGEST_ID = 1000, 2000, 300
# A rejected record is kept to be read by people; an item of 20 MB is not.
LONGEST_REJECTED = 2000
LARGEST_FEED_BYTES = 10 * 1024 * 1024
HN_ITEM = "https://news.ycombinator.com/item?id="
X_POST = "https://x.com/i/web/status/"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_MENTION = re.compile(r"(?<![\w/])@\w{1,15}")
_LANGUAGE_CODE = re.compile(r"(?i)[a-z]{2,3}([-_][a-z0-9]{2,8})*")


class NotAFeed(ValueError):
    """The answer is no feed that can be read; the text says why."""


class QueryRejected(ValueError):
    """GDELT answered a request with a sentence instead of JSON; repeating the request does not help."""


@dataclass(frozen=True)
class Headlines:
    """One answer: rows of headlines, rejected records, and the token of the next page."""

    rows: list[dict[str, Any]]
    rejected: list[Rejected]
    next_token: str | None = None

    def at(self, url: str) -> Headlines:
        """Return the answer with the address that it came from in its rows."""
        return replace(self, rows=[{**row, "source_url": url} for row in self.rows])

    @property
    def size(self) -> int:
        """How many records the answer had."""
        return len(self.rows) + len(self.rejected)


def gdelt_articles(body: bytes, channel: str) -> Headlines:
    """Parse an article list; QueryRejected for GDELT's plain-text errors, ValueError for damaged JSON."""
    articles = _gdelt_json(body).get("articles", [])
    if not isinstance(articles, list):
        raise ValueError("articles is no list")
    return _page(articles, lambda entry: _gdelt_article(entry, channel))


def gdelt_tone(body: bytes, topic: str) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Parse a timeline of tone into days; QueryRejected and ValueError as for articles."""
    timeline = _gdelt_json(body).get("timeline", [])
    if not isinstance(timeline, list) or (timeline and not isinstance(timeline[0], dict)):
        raise ValueError("timeline is no list of series")
    points = timeline[0].get("data", []) if timeline else []
    if not isinstance(points, list):
        raise ValueError("data of the timeline is no list")
    return parse_each(points, lambda point: _tone_day(point, topic), _text)


def _gdelt_json(body: bytes) -> Mapping[str, Any]:
    text = body.decode("utf-8", "replace").strip().removeprefix("\ufeff")
    if not text:
        return {}  # no article in the span
    if not text.startswith(("{", "[")):
        if text.startswith("<"):
            raise ValueError("it is HTML, not JSON")
        raise QueryRejected(" ".join(text.split())[:160])
    # GDELT leaves control characters and backslashes of titles unescaped.
    repaired = re.sub(r'\\(?!["\\/bfnrtu])', r"\\\\", _CONTROL.sub(" ", text))
    parsed = read_json(repaired)
    if not isinstance(parsed, dict):
        raise ValueError("it is no JSON object")
    return parsed


def _gdelt_article(entry: Any, channel: str) -> dict[str, Any]:
    url = _url(_object(entry)["url"])
    at = datetime.strptime(str(entry["seendate"]), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return {
        "source": "gdelt", "external_id": digest(url), "published_at": at, "title": title(entry["title"]), "url": url,
        "publisher": optional(entry.get("domain")), "language": optional(entry.get("language")),
        "country": optional(entry.get("sourcecountry")), "channel": channel, "payload": _payload(entry),
    }  # fmt: skip


def _tone_day(point: Any, topic: str) -> dict[str, Any]:
    at = datetime.strptime(str(_object(point)["date"]), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if (at.hour, at.minute, at.second) != (0, 0, 0):
        raise ValueError(f"date is {str(point['date'])[:60]!r}, not a day")
    value = point["value"]
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d{1,3}(\.\d+)?", str(value)):
        raise ValueError(f"value is {str(value)[:60]!r}, not a number")
    return {"topic": topic, "date": at.date(), "tone": str(value)[:30]}


def hackernews_stories(body: bytes, channel: str) -> Headlines:
    """Parse a page of stories; ValueError when it is not one."""
    parsed = read_json(body.decode())
    hits = parsed.get("hits") if isinstance(parsed, dict) else None
    if not isinstance(hits, list):
        raise ValueError("it has no list of hits")
    return _page(hits, lambda entry: _story(entry, channel))


def _story(entry: Any, channel: str) -> dict[str, Any]:
    story_id = str(_object(entry)["objectID"])
    if not re.fullmatch(r"\d{1,15}", story_id):
        raise ValueError(f"objectID is {story_id[:60]!r}, not a number")
    # A question has no address of its own.
    url = _url(entry.get("url") or f"{HN_ITEM}{story_id}")
    return {
        "source": "hackernews", "external_id": story_id, "published_at": _epoch(entry["created_at_i"]),
        "title": title(entry["title"]), "url": url, "publisher": urlsplit(url).hostname, "language": "en",
        "channel": channel, "payload": _payload({k: entry[k] for k in entry if k in _STORY_FIELDS}),
    }  # fmt: skip


_STORY_FIELDS = ("objectID", "title", "url", "created_at", "created_at_i", "points", "num_comments")


def feed_items(body: bytes, channel: str) -> Headlines:
    """Parse an RSS or Atom feed; NotAFeed for anything else."""
    if len(body) > LARGEST_FEED_BYTES:
        raise NotAFeed(f"it has {len(body) / 1e6:,.1f} MB, more than the {LARGEST_FEED_BYTES >> 20} MB of a feed")
    # An entity can stand for gigabytes of text; no feed needs one of its own.
    if re.search(rb"<!\s*ENTITY", body, re.IGNORECASE):
        raise NotAFeed("it declares XML entities, which a feed does not need")
    # A stream: feedparser takes text for an address or the name of a file, and requests or opens it.
    feed = feedparser.parse(io.BytesIO(body), sanitize_html=False, resolve_relative_uris=False)
    if not feed.get("version"):
        kind = "HTML" if re.search(rb"<html", body[:2000], re.IGNORECASE) else "not XML that is a feed"
        raise NotAFeed(f"it is {kind}, not RSS or Atom")
    publisher, language = optional(feed.feed.get("title")), optional(feed.feed.get("language"))
    if language and not _LANGUAGE_CODE.fullmatch(language):
        language = None
    return _page(feed.entries, lambda entry: _feed_item(entry, channel, publisher, language))


def _feed_item(entry: Any, channel: str, publisher: str | None, language: str | None) -> dict[str, Any]:
    at = entry.get("published_parsed") or entry.get("updated_parsed")
    if at is None:
        sent = entry.get("published") or entry.get("updated")
        raise ValueError(f"published is {sent[:60]!r}, not a date" if sent else "published is missing")
    url = _url(entry["link"])
    # Ids are unique in their feed only.
    own_id = str(entry.get("id") or url)
    host = urlsplit(channel).netloc
    return {
        "source": "rss", "external_id": own_id if own_id.startswith(("http://", "https://")) and
        len(own_id) <= LONGEST_ID else digest(f"{host} {own_id}"),
        # feedparser turns every zone into UTC, and reads a date without zone as UTC.
        "published_at": datetime.fromtimestamp(calendar.timegm(at), UTC), "title": title(entry["title"]), "url": url,
        "publisher": publisher or urlsplit(url).hostname, "language": language, "channel": channel,
        "payload": _payload({k: str(entry[k])[:LONGEST_REJECTED] for k in _ITEM_FIELDS if k in entry}),
    }  # fmt: skip


_ITEM_FIELDS = ("id", "link", "title", "published", "updated")


def x_posts(body: bytes, channel: str) -> Headlines:
    """Parse a page of posts without their authors; how many distinct ones there were is kept, by salted digests."""
    parsed = read_json(body.decode())
    posts = parsed.get("data", []) if isinstance(parsed, dict) else None
    if not isinstance(posts, list):
        raise ValueError("it has no list of posts")
    salt = secrets.token_bytes(16)
    authors = {
        hashlib.sha256(salt + str(post["author_id"]).encode()).digest()
        for post in posts
        if isinstance(post, dict) and post.get("author_id")
    }
    shown = [{k: v for k, v in p.items() if k in _POST_FIELDS} if isinstance(p, dict) else p for p in posts]
    page = _page(shown, lambda entry: _post(entry, channel, len(authors) or None))
    meta = parsed.get("meta") or {}
    return Headlines(page.rows, page.rejected, optional(meta.get("next_token")) if isinstance(meta, dict) else None)


_POST_FIELDS = ("id", "text", "created_at", "lang")


def _post(entry: Any, channel: str, authors: int | None) -> dict[str, Any]:
    post_id = str(_object(entry)["id"])
    if not re.fullmatch(r"\d{1,20}", post_id):
        raise ValueError(f"id is {post_id[:60]!r}, not a number")
    at = datetime.fromisoformat(str(entry["created_at"]))
    if at.tzinfo is None:
        raise ValueError(f"created_at is {str(entry['created_at'])[:60]!r}, without a time zone")
    text = _MENTION.sub("@user", title(entry["text"]))
    return {
        "source": "x", "external_id": post_id, "published_at": at.astimezone(UTC), "title": text,
        "url": f"{X_POST}{post_id}", "publisher": "x.com", "language": optional(entry.get("lang")), "channel": channel,
        "page_authors": authors, "payload": _payload({**entry, "text": text}),
    }  # fmt: skip


def deleted_posts(body: bytes, asked: list[str]) -> list[str]:
    """Return which of the posts that were asked for are gone: deleted, or of an account that is closed or protected."""
    parsed = read_json(body.decode())
    if not isinstance(parsed, dict) or not ("data" in parsed or "errors" in parsed):
        raise ValueError("it has neither posts nor errors")
    there = {str(post.get("id")) for post in parsed.get("data") or []}
    gone = {str(e.get("resource_id") or e.get("value")) for e in parsed.get("errors") or [] if isinstance(e, dict)}
    return [post_id for post_id in asked if post_id in gone and post_id not in there]


def title(value: Any) -> str:
    """Return a headline on one line; ValueError for an empty or endless one."""
    if not isinstance(value, str):
        raise ValueError(f"title is {type(value).__name__}, not text")
    text = " ".join(_CONTROL.sub(" ", value).split())
    if not text:
        raise ValueError("title is empty")
    if len(text) > LONGEST_TITLE:
        raise ValueError(f"title has {len(text):,} characters, more than {LONGEST_TITLE:,}")
    return text


def optional(value: Any) -> str | None:
    """Return a short text on one line, None without one."""
    text = " ".join(_CONTROL.sub(" ", str(value or "")).split())
    return text[:200] or None


def digest(text: str) -> str:
    """Return a short identifier of a long one."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _url(value: Any) -> str:
    """Return an address that a page may link; ValueError for any other, such as javascript: or data:."""
    text = str(value).strip()
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(text) > LONGEST_URL or _CONTROL.search(text):
        raise ValueError(f"url is {text[:60]!r}, not a web address of at most {LONGEST_URL:,} characters")
    return text.replace(" ", "%20")


def _epoch(value: Any) -> datetime:
    if type(value) is not int or not 0 <= value < 10**11:
        raise ValueError(f"created_at_i is {str(value)[:60]!r}, not seconds since 1970")
    return datetime.fromtimestamp(value, UTC)


def _object(entry: Any) -> Any:
    if not isinstance(entry, dict):
        raise ValueError(f"a {type(entry).__name__} instead of an object")
    return entry


def _page(entries: list[Any], parse: Any) -> Headlines:
    return Headlines(*parse_each(entries, parse, _text))


def _payload(entry: Mapping[str, Any]) -> str:
    text = json.dumps(entry, default=plain, ensure_ascii=False)
    return _storable(text) if len(text) <= 20_000 else json.dumps({"left_out": f"{len(text):,} characters"})


def _text(entry: Any) -> str:
    """Return a rejected record as text, without authors and cut: no item is stored whole."""
    if isinstance(entry, dict):
        hidden = ("author", "authors", "author_detail", "content", "summary", "summary_detail", "author_id", "username")
        entry = {k: plain(v)[:500] for k, v in entry.items() if k not in hidden and not k.endswith("_parsed")}
    return _storable(json.dumps(entry, default=plain, ensure_ascii=False))[:LONGEST_REJECTED]


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "")
