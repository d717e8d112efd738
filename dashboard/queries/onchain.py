"""Reads bitcoin's on-chain series and transactions beside the market, and how their changes go together."""

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query


@cached_query(300)
def onchain_history() -> pd.DataFrame:
    """Return what the charts show of every day with on-chain data, oldest first."""
    return fetch_frame(
        """
        select
            date, transaction_count_coinmetrics, estimated_value_usd::float8, fee_btc::float8, fee_usd,
            quote_volume::float8, trade_count
        from marts.fct_onchain_market_daily
        where crypto_id = 'bitcoin'
        order by date
        """
    )


@cached_query(300)
def other_series() -> pd.DataFrame:
    """Return the on-chain series of every day that the charts do not show, oldest first."""
    return fetch_frame(
        """
        select
            date, transaction_count_blockchain, active_addresses, transfer_count, hash_rate_ths::float8,
            gross_output_btc::float8
        from marts.fct_onchain_market_daily
        where crypto_id = 'bitcoin'
        order by date
        """
    )


@cached_query(300)
def pair_history(pair: str) -> pd.DataFrame:
    """Return weekly changes and rolling correlations of a pair from the first day with both changes, oldest first.

    Columns end with the pair as in the mart. `pair` is a key of the marts, such as transactions_trades.
    """
    rolling = ", ".join(f"{name}_{pair}_{days}d" for name in ("pearson", "spearman", "n") for days in (30, 90, 365))
    return fetch_frame(
        f"""
        select date, chain_change_{pair}, market_change_{pair}, {rolling}
        from marts.fct_onchain_market_daily
        where crypto_id = 'bitcoin' and n_{pair}_30d is not null
        order by date
        """  # noqa: S608 - a key of PAIRS
    )


@cached_query(300)
def lead_lag() -> pd.DataFrame:
    """Return the correlation of each pair of series at lags of -14 to 14 days, with its band and n."""
    return fetch_frame(
        """
        select pair, lag_days, correlation, band_95, n, first_date, last_date
        from marts.fct_onchain_lead_lag
        where crypto_id = 'bitcoin'
        order by pair, lag_days
        """
    )


@cached_query(300)
def activity_days() -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """Return the first and the last day with loaded transactions, or None."""
    days = fetch_frame("select min(date) as first_day, max(date) as last_day from marts.fct_onchain_activity")
    first, last = days.iloc[0]
    return None if pd.isna(first) else (pd.Timestamp(first), pd.Timestamp(last))


@cached_query(300)
def activity_spans(activity_timeframe: str, since: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
    """Return activity of the chain and the candle of every span of a timeframe in [since, until), oldest first."""
    return fetch_frame(
        """
        select
            started_at, transaction_count, coinbase_count, block_count, output_btc::float8, fee_btc::float8,
            unknown_fee_count, virtual_bytes, median_fee_rate, p90_fee_rate, close::float8, volume::float8, trade_count
        from marts.fct_onchain_activity
        where
            crypto_id = 'bitcoin'
            and timeframe = %(activity_timeframe)s
            and started_at >= %(since)s
            and started_at < %(until)s
        order by started_at
        """,
        activity_timeframe=activity_timeframe,
        since=since,
        until=until,
    )


@cached_query(300)
def hours_of_week(since: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
    """Return mean transactions and trades per hour of the week (weekday 1 is Monday, UTC), of hours that have both."""
    return fetch_frame(
        """
        select
            extract(isodow from started_at at time zone 'UTC')::integer as weekday,
            extract(hour from started_at at time zone 'UTC')::integer as hour,
            avg(transaction_count)::float8 as transaction_count,
            avg(trade_count)::float8 as trade_count,
            count(*) as n
        from marts.fct_onchain_activity
        where
            crypto_id = 'bitcoin'
            and timeframe = '1h'
            and started_at >= %(since)s
            and started_at < %(until)s
            and trade_count is not null
        group by weekday, hour
        order by weekday, hour
        """,
        since=since,
        until=until,
    )


@cached_query(300)
def distribution(since: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
    """Return transactions and gross output by measure and range of values in [since, until), small ranges first."""
    return fetch_frame(
        """
        select
            measure, range_number, label,
            sum(transaction_count)::bigint as transaction_count,
            sum(output_btc)::float8 as output_btc
        from marts.fct_onchain_distribution
        where
            crypto_id = 'bitcoin'
            and date >= %(since)s
            and date < %(until)s
        group by measure, range_number, label
        order by measure, range_number
        """,
        since=since,
        until=until,
    )
