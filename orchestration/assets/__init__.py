"""The Dagster assets: bronze, raw and dbt models."""
