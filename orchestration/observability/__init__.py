"""Observability: dataset status, metrics, logs."""
