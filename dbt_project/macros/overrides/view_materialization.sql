{#-
    Overrides: materialization view, default of dbt-adapters 1.24, which dbt-postgres 1.11 uses
    (dbt-adapters/src/dbt/include/global_project/macros/materializations/models/view.sql).
    Reason: upstream creates a new view, renames the old one and drops it. A view whose columns stay the same is replaced
    in place here, so readers and the views on it never miss it.
-#}
{% materialization view, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set in_place = existing is not none and existing.is_view -%}
    {%- if in_place -%}
        {%- set before = get_column_schema_from_query('select * from ' ~ this) -%}
        {%- set after = get_column_schema_from_query(sql) -%}
        {%- set in_place = before | map(attribute='name') | list == after | map(attribute='name') | list
            and before | map(attribute='data_type') | list == after | map(attribute='data_type') | list -%}
    {%- endif -%}
    {%- if not in_place -%}
        {{ return(dbt.materialization_view_default()) }}
    {%- endif -%}

    {%- set target_relation = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% call statement('main') -%}
        create or replace view {{ target_relation }}
        {% if config.get('contract').enforced %}
            {{ get_assert_columns_equivalent(sql) }}
        {%- endif %} as (
            {{ sql }}
        )
    {%- endcall %}

    {% do apply_grants(target_relation, config.get('grants'), should_revoke=true) %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}
