"""Great Expectations over bronze frames and marts: suites, running them, and their results as asset checks.

Belongs here: data checked as evidence. Does not: impossible records (contracts in ``ingestion``), relations (dbt).
"""
