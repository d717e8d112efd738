"""Turns messages of the broker into tables of records, events and counts. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from ingestion.datasets import Dataset
from ingestion.sources.okx.dataset import OKX_TICKERS, OKX_TRADES, ROW_OF, tabulate
from ingestion.sources.okx.messages import TICKERS, TRADES
from ingestion.stream.envelope import EVENTS, gap_event, moment, unpack
from ingestion.validation import Rejected

DATASET_OF = {TRADES: OKX_TRADES, TICKERS: OKX_TICKERS}


@dataclass(frozen=True)
class Message:
    """A message of the broker: its sequence, subject and content."""

    sequence: int
    subject: str
    data: bytes


@dataclass
class Events:
    """What the collector reported: rows for the tables of ``ops``, and its newest status."""

    gaps: list[tuple[Any, ...]] = field(default_factory=list)
    connections: list[tuple[Any, ...]] = field(default_factory=list)
    status: dict[str, Any] | None = None


@dataclass
class Batch:
    """The content of consecutive messages: rows and the first sequence by dataset, rejected records, events."""

    first: int
    last: int
    tables: dict[str, pa.Table] = field(default_factory=dict)
    rejected: dict[str, list[Rejected]] = field(default_factory=dict)
    events: Events = field(default_factory=Events)
    data_messages: int = 0
    received_us: int = 0


def to_batch(messages: Sequence[Message], source_urls: Mapping[str, str]) -> Batch:
    """Parse messages; a record that cannot be read is rejected alone. ``source_urls`` are by origin."""
    batch = Batch(messages[0].sequence, messages[-1].sequence)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ROW_OF}
    rejected: dict[str, list[Rejected]] = {name: [] for name in ROW_OF}
    for message in messages:
        if message.subject == EVENTS:
            _add_event(batch.events, message.data)
            continue
        batch.data_messages += 1
        try:
            envelope = unpack(message.data)
            body = orjson.loads(envelope.frame)
            dataset, records = DATASET_OF[body["arg"]["channel"]], body["data"]
        except (ValueError, KeyError, TypeError) as problem:
            text = message.data.decode(errors="replace")
            record = orjson.dumps({"message": text}).decode()
            rejected[OKX_TRADES.name].append(Rejected(record, f"no message: {problem}"))
            continue
        batch.received_us = max(batch.received_us, envelope.received_us)
        parse, kept = ROW_OF[dataset.name], rows[dataset.name]
        provenance = {"source_url": source_urls[envelope.origin], "received_at": envelope.received_us}
        for record in records:
            text = orjson.dumps(record).decode()
            try:
                row = parse(record)
            except (ValueError, KeyError, TypeError) as problem:
                reason = f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)
                rejected[dataset.name].append(Rejected(text, reason))
                continue
            row.update(provenance, payload=text)
            kept.append(row)
    for dataset in (OKX_TRADES, OKX_TICKERS):
        _tabulate(batch, dataset, rows[dataset.name], rejected[dataset.name])
    return batch


def _tabulate(batch: Batch, dataset: Dataset, rows: list[dict[str, Any]], rejected: list[Rejected]) -> None:
    if rows:
        table, not_numbers = tabulate(dataset, rows)
        rejected += not_numbers
        if len(table):
            batch.tables[dataset.name] = table
    if rejected:
        batch.rejected[dataset.name] = rejected


def _add_event(events: Events, data: bytes) -> None:
    body = orjson.loads(data)
    if body["event"] == "gap":
        events.gaps.append(gap_event(body))
    elif body["event"] == "connection":
        ended = body["ended_us"]
        events.connections.append((moment(body["connected_us"]), moment(ended) if ended else None, body["reason"]))
    else:
        events.status = body
