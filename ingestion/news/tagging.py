"""Finds the assets that a headline names. Rather none than a wrong one: ``NEAR``, ``LINK`` and ``Optimism`` are words.

Belongs here: the rules and their version; ``headline_assets.csv`` has the terms. Does not: where tags are stored
(``scores``).
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

TERMS = Path(__file__).parents[1] / "headline_assets.csv"
QUOTE = "USDT"
RULES = ("name", "capitalized", "symbol", "signed", "other")
# A symbol beside one of these is meant as one.
_QUOTES = "USDT|USDC|USD|EUR|BTC|ETH|BUSD"
_LIST = re.compile(r"(?<![\w$])\$?[A-Z][A-Z0-9]{1,5}(?:(?:\s*[,/&]\s*|,? and )\$?[A-Z][A-Z0-9]{1,5}){2,}(?!\w)")


class Tagger:
    """Finds the assets of a universe in headlines.

    Rules of a term: ``name`` counts in any case, ``capitalized`` as written, ``symbol`` as written in a headline that
    is not all capitals, ``signed`` only with a sign: $X, (X), X/USDT, X price, X token, or in a list of three symbols.
    A term of the rule ``other`` names something else: what it covers counts for no asset. Of overlapping terms the
    longest counts.
    """

    def __init__(self, assets: Iterable[tuple[str, str, str]]) -> None:
        """Take the universe as (crypto_id, Binance symbol, name)."""
        universe = sorted(set(assets))
        known = {asset[0] for asset in universe}
        terms = [(i, t, r) for i, t, r in read_terms() if not i or i in known]
        listed = {i for i, _, _ in terms}
        # What the file does not list counts with a sign only.
        terms += [(i, symbol.removesuffix(QUOTE), "signed") for i, symbol, _ in universe if symbol]
        terms += [(i, name, "signed") for i, _, name in universe if i not in listed]
        self.version = hashlib.sha256(repr([sorted(terms), RULES, _pattern_of("signed", "X")]).encode()).hexdigest()[:8]
        self._terms = [(i, _term(r, t)) for i, t, r in sorted(terms, key=lambda term: -len(term[1]))]
        self._in_lists = {t: i for i, t, r in terms if i and t.isupper()}

    def tags(self, title: str) -> tuple[str, ...]:
        """Return the ids of the assets that a headline names, in order; none if it names no asset for sure."""
        shouted = title.upper() == title
        found: set[str] = set()
        taken = [False] * len(title)
        for listed in _LIST.finditer(title):
            if not shouted:
                names = re.findall(r"[A-Z][A-Z0-9]+", listed[0])
                found |= {self._in_lists[name] for name in names if name in self._in_lists}
        for crypto_id, (pattern, is_symbol) in self._terms:
            for match in pattern.finditer(title):
                start, end = match.span()
                if any(taken[start:end]) or (is_symbol and shouted):
                    continue
                taken[start:end] = [True] * (end - start)
                if crypto_id:
                    found.add(crypto_id)
        return tuple(sorted(found))


@cache
def read_terms() -> Sequence[tuple[str, str, str]]:
    """Return the terms of the file as (crypto_id, term, rule)."""
    with TERMS.open(encoding="utf-8", newline="") as rows:
        terms = [(row["crypto_id"], row["term"], row["rule"]) for row in csv.DictReader(rows)]
    for _, term, rule in terms:
        if rule not in RULES:
            raise ValueError(f"{TERMS.name}: {term} has the rule {rule!r}; use one of {', '.join(RULES)}")
    return terms


def _term(rule: str, term: str) -> tuple[re.Pattern[str], bool]:
    """Return the pattern of a term, and whether it counts only in a headline that is not all capitals."""
    return re.compile(_pattern_of(rule, term)), rule == "symbol"


def _pattern_of(rule: str, term: str) -> str:
    """Return the pattern of a term. What is around the term is looked at only: the match is the term."""
    word = re.escape(term)
    if rule in ("name", "other"):
        return rf"(?i)(?<![\w@.]){word}(?!\w|\.\w)"
    if rule in ("capitalized", "symbol"):
        return rf"(?<![\w@.]){word}(?!\w|\.\w)"
    signs = (
        (r"(?<=\$)", r"(?!\w)"),
        (r"(?<=\()", r"(?=\))"),
        (r"(?<![\w$])", rf"(?=[/-](?:{_QUOTES})\b)"),
        (r"(?<![\w$])", r"(?= (?:[Pp]rices?|[Tt]okens?|[Cc]oins?|[Bb]lockchain)\b)"),
    )
    return "|".join(f"{before}{word}{after}" for before, after in signs)
