"""Records of GDELT, Hacker News, feeds and X: what is read, what is rejected alone, what makes an answer unusable."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.sources.news import parse

RSS = '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>Desk</title>{}</channel></rss>'
CHANNEL = "https://feeds.example/rss"
AT = "Mon, 05 Jan 2026 10:00:00 GMT"


def item(title: str = "Bitcoin rallies", link: str = "https://a.example/1", date: str = AT, guid: str = "1") -> str:
    return f"<item><title>{title}</title><link>{link}</link><guid isPermaLink='false'>{guid}</guid>" + (
        f"<pubDate>{date}</pubDate></item>" if date else "</item>"
    )


def feed(*items: str) -> parse.Headlines:
    return parse.feed_items(RSS.format("".join(items)).encode(), CHANNEL)


def article(**changes: Any) -> dict[str, Any]:
    return {
        "url": "https://a.example/1", "title": "Bitcoin rallies", "seendate": "20260105T101500Z", "domain": "a.example",
        "language": "German", "sourcecountry": "Austria",
    } | changes  # fmt: skip


def gdelt(*articles: Any) -> parse.Headlines:
    return parse.gdelt_articles(json.dumps({"articles": list(articles)}).encode(), "q")


def test_an_article_of_gdelt_keeps_language_country_and_time() -> None:
    [row] = gdelt(article()).rows
    assert row["published_at"] == datetime(2026, 1, 5, 10, 15, tzinfo=UTC)
    assert (row["language"], row["country"], row["publisher"]) == ("German", "Austria", "a.example")


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""}, {"title": "  \u0007 "}, {"title": None}, {"title": "x" * 2000}, {"url": "javascript:alert(1)"},
        {"url": ""}, {"seendate": "yesterday"}, {"seendate": None},
    ],
    ids=str,
)  # fmt: skip
def test_an_impossible_article_is_rejected_alone(wrong: dict[str, Any]) -> None:
    page = gdelt(article(**wrong), article(url="https://a.example/2"), "text")
    assert len(page.rows) == 1
    assert len(page.rejected) == 2


def test_a_plain_text_error_of_gdelt_is_about_the_query() -> None:
    with pytest.raises(parse.QueryRejected):
        parse.gdelt_articles(b"The specified phrase is too short.\n", "q")


@pytest.mark.parametrize("body", [b"<html>busy</html>", b'{"articles": [', b"[1]", b'{"articles": 3}'], ids=str)
def test_a_damaged_answer_of_gdelt_is_requested_again(body: bytes) -> None:
    with pytest.raises(ValueError) as found:  # noqa: PT011 - any: the client requests again
        parse.gdelt_articles(body, "q")
    assert not isinstance(found.value, parse.QueryRejected)


def test_control_characters_and_backslashes_that_gdelt_leaves_in_titles_are_read() -> None:
    body = (
        b'{"articles": [{"url": "https://a.example/1", "title": "Up \\x and\tdown", "seendate": "20260105T000000Z"}]}'
    )
    [row] = parse.gdelt_articles(body, "q").rows
    assert row["title"] == "Up \\x and down"


@pytest.mark.parametrize("body", [b"", b"{}", b"  \n"], ids=str)
def test_a_span_without_articles_is_an_empty_page(body: bytes) -> None:
    assert parse.gdelt_articles(body, "q").size == 0


def test_tone_has_one_row_per_day_and_rejects_other_points() -> None:
    points = [
        {"date": "20260104T000000Z", "value": -1.25}, {"date": "20260104T120000Z", "value": 1},
        {"date": "20260103T000000Z", "value": "NaN"}, 5,
    ]  # fmt: skip
    rows, rejected = parse.gdelt_tone(json.dumps({"timeline": [{"data": points}]}).encode(), "t")
    assert [(str(row["date"]), row["tone"]) for row in rows] == [("2026-01-04", "-1.25")]
    assert len(rejected) == 3


def test_a_story_without_address_is_linked_at_hacker_news_and_no_author_is_kept() -> None:
    hit = {"objectID": "7", "title": "Ask HN: Bitcoin?", "url": None, "created_at_i": 1767607200, "author": "someone"}
    [row] = parse.hackernews_stories(json.dumps({"hits": [hit]}).encode(), "bitcoin").rows
    assert row["url"] == "https://news.ycombinator.com/item?id=7"
    assert "someone" not in json.dumps(row, default=str)


def test_markup_emoji_and_right_to_left_text_of_a_feed_stay_text() -> None:
    titles = [
        "&lt;b&gt;Bitcoin&lt;/b&gt; &amp;amp; co",
        "Bitcoin 🚀🚀",
        "ارتفاع سعر البيتكوين",
        "<![CDATA[<script>x</script>]]>",
    ]
    page = feed(*(item(title, guid=str(n)) for n, title in enumerate(titles)))
    assert page.rejected == []
    assert [row["title"] for row in page.rows][1:3] == ["Bitcoin 🚀🚀", "ارتفاع سعر البيتكوين"]
    assert "Bitcoin" in page.rows[0]["title"]
    assert "script" in page.rows[3]["title"]


@pytest.mark.parametrize(
    ("date", "at"),
    [
        (AT, datetime(2026, 1, 5, 10, tzinfo=UTC)),
        ("Mon, 05 Jan 2026 10:00:00 +0200", datetime(2026, 1, 5, 8, tzinfo=UTC)),
        ("2026-01-05 10:00:00", datetime(2026, 1, 5, 10, tzinfo=UTC)),  # without a zone: UTC
    ],
)
def test_dates_of_a_feed_become_utc(date: str, at: datetime) -> None:
    assert [row["published_at"] for row in feed(item(date=date)).rows] == [at]


@pytest.mark.parametrize(
    "wrong",
    [item(title=""), item(date=""), item(date="soon"), item(link="data:text/html,x"), item(title="y" * 20_000_00)],
)
def test_an_impossible_item_is_rejected_alone_and_never_kept_whole(wrong: str) -> None:
    page = feed(wrong, item(guid="2", link="https://a.example/2"))
    assert len(page.rows) == 1
    assert [len(r.record) <= parse.LONGEST_REJECTED for r in page.rejected] == [True]


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><rss version="2.0"><channel/></rss>'
)


@pytest.mark.parametrize(
    "body",
    [
        BOMB.encode(), b"http://127.0.0.1:9/feed", b"/etc/passwd", b"<html><body/></html>", b"", b"{}", b"\x00\x01",
        RSS.format(f"<item><title>{'z' * 20_000_000}</title></item>").encode(),
    ],
    ids=["entity bomb", "an address", "a file", "HTML", "nothing", "JSON", "bytes", "an item of 20 MB"],
)  # fmt: skip
def test_what_is_no_feed_is_named(body: bytes) -> None:
    with pytest.raises(parse.NotAFeed):
        parse.feed_items(body, CHANNEL)


def test_atom_is_read_like_rss() -> None:
    body = (
        "<feed xmlns='http://www.w3.org/2005/Atom'><title>Desk</title><entry><title>Ether slides</title><id>urn:1</id>"
        "<link href='https://a.example/1'/><updated>2026-01-05T12:00:00+02:00</updated></entry></feed>"
    )
    [row] = parse.feed_items(body.encode(), CHANNEL).rows
    assert (row["title"], row["published_at"].hour) == ("Ether slides", 10)


def test_equal_ids_of_two_feeds_are_two_headlines() -> None:
    body = RSS.format(item()).encode()
    ids = {parse.feed_items(body, f"https://{host}.example/rss").rows[0]["external_id"] for host in ("a", "b")}
    assert len(ids) == 2


def test_posts_keep_no_author_but_how_many_there_were() -> None:
    posts = [
        {"id": str(n), "text": "Hi @somebody: BTC up", "created_at": "2026-01-05T10:00:00.000Z", "lang": "en",
         "author_id": author, "username": "somebody"}
        for n, author in enumerate(("900001", "900002", "900001"))
    ]  # fmt: skip
    page = parse.x_posts(json.dumps({"data": posts, "meta": {"next_token": "n"}}).encode(), "q")
    text = json.dumps(page.rows, default=str)
    assert not any(name in text for name in ("somebody", "900001", "900002"))
    assert [row["page_authors"] for row in page.rows] == [2, 2, 2]
    assert page.next_token == "n"


def test_a_post_without_a_time_zone_is_rejected_without_its_author() -> None:
    post = {"id": "1", "text": "x", "created_at": "2026-01-05T10:00:00", "author_id": "900001"}
    page = parse.x_posts(json.dumps({"data": [post]}).encode(), "q")
    assert page.rows == []
    assert "900001" not in page.rejected[0].record


def test_posts_that_are_gone_are_those_that_x_names() -> None:
    body = {"data": [{"id": "1"}], "errors": [{"resource_id": "2", "title": "Not Found Error"}]}
    assert parse.deleted_posts(json.dumps(body).encode(), ["1", "2", "3"]) == ["2"]
