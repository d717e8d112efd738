{#-
    Only the loader writes raw: a row has the batch that brought it, and was not loaded in the future. `built` and `since` name
    the model whose newer rows are judged: of bars, and of rows that depend on one load alone.
-#}
{% test came_through_the_loader(model, built=none, since=none) %}
{#- depends_on by hand: what is read is decided when the test runs -#}
-- depends_on: {{ ref('stg_tickmart__universe') }}

select *
from {% if built %}{{ bars_to_judge(model, built) }}{% else %}{{ model }}{% endif %} as judged
where
    (
        batch_id is null
        or loaded_at > current_timestamp + interval '1 hour'
    )
    {% if since -%}
    and loaded_at > '{{ newest_load_of(since) }}'::timestamptz
    {%- endif %}

{% endtest %}
