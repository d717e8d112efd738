-- A table, because the health of the datasets reads it with each page: 0.1 ms instead of 50 ms over all days.

select
    source,
    metric,
    max(date) as newest_date,
    count(*) as days
from {{ ref('stg_onchain__daily') }}
where invalid_reason is null
group by source, metric
