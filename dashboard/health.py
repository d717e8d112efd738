"""How far the data can be trusted: one word per dataset and one for all, from ages and agreed limits.

Belongs here: the rule and its words, as pure functions. Does not: reading the marts, drawing. The order of badness is
Degraded, Warning, Unknown, Healthy; the whole is as bad as its worst part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from dashboard import formats

Word = Literal["Healthy", "Unknown", "Warning", "Degraded"]
BADNESS: tuple[Word, ...] = ("Healthy", "Unknown", "Warning", "Degraded")
COLOURS: dict[Word, str] = {"Healthy": "green", "Unknown": "gray", "Warning": "orange", "Degraded": "red"}
ICONS: dict[Word, str] = {
    "Healthy": ":material/check_circle:",
    "Unknown": ":material/help:",
    "Warning": ":material/warning:",
    "Degraded": ":material/error:",
}
TITLES = {
    "binance_klines": "Binance prices",
    "coingecko_markets": "CoinGecko market sweep",
    "fear_greed": "Fear & Greed index",
}
# Bars and sweeps come hourly and may miss one hour; the index comes daily at 00:00 UTC.
LIMITS = {
    "binance_klines": timedelta(hours=2),
    "coingecko_markets": timedelta(hours=2),
    "fear_greed": timedelta(hours=26),
}
HOPELESS = 12  # ages beyond this many limits are not late but broken


@dataclass(frozen=True)
class Trust:
    """The verdict on one dataset, and why."""

    dataset: str
    word: Word
    newest_at: datetime | None
    reason: str


def judge_age(dataset: str, newest_at: datetime | None, now: datetime, limit: timedelta) -> Trust:
    """Judge a dataset by the age of its newest data alone."""
    title = TITLES.get(dataset, dataset)
    if newest_at is None:
        return Trust(dataset, "Unknown", None, f"{title}: never loaded")
    age = now - newest_at
    told = f"{title}: newest data is {formats.span(age)} old, limit {formats.span(limit)}"
    word: Word = "Healthy" if age <= limit else "Warning" if age <= HOPELESS * limit else "Degraded"
    return Trust(dataset, word, newest_at, told)


def worst(parts: Sequence[Trust]) -> Word:
    """Return the word of the worst part; Unknown when there is none."""
    return max((part.word for part in parts), key=BADNESS.index, default="Unknown")
