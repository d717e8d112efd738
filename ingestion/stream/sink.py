"""The sink: broker to bronze and raw, each message exactly once.

Belongs here: reading the broker, one bronze object per dataset and hour of each batch, and the one transaction that
loads a batch. Does not: parsing (``batches``), COPY and partitions (``ingestion.sources.okx.load``).

The position in the broker is stored in the transaction that loads the batch, so that a killed sink goes on exactly
behind what raw has. An object in bronze is named after its first message: a batch that is written again replaces it.
The broker's messages are removed only after the commit.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import nats.errors
import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.bronze.lake import Lake
from ingestion.bronze.objects import LakeError, ObjectInfo
from ingestion.bronze.write import Context, accept, reject, with_batch_id
from ingestion.database.connections import Connection, WarehouseError, connect
from ingestion.datasets import Dataset
from ingestion.ops import stream as ops_stream
from ingestion.raw.ledger import LoadedObject, write_ledger
from ingestion.raw.upsert import lock_table
from ingestion.settings import Settings
from ingestion.sources.okx.dataset import OKX_TICKERS, OKX_TRADES, hour_prefix
from ingestion.sources.okx.load import days_of, ensure_partitions, insert_new
from ingestion.stream.batches import Batch, Message, to_batch
from ingestion.stream.broker import BROKER_ERRORS, Broker, BrokerState
from ingestion.stream.envelope import STREAM, moment

# A batch ends after so many messages or seconds. Ten seconds would put the 95th percentile of the delay at 9.5 s; with
# two it was 2.7 s at 2,000 messages a second. Compaction merges the objects of an hour.
FLUSH_MESSAGES, FLUSH_S = 5000, 1.0
# Reading a full batch that waits takes 0.2 s.
DRAIN_S = 0.25
STATUS_EVERY_S = 10.0
LAST_RETRY_S = 30.0
FULL_SHARE = 0.8
STORE_ERRORS = (LakeError, WarehouseError, psycopg2.Error)


@dataclass(frozen=True)
class _Object:
    dataset: Dataset
    info: ObjectInfo
    sha256: str
    table: pa.Table


class Sink:
    """Commits batches of one broker's stream."""

    def __init__(self, settings: Settings, broker: Broker, say: Callable[[str], None]) -> None:
        assert settings.object_store is not None
        self._settings, self._broker, self._say = settings, broker, say
        self._lake = Lake(settings.object_store)
        self._connection: Connection | None = None
        self._state = BrokerState("", 0, 0, 1)
        self._position, self._read_at = 0, 0.0
        self._warned = False
        [rest_url] = settings.source_urls["OKX_BASE_URL"][:1]
        self._urls = {"w": settings.okx_ws_url, "r": f"{rest_url}/api/v5/market/trades"}

    async def run(self) -> None:
        """Commit batches until canceled."""
        await self._keep_trying(self._prepare)
        subscription, status_due = None, 0.0
        while True:
            try:
                if time.monotonic() >= status_due:
                    status_due = time.monotonic() + STATUS_EVERY_S
                    if await self._is_another_broker():
                        subscription = None
                if subscription is None:
                    subscription = await self._broker.messages_from(self._position + 1)
                messages = await self._next_messages(subscription)
            except BROKER_ERRORS as error:
                self._say(f"broker does not answer ({' '.join(str(error).split())[:120]}): the sink waits for it")
                subscription = None
                await asyncio.sleep(1)
                continue
            if messages:
                await self._keep_trying(lambda batch=messages: self._commit(batch))  # type: ignore[misc]
                await self._remove_committed()

    async def _next_messages(self, subscription: Any) -> list[Message]:
        """Return the messages of the next batch, none if there are none for the time of a batch."""
        found: list[Message] = []
        # Counted from the batch before: after a slow commit, messages wait already.
        ends = max(time.monotonic() + DRAIN_S, self._read_at + FLUSH_S)
        while len(found) < FLUSH_MESSAGES and (left := ends - time.monotonic()) > 0:
            try:
                fetched = await subscription.fetch(FLUSH_MESSAGES - len(found), timeout=max(left, 0.05))
            except (TimeoutError, nats.errors.TimeoutError):
                break
            for message in fetched:
                sequence = message.metadata.sequence.stream
                # Behind the last one: a message twice, or from before the position, is not counted again.
                if sequence > (found[-1].sequence if found else self._position):
                    found.append(Message(sequence, message.subject, message.data))
        self._read_at = time.monotonic()
        return found

    async def _keep_trying(self, step: Callable[[], Any]) -> None:
        """Do a step that needs Postgres and S3 until it succeeds, with one line when it fails first and then rarely."""
        wait, failures = 0.5, 0
        while True:
            try:
                await asyncio.to_thread(step)
            except STORE_ERRORS as error:
                self._drop_connection()
                if failures % 20 == 0:
                    self._say(f"{' '.join(str(error).split())[:300]}; the broker keeps the messages meanwhile")
                failures += 1
                await asyncio.sleep(wait)
                wait = min(wait * 2, LAST_RETRY_S)
            else:
                if failures:
                    self._say(f"Postgres and S3 answer again after {failures} attempts")
                return

    def _prepare(self) -> None:
        self._lake.ensure_bucket()
        self._connected()

    async def _is_another_broker(self) -> bool:
        """Read the broker's state; return whether its stream is not the one of before."""
        state = await self._broker.state()
        is_other = state.broker_id != self._state.broker_id
        self._state = state
        if is_other:
            await self._keep_trying(self._find_position)
        share = state.bytes / max(state.max_bytes, 1)
        if share >= FULL_SHARE and not self._warned:
            self._say(f"the broker is {share:.0%} full ({state.bytes:,} bytes): when it is full, the collector waits")
        self._warned = share >= FULL_SHARE
        await self._keep_trying(self._record_status)
        return is_other

    def _find_position(self) -> None:
        self._position = ops_stream.position(self._connected(), STREAM, self._state.broker_id)

    def _record_status(self) -> None:
        connection = self._connected()
        with connection, connection.cursor() as cursor:
            if ops_stream.lock_position(cursor, STREAM, self._state.broker_id) <= self._position:
                ops_stream.record_status(cursor, STREAM, self._status({}))

    def _status(self, collector: dict[str, Any]) -> dict[str, Any]:
        received = collector.get("received_us")
        return {
            "broker_id": self._state.broker_id,
            "last_sequence": self._position,
            "broker_bytes": self._state.bytes,
            "broker_max_bytes": self._state.max_bytes,
            "pending_messages": max(self._state.last_sequence - self._position, 0),
            "received_at": moment(received) if received else None,
            "missing_assets": collector.get("missing"),
        }

    async def _remove_committed(self) -> None:
        try:
            await self._broker.remove_up_to(self._position)
        except BROKER_ERRORS:
            return  # the next batch removes them too

    def _commit(self, messages: Sequence[Message]) -> None:
        """Write a batch to bronze, and load it with everything that is known of it in one transaction."""
        connection = self._connected()
        batch = to_batch(messages, self._urls)
        batch_id = f"okx-{hashlib.sha256(self._state.broker_id.encode()).hexdigest()[:12]}"
        context = Context(self._lake, connection, batch_id)
        tables: list[tuple[Dataset, pa.Table]] = []
        rejected = 0
        for dataset in (OKX_TRADES, OKX_TICKERS):
            problems = batch.rejected.get(dataset.name, [])
            if dataset.name in batch.tables:
                page = with_batch_id(context, batch.tables[dataset.name])
                rows, violations = accept(page, dataset.rules(datetime.now(UTC)))
                problems = [*problems, *violations]
                if len(rows):
                    tables.append((dataset, rows))
            rejected += reject(context, dataset, problems).rejected
        objects = [item for dataset, rows in tables for item in self._write(dataset, rows, batch.first, batch_id)]
        for dataset, rows in tables:
            ensure_partitions(connection, dataset, days_of(rows))
        self._load(connection, batch, objects, batch_id, rejected)

    def _write(self, dataset: Dataset, rows: pa.Table, first: int, batch_id: str) -> Iterator[_Object]:
        """Write rows to the objects of their hours."""
        hours = pc.floor_temporal(rows["ts"], unit="hour")
        for hour in pc.unique(hours).to_pylist():
            part = rows.filter(pc.equal(hours, pa.scalar(hour, hours.type))).combine_chunks()
            key = f"{hour_prefix(dataset, hour)}{batch_id}-{first:012}.parquet"
            etag, sha256, size = self._lake.write_hashed(key, part)
            yield _Object(dataset, ObjectInfo(key, etag, size), sha256, part)

    def _load(
        self, connection: Connection, batch: Batch, objects: Sequence[_Object], batch_id: str, rejected: int
    ) -> None:
        """Load objects, events and counts with the new position, unless another sink has committed these messages."""
        with connection, connection.cursor() as cursor:
            known = ops_stream.lock_position(cursor, STREAM, self._state.broker_id)
            if known > self._position:
                self._position = known
                return
            cursor.execute("select clock_timestamp()")
            loaded_at = cursor.fetchone()[0]  # type: ignore[index]
            loaded: dict[str, int] = {}
            for dataset in (OKX_TRADES, OKX_TICKERS):
                own = [item for item in objects if item.dataset is dataset]
                if not own:
                    continue
                lock_table(cursor, dataset)
                entries = [
                    LoadedObject(o.info, o.sha256, len(o.table), insert_new(cursor, dataset, o.table, loaded_at), 0)
                    for o in own
                ]
                write_ledger(cursor, dataset, entries, batch_id, loaded_at)
                loaded[dataset.name] = sum(entry.inserted for entry in entries)
            ops_stream.record_gaps(cursor, batch.events.gaps) if batch.events.gaps else None
            ops_stream.record_connections(cursor, STREAM, batch.events.connections)
            rows = sum(len(item.table) for item in objects)
            p50, p95 = _delays([item.table for item in objects], loaded_at)
            if batch.data_messages:
                counts = ops_stream.Counts(
                    batch.data_messages, loaded.get(OKX_TRADES.name, 0), loaded.get(OKX_TICKERS.name, 0),
                    rows - sum(loaded.values()), rejected, p50, p95,
                )  # fmt: skip
                ops_stream.record_minute(cursor, STREAM, counts)
            collector = batch.events.status or {}
            received = max(batch.received_us, collector.get("received_us") or 0)
            status = self._status({**collector, "received_us": received})
            ops_stream.record_status(cursor, STREAM, {**status, "last_sequence": batch.last})
            if batch.events.status:
                problem = batch.events.status["problem"]
                cursor.execute("update ops.stream_status set problem = %s where stream = %s", (problem, STREAM))
        self._position = batch.last

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            assert self._settings.postgres is not None
            self._connection = connect(self._settings.postgres, "ingest")
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _delays(tables: Sequence[pa.Table], committed: datetime) -> tuple[float | None, float | None]:
    """Return median and 95th percentile of the seconds from the exchange's stamp to the commit.

    Trades from REST, which are as old as their gap, and records of a clock that is wrong are no part of it.
    """
    stamps = [np.asarray(t["ts"].cast(pa.int64())) for t in tables]
    received = [np.asarray(t["received_at"].cast(pa.int64())) for t in tables]
    if not stamps:
        return None, None
    at, got = np.concatenate(stamps), np.concatenate(received)
    live = at[np.abs(got - at) < timedelta(minutes=1) // timedelta(microseconds=1)]
    if not len(live):
        return None, None
    seconds = (committed.timestamp() * 1e6 - live) / 1e6
    return float(np.percentile(seconds, 50)), float(np.percentile(seconds, 95))
