-- A table, because the health of the datasets reads it with each page.

select
    'headlines_' || source as dataset,
    max(published_at) as newest_at,
    count(*) as row_count
from {{ ref('stg_news__headlines') }}
where invalid_reason is null
group by source
union all
select
    'news_tone_gdelt' as dataset,
    {{ utc_midnight('max(date) + 1') }} as newest_at,
    count(*) as row_count
from {{ ref('stg_news__tone') }}
where invalid_reason is null
having count(*) > 0
