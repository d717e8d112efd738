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

{#- Why a bar is invalid; null for a valid one. A comparison with null is null, so coalesce makes a missing amount invalid. -#}
{% macro invalid_bar_reason() -%}
    case
        when {{ loaded_in_the_future() }} then 'loaded in the future'
        when batch_id is null then 'not written by the loader'
        when not coalesce({{ var('bar_prices_rule') }}, false) then 'impossible prices'
        when not coalesce({{ var('bar_amounts_rule') }}, false) then 'impossible volume or number of trades'
        when not coalesce(taker_buy_volume between 0 and volume, true) then 'takers bought more than was traded'
        when not coalesce(closed_at > opened_at, false) then 'closed before it opened'
    end
{%- endmacro %}
