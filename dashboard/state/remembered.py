"""Choices that the browser remembers between visits, in one cookie each: colors, logos, watchlist. No accounts.

The server reads a cookie when a session starts, so the first drawing already follows the choice.
"""

from typing import Any
from urllib.parse import quote, unquote

import streamlit as st

PREFIX = "tickmart_"
MAX_LENGTH = 2000  # a browser drops a cookie beyond 4 kB
WRITER = """
export default function ({ data }) {
  document.cookie = `${data.name}=${data.value}; path=/; max-age=31536000; samesite=lax`;
}
"""


def remembered(name: str) -> str | None:
    """Return the value that this browser sent at the start of the session, or None."""
    value = st.context.cookies.get(PREFIX + name)
    return None if value is None else unquote(value)


def remember(name: str, value: str) -> None:
    """Make the browser keep a value for a year; does nothing if it has sent this value."""
    if value == (remembered(name) or "") or len(value) > MAX_LENGTH:
        return
    mount: Any = st.components.v2.component("tickmart_cookie", js=WRITER)
    mount(key=f"remember_{name}", data={"name": PREFIX + name, "value": quote(value, safe="")}, height=1)
