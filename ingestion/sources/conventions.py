"""What the responses of an API mean beyond HTTP, declared by each source, and the errors of a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson


class SourceError(Exception):
    """A source that cannot be used now; the message is one line: source, what was tried, fix."""

    def __init__(self, source: str, message: str, *, kind: str = "unreachable", status: int | None = None) -> None:
        super().__init__(f"{source}: {message}")
        self.source, self.kind, self.status = source, kind, status


class RequestRejected(SourceError):
    """A non-retryable 4xx response: the source understood the request and rejects it."""

    def __init__(self, source: str, message: str, *, status: int, code: int | None) -> None:
        super().__init__(source, message, kind="refused", status=status)
        self.code = code


@dataclass(frozen=True)
class Answer:
    """A response: its decoded body, and the URL without its query."""

    body: bytes
    url: str
    headers: Mapping[str, str]
    status: int = 200


def _message_of(body: Any) -> str:
    """Return the text of ``{"error": "…"}`` or ``{"message": "…"}``."""
    found = body.get("error") or body.get("message") if isinstance(body, dict) else None
    return found if isinstance(found, str) else ""


@dataclass(frozen=True)
class Conventions:
    """How an API states limits, bans, missing resources and errors. Bodies are parsed JSON, None if they are not JSON.

    ``used_weight`` reads the weight that the server has counted in this minute; ``banned_until`` the end of a ban of
    this address; ``is_missing`` whether a requested resource does not exist; ``error_code`` and ``error_message`` the
    API's own code and text. A 404 without an ``error_code`` means that the address of the API is wrong. A 403 or 451
    means that the host rejects this address, unless it ``is_about_request``. ``wait_s`` reads the wait that a 429 asks
    for.
    """

    used_weight: Callable[[Mapping[str, str]], int | None] = lambda headers: None
    banned_until: Callable[[Answer], datetime | None] = lambda answer: None
    is_missing: Callable[[Answer], bool] = lambda answer: answer.status == 404
    error_code: Callable[[Any], int | None] = lambda body: None
    error_message: Callable[[Any], str] = _message_of
    is_about_request: Callable[[Answer], bool] = lambda answer: False
    wait_s: Callable[[Mapping[str, str]], float | None] = lambda headers: retry_after(headers)


PLAIN_HTTP = Conventions()


def parsed_body(answer: Answer) -> Any:
    """Return the body as JSON, or None if it is not JSON."""
    try:
        return orjson.loads(answer.body)
    except ValueError:
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds, whether it was sent as seconds or as a date."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
