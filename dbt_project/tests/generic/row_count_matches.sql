{#-
    Each key has as many rows here as in `compare_to` (of those that satisfy `compare_where`); returns both counts where
    they differ, also where one side has no rows. Counts the last `hours` by `within`, up to the maximum of `newest_in`.`newest`.
-#}
{% test row_count_matches(model, compare_to, key, within, hours, newest_in, newest, compare_where=none) %}

with clock as (

    select max({{ newest }}) as newest from {{ newest_in }}

),

here as (

    select
        {{ key }},
        count(*) as rows_here
    from {{ model }}, clock
    where {{ within }} between clock.newest - interval '{{ hours }} hours' and clock.newest
    group by {{ key }}

),

there as (

    select
        {{ key }},
        count(*) as rows_there
    from {{ compare_to }}, clock
    where
        {{ within }} between clock.newest - interval '{{ hours }} hours' and clock.newest
        {%- if compare_where %}
        and {{ compare_where }}
        {%- endif %}
    group by {{ key }}

)

select
    {{ key }},
    here.rows_here,
    there.rows_there
from here
full join there using ({{ key }})
where here.rows_here is distinct from there.rows_there

{% endtest %}
