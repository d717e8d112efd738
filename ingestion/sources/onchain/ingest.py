"""Fetches the daily series of one provider into bronze: what can be new, and only what has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from ingestion.arrow import last_wins
from ingestion.bronze.objects import Written
from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context, accept, reject, rows_by_object, with_batch_id
from ingestion.database.connections import Connection, fetch, locked
from ingestion.datasets import Dataset
from ingestion.ops import series
from ingestion.sources.http import HttpClient, RequestRejected, SourceError
from ingestion.sources.onchain.dataset import FIRST_DAY, changed, is_late, to_table
from ingestion.sources.onchain.parse import Page, is_sampled, settle
from ingestion.sources.onchain.plan import first_day
from ingestion.validation import Rejected

# (client, metric, first day, today) to all days of a series.
RequestSeries = Callable[[HttpClient, str, date, date], Page]


@dataclass(frozen=True)
class Provider:
    """One provider of daily series: its name in ``source``, its dataset, its series and how one is requested."""

    source: str
    dataset: Dataset
    metrics: tuple[str, ...]
    request: RequestSeries


@dataclass(frozen=True)
class DailyOptions:
    """The run configuration of a provider. ``complete`` requests the complete history of every series."""

    complete: bool = False


@dataclass
class _Fetched:
    """What the requests of one run brought, by series."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    repeated: int = 0
    answered: dict[str, date] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None


def ingest_daily(
    context: Context, client: HttpClient, provider: Provider, now: datetime, options: DailyOptions
) -> FetchResult:
    """Fetch what can be new of each series; one that fails is named and stops no other."""
    dataset = provider.dataset
    newest, answers = _newest(context.connection, dataset), series.answers(context.connection, dataset)
    due = {
        metric: first
        for metric in provider.metrics
        if (first := FIRST_DAY if options.complete else first_day(newest.get(metric), answers.get(metric), now))
    }
    found = _request(client, provider, due, now.date())
    page = with_batch_id(context, to_table(provider.source, found.rows, now))
    rows, violations = accept(page, dataset.rules(now))
    result = reject(context, dataset, [*found.rejected, *violations])
    # The first history is stored whole, also when raw has it: bronze may have lost it.
    known_histories = {m for m, a in answers.items() if a.history_at is not None}
    written = _write(context, dataset, rows, known_histories)
    histories = [(metric, first == FIRST_DAY) for metric, first in found.answered.items()]
    series.record_answers(context.connection, dataset, histories, now)
    for metric, day in zip(rows["metric"].to_pylist(), rows["date"].to_pylist(), strict=True):
        newest[metric] = max(day, newest.get(metric, day))
    silent = _silent(provider, newest, {*answers, *found.answered}, now.date())
    return replace(
        result, rows=len(rows), written=written, repeated=found.repeated, failed={**silent, **found.failed},
        error=found.error,
    )  # fmt: skip


def _request(client: HttpClient, provider: Provider, due: Mapping[str, date], today: date) -> _Fetched:
    """Request the series that are due; stop when the source cannot be used at all."""
    found = _Fetched()
    for metric, first in due.items():
        try:
            page = provider.request(client, metric, first, today)
        except RequestRejected as error:
            found.failed[metric] = f"{error}: {metric} is left out, other series continue"
            continue
        except SourceError as error:
            if error.kind != "failing":
                found.error = str(error)
                break
            found.failed[metric] = f"{metric}: {error}"
            continue
        kept, conflicting, repeated = settle(page.rows)
        if is_sampled([row["date"] for row in kept]):
            found.failed[metric] = (
                f"{client.source}: the answer of {metric} is sampled, {len(kept):,} days with gaps between them: "
                "none are stored; run again later"
            )
            continue
        found.answered[metric] = first
        # Today's value changes until the day is over.
        found.rows += [row for row in kept if row["date"] != today]
        found.rejected += [*page.rejected, *conflicting]
        found.repeated += repeated
    if found.error is None and set(found.failed) == set(provider.metrics):
        found.error = next(iter(found.failed.values()))
    return found


def _write(context: Context, dataset: Dataset, rows: pa.Table, known_histories: set[str]) -> tuple[Written, ...]:
    """Merge the rows that are new or restated into the object of their fetch."""
    known = {
        (metric, day): value
        for metric, day, value in fetch(
            context.connection,
            f"select metric, date, value from raw.{dataset.name} where metric = any(%s)",  # noqa: S608 - declared
            (sorted(known_histories),),
        )
    }
    rows = last_wins(changed(rows, known), dataset.key)
    with locked(context.connection, f"bronze {dataset.name}"):
        return tuple(context.lake.merge(dataset, key, part) for key, part in rows_by_object(dataset, rows))


def _newest(connection: Connection, dataset: Dataset) -> dict[str, date]:
    query = f"select metric, max(date) from raw.{dataset.name} group by metric"  # noqa: S608 - a declared name
    return dict(fetch(connection, query))


def _silent(provider: Provider, newest: Mapping[str, date], asked: set[str], today: date) -> dict[str, str]:
    """Return the series that answer without a day, or without a new one, and since when."""
    found: dict[str, str] = {}
    for metric in provider.metrics:
        since = newest.get(metric)
        if metric in asked and (since is None or is_late(since, today)):
            what = "without any day" if since is None else f"without a day after {since}"
            found[metric] = f"{provider.dataset.source}: {metric} answers {what}; its history is kept"
    return found
