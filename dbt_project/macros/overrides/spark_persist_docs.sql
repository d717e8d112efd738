{#-
    Overrides: spark__persist_docs of dbt-spark 1.11 (dbt-spark/src/dbt/include/spark/macros/adapters.sql).
    Reason: a table of Parquet files has no comments; the descriptions are in dbt's documentation.
-#}
{% macro spark__persist_docs(relation, model, for_relation, for_columns) -%}{%- endmacro %}
