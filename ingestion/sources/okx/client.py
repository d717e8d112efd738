"""Requests of OKX's REST API: instruments, the exchange's clock, and the trades between two ids."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingestion.sources.conventions import Answer, Conventions, SourceError, parsed_body
from ingestion.sources.http import HttpClient, as_json
from ingestion.universe import Asset

TRADES_PATH, HISTORY_PATH = "/api/v5/market/trades", "/api/v5/market/history-trades"
# The most that one answer has; history goes back three months.
NEWEST_TRADES, HISTORY_TRADES = 500, 100
# Pages of history per gap: 20,000 trades, some twenty seconds of requests within OKX's limit.
HISTORY_PAGES = 200
# OKX allows 20 requests of history in two seconds and address.
PAGE_EVERY_S = 0.12
QUOTE = "USDT"


def _error_code(body: Any) -> int | None:
    """Return the code of an answer, which errors have with any HTTP status."""
    code = body.get("code") if isinstance(body, dict) else None
    return int(code) if isinstance(code, str) and code.isdigit() and code != "0" else None


def _error_message(body: Any) -> str:
    return str(body.get("msg", "")) if isinstance(body, dict) else ""


CONVENTIONS = Conventions(
    error_code=_error_code,
    error_message=_error_message,
    is_missing=lambda answer: _error_code(parsed_body(answer)) == 51001,
)


def _records(answer: Answer) -> list[dict[str, Any]]:
    """Return the records of an answer; ValueError, so that it is requested again, for an error with HTTP status 200."""
    body = as_json(answer)
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or body.get("code") != "0" or not all(isinstance(r, dict) for r in data):
        raise ValueError(f"code {body.get('code') if isinstance(body, dict) else body!r}: {_error_message(body)}"[:120])
    return data


def _get(client: HttpClient, path: str, params: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return client.get(path, params, parse=_records, missing_ok=True) or []


def live_instruments(client: HttpClient) -> set[str]:
    """Return the spot instruments that trade now."""
    found = _get(client, "/api/v5/public/instruments", {"instType": "SPOT"})
    return {str(r.get("instId")) for r in found if r.get("state", "live") == "live"}


def instruments_of(universe: Sequence[Asset], listed: set[str] | None) -> tuple[dict[str, Asset], list[Asset]]:
    """Return the assets by their instrument, and those that OKX does not list; None takes every asset as listed.

    An asset that has been renamed is taken under its present symbol.
    """
    found: dict[str, Asset] = {}
    missing: list[Asset] = []
    for asset in universe:
        if asset.valid_to is not None or not asset.binance_symbol.endswith(QUOTE):
            continue
        inst_id = f"{asset.binance_symbol.removesuffix(QUOTE)}-{QUOTE}"
        if listed is None or inst_id in listed:
            found[inst_id] = asset
        else:
            missing.append(asset)
    return found, missing


@dataclass(frozen=True)
class Fills:
    """The trades of REST between two ids, oldest first, and whether the answers reached back to the lower id."""

    records: tuple[dict[str, Any], ...]
    is_complete: bool


def trades_between(client: HttpClient, inst_id: str, after: int, before: int) -> Fills:
    """Return the single fills with ids in (after, before): from the newest trades if they reach back, else history.

    RequestRejected or SourceError if OKX does not answer.
    """
    found: dict[int, dict[str, Any]] = {}
    for page in _pages(client, inst_id, before):
        ids = [int(record["tradeId"]) for record in page]
        found.update((i, record) for i, record in zip(ids, page, strict=True) if after < i < before)
        if not ids or min(ids) <= after + 1:
            return Fills(tuple(found[i] for i in sorted(found)), is_complete=bool(ids))
    return Fills(tuple(found[i] for i in sorted(found)), is_complete=False)


def _pages(client: HttpClient, inst_id: str, before: int) -> Iterator[list[dict[str, Any]]]:
    newest = _get(client, TRADES_PATH, {"instId": inst_id, "limit": NEWEST_TRADES})
    yield newest
    oldest = before
    if newest and (lowest := min(int(record["tradeId"]) for record in newest)) < before:
        oldest = lowest
    for _ in range(HISTORY_PAGES):
        time.sleep(PAGE_EVERY_S)
        params: dict[str, str | int] = {"instId": inst_id, "type": 1, "after": oldest, "limit": HISTORY_TRADES}
        page = _get(client, HISTORY_PATH, params)
        yield page
        if not page:
            return
        lowest = min(int(record["tradeId"]) for record in page)
        if lowest >= oldest:
            problem = f"{inst_id}: a page of trades does not go back from {oldest}"
            raise SourceError(client.source, problem, kind="failing")
        oldest = lowest
