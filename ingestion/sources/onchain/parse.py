"""Parses the daily series of Coin Metrics and of blockchain.com's charts. Pure: no requests.

Facts: docs.coinmetrics.io/api (values are text, stamps have nine digits, null or absent is no data) and
https://www.blockchain.com/explorer/api/charts_api (``x`` is in seconds; a sampled answer lacks days without saying so).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ingestion.arrow import DIGITS, exact, read_json
from ingestion.text import plain
from ingestion.validation import Rejected, parse_each

DAY_S = 86_400
# Epoch numbers from here on are milliseconds (the year 5138 in seconds).
_MILLISECONDS_FROM = 10**11
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LAST_PLACE = Decimal(1).scaleb(-DIGITS)
# An answer with fewer steps of one day than this share is sampled; sources miss single days.
_DAILY_SHARE = 0.5
# Fewer steps say nothing: a chart of up to 1,500 days is never sampled.
_STEPS_AT_LEAST = 10


@dataclass(frozen=True)
class Page:
    """One answer: rows (metric, date, value as text, payload), rejected records, and the token of the next page."""

    rows: list[dict[str, Any]]
    rejected: list[Rejected]
    next_token: str | None = None


def coinmetrics_page(body: bytes, url: str, metric: str) -> Page:
    """Parse a page of asset metrics; ValueError when it is not one."""
    parsed = read_json(body.decode())
    data = parsed.get("data") if isinstance(parsed, dict) else None
    if not isinstance(data, list):
        raise ValueError("it has no list of data")
    # A partial last day has other columns only; the source has no value then.
    sent = [entry for entry in data if not isinstance(entry, dict) or entry.get(metric) not in (None, "")]
    rows, rejected = parse_each(sent, lambda entry: coinmetrics_day(metric, entry), lambda e: _record(metric, e))
    return Page(rows, rejected, _next_token(parsed, url))


def coinmetrics_day(metric: str, entry: Any) -> dict[str, Any]:
    """Parse one record into a row; ValueError, KeyError or TypeError says what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError(f"a {type(entry).__name__} instead of an object")
    if entry["asset"] != "btc":
        raise ValueError(f"asset is {str(entry['asset'])[:60]!r}, not btc")
    at = datetime.fromisoformat(entry["time"])
    if at != datetime(at.year, at.month, at.day, tzinfo=UTC):
        raise ValueError(f"time is {entry['time'][:60]!r}, not the start of a UTC day")
    return _row(metric, at.date(), entry[metric], entry)


def _next_token(parsed: dict[str, Any], url: str) -> str | None:
    """Return the token of the next page; an address of the next page is only read for it, never requested."""
    token, address = parsed.get("next_page_token"), parsed.get("next_page_url")
    if token is None and address is not None:
        parts = urlsplit(str(address))
        if parts.netloc != urlsplit(url).netloc:
            raise ValueError(f"its next page is on another host, {parts.netloc[:60]!r}")
        token = parse_qs(parts.query).get("next_page_token", [None])[0]
    if token is not None and not isinstance(token, str):
        raise ValueError(f"next_page_token is {str(token)[:60]!r}, not text")
    return token or None


def blockchain_page(body: bytes, url: str, metric: str) -> Page:
    """Parse a chart; ValueError when it is not one or states an error."""
    parsed = read_json(body.decode())
    values = parsed.get("values") if isinstance(parsed, dict) else None
    if not isinstance(values, list):
        raise ValueError("it has no list of values")
    if parsed.get("status", "ok") != "ok":
        raise ValueError(f"status is {str(parsed['status'])[:60]!r}")
    sent = [entry for entry in values if not isinstance(entry, dict) or entry.get("y") is not None]
    rows, rejected = parse_each(sent, lambda entry: blockchain_day(metric, entry), lambda e: _record(metric, e))
    return Page(rows, rejected)


def blockchain_day(metric: str, entry: Any) -> dict[str, Any]:
    """Parse one point of a chart into a row; ValueError, KeyError or TypeError says what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError(f"a {type(entry).__name__} instead of an object")
    at = entry["x"]
    if type(at) is not int or abs(at) >= _MILLISECONDS_FROM or at % DAY_S:
        raise ValueError(f"x is {str(at)[:60]!r}, not the start of a UTC day in seconds since 1970")
    return _row(metric, datetime.fromtimestamp(at, UTC).date(), entry["y"], entry)


def read_record(text: str) -> dict[str, Any]:
    """Parse a rejected record as it was stored; ValueError if it is not one of these series."""
    entry = read_json(text)
    if not isinstance(entry, dict) or not isinstance(entry.get("metric"), str):
        raise ValueError("it has no metric")
    return entry


def _record(metric: str, entry: Any) -> str:
    """Return a rejected record as JSON, with the name of its series, which a chart's points lack."""
    return json.dumps({"metric": metric, **(entry if isinstance(entry, dict) else {"record": entry})}, default=plain)


def _row(metric: str, day: date, value: Any, entry: dict[str, Any]) -> dict[str, Any]:
    return {"metric": metric, "date": day, "value": number(value), "payload": json.dumps(entry, default=plain)}


def number(value: Any) -> str:
    """Return a number as plain decimal text, from text, an integer or a Decimal; ValueError for anything else.

    Coin Metrics divides: a hash rate has had 37 decimals. More than 38 are rounded (the payload has them all).
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)) or not _NUMBER.fullmatch(str(value)):
        raise ValueError(f"{str(value)[:60]!r} is no decimal number")
    read = Decimal(str(value))
    if -int(read.as_tuple().exponent) > DIGITS and read.adjusted() < DIGITS:
        read = read.quantize(_LAST_PLACE, context=Context(prec=2 * DIGITS))
    return format(exact(str(read)), "f")


def settle(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Rejected], int]:
    """Return one row per day of a series, the records of days that came with two values, and how many came twice."""
    by_day: dict[date, list[dict[str, Any]]] = {}
    for row in rows:
        by_day.setdefault(row["date"], []).append(row)
    kept, rejected = [], []
    for same_day in by_day.values():
        if len({Decimal(row["value"]) for row in same_day}) == 1:
            kept.append(same_day[0])
            continue
        reason = f"{same_day[0]['date']} came twice with different values"
        rejected += [Rejected(_record(row["metric"], read_json(row["payload"])), reason) for row in same_day]
    return kept, rejected, len(rows) - len(kept) - len(rejected)


def is_sampled(days: Sequence[date]) -> bool:
    """Return whether an answer has only every second day or fewer: the source left days out without saying so."""
    ordered = sorted(set(days))
    steps = [(after - before).days for before, after in pairwise(ordered)]
    return len(steps) >= _STEPS_AT_LEAST and sum(step == 1 for step in steps) < _DAILY_SHARE * len(steps)
