"""Scores and assets of recorded headlines against labels by hand; benchmarks/headlines.py has the complete report."""

import pytest

from benchmarks.headlines import RECORD, agreement, labeled, titles
from ingestion.news.sentiment import compound
from ingestion.news.tagging import Tagger
from ingestion.settings import PACKAGED_UNIVERSE
from ingestion.universe import read_universe

pytestmark = [pytest.mark.recorded, pytest.mark.skipif(not RECORD.exists(), reason="no recorded headlines")]


def test_few_recorded_headlines_have_no_score() -> None:
    recorded = titles()
    # Plain VADER: 45.3%.
    assert sum(compound(title) == 0 for title in recorded) / len(recorded) < 0.36


def test_scores_agree_with_labels_that_the_lexicon_was_not_made_with() -> None:
    found = agreement(compound, titles(), "held_out")
    # Plain VADER: 0.50 (0.50).
    assert found["accuracy"] >= 0.55
    assert found["macro_f1"] >= 0.55


def test_assets_are_named_rightly() -> None:
    tagger = Tagger((a.crypto_id, a.binance_symbol, a.name) for a in read_universe(PACKAGED_UNIVERSE))
    rows = labeled(titles(), "asset_labels.csv")
    found = [tag in row["crypto_ids"].split() for title, row in rows for tag in tagger.tags(title)]
    assert len(found) > 150
    assert sum(found) / len(found) >= 0.95
