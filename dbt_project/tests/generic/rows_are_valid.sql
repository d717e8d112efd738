{#-
    No row has a reason that keeps it, or a number of it, out of the models; returns the rows that have one. Reads all rows,
    or those loaded since the model `new_since` was built, or the bars that the model `bars_for` will read.
-#}
{% test rows_are_valid(model, shown, reasons=['invalid_reason'], bars_for=none, new_since=none) %}
{#- depends_on by hand: what is read is decided when the test runs -#}
-- depends_on: {{ ref('stg_tickmart__universe') }}

select
    {{ (reasons + shown) | join(', ') }}
from {% if bars_for %}{{ bars_to_judge(model, bars_for) }}{% else %}{{ model }}{% endif %} as rows_to_check
where
    coalesce({{ reasons | join(', ') }}) is not null
    {% if new_since -%}
    and loaded_at > '{{ newest_load_of(new_since) }}'::timestamptz
    {%- endif %}

{% endtest %}
