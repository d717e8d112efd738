{#-
    What staging says of rows that cannot be. `invalid_reason` is null in a row that can; the models leave the others out.
    The rules of a bar and of the index are variables of the project, as the contracts of the marts need them too.
-#}

{#- A load time that has not come yet. Such a row is not read before: as a watermark it would hide all later loads. -#}
{% macro loaded_in_the_future(relation=none) -%}
    coalesce({{ relation ~ '.' if relation }}loaded_at > current_timestamp + {{ hours(1) }}, false)
{%- endmacro %}

{#- A number that is finite and fits into double precision; null for null. -#}
{% macro possible_number(value) -%}
    ({{ value }} = 0 or abs({{ value }}) between 1e-38 and 1e38)
{%- endmacro %}
