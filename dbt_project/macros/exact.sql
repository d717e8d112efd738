{#-
    Exact moving sums at the speed of whole numbers, for fct_correlations_daily: of a million pairs and days it sums fifteen
    products and returns. Postgres slides a window over `numeric` (0.7 us a row and sum) but not over double precision (it
    adds up every frame anew, and the bits then depend on where the frame began). Whole numbers slide in 0.05 us, and their
    sums are exact, so a window gives the same bits wherever the reading began.

    A log return is a whole number of units of 1e-15, and its square a sum of three products that each fit: 365 of them too,
    as long as a return is within 12. One beyond, a factor of 160,000 in a day, counts as 12.
-#}

{% macro return_units(log_return) -%}
    (greatest(-12, least(12, {{ log_return }})) * 1e15)::bigint
{%- endmacro %}

{#- Sum of whole numbers, for windows; to be followed by `over`. -#}
{% macro exact_sum(expression) -%}
    {{ return(adapter.dispatch('exact_sum')(expression)) }}
{%- endmacro %}

{% macro postgres__exact_sum(expression) -%}
    intermediate.exact_sum({{ expression }})
{%- endmacro %}

{#-
    The product of two whole numbers in three parts that fit, of each row: a factor is taken apart into multiples of 1e8 and a
    rest. To be computed before the windows, which would do it anew for each row that comes into a frame or leaves it.
-#}
{% macro product_parts(a, b, name=none) -%}
    {%- set name = name or a ~ '_' ~ b -%}
    {{ a }} / 100000000 * ({{ b }} / 100000000) as high_{{ name }},
    {{ a }} / 100000000 * ({{ b }} % 100000000) + {{ a }} % 100000000 * ({{ b }} / 100000000) as mixed_{{ name }},
    {{ a }} % 100000000 * ({{ b }} % 100000000) as low_{{ name }}
{%- endmacro %}

{#- The sums over a window from which sum_of_products tells the sum of a * b, whose product_parts are columns. -#}
{% macro product_sums(a, b, window) -%}
    {%- set name = a ~ '_' ~ b -%}
    {{ exact_sum('high_' ~ name) }} over {{ window }} as high_{{ name }}_{{ window }},
    {{ exact_sum('mixed_' ~ name) }} over {{ window }} as mixed_{{ name }}_{{ window }},
    {{ exact_sum('low_' ~ name) }} over {{ window }} as low_{{ name }}_{{ window }}
{%- endmacro %}

{% macro sum_of_products(a, b, window) -%}
    {%- set name = a ~ '_' ~ b ~ '_' ~ window -%}
    (high_{{ name }} * 1e16::double precision + mixed_{{ name }} * 1e8::double precision + low_{{ name }})
{%- endmacro %}

{#-
    Pearson correlation of two returns over a window, whose product_sums and sums are columns. In double precision as long as
    no subtraction costs more than four digits; else, when the returns are nearly all alike, exactly. One pair of days has
    none. The last place of a quotient can lie beyond 1: it is cut off.
-#}
{% macro correlation_of(a, b, window) -%}
    {%- set n = 'n_' ~ window -%}
    {%- set fast, exact = {}, {} -%}
    {%- for x, y in [(a, b), (a, a), (b, b)] -%}
        {%- set name = x ~ '_' ~ y ~ '_' ~ window -%}
        {%- set x_sum, y_sum = x ~ '_' ~ window, y ~ '_' ~ window -%}
        {%- do fast.update({x ~ y: '(' ~ n ~ ' * ' ~ sum_of_products(x, y, window) ~ ' - ' ~ x_sum ~ '::double precision * ' ~ y_sum ~ ')'}) -%}
        {%- do exact.update({x ~ y: '(' ~ n ~ ' * (high_' ~ name ~ ' * 1e16 + mixed_' ~ name ~ ' * 1e8 + low_' ~ name ~ ') - ' ~ x_sum ~ '::numeric * ' ~ y_sum ~ ')::double precision'}) -%}
    {%- endfor -%}
    case
        when {{ n }} < 2 then null
        when
            {{ fast[a ~ a] }} > 1e-4 * {{ n }} * {{ sum_of_products(a, a, window) }}
            and {{ fast[b ~ b] }} > 1e-4 * {{ n }} * {{ sum_of_products(b, b, window) }}
            then least(1, greatest(-1, {{ fast[a ~ b] }} / sqrt({{ fast[a ~ a] }} * {{ fast[b ~ b] }})))
        when {{ exact[a ~ a] }} > 0 and {{ exact[b ~ b] }} > 0
            then least(1, greatest(-1, {{ exact[a ~ b] }} / sqrt({{ exact[a ~ a] }} * {{ exact[b ~ b] }})))
    end
{%- endmacro %}
