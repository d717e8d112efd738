{#- No instant belongs to two rows of one asset; ranges are half-open. -#}
{% test ranges_do_not_overlap(model, starts, ends, identity) %}

select
    a.crypto_id,
    a.{{ identity }} as one,
    b.{{ identity }} as other,
    a.{{ starts }} as one_starts,
    a.{{ ends }} as one_ends,
    b.{{ starts }} as other_starts,
    b.{{ ends }} as other_ends
from {{ model }} as a
inner join {{ model }} as b
    on a.crypto_id = b.crypto_id
    and a.{{ identity }} < b.{{ identity }}
    and a.{{ starts }} < b.{{ ends }}
    and b.{{ starts }} < a.{{ ends }}

union all

select
    crypto_id,
    {{ identity }},
    null,
    {{ starts }},
    {{ ends }},
    null,
    null
from {{ model }}
where not {{ starts }} < {{ ends }}

{% endtest %}
