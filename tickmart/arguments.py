"""Checks of the arguments that callers pass: coins, times, columns. Nothing here reads data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from tickmart.errors import ArgumentError

Time = str | date | datetime
Coins = str | Iterable[str]


def one_of(kind: str, value: str, known: Iterable[str]) -> str:
    """Return `value` if it is known; the error lists similar values, or all if they are few."""
    names = list(known)
    if value in names:
        return value
    similar = difflib.get_close_matches(str(value), names, 3, 0.5)
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    if len(names) <= 10:
        hint = f"; choose one of {', '.join(names)}"
    raise ArgumentError(f"Unknown {kind} {value!r}{hint}")


def column_names(
    given: str | Sequence[str] | None, default: Sequence[str], known: Mapping[str, str], key: Sequence[str]
) -> list[str]:
    """Return the default columns, all with "*", or the given ones; without the key and repetitions."""
    if given == "*":
        given = list(known)
    chosen = default if given is None else [given] if isinstance(given, str) else given
    return list(dict.fromkeys(one_of("column", name, known) for name in chosen if name not in key))


def utc(name: str, value: Time | None) -> datetime | None:
    """Return an instant in UTC; a date is its midnight, a time without a zone is UTC."""
    if value is None:
        return None
    parsed: date | None = value if isinstance(value, date) else None
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = None
    if parsed is None:
        raise ArgumentError(f"{name}={value!r} is not a time; write it as 2024-01-31 or 2024-01-31T12:00")
    if not isinstance(parsed, datetime):
        parsed = datetime.combine(parsed, time())
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def time_range(start: Time | None, end: Time | None) -> tuple[datetime | None, datetime | None]:
    """Return the half-open range [start, end) in UTC."""
    first, last = utc("start", start), utc("end", end)
    if first is not None and last is not None and first >= last:
        raise ArgumentError(f"start={start!s} is not before end={end!s}; the range is [start, end)")
    return first, last


def first_day_from(moment: datetime) -> date:
    """Return the first UTC day that begins at or after a moment."""
    return moment.date() if moment.time() == time() else moment.date() + timedelta(days=1)


def require_data(name: str, end: datetime | None, first: datetime | None, what: str) -> None:
    """Raise if a range ends before the data of `what` begin."""
    if end is not None and first is not None and end <= first:
        raise ArgumentError(f"{name}={end:%Y-%m-%dT%H:%M}Z is before the data: {what} begin at {first:%Y-%m-%dT%H:%M}Z")


def coin_ids(given: Coins, known: Sequence[Mapping[str, str | None]]) -> list[str]:
    """Return the id of each coin, given by id, ticker or name in any case; an id precedes a ticker or name.

    `known` has the keys crypto_id, symbol and name.
    """
    names = [given] if isinstance(given, str) else list(given)
    if not names:
        raise ArgumentError("coins is empty; name at least one coin, or pass None for all")
    return list(dict.fromkeys(_coin_id(name, known) for name in names))


def _coin_id(given: str, known: Sequence[Mapping[str, str | None]]) -> str:
    wanted = str(given).strip().casefold()
    ids = {str(coin["crypto_id"]).casefold(): str(coin["crypto_id"]) for coin in known}
    if wanted in ids:
        return ids[wanted]
    labels = [(str(coin["crypto_id"]), {str(coin[key]).casefold() for key in ("symbol", "name")}) for coin in known]
    found = [crypto_id for crypto_id, texts in labels if wanted in texts]
    if len(found) == 1:
        return found[0]
    if found:
        raise ArgumentError(f"{given!r} is the ticker or name of {' and '.join(sorted(found))}; give one of these ids")
    everything = {*ids, *(text for _, texts in labels for text in texts)}
    similar = difflib.get_close_matches(wanted, sorted(everything), 3, 0.6)
    hint = f"did you mean {' or '.join(similar)}? " if similar else ""
    raise ArgumentError(f"Unknown coin {given!r}: {hint}coins() lists all")
