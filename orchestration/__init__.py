"""Runs the pipeline: Dagster definitions, checks, alerts, local services and the tickmart command.

May import `ingestion`; only its tests import it. Models are in `dbt_project`, pages in `dashboard`. This file has no
code, so that small processes such as the supervisor start fast.
"""
