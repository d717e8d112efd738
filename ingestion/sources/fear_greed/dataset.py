"""The dataset ``fear_greed``: its declaration and object keys."""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson
import pyarrow as pa

from ingestion.database.connections import Connection
from ingestion.datasets import HOUR_S, Dataset, StoredRejection
from ingestion.sources.fear_greed.client import parse_history
from ingestion.sources.fear_greed.contract import BRONZE_ONLY, COLUMNS, rules

NAME, PREFIX = "fear_greed", "alternative_me/fear_greed"


def fear_greed_key(fetched_on: date) -> str:
    """Return the key of the index's complete history as it was on a day."""
    return f"{PREFIX}/date={fetched_on.isoformat()}/index.parquet"


def _object_key(row: dict[str, Any]) -> str:
    return fear_greed_key(row["fetched_at"].date())


def _parse_rejected(_: Connection, rejection: StoredRejection) -> pa.Table:
    return parse_history(orjson.dumps({"data": [rejection.record]}), "replayed", rejection.rejected_at).rows


FEAR_GREED = Dataset(
    name=NAME,
    source="alternative.me",
    prefix=PREFIX,
    key=("date",),
    columns=COLUMNS,
    bronze_only=BRONZE_ONLY,
    # One value a day is published, at the start of its day.
    sla_seconds=lambda _: 26 * HOUR_S,
    newest_sql="select max(date)::timestamp at time zone 'UTC' from raw.fear_greed",
    object_key=_object_key,
    damaged_advice="a newer object has the complete history; remove this one",
    rules=rules,
    parse_rejected=_parse_rejected,
)
