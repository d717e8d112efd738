"""The command that recalculates a value, ready to copy: the dashboard itself reads the marts alone."""

import streamlit as st

CAPTION = "The command recalculates the value from its input rows, and shows these rows and their bronze objects:"


def explain_command(crypto_id: str, metric: str, time: str) -> None:
    """Show `tickmart explain` for `relation.column` of a coin at a date or hour (UTC)."""
    st.caption(CAPTION)
    st.code(f"tickmart explain {crypto_id} {metric} {time}", language="sh")
