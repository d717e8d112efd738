"""What a narrow screen shows differently: controls behind a switch, and the menu of pages as a button.

Both follow the width of the window in the browser, in CSS on the keys of elements, so that the server need not know it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard.pages import PAGES

MAX_WIDTH_PX = 640  # as Streamlit stacks columns
STYLE = f"""<style>
@media (max-width: {MAX_WIDTH_PX}px) {{
  [class*="st-key-controls_"] > :has(> [class*="st-key-always_"]) {{ order: -1; }}
  [class*="st-key-controls_"]:has(> [class*="st-key-switch_"] input:not(:checked))
    > :not([class*="st-key-switch_"], :has(> [class*="st-key-always_"])) {{ display: none; }}
}}
@media (min-width: {MAX_WIDTH_PX + 1}px) {{
  [class*="st-key-switch_"], .st-key-pages_menu {{ display: none; }}
}}
</style>"""


def style() -> None:
    """Add the rules of this module to the page, once per run."""
    st.html(STYLE)


def pages_menu() -> None:
    """Show a button that opens the list of pages; only on a narrow screen, where the bar of pages on top is hidden."""
    with st.container(key="pages_menu", width="content"), st.popover("Pages", type="tertiary", icon=":material/menu:"):
        for page in PAGES:
            st.page_link(f"views/{page.name}.py", label=page.title, icon=page.icon)


@contextmanager
def controls(name: str, label: str) -> Iterator[None]:
    """Show the widgets of the block in a row; on a narrow screen only while the switch with this label is on."""
    with st.container(key=f"controls_{name}", horizontal=True, vertical_alignment="bottom", gap="small"):
        st.toggle(label, key=f"switch_{name}")
        yield


@contextmanager
def always(name: str) -> Iterator[None]:
    """Show the elements of the block in a row of controls also while its switch is off."""
    with st.container(key=f"always_{name}", width="content"):
        yield
