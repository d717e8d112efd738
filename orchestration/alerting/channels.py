"""The alert channels: which are configured, and sending through one by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingestion.settings import Alerting
from orchestration.alerting import email, slack
from orchestration.alerting.messages import Message

_SEND: dict[str, Callable[[Alerting, Sequence[Message]], None]] = {"slack": slack.send, "email": email.send}


def configured(alerting: Alerting) -> list[str]:
    """Return the names of the configured channels."""
    return [name for name, setting in (("slack", alerting.slack_webhook_url), ("email", alerting.smtp)) if setting]


def send(channel: str, alerting: Alerting, messages: Sequence[Message]) -> None:
    """Send messages through a channel as one; raises Unavailable or PermanentFailure."""
    _SEND[channel](alerting, messages)
