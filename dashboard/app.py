"""Entry point: `streamlit run dashboard/app.py`. Runs the navigation, the freshness banner, the page and the footer."""

from pathlib import Path

import streamlit as st

from dashboard.components import layout, messages, rendering
from dashboard.database import MartsError
from dashboard.pages import PAGES

# Before st.navigation, which would otherwise load the page's icon from the internet as favicon.
st.set_page_config(page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
page = st.navigation(
    [
        st.Page(
            f"views/{info.name}.py",
            title=info.title,
            icon=info.icon,
            url_path=info.name,
            default=info is PAGES[0],
        )
        for info in PAGES
    ],
    position="top",
)
st.set_page_config(page_title=f"{page.title} · tickmart")
with rendering.render_slot():
    layout.header()
    try:
        with st.skeleton(height=480):  # appears only if the page takes longer than half a second
            page.run()
    except rendering.PageFinished:
        pass
    except MartsError as error:
        messages.database_error(error)
    layout.footer()
