"""The dataset of the Fear & Greed index: columns, grain, object keys and the contract of a record."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    pass
from ingestion.datasets import HOUR_S, Column, Dataset
from ingestion.validation import Rule

FEAR_GREED_OPENED = date(2018, 2, 1)
FEAR_GREED = Dataset(
    name="fear_greed",
    source="alternative.me",
    # A day's value is published at its start, and there is one a day.
    sla_seconds=lambda _: 26 * HOUR_S,
    prefix="alternative_me/fear_greed",
    key=("date",),
    columns=(
        Column("date", pa.date32(), "date"),
        Column("value", pa.int64(), "integer"),
        Column("classification", pa.string(), "text"),
    ),
    bronze_only=(("payload", pa.string()),),
)


def fear_greed_key(fetched_on: date) -> str:
    """Return the key of the index's whole history as it stood on a day."""
    return f"{FEAR_GREED.prefix}/date={fetched_on.isoformat()}/index.parquet"


FEAR_GREED_RULES: tuple[Rule, ...] = (
    ("value is not from 0 to 100", lambda t: pc.or_(pc.less(t["value"], 0), pc.greater(t["value"], 100))),
)
