"""Maintenance: backup, restore, retention, disk space, diagnosis."""
