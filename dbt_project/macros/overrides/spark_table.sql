{#-
    Overrides: materialization table of dbt-spark 1.11
    (dbt-spark/src/dbt/include/spark/macros/materializations/table.sql).
    Reason: each build of an engine writes every table into a new folder, which is published as a whole when the build
    succeeded. So there is nothing to replace, and an incremental model is written in full (macros/dialect/tables.sql).
-#}
{% materialization table, adapter='spark' -%}
    {{ return(write_table(sql)) }}
{%- endmaterialization %}
