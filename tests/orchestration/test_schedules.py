"""Market snapshots between the hourly runs, when they are asked for more often than that."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from orchestration.definitions import build_defs
from orchestration.job_names import MARKETS_JOB


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose dbt project is parsed once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def home(parsed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TICKMART_HOME", str(parsed))
    return parsed


def schedules(minutes: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, dg.ScheduleDefinition]:
    monkeypatch.setenv("TICKMART_MARKETS_EVERY_MINUTES", minutes)
    return {s.name: s for s in build_defs().schedules or [] if isinstance(s, dg.ScheduleDefinition)}


def test_an_hour_between_snapshots_needs_no_schedule_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(schedules("60", monkeypatch)) == ["hourly_refresh", "daily_housekeeping"]


def test_snapshots_come_as_often_as_set_but_not_beside_the_hourly_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = schedules("5", monkeypatch)["markets_refresh_schedule"]
    assert (schedule.cron_schedule, schedule.job_name) == ("*/5 * * * *", MARKETS_JOB)

    def ticks(minute: int) -> int:
        at = datetime(2026, 11, 20, 16, minute, tzinfo=UTC)
        found = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=at))
        return len(found.run_requests or [])

    assert [ticks(minute) for minute in (0, 5, 10)] == [1, 0, 1]
