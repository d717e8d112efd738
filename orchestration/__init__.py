"""What runs the pipeline: Dagster's definitions, the checks, the local stack and the tickmart command.

May import `ingestion`; nothing imports this package but its own tests. The models live in `dbt_project`, the pages in
`dashboard`. Kept empty of code, so that starting a small process of it (the keeper) costs nothing.
"""
