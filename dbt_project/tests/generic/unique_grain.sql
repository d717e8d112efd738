{#-
    No two rows share the key. If a unique index guarantees the key (on `keyed`, otherwise on the model), the test reads only
    the catalog. Otherwise it returns the duplicates with their number.
-#}
{% test unique_grain(model, columns, keyed=none, keyed_columns=none) %}

select
    {{ columns | join(', ') }},
    count(*) as rows_with_this_key
from {{ model }}
where not {{ key_is_enforced(keyed or model, keyed_columns or columns) }}
group by {{ columns | join(', ') }}
having count(*) > 1

{% endtest %}
