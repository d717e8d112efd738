"""Scores and tags the headlines of raw into ``raw.headline_scores``: those that are new, edited, or of another version.

Belongs here: which headlines are due, and the write. Does not: a score (``sentiment``), a tag (``tagging``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ingestion.database.connections import Connection, fetch, locked, write_rows
from ingestion.datasets import Dataset
from ingestion.news.keys import canonical_url, title_key
from ingestion.news.sentiment import compound, score_version
from ingestion.news.tagging import Tagger
from ingestion.universe import Asset

# Rows of one transaction: about two seconds of scoring.
BATCH_ROWS = 10_000
ENGLISH = ("en", "eng", "english")

_DUE = """
    select
        h.source, h.external_id, h.title, md5(concat_ws(' ', h.title, h.url, h.language)), h.url, h.publisher,
        h.language
    from raw.{table} as h
    left join raw.headline_scores as s on h.source = s.source and h.external_id = s.external_id
    where
        s.source is null
        or s.title_hash <> md5(concat_ws(' ', h.title, h.url, h.language))
        or s.score_version <> %s
        or s.tag_version <> %s
    limit %s
"""
_WRITE = """
    insert into raw.headline_scores as known (
        source, external_id, title_hash, score_version, compound, tag_version, crypto_ids, canonical_url, title_key
    ) values %s
    on conflict (source, external_id) do update set
        title_hash = excluded.title_hash, score_version = excluded.score_version, compound = excluded.compound,
        tag_version = excluded.tag_version, crypto_ids = excluded.crypto_ids,
        canonical_url = excluded.canonical_url, title_key = excluded.title_key, loaded_at = clock_timestamp()
"""


def is_english(language: str | None) -> bool:
    """Return whether a headline of this language is scored: VADER's lexicon is English."""
    return (language or "").lower().split("-")[0] in ENGLISH


def score_pending(connection: Connection, dataset: Dataset, universe: Iterable[Asset]) -> int:
    """Score and tag the headlines of a dataset that are due; return how many. Doing it twice changes nothing."""
    tagger = Tagger((asset.crypto_id, asset.binance_symbol, asset.name) for asset in universe)
    version = score_version()
    query = _DUE.format(table=dataset.name)
    scored = 0
    with locked(connection, f"scores {dataset.name}"):
        while due := fetch(connection, query, (version, tagger.version, BATCH_ROWS)):
            write_rows(connection, _WRITE, [_row(tagger, version, *headline) for headline in due])
            scored += len(due)
    return scored


def _row(
    tagger: Tagger, version: str, source: str, external_id: str, title: str, title_hash: str, *rest: str | None
) -> tuple[Any, ...]:
    url, publisher, language = rest
    score = compound(title) if is_english(language) else None
    return (
        source, external_id, title_hash, version, score, tagger.version, list(tagger.tags(title)),
        canonical_url(url or ""), title_key(title, publisher),
    )  # fmt: skip
