"""Definitions of columns, as dbt persisted them in the database, for tooltips."""

import re
from collections.abc import Sequence

import streamlit as st

from dashboard.queries import catalog

NO_DEFINITION = "No definition."


@st.cache_resource(ttl=600, show_spinner=False, validate=bool)  # an empty result (no marts yet) is not cached
def _definitions() -> dict[tuple[str, str | None], str]:
    """Return the definitions by relation and column; column None is the relation's own."""
    known = catalog.definitions().dropna(subset=["definition"])
    columns = known["column_name"].astype(object).where(known["column_name"].notna(), None)
    return dict(zip(zip(known["relation"], columns, strict=True), known["definition"].str.strip(), strict=True))


def definition(relation: str, column: str | None = None) -> str:
    """Return the definition of a column (or a relation) as Markdown: formula, unit and source are own lines."""
    text = _definitions().get((relation, column))
    if text is None:
        return NO_DEFINITION
    source = ".".join(filter(None, ("marts", relation, column)))
    return re.sub(r"\s*\n(?=(?:Formula|Unit): )", "  \n", text) + f"  \nSource: `{source}`"


def definitions_help(metrics: Sequence[str]) -> str:
    """Return the definitions of `relation.column` names as Markdown."""
    return "\n\n".join(f"`{name.partition('.')[2]}` {definition(*name.split('.'))}" for name in metrics)
