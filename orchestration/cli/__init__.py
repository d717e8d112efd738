"""The ``tickmart`` command."""
