"""Decides from which day on a daily series is requested, if at all. Pure: no requests, no database."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from ingestion.datasets import ONE_DAY
from ingestion.ops.series import Answers
from ingestion.sources.onchain.dataset import FIRST_DAY

# Providers restate recent days; Coin Metrics has changed none of 3,954 days between captures of 2019 and 2026.
REREAD_DAYS = 30
REREAD_AFTER = timedelta(hours=24)
# While yesterday's value is not published: as often as the hourly run, but not with every run by hand.
RETRY_AFTER = timedelta(minutes=50)
# The complete history once a week finds restatements of older days. It is one request per series.
HISTORY_AFTER = timedelta(days=7)


def first_day(newest: date | None, answers: Answers | None, now: datetime) -> date | None:
    """Return the first day to request of a series, None if nothing can be new.

    ``newest`` is its newest day in raw, ``answers`` when it was answered (None: never).
    """
    if answers is None or answers.history_at is None or _is_over(answers.history_at, HISTORY_AFTER, now):
        return FIRST_DAY
    yesterday = now.date() - ONE_DAY
    is_missing = newest is None or newest < yesterday
    if _is_over(answers.answered_at, RETRY_AFTER if is_missing else REREAD_AFTER, now):
        return max(FIRST_DAY, min(newest or FIRST_DAY, yesterday) - REREAD_DAYS * ONE_DAY)
    return None


def _is_over(since: datetime, wait: timedelta, now: datetime) -> bool:
    # A moment in the future was recorded by a clock that has been set back.
    return not timedelta(0) <= now - since < wait
