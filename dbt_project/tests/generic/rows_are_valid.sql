{#-
    No row or number is marked invalid; returns the rows that are. Reads all rows, or those loaded since the model `new_since`
    was built, or the bars that the model `bars_for` will read.
-#}
{% test rows_are_valid(model, shown, reasons=['invalid_reason'], bars_for=none, new_since=none) %}
{#- explicit dependency: the relations are chosen when the test runs -#}
-- depends_on: {{ ref('stg_tickmart__universe') }}

select
    {{ (reasons + shown) | join(', ') }}
from {% if bars_for %}{{ bars_to_validate(model, bars_for) }}{% else %}{{ model }}{% endif %} as rows_to_check
where
    coalesce({{ reasons | join(', ') }}) is not null
    {% if new_since -%}
    and loaded_at > '{{ newest_load_of_model(new_since) }}'::timestamptz
    {%- endif %}

{% endtest %}
