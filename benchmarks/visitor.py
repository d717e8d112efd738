"""A visitor of the dashboard without a browser: Streamlit's websocket spoken from Python, many at once in one process.

Belongs here: connecting, asking for a page, choosing in a widget, and what came back when, and how large. Does not:
what is measured with it (`dashboard_sessions`). Messages that the server marks as cacheable are kept by their hash and
sent to it at the next run, as a browser does.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Self

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

LONGEST_S = 120.0
ZONE = {"timezone": "UTC", "timezone_offset": 0, "locale": "en-US", "color_scheme": "light"}


@dataclass
class Run:
    """One run of a page's script as its visitor sees it: seconds from asking, and bytes."""

    seconds: float = 0.0
    first_chart: float | None = None
    sent: int = 0
    messages: int = 0
    charts: dict[str, int] = field(default_factory=dict)  # bytes by alternative text
    error: str = ""


class Visitor:
    """One session; `visit` opens a page, `choose` changes a widget of it."""

    def __init__(self, address: str) -> None:
        self._url = address.replace("http://", "ws://") + "/_stcore/stream"
        self._address = address
        self._connection: ClientConnection
        self._kept: dict[str, ForwardMsg] = {}
        self._widgets: dict[str, str] = {}  # the part of the page that each widget belongs to, by its id
        self._chosen: dict[str, Any] = {}  # WidgetState by id
        self._state = ClientState()
        self.session: Any = None  # what the server reports of itself: settings, session_id

    async def __aenter__(self) -> Self:
        self._connection = await connect(
            self._url,
            subprotocols=["streamlit"],
            max_size=None,
            compression=None,
            open_timeout=LONGEST_S,  # type: ignore[list-item]
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def visit(self, page: str = "", query: str = "") -> Run:
        """Open a page, as by its address or its link in the navigation."""
        self._chosen.clear()
        self._widgets.clear()
        self._state = ClientState(query_string=query, page_name=page)
        for name, value in ZONE.items():
            setattr(self._state.context_info, name, value)
        self._state.context_info.url = f"{self._address}/{page}"
        return await self._run()

    async def choose(self, key: str, **value: Any) -> Run:
        """Set a widget by its key: `string_array_value=["7D"]`, `bool_value=True`."""
        identity = next((name for name in self._widgets if name.endswith(f"-{key}")), "")
        if not identity:
            raise KeyError(f"{key}: the page has {', '.join(sorted(self._widgets)) or 'no widget'}")
        self._chosen[identity] = value
        self._state.fragment_id = self._widgets[identity]
        del self._state.widget_states.widgets[:]
        for name, chosen in self._chosen.items():
            state = self._state.widget_states.widgets.add(id=name)
            for part, content in chosen.items():
                if isinstance(content, list):
                    getattr(state, part).data.extend(content)
                else:
                    setattr(state, part, content)
        return await self._run()

    async def _run(self) -> Run:
        """Ask for a run with the present state, and take in what comes until its end."""
        run, began = Run(), time.perf_counter()
        del self._state.cached_message_hashes[:]
        self._state.cached_message_hashes.extend(self._kept)
        await self._connection.send(BackMsg(rerun_script=self._state).SerializeToString())
        while True:
            content = await asyncio.wait_for(self._connection.recv(decode=False), LONGEST_S)
            now = time.perf_counter() - began
            message = ForwardMsg.FromString(content)
            run.sent += len(content)
            run.messages += 1
            kind = message.WhichOneof("type")
            if kind == "ref_hash":
                message = self._kept[message.ref_hash]
                kind = message.WhichOneof("type")
            if message.metadata.cacheable:
                self._kept[message.hash] = message
            if kind == "new_session":
                self.session = message.new_session
            elif kind == "navigation":
                self._state.page_script_hash, self._state.page_name = message.navigation.page_script_hash, ""
            elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                self._element(message, len(content), now, run)
            elif kind == "script_finished" and message.script_finished in (0, 1, 3):
                run.seconds = now
                return run

    def _element(self, message: ForwardMsg, size: int, now: float, run: Run) -> None:
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        content = getattr(element, kind)
        if kind == "plotly_chart":
            run.charts[content.alt] = size
            run.first_chart = now if run.first_chart is None else run.first_chart
        elif kind == "exception":
            run.error = "\n".join([content.type, content.message, *content.stack_trace])
        elif kind == "alert" and content.format == content.ERROR:
            run.error = content.body
        if getattr(content, "id", ""):
            self._widgets[content.id] = message.delta.fragment_id
