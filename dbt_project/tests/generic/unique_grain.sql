{#-
    No two rows share the key. Where the database itself keeps the key unique (on `keyed`, or else on the model) the catalogue
    answers and nothing is read; otherwise the duplicates are returned with their number.
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
