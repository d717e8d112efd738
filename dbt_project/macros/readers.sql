{#-
    Readers of the marts never meet a relation that is missing, whether dbt refreshes, rebuilds everything or stops half way.
    dbt-postgres replaces a relation by renaming the old one and dropping it with cascade, which takes every view that
    stands on it along until its turn comes, and for good if the build stops between. Here:

    * a view whose columns stay the same is replaced where it stands;
    * what is to be dropped while views stand on it goes aside into the schema intermediate, where they keep reading it: the
      last good state, until their turn comes;
    * the end of each run drops what was put aside and carries nothing any more.
-#}

{#- Whether a view reads a relation; an expression over its oid. -#}
{% macro carries_a_view(oid) -%}
    exists (
        select 1
        from pg_depend as needed
        inner join pg_rewrite as rule on needed.objid = rule.oid
        where
            needed.classid = 'pg_rewrite'::regclass
            and needed.refclassid = 'pg_class'::regclass
            and needed.refobjid = {{ oid }}
            and rule.ev_class <> {{ oid }}
    )
{%- endmacro %}

{% macro postgres__drop_table(relation) -%}
    {{ drop_or_put_aside(relation, 'table') }}
{%- endmacro %}

{% macro postgres__drop_view(relation) -%}
    {{ drop_or_put_aside(relation, 'view') }}
{%- endmacro %}

{% macro drop_or_put_aside(relation, kind) -%}
do $drop$
declare
    doomed regclass := to_regclass('{{ relation.include(database=false) }}');
    new_name text := 'aside_' || doomed::oid;
begin
    if {{ carries_a_view('doomed') }} then
        execute format('alter {{ kind }} %s rename to %I', doomed, new_name);
        execute format('alter {{ kind }} %s set schema intermediate', doomed);
    elsif doomed is not null then
        execute format('drop {{ kind }} %s', doomed);
    end if;
end $drop$
{%- endmacro %}

{#- Which views dbt should take for gone when it drops what they read: none. (schema, name, schema read, name read) -#}
{% macro postgres__get_relations() -%}
    {%- call statement('relations', fetch_result=True) -%}
        select
            null::text,
            null::text,
            null::text,
            null::text
        where false
    {%- endcall -%}
    {{- return(load_result('relations').table) -}}
{%- endmacro %}

{#- At the end of a run: drop what was put aside, views before what they read. -#}
{% macro sweep_aside() -%}
do $sweep$
declare
    aside regclass;
    kind text;
begin
    loop
        select
            oid,
            case relkind when 'v' then 'view' else 'table' end
        into aside, kind
        from pg_class
        where
            relnamespace = 'intermediate'::regnamespace
            and relkind in ('r', 'v')
            and relname ~ '^aside_[0-9]+$'
            and not {{ carries_a_view('pg_class.oid') }}
        limit 1;
        exit when not found;
        execute format('drop %s %s', kind, aside);
    end loop;
end $sweep$
{%- endmacro %}

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
