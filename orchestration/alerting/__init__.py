"""Alerting: incidents, the outbox, and the channels that deliver."""
