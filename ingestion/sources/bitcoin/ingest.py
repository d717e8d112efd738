"""Fetches days of Bitcoin transactions into bronze: each alone, resumed by its listing.

Belongs here: which days a run reads, their status, and what happens to a day that fails. Does not: reading a day
(``day``), its objects (``objects``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from ingestion.bronze.objects import LakeError
from ingestion.bronze.results import FetchResult, merge_results
from ingestion.bronze.write import Context, Progress, reject
from ingestion.database.connections import locked
from ingestion.datasets import ONE_DAY, days_between, midnight
from ingestion.ops import bitcoin_days
from ingestion.ops.bitcoin_days import BitcoinDay
from ingestion.sources.bitcoin.bucket import Bucket, Listing
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS, transactions_key
from ingestion.sources.bitcoin.day import Day, DayError, FileVanished, read_day
from ingestion.sources.bitcoin.objects import write_day
from ingestion.sources.conventions import SourceError

# The source replaces the files of single blocks at about 00:35 UTC of the next day.
FINAL_AFTER = timedelta(hours=25, minutes=30)
# A run reads again what is not final, up to this many days back; a backfill reads any day. The newest days are listed
# either way, because they may be published again.
REFRESH_DAYS, LISTED_DAYS = 7, 3
FIRST_DAYS = 2
GENESIS = date(2009, 1, 3)
EMPTY = "no-files"


def refresh_days(known: Iterable[BitcoinDay], today: date) -> list[date]:
    """Return the days of the last week that a run reads, from the first recorded one on; else yesterday and today.

    Final days are no part of it, but for the newest ones.
    """
    recorded = {day.day: day.status for day in known}
    first = max(today - (REFRESH_DAYS - 1) * ONE_DAY, GENESIS)
    start = min((day for day in recorded if day >= first), default=today - (FIRST_DAYS - 1) * ONE_DAY)
    if any(day < first for day in recorded):
        start = first
    newest = today - (LISTED_DAYS - 1) * ONE_DAY
    return [day for day in days_between(start, today + ONE_DAY) if day >= newest or recorded.get(day) != "final"]


def ingest_days(
    context: Context, bucket: Bucket, days: Sequence[date], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> FetchResult:
    """Fetch days into bronze. A day whose listing is unchanged is not read again; one that fails stops no other.

    The result has a line for each incomplete day in ``failed``. If the bucket cannot be listed at all, ``error`` says
    why, and the remaining days are not tried.
    """
    name = BITCOIN_TRANSACTIONS.name
    result = FetchResult(name)
    if not days:
        return result
    with locked(context.connection, f"bronze {name}"):
        known = bitcoin_days.read_days(context.connection, min(days), max(days) + ONE_DAY)
        for done, day in enumerate(days, start=1):
            try:
                fetched = _ingest_day(context, bucket, day, known.get(day), clock())
            except SourceError as error:
                return merge_results(result, FetchResult(name, error=str(error)))
            result = merge_results(result, fetched)
            context.on_progress(Progress(result.rows, done, len(days)))
    return result


def _ingest_day(context: Context, bucket: Bucket, day: date, known: BitcoinDay | None, now: datetime) -> FetchResult:
    """Fetch one day, and record it unless it could not be read."""
    name, label = BITCOIN_TRANSACTIONS.name, day.isoformat()
    listing = bucket.list_day(day)
    closed = now >= midnight(day) + FINAL_AFTER
    try:
        if not listing.blocks and not listing.transactions:
            return _empty_day(context, bucket, day, known, closed)
        if known and known.digest == listing.digest:
            return _known_day(context, listing, known, closed)
        try:
            read = read_day(bucket, listing, day)
        except FileVanished:
            listing = bucket.list_day(day)
            read = read_day(bucket, listing, day)
        return _write(context, listing, day, read, closed, now)
    except (DayError, LakeError) as error:
        return FetchResult(name, failed={label: f"{label}: {error}"})


def _empty_day(context: Context, bucket: Bucket, day: date, known: BitcoinDay | None, closed: bool) -> FetchResult:
    """Report a day without files, which is none yet for today, and never replaces a day that was read before."""
    kept = "; the loaded day stays" if known and known.object_key else ""
    problem = f"{day}: {bucket.url} (days {' to '.join(bucket.span)}) has no files of this day{kept}"
    if not closed:
        return FetchResult(BITCOIN_TRANSACTIONS.name, notes=(problem,))
    if known is None:
        status = BitcoinDay(day, "incomplete", None, EMPTY, problems=(problem,))
        bitcoin_days.record_day(context.connection, status)
    return FetchResult(BITCOIN_TRANSACTIONS.name, failed={day.isoformat(): problem})


def _known_day(context: Context, listing: Listing, known: BitcoinDay, closed: bool) -> FetchResult:
    """Report a day whose files are those that were read before; its status can become final."""
    status = _status(listing, known.problems, closed)
    if status != known.status:
        bitcoin_days.record_day(context.connection, replace(known, status=status))
    return FetchResult(
        BITCOIN_TRANSACTIONS.name, skipped_days=1, failed=_failed(known.day, status, known.problems),
    )  # fmt: skip


def _write(context: Context, listing: Listing, day: date, read: Day, closed: bool, now: datetime) -> FetchResult:
    """Write a day to bronze, and then record it: a process that is killed in between reads the day again."""
    dataset = BITCOIN_TRANSACTIONS
    result = reject(context, dataset, read.rejected)
    problems = list(read.problems)
    if not read.blocks:
        problems.append("no block of the day is complete")
    status = _status(listing, problems, closed)
    written = (write_day(context.lake, day, read, now, context.batch_id),) if read.blocks else ()
    key = transactions_key(day) if written else None
    record = BitcoinDay(day, status, key, listing.digest, len(read.blocks), len(read.transactions), tuple(problems))
    bitcoin_days.record_day(context.connection, record)
    notes = [*read.notes, *(problems if status != "incomplete" else ())]
    return replace(
        result,
        rows=len(read.transactions),
        repeated=read.repeated,
        written=written,
        failed=_failed(day, status, problems),
        notes=tuple(f"{day}: {note}" for note in notes),
    )


def _status(listing: Listing, problems: Sequence[str], closed: bool) -> str:
    """Return the status of a day. Before it is over, blocks that are being written are no problem."""
    if not closed:
        return "provisional"
    if problems:
        return "incomplete"
    return "final" if listing.is_daily else "provisional"


def _failed(day: date, status: str, problems: Sequence[str]) -> dict[str, str]:
    if status != "incomplete":
        return {}
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return {day.isoformat(): f"{day}: {'; '.join(problems[:3])}{more}; the next run or backfill requests it again"}


def check_url(url: str) -> str:
    """Return what doctor reports of the address; SourceError if it cannot be used."""
    first, last = Bucket(url, attempts=1).span
    return f"answers, days {first} to {last}"
