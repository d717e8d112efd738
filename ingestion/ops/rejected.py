"""Rejected records and new fields in the ``ops`` schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from ingestion.arrow import read_json
from ingestion.database.connections import Connection, write_rows
from ingestion.datasets import Dataset
from ingestion.validation import Rejected


def record_rejected(
    connection: Connection, dataset: Dataset, object_key: str, rejected: Sequence[Rejected], batch_id: str
) -> int:
    """Store rejected records with their reasons, each pair once; return how many were new."""
    rows = [
        (dataset.name, object_key, hashlib.sha256(r.record.encode()).hexdigest(), _jsonb(r.record), r.reason, batch_id)
        for r in rejected
    ]
    statement = """
        insert into ops.rejected_records (dataset, object_key, record_sha256, record, reason, batch_id) values %s
        on conflict (dataset, record_sha256, reason) do nothing
        returning rejected_id
    """
    return len(write_rows(connection, statement, rows, returning=True))


def _jsonb(text: str) -> str:
    """Return the record as jsonb text; what Postgres would reject (NaN, NUL) becomes a JSON string."""
    try:
        read_json(text)
    except ValueError:
        return json.dumps(text.encode("utf-8", "replace").decode().replace("\0", "\ufffd"))
    return text


def record_new_fields(connection: Connection, dataset: Dataset, fields: Mapping[str, str], batch_id: str) -> list[str]:
    """Record the undeclared fields (name: example) that a source sends; return those not recorded before."""
    if not fields:
        return []
    statement = """
        insert into ops.source_fields (dataset, field, example, batch_id) values %s
        on conflict (dataset, field) do nothing
        returning field
    """
    rows = [(dataset.name, name, example[:200], batch_id) for name, example in sorted(fields.items())]
    return [name for (name,) in write_rows(connection, statement, rows, returning=True)]
