"""What `tickmart up` and Docker Compose serve: app.py, with all imports done before the first request.

`streamlit run dashboard/app.py` shows the same pages, but its first page waits about a second for the imports.
"""

import gc
import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st


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


app = st.App("app.py", lifespan=preload)
