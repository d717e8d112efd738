"""Requests and parses alternative.me's Crypto Fear & Greed index: its complete history in one response.

Facts: https://alternative.me/crypto/fear-and-greed-index/ (every value is text, newest first, a day is 00:00 UTC in
seconds; a 200 may carry no data, or an error inside ``metadata``).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa

from ingestion.datasets import Page, page_schema
from ingestion.sources.conventions import Answer
from ingestion.sources.fear_greed.contract import BRONZE_ONLY, COLUMNS
from ingestion.sources.http import HttpClient, SourceError
from ingestion.validation import Rejected


def history(client: HttpClient) -> Page:
    """Request every day of the index."""

    def parse(answer: Answer) -> Page:
        return parse_history(answer.body, answer.url, datetime.now(UTC))

    page = client.get("/fng/", {"limit": 0, "format": "json"}, parse=parse)
    if page is None:
        raise SourceError(client.source, "no history")
    return page


def parse_history(body: bytes, url: str, fetched_at: datetime) -> Page:
    """Parse the response; ValueError when it carries an error or no data, so that it is requested again."""
    parsed = orjson.loads(body)
    data = parsed.get("data") if isinstance(parsed, dict) else None
    metadata = parsed.get("metadata") if isinstance(parsed, dict) else None
    error = metadata.get("error") if isinstance(metadata, dict) else None
    if error:
        raise ValueError(f"metadata.error is {str(error)[:80]!r}")
    if not isinstance(data, list) or not data:
        raise ValueError("its data is empty")
    good: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for entry in data:
        try:
            good.append(_day(entry))
        except (ValueError, TypeError, KeyError, OverflowError, OSError) as problem:
            reason = f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)
            rejected.append(Rejected(json.dumps(entry), reason))
    for row in good:
        row.update(source_url=url, fetched_at=fetched_at)
    return Page(pa.Table.from_pylist(good, page_schema(COLUMNS, BRONZE_ONLY)), tuple(rejected))


def _day(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError(f"a {type(entry).__name__} instead of an object")
    value, timestamp, name = entry["value"], entry["timestamp"], entry["value_classification"]
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,3}", value.strip()):
        raise ValueError(f"value is {str(value)[:60]!r}, not the text of a number from 0 to 100")
    if not isinstance(timestamp, str) or not re.fullmatch(r"[0-9]{1,11}", timestamp):
        raise ValueError(f"timestamp is {str(timestamp)[:60]!r}, not seconds since 1970")
    if not isinstance(name, str) or not name:
        raise ValueError(f"value_classification is {name!r}, not text")
    # time_until_update counts down to the next value and differs in each response: it is not part of the record.
    payload = {k: v for k, v in entry.items() if k != "time_until_update"}
    day = datetime.fromtimestamp(int(timestamp), UTC).date()
    return {"date": day, "value": int(value), "classification": name, "payload": json.dumps(payload)}
