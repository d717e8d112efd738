"""What an alert says, independent of the channel, and how a channel reports that it could not send.

Belongs here: the message, its heading, masking secrets. Does not: formats and transports (``channels``), when
to send (``outbox``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ingestion import proxies
from ingestion.settings import without_secrets
from ingestion.text import visible

TIMEOUT_S = 10.0
SEVERITIES = {"error": "FAILED", "warn": "WARNING"}


class Unavailable(Exception):
    """The channel cannot be used now. Retry, after ``wait_s`` if the channel asked for a wait."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(_line(why))
        self.wait_s = wait_s


class PermanentFailure(Exception):
    """The channel rejects this message, and repeating it is useless: a setting must be fixed first."""

    def __init__(self, why: str) -> None:
        super().__init__(_line(why))


@dataclass(frozen=True)
class Message:
    """One alert: a title in one line, the detail with what to do, and for a daily summary its tables by heading."""

    key: str
    event: str
    severity: str
    title: str
    detail: str = ""
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Spell out control and direction characters, so that each channel only adds its own escaping."""
        tables = {name: [[visible(cell) for cell in row] for row in rows] for name, rows in self.tables.items()}
        object.__setattr__(self, "title", visible(" ".join(self.title.split())))
        object.__setattr__(self, "detail", visible(self.detail, keep="\n"))
        object.__setattr__(self, "tables", tables)

    def as_json(self) -> dict[str, Any]:
        """Return the message as the outbox stores it."""
        return asdict(self)

    @property
    def heading(self) -> str:
        """The title with its severity or event in front."""
        word = {"recovered": "RECOVERED", "digest": "", "test": "TEST"}.get(self.event, SEVERITIES[self.severity])
        again = " again" if self.event == "reopened" else ""
        return f"{word}{again}: {self.title}" if word else self.title


def subject(messages: Sequence[Message]) -> str:
    """Return one line for a bundle: the heading of a single message, else how many opened and recovered."""
    if len(messages) == 1:
        return messages[0].heading
    opened = sum(message.event in ("opened", "reopened") for message in messages)
    recovered = sum(message.event == "recovered" for message in messages)
    parts = [f"{opened} new problem{'s' * (opened != 1)}"] * bool(opened) + [f"{recovered} recovered"] * bool(recovered)
    return ", ".join(parts) or f"{len(messages)} messages"


def shorten(text: str, limit: int) -> str:
    """Cut a text to ``limit`` characters, with an ellipsis."""
    return text if len(text) <= limit else f"{text[: max(0, limit - 3)]}..."


def _line(text: str) -> str:
    return " ".join(without_secrets(text).split())[:300]


def through(proxy: proxies.Proxy | None) -> str:
    """Name the proxy of a failed request."""
    return f" (through {proxy})" if proxy else ""
