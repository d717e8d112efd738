"""Market snapshots between the hourly runs, when they are asked for more often than that."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from orchestration.job_names import MARKETS_JOB

pytestmark = pytest.mark.servers  # dbt parses the project


def schedules(minutes: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, dg.ScheduleDefinition]:
    from orchestration.definitions import build_defs  # not above: it parses the dbt project

    monkeypatch.setenv("TICKMART_MARKETS_EVERY_MINUTES", minutes)
    return {s.name: s for s in build_defs().schedules or [] if isinstance(s, dg.ScheduleDefinition)}


def test_an_hour_between_snapshots_needs_no_schedule_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(schedules("60", monkeypatch)) == ["hourly_refresh", "daily_housekeeping", "weekly_compaction"]


def test_snapshots_come_as_often_as_set_but_not_beside_the_hourly_run(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = schedules("5", monkeypatch)["markets_refresh_schedule"]
    assert (schedule.cron_schedule, schedule.job_name) == ("*/5 * * * *", MARKETS_JOB)

    def ticks(minute: int) -> int:
        at = datetime(2026, 11, 20, 16, minute, tzinfo=UTC)
        found = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=at))
        return len(found.run_requests or [])

    assert [ticks(minute) for minute in (0, 5, 10)] == [1, 0, 1]
