"""Simulated headlines: pure functions of a Market and a span of time. What services answer is in `news`.

Headlines follow the market: after a day on which an asset gained, more of them are positive. So their sentiment goes
with the returns of the same day and says nothing about those of the next one.
"""

import random
from dataclasses import dataclass
from functools import lru_cache

from .market import DAY_MS, HOUR_MS, Market

POSITIVE = (
    "{name} rallies {n}% as buyers return", "{name} jumps to a {n}-week high", "{bank} adopts {name} for payments",
    "{name} fund raises ${n} million", "{name} soars after {bank} partnership", "Developers approve {name} upgrade",
    "{name} ({symbol}) gains {n}% on record inflows", "{bank} launches {name} custody, shares rise",
)  # fmt: skip
NEGATIVE = (
    "{name} plunges {n}% in a day of liquidations", "Hackers steal ${n} million from {name} bridge",
    "{name} drops below support as traders sell", "{bank} halts {name} withdrawals", "Regulator sues {name} exchange",
    "{name} ({symbol}) slides {n}%, analysts warn of more losses", "Court freezes {name} funds of {bank}",
)  # fmt: skip
NEUTRAL = (
    "What to know about {name} this week", "{name} price analysis: {n} charts", "{bank} publishes report on {name}",
    "{name} traders await {bank} decision", "Interview: the engineers behind {name}",
)  # fmt: skip
MARKET_WIDE = (
    "Stablecoin volume: {n} facts for this week", "Crypto market update for desk {n}",
    "Optimism near record on Wall Street, link between stocks and sentiment unclear", "Senate committee hears {bank}",
)  # fmt: skip
FOREIGN = (("Der Bitcoin-Kurs fällt um {n} Prozent", "German"), ("ارتفاع سعر البيتكوين {n}%", "Arabic"),
           ("ビットコイン、{n}%上昇", "Japanese"))  # fmt: skip
BANKS = ("Northbank", "Harbor Trust", "Meridian", "Kestrel Capital", "Oakfield")
DOMAINS = ("coinpost.example", "ledgernews.example", "dailychain.example", "marketwire.example", "tokenreview.example")
# How many headlines an hour has, and of how many assets.
PER_HOUR, ASSETS = 3, 8


@dataclass(frozen=True)
class Story:
    """One simulated headline."""

    number: int
    at_ms: int
    title: str
    domain: str
    language: str
    asset: str

    @property
    def url(self) -> str:
        """The address of the article."""
        return f"https://{self.domain}/{self.number}/{'-'.join(self.asset.split())}"


class Press:
    """The headlines of one market."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._coins = list(market.coins[:ASSETS])
        self._hour = lru_cache(20_000)(self._make_hour)
        self._returns = lru_cache(ASSETS * 2)(self._make_returns)

    def stories(self, start_ms: int, end_ms: int) -> list[Story]:
        """Return the headlines of [start, end), newest first."""
        hours = range(start_ms // HOUR_MS, -(-end_ms // HOUR_MS))
        found = [story for hour in hours for story in self._hour(hour) if start_ms <= story.at_ms < end_ms]
        return sorted(found, key=lambda story: (-story.at_ms, story.number))

    def tone(self, day: int) -> float:
        """Return the tone of a day's articles, as GDELT measures it: -10 to 10."""
        at = random.Random(f"{self._market.seed} tone {day}")
        return round(-0.4 + 12 * self._move(0, day) + at.gauss(0, 0.35), 4)

    def _make_returns(self, coin: int, until: int) -> dict[int, float]:
        prices = [float(p) for p in self._market.daily_prices_usd(self._coins[coin], until * DAY_MS)]
        last = until - len(prices) + 1
        # The price of a day is that at its start.
        return {last + n - 1: prices[n] / prices[n - 1] - 1 for n in range(1, len(prices)) if prices[n - 1] > 0}

    def _move(self, coin: int, day: int) -> float:
        # One series for all days of half a year: its end does not change the days before.
        return self._returns(coin, (day // 180 + 1) * 180).get(day, 0.0)

    def _make_hour(self, hour: int) -> tuple[Story, ...]:
        chosen = random.Random(f"{self._market.seed} press {hour}")
        stories = []
        for n in range(chosen.choice((PER_HOUR - 1, PER_HOUR, PER_HOUR + 1))):
            number, at_ms = hour * 10 + n, hour * HOUR_MS + chosen.randrange(HOUR_MS // 1000) * 1000
            coin = min(int(chosen.expovariate(0.6)), len(self._coins) - 1)
            asset = self._coins[coin]
            title, language = self._title(chosen, coin, hour // 24)
            words = {"n": chosen.randrange(2, 40), "bank": chosen.choice(BANKS), "name": asset.name,
                     "symbol": asset.ticker.upper()}  # fmt: skip
            text, domain = title.format(**words), chosen.choice(DOMAINS)
            stories.append(Story(number, at_ms, text, domain, language, asset.crypto_id))
            if chosen.random() < 0.06:  # another site repeats it within the day, with a mark of its own
                again = min(at_ms + 3 * HOUR_MS, (hour + 1) * HOUR_MS - 1000)
                stories.append(Story(number + 5, again, text, DOMAINS[number % 5], language, asset.crypto_id))
        return tuple(stories)

    def _title(self, chosen: random.Random, coin: int, day: int) -> tuple[str, str]:
        if chosen.random() < 0.06:
            return chosen.choice(FOREIGN)
        if chosen.random() < 0.15:
            return chosen.choice(MARKET_WIDE), "English"
        feeling = 8 * self._move(coin, day) + chosen.gauss(0, 0.5)
        kinds = POSITIVE if feeling > 0.3 else NEGATIVE if feeling < -0.3 else NEUTRAL
        return chosen.choice(kinds), "English"
