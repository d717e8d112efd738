"""Reads how the pipeline runs: dataset health, check results, runs, incidents, API requests, missing rows."""

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query


@cached_query(30)
def dataset_health() -> pd.DataFrame:
    """Return one row per dataset: health and its parts, age against its SLA, estimated rows, gaps."""
    return fetch_frame(
        """
        select
            dataset, source, health, load_health, freshness_health, checks_health, last_data_at, last_loaded_at,
            last_attempt_at, sla_seconds, estimated_rows, failed_checks, warned_checks, open_gaps, rejected_records
        from marts.fct_dataset_health
        order by dataset
        """
    )


@cached_query(30)
def checks() -> pd.DataFrame:
    """Return the newest result of each check of the last 7 days, failed ones first, blocking before non-blocking."""
    return fetch_frame(
        """
        select
            dataset, asset, check_name, coalesce(description, check_name) as title, source, severity,
            status, is_blocking, observed, expected, failed_rows,
            left(sample::text, 10000) as sample, checked_at, run_id
        from marts.fct_check_results
        where is_latest
        order by (status = 'passed'), (severity = 'warn'), not is_blocking, asset, check_name
        """
    )


@cached_query(60)
def check_history() -> pd.DataFrame:
    """Return the last ten results of each check of the last 7 days, oldest first: asset, check_name, statuses."""
    return fetch_frame(
        """
        select asset, check_name, array_agg(status order by checked_at, check_id) as statuses
        from (
            select
                asset, check_name, status, checked_at, check_id,
                row_number() over (partition by asset, check_name order by checked_at desc, check_id desc) as recency
            from marts.fct_check_results
        ) as results
        where recency <= 10
        group by asset, check_name
        """
    )


@cached_query(300)
def coin_completeness() -> pd.DataFrame:
    """Return expected, present, halted and missing hours of each tracked coin, the least complete first."""
    return fetch_frame(
        """
        select
            crypto_id, symbol, name, binance_symbol, first_bar_at, last_bar_at, expected_hours, present_hours,
            complete_pct, halted_hours, missing_hours, restated_records, rejected_records
        from marts.v_coin_completeness
        order by missing_hours desc nulls first, complete_pct, crypto_id
        """
    )


@cached_query(30)
def runs() -> pd.DataFrame:
    """Return the newest 40 runs, oldest first: job, start, duration, status, rows fetched and changed."""
    return fetch_frame(
        """
        select *
        from (
            select run_id, job, started_at, ended_at, seconds, status, fetched_rows, changed_rows, error
            from marts.fct_runs
            order by started_at desc
            limit 40
        ) as newest
        order by started_at
        """
    )


@cached_query(30)
def incidents() -> pd.DataFrame:
    """Return open incidents and those resolved within 7 days, open and newest first; at most 50."""
    return fetch_frame(
        """
        select
            incident_id, kind, severity, title, detail, run_id, incident_opened_at, recovered_at, is_open,
            reopened_count, sent_alerts, waiting_alerts, refused_alerts, alert_error
        from marts.fct_incidents
        where is_open or recovered_at > now() - interval '7 days'
        order by is_open desc, (severity = 'error') desc, incident_opened_at desc
        limit 50
        """
    )


@cached_query(60)
def source_requests() -> pd.DataFrame:
    """Return requests, errors and latency per API and hour of the last 7 days, oldest first."""
    return fetch_frame(
        """
        select
            source, hour_started_at, requests, errors_4xx, errors_429, errors_5xx, unanswered, retries, bytes,
            latency_p50_ms, latency_p95_ms
        from marts.fct_source_requests
        order by source, hour_started_at
        """
    )


@cached_query(300)
def missing_bars() -> pd.DataFrame:
    """Return missing hours per tracked asset and day over the newest 60 complete days, where any is missing.

    Columns: crypto_id, symbol, name, date, missing. Days before an asset's first bar or after its last do not count.
    """
    return fetch_frame(
        """
        with days as (
            select newest.date - n as date
            from (select max(date) as date from marts.fct_daily_summary) as newest
            cross join generate_series(0, 59) as n
        )
        select c.crypto_id, c.symbol, c.name, days.date, 24 - coalesce(d.bar_count, 0) as missing
        from marts.dim_crypto as c
        inner join days
            on days.date > (c.first_bar_at at time zone 'UTC')::date
            and days.date <= (c.last_bar_at at time zone 'UTC')::date
        left join marts.fct_daily_summary as d on c.crypto_id = d.crypto_id and days.date = d.date
        where coalesce(d.bar_count, 0) < 24
        order by c.market_cap_rank nulls last, c.crypto_id, days.date
        """
    )


@cached_query(300)
def bars_per_day() -> pd.DataFrame:
    """Return hourly bars and number of assets per day over the newest 90 complete days, oldest first."""
    return fetch_frame(
        """
        select date, sum(bar_count)::bigint as bars, count(*) as assets
        from marts.fct_daily_summary
        where date > (select max(date) from marts.fct_daily_summary) - 90
        group by date
        order by date
        """
    )


@cached_query(60)
def price_divergence() -> pd.DataFrame:
    """Return the ten assets with the largest difference between CoinGecko price and newest Binance close."""
    return fetch_frame(
        """
        select
            d.crypto_id, d.symbol, coin.name, d.snapshot_at, d.opened_at, d.price_usd, d.close,
            d.divergence_pct
        from marts.v_price_divergence as d
        left join marts.dim_crypto as coin on d.crypto_id = coin.crypto_id
        order by abs(divergence_pct) desc nulls last
        limit 10
        """
    )
