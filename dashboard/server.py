"""What `streamlit run dashboard/server.py` serves: the app, with everything loaded before its first visitor comes.

Belongs here: what the process does before anybody asks, and what browsers are told to fetch early. Does not: any page,
nor what the pages share (`app`, `shell`). `streamlit run dashboard/app.py` shows the same pages, and its first visitor
waits for the imports.
"""

import gc
import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# 4.7 MB that the page asks for only when its first chart has come. The name holds a hash of the content.
PLOTLY = [f"static/js/{file.name}" for file in Path(st.__file__).parent.glob("static/static/js/PlotlyChart.*.js")]


class Preload:
    """Tell a browser with the page itself to fetch Plotly: its first chart stands 0.3 s earlier."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._links = [(b"link", f"<{path}>; rel=modulepreload; crossorigin".encode()) for path in PLOTLY]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the header to answers that are pages."""

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start" and any(
                name == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"]
            ):
                message = {**message, "headers": [*message["headers"], *self._links]}
            await send(message)

        await self._app(scope, receive, telling if scope["type"] == "http" else send)


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
