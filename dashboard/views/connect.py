"""Connect: how to read the marts from other tools. `tickmart up` gives the page the texts of `tickmart connect`."""

import json
import os

import streamlit as st

from dashboard.state.query_params import check_query_params

LABELS = {
    "url": "URL", "psql": "psql", "python": "pandas", "client": "Python client", "polars": "Polars", "duckdb": "DuckDB",
    "superset": "Superset", "metabase": "Metabase", "excel": "Excel (ODBC)",
}  # fmt: skip
LANGUAGES = {"psql": "bash", "python": "python", "client": "python", "polars": "python", "duckdb": "sql"}

check_query_params()
st.title("Connect")
st.markdown(
    "The login `reader` reads the schema `marts` and nothing else: at most 5 minutes per statement and 10 connections. "
    "Every table and column is defined in the [Dictionary](./dictionary)."
)
texts: dict[str, str] = json.loads(os.environ.get("TICKMART_CONNECT", "{}"))
if texts:
    for tab, (tool, text) in zip(st.tabs([LABELS.get(tool, tool) for tool in texts]), texts.items(), strict=True):
        tab.code(text, language=LANGUAGES.get(tool), wrap_lines=True)
    st.caption("Postgres runs while `tickmart up` runs, and keeps its port. `tickmart connect` prints the same texts.")
else:
    st.info(
        "This page does not know the address of Postgres. With Docker Compose it is 127.0.0.1, port 5432 "
        "(`POSTGRES_PORT`), database `tickmart`; the password is `TICKMART_PG_READER_PASSWORD` in `.env`. "
        "`docker compose run --rm tickmart connect` prints the connection of each tool.",
        icon=":material/info:",
    )
