"""SQL over the on-chain marts: the rows of their suite. Does not belong here: rules (``suites``), running a suite."""
# ruff: noqa: S608

from __future__ import annotations

# Blocks of a day at ten minutes each: one coinbase transaction a block, which only blockchain.com counts.
_COINBASE_PER_DAY = 144
ONCHAIN_RECONCILIATION = f"""
    select
        to_char(month, 'YYYY-MM') as month,
        days,
        coinmetrics_count,
        blockchain_count,
        (100 * (blockchain_count - {_COINBASE_PER_DAY} * days - coinmetrics_count) / coinmetrics_count)::float8
            as difference_pct
    from (
        select
            date_trunc('month', date::timestamp)::date as month,
            count(*)::integer as days,
            sum(transaction_count_coinmetrics)::float8 as coinmetrics_count,
            sum(transaction_count_blockchain)::float8 as blockchain_count
        from marts.fct_onchain_market_daily
        where transaction_count_coinmetrics > 0 and transaction_count_blockchain > 0
        group by 1
    ) as months
    -- a few days differ by up to 40%, because the providers put some blocks on different days
    where days >= 20 and month >= (select max(date) from marts.fct_onchain_market_daily) - 365
"""
