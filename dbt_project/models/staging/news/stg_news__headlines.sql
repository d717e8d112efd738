-- The partitions of raw.headlines: each is a dataset, whose loads decide what is built.

with source as (

    select * from {{ source('raw', 'headlines_gdelt') }}
    union all
    select * from {{ source('raw', 'headlines_hackernews') }}
    union all
    select * from {{ source('raw', 'headlines_rss') }}
    union all
    select * from {{ source('raw', 'headlines_x') }}

)

select
    source,
    external_id,
    published_at,
    title,
    url,
    publisher,
    language,
    country,
    channel,
    page_authors,
    fetched_at,
    loaded_at,
    batch_id,
    case
        when {{ loaded_in_the_future() }} then 'loaded in the future'
        when batch_id is null then 'not written by the loader'
        when trim(title) = '' then 'empty title'
        when published_at > fetched_at + {{ hours(1) }} then 'published after it was fetched'
    end as invalid_reason
from source
