"""Sentiment and assets of headlines against labels by hand: accuracy, macro-F1, confusion, share of zeros, precision.

The labels are in tests/ingestion/news, by a digest of the title: the recorded headlines are under their publishers'
terms and not part of the repository. The argument is a CSV file (gzip) with the column ``title``.
"""

import argparse
import csv
import gzip
import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # type: ignore[import-untyped]

from ingestion.news.sentiment import compound, label, score_version
from ingestion.news.tagging import Tagger
from ingestion.settings import PACKAGED_UNIVERSE
from ingestion.universe import read_universe

ROOT = Path(__file__).resolve().parents[1]
LABELS = ROOT / "tests/ingestion/news"
RECORD = ROOT.parent / "shared/replay/data/headlines/cryptonews.csv.gz"
CLASSES = ("negative", "neutral", "positive")
Pair = tuple[str, str]


def titles(path: Path = RECORD) -> list[str]:
    """Return the recorded headlines."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [row["title"] for row in csv.DictReader(file)]


def labeled(recorded: Sequence[str], name: str) -> list[tuple[str, dict[str, str]]]:
    """Return each labeled headline with its row of a file of labels."""
    by_digest = {hashlib.sha256(title.encode()).hexdigest()[:16]: title for title in recorded}
    with (LABELS / name).open(newline="") as file:
        return [(by_digest[row["title_sha256"]], row) for row in csv.DictReader(file)]


def macro_f1(pairs: Sequence[Pair]) -> float:
    """Return the mean F1 of the classes of pairs (label by hand, predicted)."""
    scores = []
    for name in CLASSES:
        both = sum(true == found == name for true, found in pairs)
        either = sum(true == name for true, _ in pairs) + sum(found == name for _, found in pairs)
        scores.append(2 * both / either if either else 0.0)
    return sum(scores) / len(scores)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share (Wilson)."""
    z, share = 1.96, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return round(middle - half, 3), round(middle + half, 3)


def bootstrap(pairs: Sequence[Pair], statistic: Callable[[Sequence[Pair]], float]) -> tuple[float, float]:
    """Return the 95% interval of a statistic by 2,000 resamples."""
    chosen = random.Random(20)
    values = sorted(statistic(chosen.choices(pairs, k=len(pairs))) for _ in range(2000))
    return round(values[50], 3), round(values[-51], 3)


def agreement(score: Callable[[str], float], recorded: Sequence[str], half: str) -> dict[str, object]:
    """Return how the scores of a half of the labeled headlines agree with the labels."""
    rows = [(row["label"], label(score(title))) for title, row in labeled(recorded, "sentiment_labels.csv")
            if row["half"] == half]  # fmt: skip
    hits = sum(true == found for true, found in rows)
    confusion = Counter(rows)
    return {
        "n": len(rows),
        "accuracy": round(hits / len(rows), 3),
        "accuracy_95": wilson(hits, len(rows)),
        "macro_f1": round(macro_f1(rows), 3),
        "macro_f1_95": bootstrap(rows, macro_f1),
        "confusion": {true: {found: confusion[true, found] for found in CLASSES} for true in CLASSES},
    }


def main() -> None:
    """Print the agreement of plain VADER and of the lexicon, and the precision of the assets, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, nargs="?", default=RECORD)
    recorded = titles(parser.parse_args().path)
    plain = SentimentIntensityAnalyzer()
    report: dict[str, object] = {"headlines": len(recorded), "score_version": score_version()}
    scores: dict[str, Callable[[str], float]] = {
        "plain_vader": lambda title: float(plain.polarity_scores(title)["compound"]), "lexicon": compound,
    }  # fmt: skip
    for name, score in scores.items():
        zeros = sum(score(title) == 0 for title in recorded)
        report[name] = {
            "exactly_zero_pct": round(100 * zeros / len(recorded), 1),
            **{half: agreement(score, recorded, half) for half in ("tuning", "held_out")},
        }
    tagger = Tagger((a.crypto_id, a.binance_symbol, a.name) for a in read_universe(PACKAGED_UNIVERSE))
    rows = labeled(recorded, "asset_labels.csv")
    found = [(tag, tag in row["crypto_ids"].split()) for title, row in rows for tag in tagger.tags(title)]
    named = sum(len(row["crypto_ids"].split()) for _, row in rows)
    hits = sum(right for _, right in found)
    report["assets"] = {
        "tags": len(found), "precision": round(hits / len(found), 3), "precision_95": wilson(hits, len(found)),
        "recall": round(hits / named, 3), "untagged_pct": round(100 * sum(not tagger.tags(t) for t in recorded)
                                                                / len(recorded), 1),
    }  # fmt: skip
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
