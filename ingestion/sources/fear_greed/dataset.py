"""The dataset ``fear_greed``: its declaration, contract and parser.

Facts: https://alternative.me/crypto/fear-and-greed-index/ (every value is text, newest first, a day is 00:00 UTC in
seconds; a 200 may carry no data, or an error inside ``metadata``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.database.connections import Connection
from ingestion.datasets import HOUR_S, ONE_DAY, Column, Dataset, Page, StoredRejection, page_schema
from ingestion.validation import Rule, parse_each

NAME, PREFIX = "fear_greed", "alternative_me/fear_greed"
FIRST_DAY = date(2018, 2, 1)
COLUMNS = (
    Column("date", pa.date32(), "date", "UTC day that the value stands for."),
    Column("value", pa.int64(), "integer", "Index from 0 (extreme fear) to 100 (extreme greed)."),
    Column("classification", pa.string(), "text", "Name that the source gives the value."),
)
BRONZE_ONLY = (("payload", pa.string(), "The record as JSON, as the source sent it."),)


def rules(now: datetime) -> Sequence[Rule]:
    """Return the rules for days that are fetched at ``now``."""
    first, tomorrow = pa.scalar(FIRST_DAY), pa.scalar(now.date() + ONE_DAY)
    return (
        ("value is not from 0 to 100", lambda t: pc.or_(pc.less(t["value"], 0), pc.greater(t["value"], 100))),
        (
            f"date is before {FIRST_DAY} or in the future",
            lambda t: pc.or_(pc.less(t["date"], first), pc.greater(t["date"], tomorrow)),
        ),
    )


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
    rows, rejected = parse_each(data, _day, json.dumps)
    for row in rows:
        row.update(source_url=url, fetched_at=fetched_at)
    return Page(pa.Table.from_pylist(rows, page_schema(COLUMNS, BRONZE_ONLY)), tuple(rejected))


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


def fear_greed_key(fetched_on: date) -> str:
    """Return the key of the index's complete history as it was on a day."""
    return f"{PREFIX}/date={fetched_on.isoformat()}/index.parquet"


def _parse_rejected(_: Connection, rejection: StoredRejection) -> pa.Table:
    return parse_history(orjson.dumps({"data": [rejection.record]}), "replayed", rejection.rejected_at).rows


FEAR_GREED = Dataset(
    name=NAME,
    source="alternative.me",
    prefix=PREFIX,
    key=("date",),
    merged_by=("fetched_at",),
    columns=COLUMNS,
    bronze_only=BRONZE_ONLY,
    # One value a day is published, at the start of its day.
    sla_seconds=lambda _: 26 * HOUR_S,
    newest_sql="select max(date)::timestamp at time zone 'UTC' from raw.fear_greed",
    object_key=lambda row: fear_greed_key(row["fetched_at"].date()),
    damaged_advice="a newer object has the complete history; remove this one",
    rules=rules,
    parse_rejected=_parse_rejected,
)
