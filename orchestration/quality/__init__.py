"""Great Expectations over bronze frames and marts: suites, running them, and their verdicts as asset checks.

Belongs here: data judged as evidence. Does not: what cannot be (parsers in ``ingestion``), relations (dbt tests).
"""
