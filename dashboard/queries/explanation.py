"""Reads what explains one value of a coin: its row in a mart, and the bars of its window."""

from datetime import date, datetime

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query


@cached_query(60)
def hour(crypto_id: str, opened_at: datetime) -> pd.DataFrame:
    """Return every column of one hourly bar; no row if the exchange has none."""
    return fetch_frame(
        "select * from marts.fct_prices where crypto_id = %(crypto_id)s and opened_at = %(opened_at)s",
        crypto_id=crypto_id,
        opened_at=opened_at,
    )


@cached_query(60)
def day(crypto_id: str, on: date) -> pd.DataFrame:
    """Return every column of one daily bar; no row if the day is not complete or has no bar."""
    return fetch_frame(
        "select * from marts.fct_daily_summary where crypto_id = %(crypto_id)s and date = %(on)s",
        crypto_id=crypto_id,
        on=on,
    )


@cached_query(60)
def hours_between(crypto_id: str, since: datetime, until: datetime) -> pd.DataFrame:
    """Return when the hourly bars opened, from `since` to `until`."""
    return fetch_frame(
        """
        select opened_at
        from marts.fct_prices
        where crypto_id = %(crypto_id)s and opened_at between %(since)s and %(until)s
        order by opened_at
        """,
        crypto_id=crypto_id,
        since=since,
        until=until,
    )


@cached_query(60)
def days_between(crypto_id: str, since: date, until: date) -> pd.DataFrame:
    """Return the days from `since` to `until` with their number of hourly bars."""
    return fetch_frame(
        """
        select date, bar_count
        from marts.fct_daily_summary
        where crypto_id = %(crypto_id)s and date between %(since)s and %(until)s
        order by date
        """,
        crypto_id=crypto_id,
        since=since,
        until=until,
    )
