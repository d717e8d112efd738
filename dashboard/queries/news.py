"""Reads headlines and their daily sentiment: of an asset, and of the sources and languages that a page has chosen."""

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query

MARKET = "market"
ANY = "All"


@cached_query(300)
def assets() -> pd.DataFrame:
    """Return the assets that headlines name with their number, the market first, then the most frequent."""
    return fetch_frame(
        """
        select daily.crypto_id, coins.symbol, coins.name, sum(daily.headline_count)::bigint as headlines
        from marts.fct_headline_sentiment_daily as daily
        left join marts.dim_crypto as coins using (crypto_id)
        group by daily.crypto_id, coins.symbol, coins.name
        order by daily.crypto_id <> 'market', headlines desc, daily.crypto_id
        """
    )


@cached_query(300)
def sources_and_languages() -> pd.DataFrame:
    """Return each source and language of headlines with their number, the most frequent first."""
    return fetch_frame(
        """
        select source, language, count(*) as headlines
        from marts.fct_headlines
        group by source, language
        order by headlines desc, source, language
        """
    )


@cached_query(300)
def daily_market(crypto_id: str) -> pd.DataFrame:
    """Return every day of an asset's headlines with their sentiment beside price, volume and index, oldest first."""
    return fetch_frame(
        """
        select
            date, headline_count, scored_count, mean_compound, positive_pct, negative_pct, source_count, count_z_90d,
            gdelt_tone, close::float8, return_pct, quote_volume::float8, fear_greed_value
        from marts.fct_headline_sentiment_daily
        where crypto_id = %(crypto_id)s
        order by date
        """,
        crypto_id=crypto_id,
    )


# A headline of the market is in the mart once for each asset that it names.
_CHOSEN = """
    select distinct on (source, external_id)
        source, external_id, date, published_at, title, url, publisher, language, compound, sentiment, copy_count
    from marts.fct_headlines
    where
        (crypto_id = %(crypto_id)s or %(crypto_id)s = 'market')
        and (source = %(source)s or %(source)s = 'All')
        and (coalesce(language, 'not stated') = %(language)s or %(language)s = 'All')
"""


@cached_query(300)
def daily_sentiment(crypto_id: str, source: str, language: str) -> pd.DataFrame:
    """Return number, mean score and shares of the chosen headlines by day, oldest first."""
    return fetch_frame(
        f"""
        with chosen as ({_CHOSEN})
        select
            date,
            count(*) as headline_count,
            count(compound) as scored_count,
            avg(compound) as mean_compound,
            100.0::float8 * count(*) filter (where sentiment = 'positive') / nullif(count(compound), 0) as positive_pct,
            100.0::float8 * count(*) filter (where sentiment = 'negative') / nullif(count(compound), 0) as negative_pct,
            count(distinct source) as source_count
        from chosen
        group by date
        order by date
        """,  # noqa: S608 - a constant
        crypto_id=crypto_id, source=source, language=language,
    )  # fmt: skip


@cached_query(300)
def headlines_of(crypto_id: str, source: str, language: str, days: tuple[str, ...], per_day: int) -> pd.DataFrame:
    """Return the headlines with the strongest scores of some days (YYYY-MM-DD), at most `per_day` of each."""
    return fetch_frame(
        f"""
        with chosen as ({_CHOSEN}),
        ranked as (
            select
                *,
                row_number() over (
                    partition by date order by abs(compound) desc nulls last, published_at, source, external_id
                ) as place
            from chosen
            where date::text = any(%(days)s)
        )
        select date, published_at, title, url, publisher, source, language, compound, sentiment, copy_count
        from ranked
        where place <= %(per_day)s
        order by date, place
        """,  # noqa: S608 - a constant
        crypto_id=crypto_id, source=source, language=language, days=list(days), per_day=per_day,
    )  # fmt: skip


@cached_query(300)
def headlines_between(crypto_id: str, source: str, language: str, first: str, end: str) -> pd.DataFrame:
    """Return the headlines of the days [first, end), newest first, at most 5,000."""
    return fetch_frame(
        f"""
        with chosen as ({_CHOSEN})
        select published_at, title, publisher, source, language, compound, sentiment, copy_count, url
        from chosen
        where date >= %(first)s::date and date < %(end)s::date
        order by published_at desc, source, external_id
        limit 5000
        """,  # noqa: S608 - a constant
        crypto_id=crypto_id, source=source, language=language, first=first, end=end,
    )  # fmt: skip
