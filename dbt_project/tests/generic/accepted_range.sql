{#- The value lies in [minimum, maximum]; NaN and the infinities do not, null does. -#}
{% test accepted_range(model, column_name, minimum, maximum, evidence=[]) %}

select
    {% for column in evidence %}{{ column }}, {% endfor %}
    {{ column_name }}
from {{ model }}
where not ({{ column_name }} >= {{ minimum }} and {{ column_name }} <= {{ maximum }})

{% endtest %}
