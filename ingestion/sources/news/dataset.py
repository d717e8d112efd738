"""The datasets of headlines and of GDELT's tone: declaration, contract, object keys.

The datasets of headlines have the same columns and are partitions of ``raw.headlines``. Parsing is in ``parse``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US, decimals
from ingestion.datasets import HOUR_S, Column, Dataset, always, decimal_column, page_schema
from ingestion.ops import series
from ingestion.settings import Settings
from ingestion.validation import Rule, within

# Before there were headlines about Bitcoin.
EARLIEST = datetime(2008, 10, 31, tzinfo=UTC)
# Clocks of publishers differ; what is later than this is a wrong date.
CLOCK_DIFFERENCE = timedelta(minutes=15)
# The series of a dataset of headlines in ops.series_requests.
SERIES = "headlines"
TONE_TOPIC = "cryptocurrency"

COLUMNS = (
    Column("source", pa.string(), "text", "Provider: gdelt, hackernews, rss or x."),
    Column("external_id", pa.string(), "text", "Id that the provider gives the headline, or a digest of its address."),
    Column("published_at", UTC_US, "timestamp with time zone", "When it was published, as the provider says."),
    Column("title", pa.string(), "text", "Headline or text of the post, as text: markup in it is not interpreted."),
    Column("url", pa.string(), "text", "Address of the article or the post."),
    Column("publisher", pa.string(), "text", "Domain of the article, or title of the feed.", required=False),
    Column("language", pa.string(), "text", "Language as the provider names it.", required=False),
    Column("country", pa.string(), "text", "Country of the publisher, by GDELT.", required=False),
    Column("channel", pa.string(), "text", "Query or feed that had the headline."),
    Column("page_authors", pa.int32(), "integer", "Distinct authors of the page of posts that had it.", required=False),
)
BRONZE_ONLY = (("payload", pa.string(), "The record as JSON, as sent, without its author."),)
TONE_COLUMNS = (
    Column("topic", pa.string(), "text", "What the articles are about."),
    Column("date", pa.date32(), "date", "UTC day; it was over when the value was fetched."),
    decimal_column("tone", "GDELT's mean tone of the day's articles, about -10 (negative) to 10 (positive)."),
)


def rules(now: datetime) -> Sequence[Rule]:
    """Return the rules for headlines that are fetched at ``now``."""
    return (within("published_at", EARLIEST, now + CLOCK_DIFFERENCE),)


def tone_rules(now: datetime) -> Sequence[Rule]:
    """Return the rules for days of tone that are fetched at ``now``."""
    today, most = pa.scalar(now.date()), 100
    return (
        ("date is not over", lambda t: pc.greater_equal(t["date"], today)),
        ("tone is not within -100 to 100", lambda t: pc.greater(pc.abs(t["tone"].cast(pa.float64())), most)),
    )


def to_table(rows: Sequence[Mapping[str, Any]], fetched_at: datetime) -> pa.Table:
    """Return parsed headlines as a page of their dataset."""
    schema = page_schema(COLUMNS, BRONZE_ONLY)
    values = {name: [row.get(name) for row in rows] for name in schema.names} | {"fetched_at": [fetched_at] * len(rows)}
    return pa.table({field.name: pa.array(values[field.name], field.type) for field in schema})


def to_tone_table(rows: Sequence[Mapping[str, Any]], fetched_at: datetime) -> pa.Table:
    """Return parsed days of tone (topic, date, tone as text, source_url) as a page of their dataset."""
    schema = page_schema(TONE_COLUMNS)
    values = {name: [row.get(name) for row in rows] for name in schema.names} | {"fetched_at": [fetched_at] * len(rows)}
    arrays = {field.name: pa.array(values[field.name], field.type) for field in schema if field.name != "tone"}
    arrays["tone"] = decimals(pa.array(values["tone"], pa.string()))
    return pa.table({name: arrays[name] for name in schema.names})


def object_key(prefix: str, fetched_on: date) -> str:
    """Return the key of what was new or edited in a UTC day's fetches."""
    return f"{prefix}/date={fetched_on.isoformat()}/headlines.parquet"


def _has_token(settings: Settings) -> bool:
    return settings.x_bearer_token is not None


def _existing(table: str, batch: pa.Table) -> tuple[str, tuple[Any, ...]]:
    query = f"select * from raw.{table} where external_id = any(%s)"  # noqa: S608 - a declared name
    return query, (batch["external_id"].unique().to_pylist(),)


def _declare(source: str, provider: str, sla_hours: int, **other: Any) -> Dataset:
    prefix, table = f"headlines/{source}", f"headlines_{source}"
    declared: list[Dataset] = []
    dataset = Dataset(
        name=table,
        source=provider,
        prefix=prefix,
        key=("source", "external_id"),
        merged_by=("fetched_at",),
        columns=COLUMNS,
        bronze_only=BRONZE_ONLY,
        raw_provenance=("source_url", "fetched_at"),
        sla_seconds=lambda _: sla_hours * HOUR_S,
        newest_sql=f"select max(published_at) from raw.{table}",  # noqa: S608 - a declared name
        object_key=lambda row: object_key(prefix, row["fetched_at"].date()),
        damaged_advice="the next run fetches again what the provider still sends",
        rules=rules,
        existing_rows=partial(_existing, table),
        optional=True,
        on_damaged=lambda connection, key: series.request_histories(connection, declared[0]),
        **other,
    )
    declared.append(dataset)
    return dataset


# Hours without a new headline after which a source is late. Hacker News has a few a day, the others some an hour.
GDELT_HEADLINES = _declare("gdelt", "GDELT", 24)
HACKERNEWS_HEADLINES = _declare("hackernews", "Hacker News", 72)
RSS_HEADLINES = _declare("rss", "News feeds", 24)
X_HEADLINES = _declare("x", "X", 48, is_on=_has_token)
HEADLINES = (GDELT_HEADLINES, HACKERNEWS_HEADLINES, RSS_HEADLINES, X_HEADLINES)
GDELT_TONE: Dataset = Dataset(
    name="news_tone_gdelt",
    source="GDELT",
    prefix="gdelt/tone",
    key=("topic", "date"),
    merged_by=("fetched_at",),
    columns=TONE_COLUMNS,
    raw_provenance=("source_url", "fetched_at"),
    sla_seconds=lambda _: 48 * HOUR_S,
    newest_sql="select (max(date) + 1)::timestamp at time zone 'UTC' from raw.news_tone_gdelt",
    object_key=lambda row: f"gdelt/tone/date={row['fetched_at']:%Y-%m-%d}/tone.parquet",
    damaged_advice="the next run fetches the last three months again",
    rules=tone_rules,
    is_on=always,
    optional=True,
    on_damaged=lambda connection, key: series.request_histories(connection, GDELT_TONE),
)
