"""Writes the answers of one window of days: validation, one bronze object per day, rejected records and coverage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US, align_decimals, last_wins
from ingestion.bronze.merge_into import merge_rows
from ingestion.bronze.results import FetchResult, merge_results
from ingestion.bronze.write import Context, accept, note_new_fields, reject, with_batch_id
from ingestion.database import connections
from ingestion.datasets import ONE_DAY, days_between, midnight
from ingestion.ops import coverage
from ingestion.sources.binance import rest
from ingestion.sources.binance.dataset import KLINES, invalidate, klines_key
from ingestion.sources.binance.parse import FIELDS
from ingestion.sources.binance.rest import FetchedRange
from ingestion.sources.http import RequestRejected, SourceError

# The last bar of a day is closed and answered a little after midnight; an hour is ample.
FINAL_AFTER = timedelta(hours=1)
Answers = Iterable[tuple[str, "Future[list[FetchedRange]]"]]


@dataclass(frozen=True)
class WindowWriter:
    """Writes windows of one interval; ``now`` is the exchange's time when the fetch began."""

    context: Context
    interval: str
    now: datetime

    def write(self, answers: Answers) -> FetchResult:
        """Write what was answered for (symbol, ranges); the result's ``error`` means that the source is unusable."""
        result = FetchResult(KLINES.name)
        fetched: list[tuple[str, FetchedRange]] = []
        for symbol, future in answers:
            try:
                fetched += ((symbol, piece) for piece in future.result())
            except SourceError as error:
                result = merge_results(result, _failure(symbol, error))
        pages = [page for _, piece in fetched for page in piece.pages]
        rejected = [record for page in pages for record in page.rejected]
        incomplete = {symbol for symbol, piece in fetched for page in piece.pages if page.rejected}
        bars: dict[tuple[str, date], int] = {}
        if pages:
            table = with_batch_id(self.context, pa.concat_tables(align_decimals([page.rows for page in pages])))
            accepted, violations = accept(table, KLINES.rules(self.now))
            rejected += violations
            if violations:
                before, after = _rows_by_symbol(table), _rows_by_symbol(accepted)
                incomplete |= {symbol for symbol, rows in before.items() if rows != after.get(symbol)}
            written, bars = self._write_bars(accepted)
            result = merge_results(result, written)
        result = merge_results(result, reject(self.context, KLINES, rejected))
        self._record_coverage(fetched, bars, incomplete)
        return result

    def _write_bars(self, accepted: pa.Table) -> tuple[FetchResult, dict[tuple[str, date], int]]:
        # The bar in progress is dropped: its close_time is not yet past by the exchange's clock.
        closed = accepted.filter(pc.less(accepted["close_time"], pa.scalar(self.now, UTC_US)))
        table = last_wins(closed, KLINES.key)
        days = pc.cast(table["open_time"], pa.date32())
        with connections.locked(self.context.connection, f"bronze {KLINES.name}"):
            result = self._write_days(table, days)
        notes = note_new_fields(self.context, KLINES, _undocumented_elements(table))
        result = replace(result, rows=len(table), repeated=len(closed) - len(table), notes=(*result.notes, *notes))
        counted = pa.table({"symbol": table["symbol"], "day": days}).group_by(["symbol", "day"])
        counts = counted.aggregate([([], "count_all")]).to_pylist()
        return result, {(row["symbol"], row["day"]): row["count_all"] for row in counts}

    def _write_days(self, table: pa.Table, days: pa.Array) -> FetchResult:
        """Merge a table's rows into the object of each day."""
        if len(table) == 0:
            return FetchResult(KLINES.name)
        # The sort is stable: a day's rows stay in the order of their key.
        order = pc.sort_indices(days)
        days = days.take(order)
        numbers = np.asarray(days.cast(pa.int32()))
        starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
        parts = [
            (klines_key(self.interval, days[int(a)].as_py()), table.take(order[int(a) : int(b)]).combine_chunks())
            for a, b in zip(starts, [*starts[1:], len(numbers)], strict=True)
        ]

        written = merge_rows(self.context.lake, KLINES, parts)
        repaired = [done.key for done in written if done.outcome == "repaired"]
        for key in repaired:
            # The damaged object may have had other symbols and days: the next run requests these again.
            invalidate(self.context.connection, key)
        notes = tuple(f"{key} was damaged and is rewritten" for key in repaired)
        return FetchResult(KLINES.name, written=tuple(written), notes=notes)

    def _record_coverage(
        self, fetched: Sequence[tuple[str, FetchedRange]], bars: Mapping[tuple[str, date], int], incomplete: set[str]
    ) -> None:
        rows = []
        for symbol, piece in fetched:
            for day in days_between(piece.first, piece.last):
                is_final = self.now >= midnight(day + ONE_DAY) + FINAL_AFTER
                rows.append((symbol, day, bars.get((symbol, day), 0), is_final, piece.source))
        coverage.record_coverage(self.context.connection, KLINES, self.interval, rows, self.now, incomplete)


def _failure(symbol: str, error: SourceError) -> FetchResult:
    """Return the failure of one symbol, or of the whole source."""
    if isinstance(error, RequestRejected):
        why = rest.unknown_symbol(symbol) if error.code == rest.UNKNOWN_SYMBOL else str(error)
        return FetchResult(KLINES.name, failed={symbol: why})
    if error.kind == "failing":
        return FetchResult(KLINES.name, failed={symbol: str(error)})
    return FetchResult(KLINES.name, error=str(error))


def _rows_by_symbol(table: pa.Table) -> dict[str, int]:
    counted = table["symbol"].value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _undocumented_elements(table: pa.Table) -> dict[str, str]:
    """Return, by position, an example of each element of a bar that is not documented."""
    extras = (json.loads(text) for text in pc.drop_null(table["extra"].unique()).to_pylist())
    return {
        f"element {len(FIELDS) + 1 + at}": json.dumps(cell) for cells in extras for at, cell in enumerate(cells[1:])
    }
