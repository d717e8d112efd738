"""What `streamlit run dashboard/server.py` serves: the app, with everything loaded before its first visitor comes.

Belongs here: what the process does before anybody asks, and what browsers are told to fetch early. Does not: any page,
nor what the pages share (`app`, `shell`). `streamlit run dashboard/app.py` shows the same pages, and its first visitor
waits for the imports.
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

PAGES = "|".join(sorted(file.stem for file in Path(__file__).parent.glob("views/*.py")))
# Says where the app is: at a page's address a browser would look below that first, wait, and report two errors.
ROOT = f"""<script>
const at = location.pathname.match(/^(.*\\/)({PAGES})$/);
if (at) window.__streamlit = {{BACKEND_BASE_URL: location.origin + at[1]}};
</script>"""
# 4.7 MB that the app asks for only when its first chart has come, and then half a second of the browser's to evaluate.
# Fetched with the app's own files but after them, and evaluated while the server works on the page: earlier, the
# websocket would open later; later, the first chart would wait. The file's name holds a hash of its content.
PLOTLY = "".join(
    f"""<link rel="modulepreload" fetchpriority="low" crossorigin href="./static/js/{file.name}">
<script type="module">
new MutationObserver((_, seen) => {{
    if (!document.querySelector("[data-test-connection-state=CONNECTED]")) return;
    seen.disconnect();
    import("./static/js/{file.name}");
}}).observe(document, {{subtree: true, childList: true, attributeFilter: ["data-test-connection-state"]}});
</script>"""
    for file in Path(st.__file__).parent.glob("static/static/js/PlotlyChart.*.js")
)
EARLY = (ROOT + PLOTLY).encode()


# What would have a page answered in part, compressed, or not at all because it was known without the script.
NOT_FOR_PAGES = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")


class Preload:
    """Have a browser make Plotly ready while the server works on the page: a first chart stands 0.6 s earlier."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the script to the pages, which are asked for whole and uncompressed (8 kB) for that; to nothing else."""
        if scope["type"] != "http" or not re.fullmatch(f"(/.*)?/({PAGES})?", scope["path"]):
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in NOT_FOR_PAGES]}
        start: Message = {}
        page = bytearray()

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            page.extend(message.get("body", b""))
            if not message.get("more_body"):
                headers = [pair for pair in start["headers"] if pair[0] not in (b"content-length", b"etag")]
                body = bytes(page).replace(b"</head>", EARLY + b"</head>", 1)
                await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
                await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, telling)


@asynccontextmanager
async def ready(_: st.App) -> AsyncIterator[None]:
    """Import what the pages need, and take it out of the garbage collector's sight: nothing of it is ever garbage."""
    import pandas.io.formats.style  # noqa: F401
    import plotly.graph_objects as go

    import dashboard
    from dashboard import charts

    for package in (dashboard, charts):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name not in ("dashboard.app", "dashboard.server"):  # those run, and are not imported
                importlib.import_module(module.name)
    go.Figure(go.Bar()).to_json()  # Plotly reads its own schema with the first figure
    gc.collect()
    gc.freeze()
    yield


app = st.App("app.py", lifespan=ready, middleware=[Middleware(Preload)])
