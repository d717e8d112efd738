"""Reads CoinGecko market snapshots and the views built on them, plus the trend lines of the largest tracked coins."""

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query


@cached_query(60)
def latest_market() -> pd.DataFrame:
    """Return totals, dominance and breadth of the latest snapshot: one row, or none before the first snapshot."""
    return fetch_frame(
        """
        select
            snapshot_at, coin_count, total_market_cap_usd, total_volume_24h_usd, market_cap_change_24h_pct, turnover,
            btc_dominance_pct, eth_dominance_pct, advancers, decliners, unchanged, breadth_pct, median_change_24h_pct
        from marts.v_total_market_cap
        """
    )


@cached_query(60)
def market_history() -> pd.DataFrame:
    """Return market totals of the last 7 days, the last snapshot of every hour, oldest first."""
    return fetch_frame(
        """
        select distinct on (date_bin('1 hour', snapshot_at, 'epoch'))
            date_bin('1 hour', snapshot_at, 'epoch') as hour, total_market_cap_usd, total_volume_24h_usd,
            btc_dominance_pct
        from marts.fct_market_global
        where snapshot_at > (select max(snapshot_at) from marts.fct_market_global) - interval '7 days'
        order by date_bin('1 hour', snapshot_at, 'epoch'), snapshot_at desc
        """
    )


@cached_query(60)
def market_24h_ago() -> pd.DataFrame:
    """Return totals of the snapshot closest to 24 h before the latest; no row if none is within one hour."""
    return fetch_frame(
        """
        with latest as (
            select max(snapshot_at) - interval '24 hours' as wanted_at from marts.fct_market_global
        )
        select g.snapshot_at, g.total_volume_24h_usd, g.btc_dominance_pct
        from latest
        inner join marts.fct_market_global as g
            on g.snapshot_at between latest.wanted_at - interval '1 hour' and latest.wanted_at + interval '1 hour'
        order by abs(extract(epoch from g.snapshot_at - latest.wanted_at))
        limit 1
        """
    )


@cached_query(60)
def screener() -> pd.DataFrame:
    """Return every coin of the latest snapshot, largest first; coins without a market cap come last."""
    return fetch_frame(
        """
        select
            position, crypto_id, symbol, name, category, is_pegged, is_tracked, price_usd, change_1h_pct,
            change_24h_pct, change_7d_pct, change_30d_pct, change_1y_pct, market_cap_usd, fully_diluted_valuation_usd,
            volume_24h_usd, turnover, circulating_supply, total_supply, max_supply, ath_change_pct, ath_at, image_url,
            snapshot_at
        from marts.v_screener
        order by position nulls last, crypto_id
        """
    )


@cached_query(60)
def gainers() -> pd.DataFrame:
    """Return the five large coins with the highest 24h gain."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, price_usd, change_24h_pct, volume_24h_usd
        from marts.v_top_gainers
        order by position
        limit 5
        """
    )


@cached_query(60)
def trending() -> pd.DataFrame:
    """Return the five coins with the most unusual 7-day gain on above-average volume."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, price_usd, change_7d_pct, turnover
        from marts.v_trending
        order by position
        limit 5
        """
    )


@cached_query(60)
def top_volume() -> pd.DataFrame:
    """Return the 30 coins with the highest 24h volume and their share of the total."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, price_usd, volume_24h_usd, volume_share_pct, turnover
        from marts.v_volume_24h
        order by position
        limit 30
        """
    )


@cached_query(300)
def core_trends() -> pd.DataFrame:
    """Return hourly closes of 7 days of the five largest tracked coins, rebased to 100, and their linear trend."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, market_cap_rank, opened_at, index_100, slope_pct_per_day
        from marts.v_trendline_core
        where crypto_id in (
            select crypto_id from marts.dim_crypto
            where last_bar_at is not null
            order by market_cap_rank, crypto_id
            limit 5
        )
        order by market_cap_rank, crypto_id, opened_at
        """
    )


@cached_query(300)
def sparklines() -> pd.DataFrame:
    """Return closes of the last 7 days of each tracked asset, every fourth hour, oldest first: crypto_id, closes."""
    return fetch_frame(
        """
        select d.crypto_id, week.closes
        from marts.dim_crypto as d
        cross join lateral (
            select array_agg(p.close::float8 order by p.opened_at) as closes
            from marts.fct_prices as p
            where
                p.crypto_id = d.crypto_id
                and p.opened_at > d.last_bar_at - interval '7 days'
                and mod((extract(epoch from d.last_bar_at - p.opened_at) / 3600)::int, 4) = 0
        ) as week
        where week.closes is not null
        """
    )


@cached_query(60)
def coin_snapshot(crypto_id: str) -> pd.DataFrame:
    """Return the newest CoinGecko snapshot of one coin: one row, or none."""
    return fetch_frame(
        """
        select
            crypto_id, snapshot_at, symbol, name, market_cap_rank, price_usd, market_cap_usd, volume_24h_usd,
            dominance_pct, change_24h_pct, ath_usd, ath_change_pct, ath_at
        from marts.fct_market_snapshots
        where crypto_id = %(crypto_id)s
        order by snapshot_at desc
        limit 1
        """,
        crypto_id=crypto_id,
    )
