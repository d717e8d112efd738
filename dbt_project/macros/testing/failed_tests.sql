{#- on-run-end: log the first five rows of each test that did not pass, and how to fix them. -#}
{% macro log_failed_tests(results) -%}
    {%- if execute -%}
        {%- for result in results
            if result.node.resource_type == 'test' and result.status in ('fail', 'warn') and result.node.compiled_code -%}
            {%- set failed = run_query('select * from (' ~ result.node.compiled_code ~ ') as failed limit 5') -%}
            {%- do log(
                result.node.name ~ ' ' ~ ('failed' if result.status == 'fail' else 'warns') ~ ' with '
                ~ result.failures ~ ' rows on ' ~ (result.node.refs | map(attribute='name') | join(', ')
                or result.node.sources | map('join', '.') | join(', ')) ~ '. Fix: '
                ~ result.node.config.meta.get('fix', result.node.description or 'see the test in dbt_project/'
                ~ result.node.original_file_path), info=true
            ) -%}
            {%- for row in failed.rows -%}
                {%- set cells = [] -%}
                {%- for name in failed.column_names -%}
                    {%- do cells.append(name ~ '=' ~ row[name]) -%}
                {%- endfor -%}
                {%- do log('    ' ~ cells | join(' '), info=true) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
