"""The marts of headlines equal independent implementations, whatever the order of arrivals."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from dbt_warehouse import Warehouse

MODELS = ("stg_news__headlines", "stg_news__scores", "stg_news__tone", "int_headlines", "int_news_series",
          "fct_headlines", "fct_headline_sentiment_daily")  # fmt: skip
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 140
COLUMNS = ("source", "external_id", "published_at", "title", "url", "channel", "source_url", "fetched_at", "batch_id")
SCORES = ("source", "external_id", "title_hash", "score_version", "compound", "tag_version", "crypto_ids",
          "canonical_url", "title_key")  # fmt: skip
Headline = dict[str, Any]


def random_headlines() -> list[Headline]:
    """Headlines of 140 days with copies of pages and titles, days without any, and every kind of score."""
    chosen, found = random.Random(5), list[Headline]()
    for number in range(900):
        at = FIRST + timedelta(minutes=chosen.randrange(DAYS * 1440))
        if at.date() == date(2024, 3, 1):
            continue
        story = chosen.randrange(500)
        found.append({
            "source": chosen.choice(("gdelt", "hackernews", "rss", "x")), "external_id": str(number),
            "published_at": at, "title": f"t{story}", "title_key": f"t{story}",
            "canonical_url": f"p{chosen.randrange(700)}",
            "compound": chosen.choice((None, 0.0, 0.19, 0.2, -0.2, 0.8, -0.9)),
            "crypto_ids": chosen.choice(((), ("bitcoin",), ("bitcoin", "ethereum"), ("ethereum",))),
        })  # fmt: skip
    return found


def load(warehouse: Warehouse, headlines: Sequence[Headline]) -> None:
    fetched = FIRST + timedelta(days=DAYS + 1)
    rows = [
        (h["source"], h["external_id"], h["published_at"], h["title"], "https://a.example", "q", "u", fetched, "b")
        for h in headlines
    ]
    scores = [
        (h["source"], h["external_id"], "h", "v", h["compound"], "v", "{" + ",".join(h["crypto_ids"]) + "}",
         h["canonical_url"], h["title_key"])
        for h in headlines
    ]  # fmt: skip
    warehouse.copy("raw.headlines", COLUMNS, rows)
    warehouse.copy("raw.headline_scores", SCORES, scores)


def distinct(headlines: Sequence[Headline]) -> dict[tuple[str, str], int]:
    """Return the kept headlines with the number of their copies, by plain loops."""
    by_page: dict[str, list[Headline]] = {}
    for headline in sorted(headlines, key=lambda h: (h["published_at"], h["source"], h["external_id"])):
        by_page.setdefault(headline["canonical_url"], []).append(headline)
    placed: dict[str, list[tuple[datetime, str, int, Headline]]] = {}
    for page, copies in by_page.items():
        for number, headline in enumerate(copies):
            place = (copies[0]["published_at"], page, number, headline)
            placed.setdefault(headline["title_key"], []).append(place)
    kept: dict[tuple[str, str], int] = {}
    for copies_of_title in placed.values():
        stories: list[list[tuple[datetime, str, int, Headline]]] = []
        for place in sorted(copies_of_title, key=lambda p: p[:3]):
            if not stories or place[0] - stories[-1][-1][0] > timedelta(days=3):
                stories.append([])
            stories[-1].append(place)
        for story in stories:
            firsts = [h for _, _, number, h in story if number == 0]
            if firsts:
                first = min(firsts, key=lambda h: (h["published_at"], h["source"], h["external_id"]))
                kept[first["source"], first["external_id"]] = len(story)
    return kept


@pytest.fixture(scope="module")
def headlines(warehouse: Warehouse) -> list[Headline]:
    """Random headlines, built once on an empty market."""
    given = random_headlines()
    warehouse.run("--select", "+fct_daily_summary", "+fct_sentiment_daily", "dim_date")
    load(warehouse, given)
    warehouse.execute(
        "insert into raw.news_tone_gdelt (topic, date, tone, source_url, fetched_at, batch_id) values "
        "('t', '2024-01-05', -2.5, 'u', now(), 'b'), ('t', '2024-01-06', 900, 'u', now(), 'b')"
    )
    warehouse.run("--select", *MODELS)
    return given


def test_copies_of_pages_and_titles_are_one_headline(warehouse: Warehouse, headlines: list[Headline]) -> None:
    found = {
        (s, i): n
        for s, i, n in warehouse.query("select source, external_id, copy_count from intermediate.int_headlines")
    }
    assert found == distinct(headlines)


def test_a_headline_has_one_row_for_each_asset(warehouse: Warehouse, headlines: list[Headline]) -> None:
    kept = distinct(headlines)
    expected = {
        (asset, h["source"], h["external_id"])
        for h in headlines if (h["source"], h["external_id"]) in kept
        for asset in h["crypto_ids"] or ("market",)
    }  # fmt: skip
    assert set(warehouse.query("select crypto_id, source, external_id from marts.fct_headlines")) == expected


def test_daily_sentiment_equals_that_of_pandas(warehouse: Warehouse, headlines: list[Headline]) -> None:
    kept = distinct(headlines)
    rows = pd.DataFrame([h for h in headlines if (h["source"], h["external_id"]) in kept])
    rows["date"] = rows["published_at"].dt.date
    last = max(rows["date"])
    for asset in ("market", "bitcoin", "ethereum"):
        own = rows if asset == "market" else rows[rows["crypto_ids"].map(lambda ids, a=asset: a in ids)]
        days = pd.date_range(min(own["date"]), last).date
        grouped = own.groupby("date")
        expected = pd.DataFrame({
            "n": grouped.size(), "mean": grouped["compound"].mean(), "scored": grouped["compound"].count(),
            "positive": grouped["compound"].agg(lambda c: (c >= 0.2).sum()), "sources": grouped["source"].nunique(),
        }).reindex(days)  # fmt: skip
        count = expected["n"].fillna(0)
        before = count.shift(1).rolling(90, min_periods=30)
        z = (count - before.mean()) / before.std()
        found = warehouse.query(
            "select date, headline_count, mean_compound, positive_pct, source_count, count_z_90d, gdelt_tone "
            f"from marts.fct_headline_sentiment_daily where crypto_id = '{asset}' order by date"
        )
        assert [row[0] for row in found] == list(days)
        for number, (day, n, mean, positive, sources, score, tone) in enumerate(found):
            row = expected.loc[day]
            assert n == count.iloc[number]
            assert sources == (0 if pd.isna(row["sources"]) else row["sources"])
            assert mean == pytest.approx(None if pd.isna(row["mean"]) else row["mean"])
            share = 100 * row["positive"] / row["scored"] if row["scored"] and not pd.isna(row["mean"]) else None
            assert positive == pytest.approx(share)
            assert score == pytest.approx(None if number < 30 else z.iloc[number])
            assert tone == (-2.5 if asset == "market" and day == date(2024, 1, 5) else None)


def test_the_order_of_arrivals_changes_nothing(warehouse: Warehouse, headlines: list[Headline]) -> None:
    query = (
        "select source, external_id, copy_count, source_count, compound from intermediate.int_headlines order by 1, 2"
    )
    before = warehouse.query(query)
    shuffled = random.Random(6).sample(headlines, len(headlines))
    warehouse.execute("truncate raw.headlines, raw.headline_scores")
    load(warehouse, shuffled[:400])
    warehouse.run("--select", *MODELS)
    load(warehouse, shuffled[400:])
    warehouse.run("--select", *MODELS)
    assert warehouse.query(query) == before


def test_unit_tests_pass(warehouse: Warehouse, headlines: list[Headline]) -> None:
    result = warehouse.dbt("test", "--select", "test_type:unit,path:models/*/news", "--resource-type", "unit_test")
    assert result.success, result.log[-4000:]
    assert {name for name in result.statuses if not name.startswith("tickmart-")} == {
        "copies_within_three_days_are_one_headline", "a_headline_has_a_row_for_each_asset",
        "a_day_counts_its_headlines_once",
    }  # fmt: skip
