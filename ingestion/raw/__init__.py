"""The raw tables: loading bronze objects into Postgres, and gaps in what was loaded."""
