{#-
    Successive rows of an asset are one step apart. Returns each gap in the last `hours` before the newest row, whose time is
    the maximum of `newest_in`.`newest`.
-#}
{% test no_gaps(model, column_name, step_hours, hours, newest_in, newest) %}

with recent as (

    select
        crypto_id,
        {{ column_name }} as starts_at,
        lag({{ column_name }}) over (partition by crypto_id order by {{ column_name }}) as previous_starts_at
    from {{ model }} as rows_of_asset
    where {{ column_name }} > (select max({{ newest }}) from {{ newest_in }}) - interval '{{ hours }} hours'

)

select
    crypto_id,
    previous_starts_at,
    starts_at
from recent
where starts_at - interval '{{ step_hours }} hours' > previous_starts_at

{% endtest %}
