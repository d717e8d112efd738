select
    topic,
    date,
    tone::double precision as tone,
    fetched_at,
    loaded_at,
    batch_id,
    case
        when {{ loaded_in_the_future() }} then 'loaded in the future'
        when batch_id is null then 'not written by the loader'
        when not coalesce(tone between -100 and 100, false) then 'impossible value'
        when not coalesce(date < {{ utc_date('current_timestamp') }}, false) then 'the day is not over'
    end as invalid_reason
from {{ source('raw', 'news_tone_gdelt') }}
