"""Plans a fetch of klines: which symbol-days are requested, in which ways, and why.

Everything here is pure: it reads values that earlier runs left and the exchange reports, and makes no request.
``ingest`` reads these values and executes the plans.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Literal

from ingestion.datasets import ONE_DAY, days_between, next_month
from ingestion.sources.binance.contract import BINANCE_OPENED, bars_per_day
from ingestion.sources.binance.rest import PAGE
from ingestion.sources.binance.symbols import SymbolFacts
from ingestion.universe import Asset

Source = Literal["rest", "archive", "auto"]
Way = Literal["monthly_file", "daily_files", "rest"]
SymbolDays = Mapping[str, Collection[date]]
_Chosen = tuple[str, date, tuple[Way, ...], "Reason"]
# Requests for an archive file: its checksum and the zip. They cost no weight.
FILE_REQUESTS = 2
# Symbol-days per run for which archive files are requested after REST came short; later runs do the rest.
FILE_DAYS_PER_RUN = 500


class Reason(StrEnum):
    """Why a symbol-day is requested."""

    NEW = "no answer is recorded"
    OPEN = "today and yesterday may get bars and late corrections"
    REPEAT = "answered before, and requested again on purpose"
    GAP = "a recorded gap is due for another request"
    LOST = "its answer was lost"
    SHORT = "its answer has fewer bars than the day: ask another way"


@dataclass(frozen=True)
class KlinesRequest:
    """What a run asks for: the closed bars of the UTC days [start, end) of the universe's symbols.

    ``source`` is REST, archive files as far as they go, or the cheaper of both for each month. ``skip_covered`` leaves
    out days that are over and answered, except yesterday. ``resume`` records the range as a backfill and leaves out
    what an unfinished backfill with this start has answered.
    """

    assets: Sequence[Asset]
    start: date
    end: date
    interval: str = "1h"
    source: Source = "rest"
    skip_covered: bool = False
    resume: bool = False

    def days_until(self, today: date) -> tuple[date, date]:
        """Return the requested days that may have bars, half-open: none is before the first bar or after ``today``."""
        return max(self.start, BINANCE_OPENED), min(self.end, today + ONE_DAY)


@dataclass(frozen=True)
class Known:
    """What is known before a fetch: the exchange's clock, its symbols, and the final days that were answered.

    ``answered_in_backfill`` are those answered since the backfill that this run resumes has begun.
    """

    now: datetime
    symbols: SymbolFacts
    answered: SymbolDays
    answered_in_backfill: SymbolDays | None = None

    @property
    def today(self) -> date:
        """The exchange's UTC day."""
        return self.now.date()


@dataclass(frozen=True)
class DayRange:
    """Consecutive UTC days [first, last) of one symbol, the ways to try in order, and the reason."""

    symbol: str
    first: date
    last: date
    ways: tuple[Way, ...]
    reason: Reason


@dataclass(frozen=True)
class FetchPlan:
    """The ranges to fetch, sorted by symbol and day and without overlap, all inside the UTC days [start, end).

    ``skipped_days`` counts symbol-days that need no request; ``unlisted`` are those before a symbol's listing.
    """

    interval: str
    start: date
    end: date
    ranges: tuple[DayRange, ...]
    skipped_days: int = 0
    unlisted: tuple[tuple[str, date], ...] = ()

    def without(self, symbols: Collection[str]) -> FetchPlan:
        """Return the plan without the ranges of some symbols."""
        return replace(self, ranges=tuple(r for r in self.ranges if r.symbol not in symbols))


def plan_fetch(request: KlinesRequest, known: Known) -> FetchPlan:
    """Plan the requested days, without those that are answered, in the future, not listed or outside the universe."""
    start, end = request.days_until(known.today)
    chosen: list[_Chosen] = []
    unlisted: list[tuple[str, date]] = []
    skipped = 0
    ways = cache(lambda month: _ways(request.source, month, start, end, request.interval, known.today))
    for asset in fetchable(request.assets, known.symbols):
        if not asset.trades_in(start, end):
            continue
        symbol = asset.binance_symbol
        skip = _needs_no_request(request, known, symbol)
        before_listing = known.symbols.before_listing(symbol, start, end)
        skipped += sum(start <= day < end for day in skip | before_listing)
        answered = known.answered.get(symbol, ())
        for day in days_between(max(start, asset.valid_from or start), min(end, asset.valid_to or end)):
            if day in before_listing:
                unlisted.append((symbol, day))
            elif day not in skip:
                chosen.append((symbol, day, ways(day.replace(day=1)), _reason(day, answered, known.today)))
    return FetchPlan(request.interval, start, end, _ranges(chosen), skipped, tuple(unlisted))


@dataclass(frozen=True)
class FollowUp:
    """The plans of a second fetch: by REST, then by archive files. ``notes`` say what is requested again and why."""

    by_rest: FetchPlan
    by_files: FetchPlan
    notes: tuple[str, ...]


def plan_follow_up(
    request: KlinesRequest,
    known: Known,
    due: SymbolDays,
    lost: SymbolDays,
    short: Mapping[tuple[str, date], Sequence[str]],
) -> FollowUp:
    """Plan what is requested again after a fetch.

    Gaps that are ``due`` are requested both ways, days whose answer was ``lost`` by REST, and ``short`` days of this
    run (with the ways that answered) by the way that has not answered. Only days that are over have files.
    """
    by_rest = [
        *_with_reason(due, Reason.GAP), *_with_reason(lost, Reason.LOST),
        *((s, d, Reason.SHORT) for (s, d), ways in short.items() if list(ways) == ["archive"]),
    ]  # fmt: skip
    by_files = [
        *_with_reason(due, Reason.GAP),
        *((s, d, Reason.SHORT) for (s, d), ways in short.items() if list(ways) == ["rest"]),
    ]
    files = sorted({(day, symbol): reason for symbol, day, reason in reversed(by_files) if day < known.today}.items())
    symbols = {a.binance_symbol for a in fetchable(request.assets, known.symbols)}
    counts = (
        (sum(len(due.get(symbol, ())) for symbol in symbols), "with gaps were requested again"),
        (sum(len(lost.get(symbol, ())) for symbol in symbols), "whose answer was lost were requested again"),
        (sum(symbol in symbols for symbol, _ in short), "that came short were requested in a second way"),
    )
    notes = [f"{count:,} symbol-days {why}" for count, why in counts if count]
    return FollowUp(
        _plan_days(request, known, by_rest, lambda _: ("rest",)),
        _plan_days(
            request, known, [(symbol, day, reason) for (day, symbol), reason in files[:FILE_DAYS_PER_RUN]],
            lambda day: ("daily_files", "monthly_file") if next_month(day) <= known.today else ("daily_files",),
        ),
        tuple(notes),
    )  # fmt: skip


def fetchable(assets: Iterable[Asset], symbols: SymbolFacts) -> list[Asset]:
    """Return the rows of the universe whose symbol the exchange lists, sorted by symbol."""
    excluded = symbols.unknown | symbols.delisted
    rows = [a for a in assets if a.binance_symbol and a.binance_symbol not in excluded]
    return sorted(rows, key=lambda a: a.binance_symbol)


def _needs_no_request(request: KlinesRequest, known: Known, symbol: str) -> set[date]:
    if known.answered_in_backfill is not None:
        return set(known.answered_in_backfill.get(symbol, ()))
    if not request.skip_covered:
        return set()
    # Yesterday and today are always requested again: late corrections, the 23:00 bar, a missed run.
    return {day for day in known.answered.get(symbol, ()) if day < known.today - ONE_DAY}


def _reason(day: date, answered: Collection[date], today: date) -> Reason:
    if day >= today - ONE_DAY:
        return Reason.OPEN
    return Reason.REPEAT if day in answered else Reason.NEW


def _ways(source: Source, month: date, start: date, end: date, interval: str, today: date) -> tuple[Way, ...]:
    """Return the ways to try for days of a month, given by its first day; its file is published after the month."""
    is_published = next_month(month) <= today
    if source == "archive":
        return ("monthly_file", "daily_files", "rest") if is_published else ("daily_files", "rest")
    if source == "auto" and is_published and _file_is_cheaper(month, start, end, interval):
        return ("monthly_file", "rest")
    return ("rest",)


def _file_is_cheaper(month: date, start: date, end: date, interval: str) -> bool:
    """Return whether all of a month is requested and costs REST more requests than its file does."""
    following = next_month(month)
    bars = (following - month).days * bars_per_day(interval)
    return start <= month and following <= end and -(-bars // PAGE) > FILE_REQUESTS


def _ranges(chosen: Sequence[_Chosen]) -> tuple[DayRange, ...]:
    """Join consecutive days of a symbol with equal ways and reason."""
    ranges: list[DayRange] = []
    at = 0
    while at < len(chosen):
        symbol, first, ways, reason = chosen[at]
        last = first
        while at < len(chosen) and chosen[at] == (symbol, last, ways, reason):
            last += ONE_DAY
            at += 1
        ranges.append(DayRange(symbol, first, last, ways, reason))
    return tuple(ranges)


def _plan_days(
    request: KlinesRequest,
    known: Known,
    days: Iterable[tuple[str, date, Reason]],
    ways: Callable[[date], tuple[Way, ...]],
) -> FetchPlan:
    """Plan single symbol-days inside the universe's rows; of several reasons for a day the first counts."""
    reasons: dict[tuple[str, date], Reason] = {}
    for symbol, day, reason in days:
        reasons.setdefault((symbol, day), reason)
    rows: dict[str, list[Asset]] = {}
    for asset in fetchable(request.assets, known.symbols):
        rows.setdefault(asset.binance_symbol, []).append(asset)
    chosen = [
        (symbol, day, ways(day), reason)
        for (symbol, day), reason in sorted(reasons.items())
        if any(asset.trades_in(day, day + ONE_DAY) for asset in rows.get(symbol, ()))
    ]
    first, last = (min((c[1] for c in chosen), default=known.today), max((c[1] for c in chosen), default=known.today))
    return FetchPlan(request.interval, first, last + ONE_DAY, _ranges(chosen))


def _with_reason(days: SymbolDays, reason: Reason) -> Iterator[tuple[str, date, Reason]]:
    return ((symbol, day, reason) for symbol, mine in days.items() for day in sorted(mine))
