"""Scores of headlines: deterministic, explained by the lexicon, and measured against headlines labeled by hand."""

import csv

import pytest

from ingestion.news import sentiment
from ingestion.news.sentiment import LEXICON, compound, label, lexicon, score_version

POSITIVE = [
    "Bitcoin to the moon", "Ether hits an all-time high", "Bank adopts Bitcoin for payments", "Solana rallies 12%",
    "MicroStrategy buys the dip", "Regulator approves spot ETF", "Startup raises $40 million for wallets", "hodl",
]  # fmt: skip
NEGATIVE = [
    "Bitcoin crashes after hack", "Exchange halts withdrawals", "Regulator sues exchange", "Token plunges 90%",
    "Rug pull at farm", "Crypto winter is here", "Founder sentenced to prison", "Miner files for bankruptcy",
]  # fmt: skip
# Words that VADER has a feeling for and headlines do not.
NEUTRAL = [
    "New digital asset rules in Europe", "What is a smart contract?", "Super Bowl ads", "Block 840,000 was mined",
    "Harmony and Optimism explained", "Treasury secretary speaks", "Securities and Exchange Commission meets", "",
]  # fmt: skip


@pytest.mark.parametrize("title", POSITIVE)
def test_good_news_is_positive(title: str) -> None:
    assert label(compound(title)) == "positive"


@pytest.mark.parametrize("title", NEGATIVE)
def test_bad_news_is_negative(title: str) -> None:
    assert label(compound(title)) == "negative"


@pytest.mark.parametrize("title", NEUTRAL)
def test_names_and_technical_words_are_neutral(title: str) -> None:
    assert label(compound(title)) == "neutral"


def test_a_score_is_the_same_each_time_and_within_its_bounds() -> None:
    for title in [*POSITIVE, *NEGATIVE, *NEUTRAL, "🚀🚀🚀", "ارتفاع", "crash " * 500, "\u202eBitcoin"]:
        assert -1 <= compound(title) <= 1
        assert compound(title) == compound(title)


def test_a_phrase_counts_in_any_case_and_with_typographic_quotes() -> None:
    assert compound("BITCOIN RUG PULL") < 0
    assert compound("‘Rug pull’ at Bitcoin exchange") < 0


def test_each_term_of_the_lexicon_has_a_value_in_range_and_a_reason_and_comes_once() -> None:
    with LEXICON.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["term"] for row in rows}) == len(rows)
    for row in rows:
        assert row["term"] == row["term"].lower().strip()
        assert -4 <= float(row["value"]) <= 4
        assert len(row["reason"]) > 10


def test_another_lexicon_is_another_version(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    before = score_version()
    other = tmp_path / "lexicon.csv"  # type: ignore[operator]
    other.write_text("term,value,reason\nmoon,1,a test\n")
    monkeypatch.setattr(sentiment, "LEXICON", other)
    score_version.cache_clear()
    assert score_version() != before
    monkeypatch.undo()
    score_version.cache_clear()
    assert score_version() == before
    assert lexicon()["moon"] > 0
