{#-
    Expressions that several models share. Sums and differences stay exact decimals; the last step, a quotient or a root, is
    taken in double precision (relative error 1e-16; in Postgres a decimal root is ten times as slow).
-#}

{#- numerator / denominator; null when the denominator is 0. -#}
{% macro ratio(numerator, denominator) -%}
    ({{ numerator }})::double precision / nullif({{ denominator }}, 0)::double precision
{%- endmacro %}

{#-
    Volume-weighted average price; null where nothing traded. The quotient is taken in decimals and rounded once, so that it
    lies between the lowest and the highest price wherever the amounts do.
-#}
{% macro vwap(quote_volume, volume) -%}
    ({{ quote_volume }} / nullif({{ volume }}, 0))::double precision
{%- endmacro %}

{#- Change from a base to a value, in percent. -#}
{% macro change_pct(value, base) -%}
    100 * (({{ value }} - {{ base }})::double precision / nullif({{ base }}, 0)::double precision)
{%- endmacro %}

{#- Volatility of a year of so many periods, from the variance of the returns of one period. -#}
{% macro annualised(variance, periods_per_year) -%}
    sqrt(({{ variance }})::double precision * {{ periods_per_year }})
{%- endmacro %}

{#- The word for a level counted from 0. -#}
{% macro word_of(level, words) -%}
    case {{ level }} {% for word in words %}when {{ loop.index0 }} then '{{ word }}' {% endfor %}end
{%- endmacro %}
