"""From market APIs to Postgres in plain Python: sources, the bronze lake, the raw loader, the universe, settings.

Belongs here: everything that depends on a source's shape, an object's key or a raw table's columns. Does not:
scheduling, data quality checks and the command line (``orchestration``), SQL over raw (``dbt_project``). Nothing here
imports another package of this project, nor dagster, dbt, great_expectations or streamlit.
"""
