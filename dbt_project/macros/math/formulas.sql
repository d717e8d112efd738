{#-
    Formulas that several models share. Sums and differences stay exact decimals. The last step, a quotient or a root, is
    taken in double precision (relative error 1e-16; in Postgres a decimal root takes ten times as long).
-#}

{#- numerator / denominator; null when the denominator is 0. -#}
{% macro ratio(numerator, denominator) -%}
    ({{ numerator }})::double precision / nullif({{ denominator }}, 0)::double precision
{%- endmacro %}

{#-
    Volume-weighted average price; null where nothing traded. The quotient is taken in decimals and rounded once, so it lies
    between the lowest and the highest price if the amounts do.
-#}
{% macro vwap(quote_volume, volume) -%}
    ({{ quote_volume }} / nullif({{ volume }}, 0))::double precision
{%- endmacro %}

{#- Change from a base to a value, in percent. -#}
{% macro change_pct(value, base) -%}
    100 * (({{ value }} - {{ base }})::double precision / nullif({{ base }}, 0)::double precision)
{%- endmacro %}

{#- Annualized volatility from the variance of the returns of one period, as a fraction. -#}
{% macro annualized(variance, periods_per_year) -%}
    sqrt(({{ variance }})::double precision * {{ periods_per_year }})
{%- endmacro %}

{#-
    Pearson correlation of x and y from the variances of x, y and x + y: cov(x, y) = (var(x + y) - var(x) - var(y)) / 2. The
    difference is taken in decimals: in double precision, two days that are nearly alike had a correlation of 1.41. Null for
    a single day and for a series that does not move. The last digit of the quotient can exceed 1 and is cut.
-#}
{% macro correlation(var_x, var_y, var_x_plus_y) -%}
    case
        when {{ var_x }} > 0 and {{ var_y }} > 0
            then least(1, greatest(
                -1,
                ({{ var_x_plus_y }} - {{ var_x }} - {{ var_y }})::double precision
                / (2 * sqrt({{ var_x }}::double precision * {{ var_y }}::double precision))
            ))
    end
{%- endmacro %}

{#-
    Whether a coin's price follows something else: its category is declared in int_coin_categories, or the universe file's,
    which is free text, says stable.
-#}
{% macro is_pegged(declared_category, universe_category) -%}
    ({{ declared_category }} is not null or lower(coalesce({{ universe_category }}, '')) like '%stable%')
{%- endmacro %}

{#- The label of a level that counts from 0. -#}
{% macro label_for_level(level, labels) -%}
    case {{ level }} {% for label in labels %}when {{ loop.index0 }} then '{{ label }}' {% endfor %}end
{%- endmacro %}

{#-
    Spread of the best ask over the best bid, in basis points of their middle; null for an empty side or a crossed book. A
    decimal of one scale: the mean of several does not depend on their order.
-#}
{% macro spread_bps(bid, ask) -%}
    case when {{ bid }} > 0 and {{ ask }} >= {{ bid }}
        then (20000 * ({{ ask }} - {{ bid }}) / ({{ ask }} + {{ bid }}))::numeric(18, 9)
    end
{%- endmacro %}
