{#-
    Overrides: default__apply_grants of dbt-adapters 1.24, which dbt-spark 1.11 uses
    (dbt-adapters/src/dbt/include/global_project/macros/adapters/apply_grants.sql).
    Reason: the grants of the project are for logins of Postgres.
-#}
{% macro spark__apply_grants(relation, grant_config, should_revoke) -%}{%- endmacro %}
