{#-
    Drops that never take a view of a reader along. dbt-postgres replaces a relation by renaming the old one and dropping
    it with cascade. That drops every view on it until the view is built again, and for good if the build stops between.
    Here, a relation that a view still reads moves to the schema intermediate as aside_<oid>: the view keeps reading the
    last good state. The end of each run drops the moved relations that no view reads any more.
-#}

{#- Boolean expression: a view reads the relation with this oid. -#}
{% macro is_read_by_a_view(oid) -%}
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

{#- Statement: drop a relation, or move it to the schema intermediate while a view reads it. -#}
{% macro drop_or_defer(relation, kind) -%}
do $drop$
declare
    old regclass := to_regclass('{{ relation.include(database=false) }}');
    new_name text := 'aside_' || old::oid;
begin
    if {{ is_read_by_a_view('old') }} then
        execute format('alter {{ kind }} %s rename to %I', old, new_name);
        execute format('alter {{ kind }} %s set schema intermediate', old);
    elsif old is not null then
        execute format('drop {{ kind }} %s', old);
    end if;
end $drop$
{%- endmacro %}

{#-
    on-run-end: drop the relations that drop_or_defer moved, and the relations and functions that earlier versions of the
    project built, each as soon as no view reads it.
-#}
{% macro drop_deferred_relations() -%}
    {{ return(adapter.dispatch('drop_deferred_relations')()) }}
{%- endmacro %}

{% macro postgres__drop_deferred_relations() -%}
{%- set removed_relations = ['int_series', 'int_market_days'] -%}
do $drop$
declare
    old regclass;
    kind text;
begin
    loop
        select
            oid,
            case relkind when 'v' then 'view' else 'table' end
        into old, kind
        from pg_class
        where
            relnamespace = 'intermediate'::regnamespace
            and relkind in ('r', 'v')
            and (relname ~ '^aside_[0-9]+$' or relname in ('{{ removed_relations | join("', '") }}'))
            and not {{ is_read_by_a_view('pg_class.oid') }}
        limit 1;
        exit when not found;
        execute format('drop %s %s', kind, old);
    end loop;
    drop aggregate if exists intermediate.exact_sum(bigint);
end $drop$
{%- endmacro %}
