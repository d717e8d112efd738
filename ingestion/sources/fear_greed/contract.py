"""The contract of the Crypto Fear & Greed index: columns and the rules that a day must satisfy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.datasets import ONE_DAY, Column
from ingestion.validation import Rule

FIRST_DAY = date(2018, 2, 1)
COLUMNS = (
    Column("date", pa.date32(), "date"),
    Column("value", pa.int64(), "integer"),
    Column("classification", pa.string(), "text"),
)
BRONZE_ONLY = (("payload", pa.string()),)


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
