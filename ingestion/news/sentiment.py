"""Scores English headlines: VADER with the crypto lexicon ``headline_lexicon.csv``. Offline, deterministic.

Belongs here: lexicon and score. Does not: which headlines are scored, and where scores are stored (``scores``).
"""

from __future__ import annotations

import csv
import hashlib
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # type: ignore[import-untyped]

LEXICON = Path(__file__).parents[1] / "headline_lexicon.csv"
# A single weak word is below these limits, a strong one above. Of 0.05 (usual for VADER) to 0.4 they agree best with
# the half of the labeled headlines that the lexicon was made with.
POSITIVE_FROM, NEGATIVE_TO = 0.2, -0.2
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\xa0": " "})


@cache
def lexicon() -> dict[str, float]:
    """Return the values of the crypto lexicon by term, from -4 to 4; 0 ignores a word of VADER."""
    with LEXICON.open(encoding="utf-8", newline="") as rows:
        return {row["term"]: float(row["value"]) for row in csv.DictReader(rows)}


@cache
def score_version() -> str:
    """Return the version of the scores: that of VADER and a digest of the lexicon. Another version scores all again."""
    digest = hashlib.sha256(LEXICON.read_bytes()).hexdigest()[:8]
    return f"vader-{version('vaderSentiment')}+{digest}"


def compound(title: str) -> float:
    """Return VADER's compound score of a headline, from -1 (negative) to 1 (positive); 0 if no word counts."""
    text = _phrases().sub(lambda found: found[0].lower().replace(" ", "_"), title.translate(_QUOTES))
    return float(_analyzer().polarity_scores(text)["compound"])


def label(score: float) -> str:
    """Return negative, neutral or positive."""
    return "positive" if score >= POSITIVE_FROM else "negative" if score <= NEGATIVE_TO else "neutral"


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    analyzer = SentimentIntensityAnalyzer()
    for term, value in lexicon().items():
        analyzer.lexicon[term.replace(" ", "_")] = value
    return analyzer


@cache
def _phrases() -> re.Pattern[str]:
    """Match the terms of several words, the longest first: VADER scores single words, so a phrase becomes one."""
    terms = sorted((term for term in lexicon() if " " in term), key=len, reverse=True)
    return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, terms))})(?!\w)", re.IGNORECASE)
