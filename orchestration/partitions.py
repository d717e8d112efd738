"""Partitions of the klines history: UTC days, and the range of days of a run.

Belongs here: reading the range from a run's tags, and choosing one for a run that was launched without. Does not: the
assets that process it.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from ingestion.database.connections import Connection
from ingestion.ops import coverage
from ingestion.sources.binance.contract import BINANCE_OPENED
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.symbols import tracked_now
from ingestion.universe import Asset
from orchestration.job_names import BITCOIN_JOB, FIRST_LOAD_DAYS, MARKETS_JOB, NEWS_JOB, ONCHAIN_JOB

# end_offset=1: today is a partition too, and is written again each hour.
DAYS = dg.DailyPartitionsDefinition(start_date=BINANCE_OPENED.isoformat(), timezone="UTC", end_offset=1)
# Run tags: the first and the last day of a run's range, or its single day.
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"
# Run tag that Dagster sets on runs of a schedule.
SCHEDULE_TAG = "dagster/schedule_name"


def range_tags(start: date, end: date) -> dict[str, str]:
    """Return the run tags of the half-open range of UTC days [start, end)."""
    return {RANGE_START: start.isoformat(), RANGE_END: (end - timedelta(days=1)).isoformat()}


def chosen_days(tags: Mapping[str, str]) -> tuple[date, date] | None:
    """Return the half-open range of days in a run's tags, None if there is none.

    Raises Failure for a range that ends before it starts or includes a day in the future.
    """
    first, last = (tags.get(name) or tags.get(PARTITION) for name in (RANGE_START, RANGE_END))
    if first is None or last is None:
        return None
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    today = datetime.now(UTC).date()
    if start > end or end > today:
        raise dg.Failure(
            f"partitions {first} to {last}: choose days from {BINANCE_OPENED} to {today} (UTC), the first one first",
            allow_retries=False,
        )
    return start, end + timedelta(days=1)


def run_days(run: dg.DagsterRun) -> tuple[date, date]:
    """Return the half-open range of days of a run; Failure if it has none."""
    chosen = chosen_days(run.tags)
    if chosen is None:
        raise dg.Failure(f"{run.job_name} has no days: choose a range of partitions", allow_retries=False)
    return chosen


def refresh_days(connection: Connection, universe: list[Asset], today: date) -> tuple[date, date]:
    """Return the half-open range of days of a refresh: yesterday and today, or more after days without a run."""
    start = coverage.refresh_start(connection, KLINES, tracked_now(universe, today), today, FIRST_LOAD_DAYS)
    return start, today + timedelta(days=1)


def needs_days(run: dg.DagsterRun) -> bool:
    """Return whether a run of partitioned assets was launched without days, as the Launchpad does by default."""
    without_days = run.job_name in (MARKETS_JOB, ONCHAIN_JOB, BITCOIN_JOB, NEWS_JOB)
    return not without_days and not {RANGE_START, RANGE_END, PARTITION} & run.tags.keys()


def choose_refresh_days(
    instance: dg.DagsterInstance, run: dg.DagsterRun, connection: Connection, universe: list[Asset]
) -> None:
    """Tag a run that has no days with the days of a refresh, as if they had been chosen at its launch.

    Dagster 1.13 reads them from the run's tags wherever a partitioned asset is checked, and fails with an internal
    error if there are none. Both the stored run (for other processes) and this object get the tags.
    """
    tags = range_tags(*refresh_days(connection, universe, datetime.now(UTC).date()))
    instance.add_run_tags(run.run_id, tags)
    run.tags.update(tags)  # type: ignore[attr-defined]
