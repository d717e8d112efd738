"""What the collector publishes and the sink reads: subjects, data messages and events. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

STREAM = "okx"
# Name of the broker's stream, its subjects, and the bucket of the collector's state.
BROKER_STREAM, SUBJECTS, STATE_BUCKET = "TICKMART_OKX", "okx.>", "tickmart_okx"
EVENTS = "okx.events"
Origin = Literal["w", "r"]
"""Whether a message came over the WebSocket or from REST."""


@dataclass(frozen=True)
class Envelope:
    """A data message: when it was received (microseconds), from where, and the frame as OKX sent it."""

    received_us: int
    origin: Origin
    frame: bytes


def subject_of(channel: str, inst_id: str) -> str:
    """Return the subject of an instrument's trades or tickers; dots, stars and spaces have a meaning there."""
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in inst_id)
    return f"okx.{channel}.{safe}"


def pack(received_us: int, origin: Origin, frame: str | bytes) -> bytes:
    """Return a data message."""
    body = frame.encode() if isinstance(frame, str) else frame
    return b"%d %s %s" % (received_us, origin.encode(), body)


def unpack(message: bytes) -> Envelope:
    """Return the parts of a data message; ValueError if it is none."""
    received, origin, frame = message.split(b" ", 2)
    if origin not in (b"w", b"r"):
        raise ValueError(f"origin {origin[:20]!r} is not known")
    return Envelope(int(received), "w" if origin == b"w" else "r", frame)


def event(kind: str, **values: Any) -> bytes:
    """Return an event of the collector."""
    return orjson.dumps({"event": kind, **values})


def moment(us: int) -> datetime:
    """Return microseconds since 1970 as a time."""
    return datetime.fromtimestamp(us / 1e6, UTC)


def gap_event(gap: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the row of ``ops.stream_gaps`` of an event ``gap``."""
    closed = gap["closed_us"]
    return (
        gap["inst_id"], gap["after"], gap["before"], moment(gap["opened_us"]), moment(closed) if closed else None,
        gap["reason"], gap["filled"], gap["is_filled"],
    )  # fmt: skip
