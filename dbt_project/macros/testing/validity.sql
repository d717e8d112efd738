{#-
    Rules by which staging marks invalid rows. `invalid_reason` is null in a valid row; the models exclude the others. The
    rules of a bar and of the index are variables of the project, because the contracts of the marts also use them.
-#}

{#- A load time in the future. The models do not read such a row: as a watermark it would hide all later loads. -#}
{% macro loaded_in_the_future(relation=none) -%}
    coalesce({{ relation ~ '.' if relation }}loaded_at > current_timestamp + {{ hours(1) }}, false)
{%- endmacro %}

{#- The number is finite and fits into double precision; null for null. -#}
{% macro is_valid_number(value) -%}
    ({{ value }} = 0 or abs({{ value }}) between 1e-38 and 1e38)
{%- endmacro %}
