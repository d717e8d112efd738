"""Plain Python between the market APIs and Postgres: clients, the bronze lake, the raw loader, the universe, settings.

Belongs here: everything that knows a source's shape, an object's key or a raw table's columns.
Does not: scheduling, checks as evidence and the command line (``orchestration``), SQL over raw (``dbt_project``).
Nothing here imports another package of this project, nor dagster, dbt, great_expectations or streamlit.
"""
