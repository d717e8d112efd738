"""Reads the Fear & Greed index, returns by sentiment class and total traded volume per day."""

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query


@cached_query(300)
def sentiment_history() -> pd.DataFrame:
    """Return every day of the Fear & Greed index with bitcoin's close and daily return, oldest first."""
    return fetch_frame(
        """
        select date, value, classification, change_1d, mean_30d, btc_close, btc_return_pct, btc_return_next_week_pct
        from marts.fct_sentiment_daily
        order by date
        """
    )


@cached_query(60)
def recent_sentiment() -> pd.DataFrame:
    """Return the newest 31 days of the Fear & Greed index, oldest first."""
    return fetch_frame(
        """
        select date, value, classification, change_1d, change_7d, mean_30d
        from marts.fct_sentiment_daily
        where date > (select max(date) from marts.fct_sentiment_daily) - 31
        order by date
        """
    )


@cached_query(300)
def sentiment_returns() -> pd.DataFrame:
    """Return bitcoin's return the day and the week after days of each sentiment class, with n."""
    return fetch_frame(
        """
        select
            classification, horizon, n, mean_return_pct, median_return_pct, stddev_return_pct, positive_pct,
            mean_error_95_pct
        from marts.fct_sentiment_returns
        order by horizon, classification
        """
    )


@cached_query(300)
def volume_per_day() -> pd.DataFrame:
    """Return the traded volume of all tracked assets and of bitcoin per complete day, in USDT, oldest first."""
    return fetch_frame(
        """
        select
            date,
            sum(quote_volume)::float8 as volume_usd,
            sum(quote_volume) filter (where crypto_id = 'bitcoin')::float8 as btc_volume_usd
        from marts.fct_daily_summary
        group by date
        order by date
        """
    )
