"""The simulated sources of headlines: GDELT DOC 2.0, Hacker News by Algolia, two feeds, and X recent search.

Paths, parameters, limits and errors are here, the headlines in `press`. X needs a token and rejects others.
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from xml.sax.saxutils import escape

from .market import DAY_MS, HOUR_MS
from .onchain import OnchainServices
from .press import Story
from .services import ErrorResponse, Request

FEEDS = ("coinpost.xml", "ledgernews.atom")
# A feed has the items of so many hours.
FEED_HOURS = 48
# GDELT's updates come each quarter of an hour.
UPDATE_MS = HOUR_MS // 4
GDELT_MOST, HN_MOST, X_DAYS = 250, 1000, 7
TIMESPAN = re.compile(r"(\d+)(min|h|d|w|m|hours?|days?|weeks?|months?)")
SPAN_HOURS = {"h": 1, "hour": 1, "d": 24, "day": 24, "w": 168, "week": 168, "m": 720, "month": 720}
# The token that the simulator accepts.
X_TOKEN = "simulated-token"  # noqa: S105
LANGUAGES = {"English": "en", "German": "de", "Arabic": "ar", "Japanese": "ja"}
PLAIN = {"Content-Type": "text/plain"}


class NewsServices(OnchainServices):
    """Answers requests to the sources of headlines."""

    def _usual_body(self, status: int) -> Any:
        if self._route.startswith("/gdelt"):
            return "Please limit requests to one every 5 seconds or contact the project for larger queries."
        if self._route.startswith("/x"):
            titles = {403: "Forbidden", 429: "Too Many Requests", 401: "Unauthorized", 402: "CreditsDepleted"}
            title = titles.get(status, "Error")
            return {"title": title, "detail": f"{title}: see your plan", "type": "about:blank", "status": status}
        return super()._usual_body(status)

    def _gdelt(self, request: Request) -> Any:
        query = request.query
        if request.path != "/api/v2/doc/doc":
            raise ErrorResponse(404, b"Not Found", dict(PLAIN))
        if len(query.get("query", "").strip()) < 3:
            raise ErrorResponse(200, b"The specified phrase is too short.\n", dict(PLAIN))
        start, end = self._gdelt_span(query, request.now_ms)
        if query.get("mode") == "timelinetone":
            days = range(start // DAY_MS, request.now_ms // DAY_MS + 1)
            points = [{"date": _stamp(d * DAY_MS), "value": self.server.press.tone(d)} for d in days]
            return {
                "query_details": {"title": query["query"]},
                "timeline": [{"series": "Average Tone", "data": points}],
            }
        most = min(int(query.get("maxrecords", "75")), GDELT_MOST)
        stories = self.server.press.stories(start - UPDATE_MS, min(end, request.now_ms))
        found = [s for s in stories if start <= _seen_ms(s) <= min(end, request.now_ms)][:most]
        return {"articles": [_article(story) for story in found]} if found else {}

    def _gdelt_span(self, query: dict[str, str], now_ms: int) -> tuple[int, int]:
        oldest = now_ms - 90 * DAY_MS
        if "startdatetime" in query:
            start, end = (_moment_ms(query[name]) for name in ("startdatetime", "enddatetime"))
            return max(start, oldest), end
        found = TIMESPAN.fullmatch(query.get("timespan", "3months"))
        hours = int(found[1]) * SPAN_HOURS.get(found[2].rstrip("s") or "m", 720) if found else 2160
        return max(now_ms - hours * HOUR_MS, oldest), now_ms

    def _hackernews(self, request: Request) -> Any:
        if request.path != "/api/v1/search_by_date":
            raise ErrorResponse(404, {"message": "Not found"})
        query, low, high = request.query, 0, request.now_ms // 1000
        for sign, number in re.findall(r"created_at_i(>=|<|>)(\d+)", query.get("numericFilters", "")):
            low = int(number) if sign == ">=" else low
            high = min(int(number), high) if sign == "<" else high
        term = query.get("query", "").casefold()
        # Of the press, one headline in nine is a story.
        found = [
            story for story in self.server.press.stories(max(low * 1000, request.now_ms - 400 * DAY_MS), high * 1000)
            if story.number % 9 == 0 and story.language == "English" and term in story.title.casefold()
        ]  # fmt: skip
        size = min(int(query.get("hitsPerPage", "20")), HN_MOST)
        return {"hits": [_hit(story) for story in found[:size]], "nbHits": len(found), "hitsPerPage": size, "page": 0}

    def _feed(self, request: Request) -> Any:
        name = request.path.removeprefix("/")
        if name not in FEEDS:
            raise ErrorResponse(404, b"<html><body>404</body></html>", {"Content-Type": "text/html"})
        domain = f"{name.split('.')[0]}.example"
        stories = self.server.press.stories(request.now_ms - FEED_HOURS * HOUR_MS, request.now_ms)
        items = [s for s in stories if s.domain == domain and s.language == "English"]
        is_atom = name.endswith(".atom")
        request.headers["Content-Type"] = "application/atom+xml" if is_atom else "application/rss+xml"
        return _atom(domain, items) if is_atom else _rss(domain, items)

    def _x(self, request: Request) -> Any:
        if self.headers.get("Authorization") != f"Bearer {X_TOKEN}":
            raise ErrorResponse(401, self._usual_body(401))
        stories = self.server.press.stories(request.now_ms - X_DAYS * DAY_MS, request.now_ms)
        posts = {str(_post_id(s)): s for s in stories if s.number % 2}
        query = request.query
        if request.path == "/2/tweets":
            asked = query.get("ids", "").split(",")
            # Every seventh post has been deleted since.
            there = [i for i in asked if i in posts and posts[i].number % 7]
            errors = [
                {"resource_id": i, "title": "Not Found Error", "type": "https://api.x.com/2/problems/resource-not-found"}
                for i in asked if i not in there
            ]  # fmt: skip
            return {"data": [_post(posts[i]) for i in there], "errors": errors}
        if request.path != "/2/tweets/search/recent":
            raise ErrorResponse(404, self._usual_body(404))
        newer = [_post(s) for i, s in posts.items() if int(i) > int(query.get("since_id", "0"))]
        size, at = int(query.get("max_results", "10")), int(query.get("next_token", "0"))
        meta: dict[str, Any] = {"result_count": len(newer[at : at + size])}
        if at + size < len(newer):
            meta["next_token"] = str(at + size)
        return {"data": newer[at : at + size], "meta": meta}


def _seen_ms(story: Story) -> int:
    """Return when GDELT saw an article: at the first update after its publication."""
    return -(-story.at_ms // UPDATE_MS) * UPDATE_MS


def _article(story: Story) -> dict[str, str]:
    return {
        "url": f"{story.url}?utm_source=gdelt", "url_mobile": "", "title": story.title,
        "seendate": _stamp(_seen_ms(story)), "socialimage": "", "domain": story.domain, "language": story.language,
        "sourcecountry": "United States",
    }  # fmt: skip


def _hit(story: Story) -> dict[str, Any]:
    at = datetime.fromtimestamp(story.at_ms / 1000, UTC)
    return {
        "objectID": str(story.number), "title": story.title, "url": story.url, "author": f"user{story.number % 97}",
        "points": story.number % 300, "num_comments": story.number % 50, "created_at": at.isoformat(),
        "created_at_i": story.at_ms // 1000,
    }  # fmt: skip


def _post_id(story: Story) -> int:
    """Return an id that grows with time, as X's do."""
    return story.at_ms * 10 + story.number % 10


def _post(story: Story) -> dict[str, str]:
    at = datetime.fromtimestamp(story.at_ms / 1000, UTC)
    return {
        "id": str(_post_id(story)), "text": f"{story.title} via @desk{story.number % 50} {story.url}",
        "created_at": f"{at:%Y-%m-%dT%H:%M:%S}.000Z", "lang": LANGUAGES[story.language],
        "author_id": str(10**9 + story.number % 60),
    }  # fmt: skip


def _rss(domain: str, stories: list[Story]) -> str:
    items = "".join(
        f"<item><title>{escape(s.title)}</title><link>{s.url}</link><guid isPermaLink='false'>{s.number}</guid>"
        f"<pubDate>{format_datetime(datetime.fromtimestamp(s.at_ms / 1000, UTC))}</pubDate></item>"
        for s in stories
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>{domain}</title>'
        f"<link>https://{domain}</link><language>en-us</language>{items}</channel></rss>"
    )


def _atom(domain: str, stories: list[Story]) -> str:
    # Atom dates may have another zone; these are two hours ahead of UTC.
    entries = "".join(
        f"<entry><title>{escape(s.title)}</title><link href='{s.url}'/><id>urn:{domain}:{s.number}</id>"
        f"<updated>{datetime.fromtimestamp(s.at_ms / 1000, UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M:%S}+02:00</updated>"
        "</entry>"
        for s in stories
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">'
        f"<title>{domain}</title><id>urn:{domain}</id>{entries}</feed>"
    )


def _stamp(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y%m%dT%H%M%SZ}"


def _moment_ms(text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise ErrorResponse(200, b"Invalid query start date.\n", dict(PLAIN)) from None
