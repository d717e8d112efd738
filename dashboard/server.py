"""What `tickmart up` and Docker Compose serve: app.py, with imports before the first request and an early Plotly.

Belongs here: the start of the server process and what it adds to the HTML. Does not: pages and components. `streamlit
run dashboard/app.py` shows the same pages, about a second later on the first visit.
"""

import gc
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.pages import PAGES

_PATHS = "|".join(sorted(page.name for page in PAGES))
# At a page's URL, Streamlit first probes for its server below that URL: two requests with 404 in the console.
_SERVER_URL = f"""<script>
const page = location.pathname.match(/^(.*\\/)({_PATHS})$/);
if (page) window.__streamlit = {{BACKEND_BASE_URL: location.origin + page[1]}};
</script>"""
# Streamlit requests Plotly (4.7 MB) with the first chart; evaluating it takes the browser half a second. This loads it
# after the app's own files and evaluates it while the server renders: the first cold chart comes 0.6 s earlier.
_PLOTLY = "".join(
    f"""<link rel="modulepreload" fetchpriority="low" crossorigin href="./static/js/{file.name}">
<script type="module">
new MutationObserver((_, observer) => {{
    if (!document.querySelector("[data-test-connection-state=CONNECTED]")) return;
    observer.disconnect();
    import("./static/js/{file.name}");
}}).observe(document, {{subtree: true, childList: true, attributeFilter: ["data-test-connection-state"]}});
</script>"""
    for file in Path(st.__file__).parent.glob("static/static/js/PlotlyChart.*.js")
)
HEAD = (_SERVER_URL + _PLOTLY).encode()
# Request headers that would make the server answer with part of the HTML, compressed HTML or 304.
_NOT_FORWARDED = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")


class AddToHead:
    """Adds ``HEAD`` to the HTML of the pages, and changes no other response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not re.fullmatch(f"(/.*)?/({_PATHS})?", scope["path"]):
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in _NOT_FORWARDED]}
        start: Message = {}
        html = bytearray()

        async def rewrite(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            html.extend(message.get("body", b""))
            if not message.get("more_body"):
                body = bytes(html).replace(b"</head>", HEAD + b"</head>", 1)
                headers = [pair for pair in start["headers"] if pair[0] not in (b"content-length", b"etag")]
                await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
                await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, rewrite)


@asynccontextmanager
async def preload(_: st.App) -> AsyncIterator[None]:
    """Import every module of the dashboard, and exclude them from garbage collection, because they are never freed."""
    import pandas.io.formats.style  # noqa: F401
    import plotly.graph_objects as go

    import dashboard

    for module in pkgutil.walk_packages(dashboard.__path__, "dashboard."):
        if module.name not in ("dashboard.app", "dashboard.server"):  # scripts
            importlib.import_module(module.name)
    go.Figure(go.Bar()).to_json()  # Plotly loads its schema with the first figure
    gc.collect()
    gc.freeze()
    yield


app = st.App("app.py", lifespan=preload, middleware=[Middleware(AddToHead)])
