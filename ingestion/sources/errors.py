"""The errors of a source that cannot be used, and of a request that it rejects."""

from __future__ import annotations


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
