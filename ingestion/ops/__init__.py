"""The ``ops`` schema: one module for each family of tables with run metadata."""
