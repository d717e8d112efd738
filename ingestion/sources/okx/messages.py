"""The frames of OKX's WebSocket: requests as text, and what each received frame is. Pure functions.

Belongs here: the protocol. Does not: when something is sent (``ingestion.stream.collector``), rows (``dataset``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

PING, PONG = "ping", "pong"
TRADES, TICKERS = "trades", "tickers"
CHANNELS = (TICKERS, TRADES)
# A request may have 64 KB: some 1,000 arguments. Smaller ones keep a rejected one small.
ARGUMENTS_PER_REQUEST = 100
# OKX announces with it that it will close the connection in 60 s.
CLOSING_SOON = "64008"
UNKNOWN_INSTRUMENT = "60018"

Kind = Literal["data", "pong", "subscribed", "unsubscribed", "notice", "error", "ignored", "garbage"]


@dataclass(frozen=True)
class Frame:
    """A received frame: its kind, and for data the channel, instrument and records; ``text`` is for messages."""

    kind: Kind
    channel: str = ""
    inst_id: str = ""
    records: Sequence[dict[str, Any]] = ()
    code: str = ""
    text: str = ""


def parse_frame(received: str | bytes) -> Frame:
    """Return what a frame is; anything that OKX does not send is garbage."""
    if received == PONG:
        return Frame("pong")
    if isinstance(received, bytes):
        return Frame("garbage", text=f"{len(received)} binary bytes")
    try:
        body = orjson.loads(received)
    except ValueError:
        return Frame("garbage", text=_shown(received))
    if not isinstance(body, dict):
        return Frame("garbage", text=_shown(received))
    given = body.get("arg")
    arg: dict[str, Any] = given if isinstance(given, dict) else {}
    channel, inst_id = str(arg.get("channel", "")), str(arg.get("instId", ""))
    event = body.get("event")
    if event is None:
        records = body.get("data")
        if channel not in CHANNELS or not isinstance(records, list) or not _are_of(records, inst_id):
            return Frame("garbage", channel, inst_id, text=_shown(received))
        return Frame("data", channel, inst_id, records)
    text = f"{body.get('code', '')} {body.get('msg', '')}".strip()
    kinds: dict[Any, Kind] = {
        "subscribe": "subscribed", "unsubscribe": "unsubscribed", "notice": "notice", "error": "error",
    }  # fmt: skip
    return Frame(kinds.get(event, "ignored"), channel, inst_id, code=str(body.get("code", "")), text=text or str(event))


def _are_of(records: list[Any], inst_id: str) -> bool:
    return bool(inst_id) and all(isinstance(r, dict) and r.get("instId") == inst_id for r in records)


def _shown(text: str) -> str:
    return " ".join(text[:80].split())


def subscriptions(inst_ids: Iterable[str], operation: str = "subscribe") -> Iterator[str]:
    """Yield the requests that subscribe the trades and tickers of instruments."""
    arguments = [{"channel": channel, "instId": inst_id} for inst_id in inst_ids for channel in CHANNELS]
    for at in range(0, len(arguments), ARGUMENTS_PER_REQUEST):
        yield orjson.dumps({"op": operation, "args": arguments[at : at + ARGUMENTS_PER_REQUEST]}).decode()


def rejected_instrument(frame: Frame, inst_ids: Iterable[str]) -> str | None:
    """Return the instrument that an error names; OKX writes it into the text of the message."""
    if frame.inst_id:
        return frame.inst_id
    named = frame.text.replace(",", " ").replace(":", " ").split()
    return next((inst_id for inst_id in inst_ids if inst_id in named), None)


def message_id(channel: str, record: dict[str, Any]) -> str:
    """Return the id under which the broker drops a record that it has already."""
    if channel == TRADES:
        return f"{record.get('instId')}:{record.get('tradeId')}:{record.get('ts')}"
    return f"{record.get('instId')}:{record.get('ts')}:{record.get('last')}:{record.get('bidPx')}:{record.get('askPx')}"
