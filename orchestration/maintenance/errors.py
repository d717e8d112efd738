"""The error of a backup or a restore that cannot be done."""

from __future__ import annotations


class BackupError(Exception):
    """A backup cannot be made or restored; the message is one line: what, value, fix."""
