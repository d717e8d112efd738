"""The status at the last refresh, shown when the database is down, and links to the tools behind the pages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats, health
from dashboard.components.messages import empty_warehouse
from dashboard.components.tables import table
from dashboard.database import MartsError
from dashboard.text import escaped


def show_status_file(error: MartsError) -> None:
    """Show the database error, and the status file of the last refresh."""
    status = health.read_status()
    if error.reason == "empty":
        st.title("Marts not built yet" if health.has_data(status) else "No data loaded yet", anchor=False)
        empty_warehouse()
    else:
        st.title("Database unavailable", anchor=False)
        st.error(str(error), icon=":material/database_off:")
    if status is None:
        st.caption("TICKMART_HOME has no status file of an earlier refresh.")
        return
    written = status["generated_at"]
    st.header(
        f"Status at the last refresh: {formats.instant(written)}, {formats.duration(datetime.now(UTC) - written)} ago",
        anchor=False,
    )
    table(
        pd.DataFrame([_status_row(row) for row in status["datasets"]]),
        alt="Health of the datasets at the last refresh",
        missing="Not recorded at that refresh",
    )
    for symbol, detail in (status.get("failed_symbols") or {}).items():
        st.warning(escaped(f"{symbol}: {detail}"))
    if run := status.get("last_run"):
        st.caption(escaped(f"Last run: {run['job']}, {run['status']}, started {run['started_at']}."))
    tool_links()


def _status_row(row: dict[str, Any]) -> dict[str, str]:
    newest = row["newest"]
    return {
        "Dataset": health.title(row["dataset"]),
        "Health": health.with_symbol(row["health"]),
        "Newest data": formats.instant(newest),
        "Age": formats.duration(datetime.now(UTC) - newest if newest else None),
        "SLA": formats.duration(timedelta(seconds=row["sla_seconds"])),
        "Rows": formats.count(row["rows"]),
        "Last load": formats.instant(row["last_load"]),
        "Open gaps": formats.count(row.get("open_gaps")),
        "Rejected": formats.count(row.get("rejected")),
    }


def tool_links() -> None:
    """Show links to Dagster, Data Docs and dbt docs, and how to start the missing ones."""
    links, dbt_docs = health.tool_links(health.read_status()), health.dbt_docs_file()
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, address in links.items():
            st.link_button(name, address, icon=":material/open_in_new:", type="tertiary")
        if dbt_docs:
            st.download_button(
                "dbt docs",
                dbt_docs.read_bytes,
                "tickmart_dbt_docs.html",
                "text/html",
                icon=":material/account_tree:",
                type="tertiary",
                on_click="ignore",
                help="Documentation and lineage of the warehouse as one HTML file, last built by `tickmart docs`.",
            )
    missing = []
    if "Dagster" not in links:
        missing.append("Dagster and Data Docs: run `tickmart up`")
    if dbt_docs is None and "dbt docs" not in links:
        missing.append("dbt docs: run `tickmart docs`")
    if missing:
        st.caption(" · ".join(missing))
