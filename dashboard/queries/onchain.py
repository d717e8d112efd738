"""Reads bitcoin's on-chain series beside the market, their weekly changes and correlations, and their lead and lag."""

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
