{#- Amounts that are finite and not negative, or null; with `built`, of the rows that are not in that model yet. -#}
{% test amounts_are_sound(model, columns, key, built) %}

select
    {{ key | join(', ') }},
    {{ columns | join(', ') }}
from {{ model }}
where
    loaded_at > '{{ newest_load_of(built) }}'::timestamptz
    and not (
        {% for column in columns -%}
        coalesce({{ column }} >= 0 and {{ column }} < 'Infinity', true){{ ' and' if not loop.last }}
        {% endfor %}
    )

{% endtest %}
