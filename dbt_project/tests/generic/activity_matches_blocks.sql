{#-
    Each day has as many transactions as its blocks have rows, and as many blocks; and each timeframe adds up to the same
    totals as the day. Returns the totals that differ.
-#}
{% test activity_matches_blocks(model) %}

with activity as (

    select
        date,
        timeframe,
        sum(transaction_count + coinbase_count) as row_count,
        sum(block_count) as block_count,
        sum(output_btc) as output_btc,
        sum(fee_btc) as fee_btc,
        sum(virtual_bytes) as virtual_bytes
    from {{ model }}
    group by date, timeframe

),

blocks as (

    select
        date,
        sum(row_count) as row_count,
        count(*) as block_count
    from {{ ref('stg_bitcoin__blocks') }}
    group by date

)

select
    activity.*,
    blocks.row_count as rows_of_blocks
from activity
left join blocks on activity.date = blocks.date
left join activity as days on activity.date = days.date and days.timeframe = '1d'
where
    activity.row_count is distinct from blocks.row_count
    or activity.block_count is distinct from blocks.block_count
    or (activity.output_btc, activity.fee_btc, activity.virtual_bytes)
    is distinct from (days.output_btc, days.fee_btc, days.virtual_bytes)

{% endtest %}
